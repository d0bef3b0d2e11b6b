// A YAML document as a plain tree in which every node knows its line, for readers that name what they refuse.
//
// One document, scalars kept as written. Anchors and aliases are expanded; the whole tree is bounded in nodes and
// depth, so that a few lines of nested aliases cannot fill the memory. Also used for the mesh file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace culvert::config {

struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kList, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  bool quoted = false;          // of a scalar: written in quotes, or a block: never a number or a truth value
  uint32_t line = 0;            // from 1
  std::string text;             // of a scalar
  std::vector<YamlNode> items;  // of a list
  std::vector<Entry> entries;   // of a map, in the file's order; keys are distinct

  // The value under a key of a map; null when there is none.
  const YamlNode* find(std::string_view key) const;
};

struct YamlNode::Entry {
  std::string key;
  uint32_t line = 0;
  YamlNode value;
};

struct YamlProblem {
  uint32_t line = 0;
  std::string text;  // one sentence without file and line
};

inline constexpr size_t kYamlNodesMax = 4'000'000;
inline constexpr size_t kYamlDepthMax = 64;

// An empty text is a null node. Refused: what is not YAML, more than one document, keys that are not scalars, a key
// given twice in one map, more than kYamlNodesMax nodes or kYamlDepthMax levels.
Result<YamlNode, YamlProblem> parse_yaml(std::string_view text);

// "a list", "a map", "nothing", "`text`": what stands there, for messages.
std::string describe(const YamlNode& node);

}  // namespace culvert::config
