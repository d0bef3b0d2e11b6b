// The tree keeps lines and spellings, and its size is bounded whatever the text says.
#include "config/yaml_tree.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace culvert::config {
namespace {

YamlNode tree(std::string_view text) {
  Result<YamlNode, YamlProblem> parsed = parse_yaml(text);
  if (!parsed) {
    ADD_FAILURE() << parsed.error().line << ": " << parsed.error().text;
    return {};
  }
  return std::move(*parsed);
}

YamlProblem refused(std::string_view text) {
  const Result<YamlNode, YamlProblem> parsed = parse_yaml(text);
  return parsed ? YamlProblem{0, "accepted"} : parsed.error();
}

TEST(YamlTree, KeepsTheLineOfEveryKeyAndValue) {
  const YamlNode root = tree("a: 1\nb:\n  - x\n  - y: {z: w}\n");
  ASSERT_EQ(root.entries.size(), 2u);
  EXPECT_EQ(root.entries[1].line, 2u);
  const YamlNode* b = root.find("b");
  ASSERT_EQ(b->items.size(), 2u);
  EXPECT_EQ(b->items[0].line, 3u);
  EXPECT_EQ(b->items[1].line, 4u);
  EXPECT_EQ(b->items[1].find("y")->find("z")->text, "w");
  EXPECT_EQ(root.find("c"), nullptr);
}

TEST(YamlTree, TellsQuotedFromPlain) {
  const YamlNode root = tree("a: 1\nb: '1'\nc: null\nd: 'null'\ne:\nf: \"\"\ng: |\n  text\n");
  EXPECT_FALSE(root.find("a")->quoted);
  EXPECT_TRUE(root.find("b")->quoted);
  EXPECT_EQ(root.find("c")->kind, YamlNode::Kind::kNull);
  EXPECT_EQ(root.find("d")->kind, YamlNode::Kind::kScalar);
  EXPECT_EQ(root.find("e")->kind, YamlNode::Kind::kNull);
  EXPECT_EQ(root.find("f")->kind, YamlNode::Kind::kScalar);
  EXPECT_EQ(root.find("g")->text, "text\n");
  EXPECT_TRUE(root.find("g")->quoted);
}

TEST(YamlTree, ExpandsAliases) {
  const YamlNode root = tree("a: &x {k: v}\nb: *x\nc: [*x, *x]\n");
  EXPECT_EQ(root.find("b")->find("k")->text, "v");
  EXPECT_EQ(root.find("c")->items[1].find("k")->text, "v");
}

TEST(YamlTree, RefusesAFewLinesThatWouldFillTheMemory) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int k = 0; k < 9; ++k) bomb += ", " + before;
    bomb += "]\n";
  }
  EXPECT_EQ(refused(bomb).text, "more than 4000000 values are not accepted");
}

TEST(YamlTree, RefusesEndlessDepth) {
  EXPECT_EQ(refused(std::string(65, '[') + std::string(65, ']')).text, "more than 64 levels are not accepted");
  EXPECT_EQ(refused("a: &a [b, *a]\n").text, "an alias inside of what it stands for is not accepted");
  tree(std::string(64, '[') + std::string(64, ']'));
  EXPECT_FALSE(parse_yaml(std::string(100'000, '[')).ok());
  EXPECT_FALSE(parse_yaml(std::string(100'000, '{')).ok());
}

TEST(YamlTree, RefusesKeysThatAreNoText) {
  EXPECT_EQ(refused("? [a]\n: b\n").text, "a key is a text, not a list");
  EXPECT_EQ(refused("a: 1\nb: 2\na: 3\n").line, 3u);
}

TEST(YamlTree, AcceptsAnEmptyText) {
  EXPECT_EQ(tree("").kind, YamlNode::Kind::kNull);
  EXPECT_EQ(tree("# nothing\n").kind, YamlNode::Kind::kNull);
}

// Any text gives a tree or a problem; the sanitizer presets make this worth its time.
TEST(YamlTree, SurvivesWhateverBytesComeAlong) {
  const std::string_view pieces[] = {"a",     ": ",    "\n",          "- ", "[",    "]",   "{",  "}",  "&x",
                                     "*x",    "'",     "\"",          "|",  ">",    "#",   "\t", "? ", "!t ",
                                     "---\n", "...\n", "%YAML 1.2\n", ",",  "\xff", "\0x", "  "};
  Random random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    const uint64_t length = random.below(40);
    for (uint64_t i = 0; i < length; ++i) text += pieces[random.below(std::size(pieces))];
    const Result<YamlNode, YamlProblem> parsed = parse_yaml(text);
    if (!parsed) {
      EXPECT_FALSE(parsed.error().text.empty());
    }
  }
}

}  // namespace
}  // namespace culvert::config
