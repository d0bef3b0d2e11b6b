// Checks a tree, of YAML or of JSON (json_tree.h), against a schema while it is read: each key is asked for, what was
// not asked for is a problem that lists what would have been accepted. Problems are collected, so that one run names
// them all.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml_tree.h"

namespace culvert::local {

// What is wrong with one file, each as "file:line: key: sentence".
class Problems {
 public:
  // `ignores_unknown`: keys that nothing asks for are no problem; for what another version of a program wrote.
  explicit Problems(std::string file, bool ignores_unknown = false)
      : file_(std::move(file)), ignores_unknown_(ignores_unknown) {}
  bool ignores_unknown() const { return ignores_unknown_; }
  // `key` may be empty: the problem is the document's.
  void add(uint32_t line, std::string_view key, std::string_view sentence);
  bool empty() const { return count_ == 0; }
  // In order of lines. After the first hundred the rest is only counted.
  std::vector<std::string> take_lines();

 private:
  struct One {
    uint32_t line;
    std::string text;
  };
  static constexpr size_t kListedMax = 100;
  std::string file_;
  bool ignores_unknown_;
  std::vector<One> listed_;
  size_t count_ = 0;
};

// One value and the key it stands under. What does not fit is reported, and the answer is then an empty value.
class Value {
 public:
  Value(const config::YamlNode& node, std::string key, Problems& problems)
      : node_(&node), key_(std::move(key)), problems_(&problems) {}

  const config::YamlNode& node() const { return *node_; }
  const std::string& key() const { return key_; }
  uint32_t line() const { return node_->line; }
  Problems& problems() const { return *problems_; }
  void refuse(std::string_view sentence) const { problems_->add(node_->line, key_, sentence); }
  // "`text` is not accepted; accepted: …"
  void refuse_as(std::string_view accepted) const;

  std::string text() const;
  bool boolean() const;
  uint64_t number(uint64_t min, uint64_t max) const;
  uint16_t port() const { return static_cast<uint16_t>(number(0, 65535)); }

  template <class Enum>
  struct Name {
    std::string_view name;
    Enum value;
  };
  // The enumerator whose name is written, exactly as spelt.
  template <class Enum>
  Enum one_of(std::span<const Name<Enum>> names) const {
    std::string accepted;
    for (const Name<Enum>& n : names) {
      if (node_->kind == config::YamlNode::Kind::kScalar && node_->text == n.name) return n.value;
      accepted += (accepted.empty() ? "" : ", ") + std::string(n.name);
    }
    refuse_as(accepted);
    return names.front().value;
  }

  void each_item(const std::function<void(const Value&)>& take) const;
  // Of a map with free keys. The first argument is the key as a value of its own, for its line.
  void each_entry(const std::function<void(const Value& key, const Value& value)>& take) const;

 private:
  const config::YamlNode* node_;
  std::string key_;
  Problems* problems_;
};

// A map with a fixed set of keys: ask for all of them, then call finish().
class Fields {
 public:
  using Take = std::function<void(const Value&)>;

  explicit Fields(const Value& map);

  // Takes the value when it is there and not null.
  Fields& optional(std::string_view key, const Take& take);
  // The same; an absent or null value is a problem.
  Fields& required(std::string_view key, const Take& take);
  // Reports every key that was not asked for.
  void finish();

 private:
  bool try_take(std::string_view key, const Take& take);
  std::string key_of(std::string_view key) const;

  const Value map_;
  bool is_map_;
  std::vector<std::string_view> known_;
};

}  // namespace culvert::local
