// Walks a YAML tree by schema, and collects every problem and every value with its origin on the way.
//
// A Section stands for one map of the file. The schema asks it for keys in a fixed order; each key asked for is known,
// and finish() refuses those that nobody asked for. Values of sections outside of lists can be overridden by flags and
// the environment: they are read by the same functions, from a node made of the override's text.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/duration.h"
#include "config/load.h"
#include "config/yaml_tree.h"

namespace culvert::config {

// One value on its way in: where it stands and what it is called, for messages.
struct Found {
  const YamlNode* node = nullptr;  // null: not given
  std::string place;               // "culvert.yaml:3", "flag --set node.name", "environment NODE_NAME"
  std::string key;                 // "ports[0].mtu"
};

class Reader {
 public:
  Reader(std::string file, const Overrides& overrides);

  void problem(const Found& found, std::string_view what);
  // "… is accepted, not `x`".
  void refuse(const Found& found, std::string_view accepted);
  void effective(const std::string& key, std::string value, std::string origin);
  // What an override says about a key; none when no override names it.
  std::optional<Found> overridden(const std::string& key);
  // Refuses flags for keys that the schema did not ask for.
  void finish();

  std::string place(uint32_t line) const;
  std::string path(const std::string& written) const;  // relative ones start at the file's folder

  std::vector<std::string> take_problems() { return std::move(problems_); }
  std::vector<Effective> take_effective() { return std::move(effective_); }
  bool failed() const { return !problems_.empty(); }

 private:
  std::string file_;
  std::string folder_;
  const Overrides& overrides_;
  std::multimap<std::string, std::string> variables_;  // key → variables, strongest first
  std::map<std::string, YamlNode> override_nodes_;
  std::set<std::string> settable_;
  std::vector<std::string> problems_;
  std::vector<Effective> effective_;
};

class Section {
 public:
  // `node` may be null (nothing given) and may be of any kind: what is not a map is a problem. `in_list`: an item of a
  // list, whose values no override reaches.
  Section(Reader& reader, std::string key, const YamlNode* node, bool in_list);

  Found find(std::string_view key);
  // Refuses unknown keys, naming the known ones.
  void finish();

  // Readers of one key each. They leave `out` alone when the key is absent or refused; true when it was given and good.
  // `what` is what is accepted, for the message.
  bool text(std::string_view key, std::string& out, bool required, std::string_view what,
            bool (*good)(std::string_view) = nullptr);
  bool path(std::string_view key, std::string& out, bool required);
  bool number(std::string_view key, uint32_t& out, uint32_t least, uint32_t most, std::string_view unit = "");
  bool number(std::string_view key, uint16_t& out, uint16_t least, uint16_t most);
  bool truth(std::string_view key, bool& out);
  bool duration(std::string_view key, std::chrono::seconds& out, std::chrono::seconds least, std::chrono::seconds most);
  template <class Enum, size_t N>
  bool choice(std::string_view key, Enum& out, const Enum (&values)[N], bool required = false);
  // The items of a list; each with its own place and key. Absent: none. Anything but a list is a problem.
  std::vector<Found> list(std::string_view key, std::string_view what);

  const std::string& key() const { return key_; }
  uint32_t line() const { return node_ ? node_->line : 0; }
  Found here() const;  // the section itself, for problems between keys

 private:
  // The scalar of a key; none when absent (said when required) or not a scalar (said).
  std::optional<Found> scalar(std::string_view key, bool required, std::string_view what);
  void show(const Found& found, std::string value, std::string fallback);

  Reader& reader_;
  std::string key_;
  const YamlNode* node_;
  bool in_list_;
  bool refused_ = false;  // it is no map, which has been said: nothing is missing in it
  std::vector<std::string> known_;
};

// A number without sign, blank or leading text; none when it is something else.
std::optional<uint64_t> parse_number(std::string_view text);

template <class Enum, size_t N>
bool Section::choice(std::string_view key, Enum& out, const Enum (&values)[N], bool required) {
  std::string accepted;
  for (const Enum value : values) accepted += (accepted.empty() ? "" : ", ") + std::string(name_of(value));
  const std::optional<Found> found = scalar(key, required, accepted);
  if (!found) return false;
  if (found->node) {
    bool known = false;
    for (const Enum value : values) {
      if (found->node->text == name_of(value)) {
        out = value;
        known = true;
      }
    }
    if (!known) {
      reader_.refuse(*found, accepted);
      return false;
    }
  }
  show(*found, std::string(name_of(out)), "");
  return found->node != nullptr;
}

}  // namespace culvert::config
