// The agent's log lines: their form (reference 25), their targets, and the filter changed while it runs.
#include "log/agent_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

namespace culvert::log {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::MatchesRegex;

// 2026-11-24T04:05:34.000089Z
constexpr LogTime kTime{1'795'493'134'000'089us};

TEST(LogLine, HasZtunnelsForm) {
  EXPECT_EQ(format_line(Format::kPlain, kTime, Level::kWarn, "xds", "stream ended"),
            "2026-11-24T04:05:34.000089Z\twarn\txds\tstream ended");
  EXPECT_EQ(format_line(Format::kJson, kTime, Level::kWarn, "xds", "stream ended"),
            R"({"level":"warn","time":"2026-11-24T04:05:34.000089Z","scope":"xds","message":"stream ended"})");
}

TEST(LogLine, IsOneLineWhateverItIsAbout) {
  EXPECT_EQ(format_line(Format::kPlain, kTime, Level::kInfo, "a", "x\n2026\ty\r\x1b[0m"),
            "2026-11-24T04:05:34.000089Z\tinfo\ta\tx\\n2026\\ty\\u000d\\u001b[0m");
  EXPECT_EQ(format_line(Format::kJson, kTime, Level::kInfo, "a", "say \"x\\y\"\n"),
            R"({"level":"info","time":"2026-11-24T04:05:34.000089Z","scope":"a","message":"say \"x\\y\"\n"})");
}

TEST(LogLine, BytesThatAreNoTextAreReplaced) {
  const auto message = [](std::string_view text) {
    const std::string line = format_line(Format::kPlain, kTime, Level::kInfo, "a", text);
    return line.substr(line.rfind('\t') + 1);
  };
  EXPECT_EQ(message("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
            "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(message("\xff"), "\xef\xbf\xbd");
  EXPECT_EQ(message("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd") << "cut off";
  EXPECT_EQ(message("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "a surrogate";
  EXPECT_EQ(message("\xc0\x80"), "\xef\xbf\xbd\xef\xbf\xbd") << "longer than it need be";
}

class AgentLogTest : public testing::Test {
 protected:
  void make(const std::string& filter, Format format = Format::kPlain) {
    AgentLogOptions options;
    options.filter = *Filter::parse(filter);
    options.format = format;
    options.sink = [this](std::string_view line) { lines_.emplace_back(line); };
    log_ = make_agent_log(std::move(options));
  }

  std::vector<std::string> lines_;
  std::unique_ptr<AgentLog> log_;
};

TEST_F(AgentLogTest, NamesTheTarget) {
  make("info");
  Part xds(*log_, "xds");
  log_->info("hello");
  xds.warn("stream ended");
  const std::string time = "[0-9-]+T[0-9:]+\\.[0-9]+Z";
  EXPECT_THAT(lines_, ElementsAre(MatchesRegex(time + "\tinfo\tagent\thello\n"),
                                  MatchesRegex(time + "\twarn\txds\tstream ended\n")));
}

TEST_F(AgentLogTest, FollowsTheFilter) {
  make("info");
  Part xds(*log_, "xds"), ca(*log_, "ca");
  xds.debug("1");
  ca.debug("2");
  log_->set_filter(*log_->filter().with("xds=debug,error"));
  EXPECT_EQ(log_->filter().to_string(), "xds=debug,error");
  xds.debug("3");
  ca.warn("4");
  ca.error("5");
  EXPECT_THAT(lines_, ElementsAre(MatchesRegex(".*\t3\n"), MatchesRegex(".*\t5\n")));
}

TEST_F(AgentLogTest, WritesJson) {
  make("info", Format::kJson);
  log_->info("hello");
  EXPECT_THAT(lines_, ElementsAre(MatchesRegex("\\{\"level\":\"info\",\"time\":\"[^\"]+\",\"scope\":\"agent\","
                                               "\"message\":\"hello\"\\}\n")));
}

}  // namespace
}  // namespace culvert::log
