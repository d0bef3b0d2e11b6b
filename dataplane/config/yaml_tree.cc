// Builds the tree from yaml-cpp's events. Its own node graph is not used: it keeps keys that are given twice, and
// shares aliased nodes, so that walking it can take exponential time.
#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <unordered_set>

namespace culvert::config {

namespace {

// Left through when the document is refused; never leaves this file.
struct Refused {
  YamlProblem problem;
};

uint32_t line_of(const YAML::Mark& mark) { return mark.line < 0 ? 0 : static_cast<uint32_t>(mark.line) + 1; }

size_t count(const YamlNode& node) {
  size_t n = 1;
  for (const YamlNode& item : node.items) n += count(item);
  for (const YamlNode::Entry& entry : node.entries) n += count(entry.value);
  return n;
}

size_t depth(const YamlNode& node) {
  size_t deepest = 0;
  for (const YamlNode& item : node.items) deepest = std::max(deepest, depth(item));
  for (const YamlNode::Entry& entry : node.entries) deepest = std::max(deepest, depth(entry.value));
  return deepest + 1;
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    YamlNode node;
    node.line = line_of(mark);
    put(std::move(node), anchor, 1);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node;
    node.line = line_of(mark);
    node.quoted = tag != "?";
    // YAML's core schema: these are null when they are plain.
    const bool null = !node.quoted && (value.empty() || value == "~" || value == "null");
    node.kind = null ? YamlNode::Kind::kNull : YamlNode::Kind::kScalar;
    node.text = value;
    put(std::move(node), anchor, 1);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchored_.find(anchor);
    if (found == anchored_.end()) refuse(line_of(mark), "an alias inside of what it stands for is not accepted");
    if (levels_.size() + found->second.depth > kYamlDepthMax) refuse_depth(line_of(mark));
    put(found->second.node, 0, found->second.nodes);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    std::optional<YamlNode> key;  // of a map: read, its value is awaited
    std::unordered_set<std::string> keys;
  };
  struct Anchored {
    YamlNode node;
    size_t nodes = 0, depth = 0;
  };

  [[noreturn]] static void refuse(uint32_t line, std::string text) { throw Refused{{line, std::move(text)}}; }
  [[noreturn]] static void refuse_depth(uint32_t line) {
    refuse(line, "more than " + std::to_string(kYamlDepthMax) + " levels are not accepted");
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, YamlNode::Kind kind) {
    if (levels_.size() >= kYamlDepthMax) refuse_depth(line_of(mark));
    Level level;
    level.node.kind = kind;
    level.node.line = line_of(mark);
    level.anchor = anchor;
    levels_.push_back(std::move(level));
  }

  void close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    put(std::move(level.node), level.anchor, 1);
  }

  void put(YamlNode node, YAML::anchor_t anchor, size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > kYamlNodesMax) {
      refuse(node.line, "more than " + std::to_string(kYamlNodesMax) + " values are not accepted");
    }
    if (anchor != 0) {
      const size_t size = count(node);
      // The copy kept for its aliases takes as much as another use of it.
      nodes_ += size;
      anchored_[anchor] = {node, size, depth(node)};
    }
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (level.node.kind == YamlNode::Kind::kList) {
      level.node.items.push_back(std::move(node));
    } else if (!level.key) {
      take_key(level, std::move(node));
    } else {
      level.node.entries.push_back({std::move(level.key->text), level.key->line, std::move(node)});
      level.key.reset();
    }
  }

  static void take_key(Level& level, YamlNode key) {
    if (key.kind != YamlNode::Kind::kScalar) refuse(key.line, "a key is a text, not " + describe(key));
    if (!level.keys.insert(key.text).second) refuse(key.line, "key `" + key.text + "` is given twice");
    // yaml-cpp reports a flow map's line for a map, the key's own for a block map; a map begins with its first key.
    if (level.node.entries.empty() && level.keys.size() == 1) level.node.line = std::max(level.node.line, key.line);
    level.key = std::move(key);
  }

  std::vector<Level> levels_;
  std::map<YAML::anchor_t, Anchored> anchored_;
  size_t nodes_ = 0;
  YamlNode root_;
};

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

namespace {

// yaml-cpp quotes the character it stumbled over as it is; a problem is one line of text.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

Result<YamlNode, YamlProblem> parse_yaml(std::string_view text) {
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    TreeBuilder builder;
    if (!parser.HandleNextDocument(builder)) return YamlNode{};
    YamlNode root = builder.take_root();
    TreeBuilder rest;
    if (parser.HandleNextDocument(rest)) {
      return YamlProblem{rest.take_root().line, "one document is accepted, a second begins here"};
    }
    return root;
  } catch (const Refused& refused) {
    return refused.problem;
  } catch (const YAML::Exception& error) {
    return YamlProblem{line_of(error.mark), "not YAML: " + printable(error.msg)};
  } catch (const std::exception& error) {
    return YamlProblem{0, "cannot be read: " + printable(error.what())};
  }
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kList:
      return node.items.empty() ? "an empty list" : "a list";
    case YamlNode::Kind::kMap:
      return node.entries.empty() ? "an empty map" : "a map";
    case YamlNode::Kind::kScalar:
      break;
  }
  constexpr size_t kShown = 60;
  std::string shown = node.text.substr(0, kShown);
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return "`" + shown + (node.text.size() > kShown ? "…" : "") + "`";
}

}  // namespace culvert::config
