#include "local/schema.h"

#include <algorithm>
#include <charconv>

namespace culvert::local {

using config::YamlNode;

void Problems::add(uint32_t line, std::string_view key, std::string_view sentence) {
  count_++;
  if (listed_.size() == kListedMax) return;
  std::string text = file_ + ":" + std::to_string(line) + ": ";
  if (!key.empty()) text += std::string(key) + ": ";
  listed_.push_back({line, text + std::string(sentence)});
}

std::vector<std::string> Problems::take_lines() {
  std::stable_sort(listed_.begin(), listed_.end(), [](const One& a, const One& b) { return a.line < b.line; });
  std::vector<std::string> lines;
  for (One& one : listed_) lines.push_back(std::move(one.text));
  if (count_ > listed_.size()) lines.push_back(file_ + ": and " + std::to_string(count_ - listed_.size()) + " more");
  listed_.clear();
  count_ = 0;
  return lines;
}

void Value::refuse_as(std::string_view accepted) const {
  refuse(config::describe(*node_) + " is not accepted; accepted: " + std::string(accepted));
}

std::string Value::text() const {
  if (node_->kind != YamlNode::Kind::kScalar) {
    refuse_as("a text");
    return {};
  }
  return node_->text;
}

bool Value::boolean() const {
  if (node_->kind == YamlNode::Kind::kScalar && !node_->quoted) {
    if (node_->text == "true") return true;
    if (node_->text == "false") return false;
  }
  refuse_as("true, false");
  return false;
}

uint64_t Value::number(uint64_t min, uint64_t max) const {
  uint64_t value = 0;
  const std::string& text = node_->text;
  const bool plain = node_->kind == YamlNode::Kind::kScalar && !node_->quoted && !text.empty();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (plain && error == std::errc() && end == text.data() + text.size() && value >= min && value <= max) return value;
  refuse_as("a number from " + std::to_string(min) + " to " + std::to_string(max));
  return min;
}

void Value::each_item(const std::function<void(const Value&)>& take) const {
  if (node_->kind != YamlNode::Kind::kList) return refuse_as("a list");
  for (size_t i = 0; i < node_->items.size(); i++) {
    take(Value(node_->items[i], key_ + "[" + std::to_string(i) + "]", *problems_));
  }
}

void Value::each_entry(const std::function<void(const Value&, const Value&)>& take) const {
  if (node_->kind != YamlNode::Kind::kMap) return refuse_as("a map");
  for (const YamlNode::Entry& entry : node_->entries) {
    YamlNode key;
    key.kind = YamlNode::Kind::kScalar;
    key.line = entry.line;
    key.text = entry.key;
    take(Value(key, key_, *problems_), Value(entry.value, key_ + "[" + entry.key + "]", *problems_));
  }
}

Fields::Fields(const Value& map) : map_(map), is_map_(map.node().kind == YamlNode::Kind::kMap) {
  if (!is_map_) map_.refuse_as("a map");
}

std::string Fields::key_of(std::string_view key) const {
  return map_.key().empty() ? std::string(key) : map_.key() + "." + std::string(key);
}

bool Fields::try_take(std::string_view key, const Take& take) {
  known_.push_back(key);
  const YamlNode* node = is_map_ ? map_.node().find(key) : nullptr;
  if (node == nullptr || node->kind == YamlNode::Kind::kNull) return false;
  take(Value(*node, key_of(key), map_.problems()));
  return true;
}

Fields& Fields::optional(std::string_view key, const Take& take) {
  try_take(key, take);
  return *this;
}

Fields& Fields::required(std::string_view key, const Take& take) {
  if (!try_take(key, take) && is_map_) map_.problems().add(map_.line(), key_of(key), "is required");
  return *this;
}

void Fields::finish() {
  if (!is_map_ || map_.problems().ignores_unknown()) return;
  for (const YamlNode::Entry& entry : map_.node().entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    std::string accepted;
    for (const std::string_view key : known_) accepted += (accepted.empty() ? "" : ", ") + std::string(key);
    map_.problems().add(entry.line, key_of(entry.key), "is not a key here; accepted: " + accepted);
  }
}

}  // namespace culvert::local
