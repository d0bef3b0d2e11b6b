// JSON in the form of a config::YamlNode tree, so that one schema reads both: the same kinds, each node with its line.
// Texts count as quoted, numbers and truth values as written; null is a null node.
#pragma once

#include <string_view>

#include "base/result.h"
#include "config/yaml_tree.h"

namespace culvert::local {

inline constexpr size_t kJsonNodesMax = 8'000'000;
inline constexpr size_t kJsonDepthMax = 64;

// Refused: what is not JSON, a key given twice in one object, more than kJsonNodesMax values or kJsonDepthMax levels.
Result<config::YamlNode, config::YamlProblem> parse_json(std::string_view text);

}  // namespace culvert::local
