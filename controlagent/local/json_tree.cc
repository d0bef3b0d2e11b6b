// Built by events of nlohmann's parser; it reads through an iterator that counts lines.
#include "local/json_tree.h"

#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

namespace culvert::local {
namespace {

using config::YamlNode;

// The line of the character read last. A line break counts when what follows it is read: the parser reads one character
// beyond a number.
struct Lines {
  uint32_t line = 1;
  bool broken = false;
};

class Characters {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  Characters(const char* at, Lines* lines) : at_(at), lines_(lines) {}
  char operator*() const {
    if (lines_->broken) ++lines_->line;
    lines_->broken = *at_ == '\n';
    return *at_;
  }
  Characters& operator++() {
    ++at_;
    return *this;
  }
  Characters operator++(int) {
    Characters before = *this;
    ++at_;
    return before;
  }
  bool operator==(const Characters& other) const { return at_ == other.at_; }
  bool operator!=(const Characters& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  Lines* lines_;
};

class Builder {
 public:
  using Json = nlohmann::json;

  Builder(const Lines& lines, size_t bytes, YamlNode& root) : lines_(lines), bytes_(bytes), root_(root) {}
  const std::string& problem() const { return problem_; }

  bool null() { return scalar(YamlNode::Kind::kNull, {}, false); }
  bool boolean(bool value) { return scalar(YamlNode::Kind::kScalar, value ? "true" : "false", false); }
  bool number_integer(Json::number_integer_t value) {
    return scalar(YamlNode::Kind::kScalar, std::to_string(value), false);
  }
  bool number_unsigned(Json::number_unsigned_t value) {
    return scalar(YamlNode::Kind::kScalar, std::to_string(value), false);
  }
  bool number_float(Json::number_float_t, const std::string& text) {
    return scalar(YamlNode::Kind::kScalar, text, false);
  }
  bool string(std::string& value) { return scalar(YamlNode::Kind::kScalar, std::move(value), true); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(size_t) { return open(YamlNode::Kind::kMap); }
  bool start_array(size_t) { return open(YamlNode::Kind::kList); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& text) {
    Level& level = levels_.back();
    if (!level.keys.insert(text).second) return refuse("the key `" + text + "` is given twice");
    YamlNode::Entry entry;
    entry.key = std::move(text);
    entry.line = lines_.line;
    level.node->entries.push_back(std::move(entry));
    return true;
  }
  template <class Exception>
  bool parse_error(size_t position, const std::string& token, const Exception&) {
    constexpr size_t kShown = 32;
    std::string shown = token.size() > kShown ? token.substr(token.size() - kShown) : token;
    for (char& c : shown) {
      if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
    }
    // Positions count from 1, and the end counts.
    return refuse("is not JSON" + (position > bytes_ ? std::string(": it ends too soon") : " at `" + shown + "`"));
  }

 private:
  // Nodes of open levels do not move: their parents get no further children until they are closed.
  struct Level {
    YamlNode* node;
    std::unordered_set<std::string> keys;
  };

  bool refuse(std::string sentence) {
    if (problem_.empty()) problem_ = std::move(sentence);
    return false;
  }
  // The place of the value that comes now; null: one too many.
  YamlNode* place() {
    if (++nodes_ > kJsonNodesMax) {
      refuse("holds more than " + std::to_string(kJsonNodesMax) + " values");
      return nullptr;
    }
    if (levels_.empty()) return &root_;
    YamlNode& parent = *levels_.back().node;
    if (parent.kind == YamlNode::Kind::kMap) return &parent.entries.back().value;
    return &parent.items.emplace_back();
  }
  bool scalar(YamlNode::Kind kind, std::string text, bool quoted) {
    YamlNode* node = place();
    if (!node) return false;
    node->kind = kind;
    node->quoted = quoted;
    node->line = lines_.line;
    node->text = std::move(text);
    return true;
  }
  bool open(YamlNode::Kind kind) {
    if (levels_.size() == kJsonDepthMax) return refuse("is nested deeper than " + std::to_string(kJsonDepthMax));
    YamlNode* node = place();
    if (!node) return false;
    node->kind = kind;
    node->line = lines_.line;
    levels_.push_back({node, {}});
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  const Lines& lines_;
  const size_t bytes_;  // of the text
  YamlNode& root_;
  std::vector<Level> levels_;
  size_t nodes_ = 0;
  std::string problem_;
};

}  // namespace

Result<YamlNode, config::YamlProblem> parse_json(std::string_view text) {
  Lines lines;
  YamlNode root;
  Builder builder(lines, text.size(), root);
  const Characters begin(text.data(), &lines), end(text.data() + text.size(), &lines);
  if (nlohmann::json::sax_parse(begin, end, &builder)) return root;
  return config::YamlProblem{lines.line, builder.problem()};
}

}  // namespace culvert::local
