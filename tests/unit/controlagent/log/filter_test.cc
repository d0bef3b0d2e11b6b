// The filter of log lines against ztunnel's words, and what istioctl printed of them.
#include "log/filter.h"

#include <gtest/gtest.h>

namespace culvert::log {
namespace {

Filter parsed(std::string_view spec) {
  auto filter = Filter::parse(spec);
  EXPECT_TRUE(filter) << spec << ": " << (filter ? "" : filter.error());
  return filter ? *filter : Filter();
}

TEST(LogFilter, TakesALevelForEverything) {
  EXPECT_EQ(Filter().to_string(), "info");
  EXPECT_EQ(parsed("debug").to_string(), "debug");
  EXPECT_EQ(parsed("OFF").to_string(), "off");
  EXPECT_TRUE(parsed("warn").passes("xds", Level::kError));
  EXPECT_TRUE(parsed("warn").passes("xds", Level::kWarn));
  EXPECT_FALSE(parsed("warn").passes("xds", Level::kInfo));
  EXPECT_FALSE(parsed("off").passes("xds", Level::kError));
  EXPECT_TRUE(parsed("trace").passes("xds", Level::kTrace));
}

TEST(LogFilter, TakesKubernetesWordsForLevels) {
  EXPECT_EQ(parsed("warning").to_string(), "warn");
  EXPECT_EQ(parsed("critical").to_string(), "error");
}

TEST(LogFilter, TakesTargetsInBothForms) {
  EXPECT_EQ(parsed("access=debug").to_string(), "access=debug,info");
  EXPECT_EQ(parsed("access:debug").to_string(), "access=debug,info");
  EXPECT_EQ(parsed("xds::stream:trace,warn").to_string(), "xds::stream=trace,warn");
}

TEST(LogFilter, AddsToWhatStands) {
  // As a real ztunnel answered two requests of istioctl, one after the other.
  auto filter = parsed("hickory_server::server=off,info").with("debug");
  ASSERT_TRUE(filter);
  EXPECT_EQ(filter->to_string(), "hickory_server::server=off,debug");
  filter = filter->with("access=debug");
  ASSERT_TRUE(filter);
  EXPECT_EQ(filter->to_string(), "hickory_server::server=off,access=debug,debug");
  filter = filter->with("access=off");
  ASSERT_TRUE(filter);
  EXPECT_EQ(filter->to_string(), "hickory_server::server=off,access=off,debug");
}

TEST(LogFilter, TheLongestTargetThatFitsDecides) {
  const Filter filter = parsed("xds=debug,xds::stream=error,warn");
  EXPECT_EQ(filter.level_of("xds"), Level::kDebug);
  EXPECT_EQ(filter.level_of("xds::stream"), Level::kError);
  EXPECT_EQ(filter.level_of("xds::stream::read"), Level::kError);
  EXPECT_EQ(filter.level_of("xds::state"), Level::kDebug);
  EXPECT_EQ(filter.level_of("xds2"), Level::kWarn) << "a name that begins alike is another one";
  EXPECT_EQ(filter.level_of("ca"), Level::kWarn);
}

TEST(LogFilter, KnowsZtunnelsPrefix) {
  EXPECT_EQ(parsed("ztunnel::xds=debug").level_of("xds"), Level::kDebug);
  const Filter filter = parsed("ztunnel=debug,xds=off,warn");
  EXPECT_EQ(filter.level_of("ca"), Level::kDebug);
  EXPECT_EQ(filter.level_of("xds"), std::nullopt) << "a target of its own is stronger than the one that is everything";
  EXPECT_EQ(filter.level_of("access"), Level::kWarn) << "ztunnel names it without its prefix";
}

TEST(LogFilter, WhatItPrintsIsTheSameFilter) {
  for (const char* spec : {"info", "off", "access=off,trace", "a=warn,bb=off,ccc::d=debug,error"}) {
    const Filter filter = parsed(spec);
    EXPECT_EQ(parsed(filter.to_string()), filter) << spec;
  }
}

TEST(LogFilter, SaysWhatItDoesNotTake) {
  const auto error = [](std::string_view spec) {
    const auto filter = Filter::parse(spec);
    return filter ? "accepted " + filter->to_string() : filter.error();
  };
  EXPECT_EQ(error("access"), "`access` is neither a level nor target=level");
  EXPECT_EQ(error(""), "`` is neither a level nor target=level");
  EXPECT_EQ(error("info,"), "`` is neither a level nor target=level");
  EXPECT_EQ(error("access=loud"), "`access=loud`: `loud` is no level");
  EXPECT_EQ(error("=debug"), "`=debug`: `` is no target");
  EXPECT_EQ(error("a b=debug"), "`a b=debug`: `a b` is no target");
  EXPECT_EQ(error("\n"), "`?` is neither a level nor target=level");
  std::string many = "info";
  for (size_t i = 0; i <= kTargetsMax; i++) many += ",t" + std::to_string(i) + "=info";
  EXPECT_EQ(error(many), "more than 64 targets");
}

TEST(LogFilter, ABadItemChangesNothing) {
  const Filter before = parsed("access=debug,warn");
  EXPECT_FALSE(before.with("trace,loud"));
  EXPECT_EQ(before.to_string(), "access=debug,warn");
}

}  // namespace
}  // namespace culvert::log
