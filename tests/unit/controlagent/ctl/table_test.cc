#include "ctl/table.h"

#include <gtest/gtest.h>

namespace culvert::ctl {
namespace {

Value row(std::string name, uint64_t value) {
  Value out = Value::map();
  out.set("name", std::move(name));
  out.set("value", value);
  return out;
}

TEST(Table, AlignsColumnsAndPutsNumbersToTheRight) {
  const Value rows = Value::list({row("a", 5), row("longer", 12345)});
  EXPECT_EQ(to_table({{"NAME", "name"}, {"VALUE", "value"}}, rows),
            "NAME    VALUE\n"
            "a           5\n"
            "longer  12345\n");
}

TEST(Table, AColumnWithOneWordIsNoColumnOfNumbers) {
  Value word = row("b", 0);
  word.set("port", std::string("http"));
  Value first = row("a", 0);
  first.set("port", uint64_t{80});
  Value last = row("c", 0);
  last.set("port", uint64_t{8080});
  EXPECT_EQ(to_table({{"PORT", "port"}, {"NAME", "name"}}, Value::list({first, word, last})),
            "PORT  NAME\n"
            "80    a\n"
            "http  b\n"
            "8080  c\n");
}

TEST(Table, IsItsTitlesWithoutRows) { EXPECT_EQ(to_table({{"NAME", "name"}, {"X", "x"}}, Value::list()), "NAME  X\n"); }

TEST(Table, HasACellInEveryColumnAndNoBlankWithinOne) {
  Value odd = Value::map();
  odd.set("name", std::string("two words"));
  odd.set("list", Value::list({Value::of(std::string("x")), Value::of(std::string("tso 65535"))}));
  odd.set("empty", std::string());
  EXPECT_EQ(to_table({{"N", "name"}, {"L", "list"}, {"E", "empty"}, {"M", "missing"}}, Value::list({odd})),
            "N          L            E  M\n"
            "two_words  x,tso_65535  -  -\n");
}

TEST(Table, ShowsNothingThatMovesACursor) { EXPECT_EQ(Value::of(std::string("a\x1b[31m\nb")).cell(), "a?[31m?b"); }

TEST(Table, AlignsTextOfMoreThanOneBytePerLetter) {
  EXPECT_EQ(to_table({{"NAME", "name"}, {"VALUE", "value"}}, Value::list({row("é", 1), row("ab", 2)})),
            "NAME  VALUE\n"
            "é         1\n"
            "ab        2\n");
}

TEST(Spans, AreShownInTwoParts) {
  const auto shown = [](uint64_t ms) { return show_span(Value::of(ms)); };
  EXPECT_EQ(shown(0), "0.0s");
  EXPECT_EQ(shown(9'999), "9.9s");
  EXPECT_EQ(shown(59'999), "59s");
  EXPECT_EQ(shown(61'000), "1m01s");
  EXPECT_EQ(shown(3 * 3'600'000 + 4 * 60'000), "3h04m");
  EXPECT_EQ(shown(53ull * 3'600'000), "2d05h");
}

TEST(Bytes, AreShownInStepsOf1024) {
  const auto shown = [](uint64_t bytes) { return show_bytes(Value::of(bytes)); };
  EXPECT_EQ(shown(1023), "1023");
  EXPECT_EQ(shown(1536), "1.5K");
  EXPECT_EQ(shown(1ull << 30), "1.0G");
  EXPECT_EQ(shown(~0ull), "16.0E");
}

TEST(Json, KeepsOrderNumbersAndNonsense) {
  Value value = row("x\"\n\xff", 18446744073709551615ull);
  value.set("list", Value::list());
  value.set("signed", int64_t{-1});
  value.set("yes", true);
  value.set("nothing", Value());
  EXPECT_EQ(to_json(value),
            "{\n  \"name\": \"x\\\"\\n\xef\xbf\xbd\",\n  \"value\": 18446744073709551615,\n  \"list\": [],\n"
            "  \"signed\": -1,\n  \"yes\": true,\n  \"nothing\": null\n}\n");
}

}  // namespace
}  // namespace culvert::ctl
