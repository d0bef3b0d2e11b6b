// The JSON writer against a parser that is not ours.
#include "admin/json_writer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "admin/value.h"

namespace culvert::admin {
namespace {

using namespace std::chrono_literals;

template <class Write>
std::string written(Write write) {
  std::string out;
  JsonWriter writer([&](std::string_view piece) {
    out += piece;
    return true;
  });
  write(writer);
  EXPECT_TRUE(writer.finish());
  return out;
}

TEST(JsonWriter, IndentsByTwo) {
  const std::string text = written([](JsonWriter& out) {
    out.begin_object();
    out.member("a", 1);
    out.key("b");
    out.begin_array();
    out.string("x");
    out.boolean(false);
    out.null();
    out.end_array();
    out.key("c");
    out.begin_object();
    out.end_object();
    out.end_object();
  });
  EXPECT_EQ(text, "{\n  \"a\": 1,\n  \"b\": [\n    \"x\",\n    false,\n    null\n  ],\n  \"c\": {}\n}\n");
}

TEST(JsonWriter, AnyStringComesBack) {
  std::string all;
  for (int c = 0; c < 128; c++) all += static_cast<char>(c);
  all += "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
  const std::string text = written([&](JsonWriter& out) { out.string(all); });
  EXPECT_EQ(nlohmann::json::parse(text).get<std::string>(), all);
}

TEST(JsonWriter, BytesThatAreNoTextBecomeText) {
  const std::string text = written([&](JsonWriter& out) { out.string("a\xff\xc3"); });
  EXPECT_EQ(nlohmann::json::parse(text).get<std::string>(), "a\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(JsonWriter, NumbersKeepTheirSize) {
  const std::string text = written([&](JsonWriter& out) {
    out.begin_array();
    out.number(std::numeric_limits<uint64_t>::max());
    out.number(std::numeric_limits<int64_t>::min());
    out.end_array();
  });
  const auto parsed = nlohmann::json::parse(text);
  EXPECT_EQ(parsed.at(0).get<uint64_t>(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(parsed.at(1).get<int64_t>(), std::numeric_limits<int64_t>::min());
}

TEST(JsonWriter, WritesTrees) {
  Value tree = Value::Object();
  tree["b"] = Value::List{Value(true), Value(), Value(int64_t{-3})};
  tree["a"]["deep"] = "x";
  tree["c"] = Value::duration(5500ms);
  const std::string text = written([&](JsonWriter& out) { tree.write(out); });
  EXPECT_EQ(
      nlohmann::json::parse(text),
      nlohmann::json::parse(R"({"a": {"deep": "x"}, "b": [true, null, -3], "c": {"secs": 5, "nanos": 500000000}})"));
}

}  // namespace
}  // namespace culvert::admin
