#include "config/reader.h"

#include <algorithm>
#include <charconv>

namespace culvert::config {

Reader::Reader(std::string file, const Overrides& overrides) : file_(std::move(file)), overrides_(overrides) {
  const size_t slash = file_.rfind('/');
  folder_ = slash == std::string::npos ? "" : file_.substr(0, slash + 1);
  for (const EnvironmentName& name : environment_names()) {
    variables_.emplace(std::string(name.key), std::string(name.variable));
  }
}

std::string Reader::place(uint32_t line) const { return line == 0 ? file_ : file_ + ":" + std::to_string(line); }

std::string Reader::path(const std::string& written) const {
  return written.starts_with('/') ? written : folder_ + written;
}

void Reader::problem(const Found& found, std::string_view what) {
  problems_.push_back(found.place + ": " + (found.key.empty() ? "" : found.key + ": ") + std::string(what));
}

void Reader::refuse(const Found& found, std::string_view accepted) {
  std::string shown = describe(*found.node);
  if (found.node->quoted && found.node->kind == YamlNode::Kind::kScalar) shown += " in quotes";
  problem(found, std::string(accepted) + " is accepted, not " + shown);
}

void Reader::effective(const std::string& key, std::string value, std::string origin) {
  effective_.push_back({key, std::move(value), std::move(origin)});
}

std::optional<Found> Reader::overridden(const std::string& key) {
  settable_.insert(key);
  const auto make = [&](std::string text, std::string place) {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = std::move(text);
    return Found{&(override_nodes_[key] = std::move(node)), std::move(place), key};
  };
  // The last flag wins, as people expect of command lines.
  for (auto flag = overrides_.flags.rbegin(); flag != overrides_.flags.rend(); ++flag) {
    if (flag->first == key) return make(flag->second, "flag --set " + key);
  }
  if (!overrides_.environment) return std::nullopt;
  const auto [first, last] = variables_.equal_range(key);
  for (auto variable = first; variable != last; ++variable) {
    if (auto value = overrides_.environment(variable->second)) {
      return make(std::move(*value), "environment " + variable->second);
    }
  }
  return std::nullopt;
}

void Reader::finish() {
  for (const auto& [key, value] : overrides_.flags) {
    if (settable_.contains(key)) continue;
    std::string known;
    for (const std::string& settable : settable_) known += (known.empty() ? "" : ", ") + settable;
    problem({nullptr, "flag --set " + key, ""}, "no such key; accepted: " + known);
  }
}

Section::Section(Reader& reader, std::string key, const YamlNode* node, bool in_list)
    : reader_(reader), key_(std::move(key)), node_(node), in_list_(in_list) {
  if (!node_) return;
  if (node_->kind == YamlNode::Kind::kMap) return;
  // A section whose keys are all commented out is nothing, and that is no mistake.
  if (node_->kind != YamlNode::Kind::kNull || in_list) {
    reader_.refuse(here(), "a map");
    refused_ = true;
  }
  node_ = nullptr;
}

Found Section::here() const { return {node_, reader_.place(line()), key_}; }

Found Section::find(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  const std::string full = key_.empty() ? std::string(key) : key_ + "." + std::string(key);
  if (node_) {
    for (const YamlNode::Entry& entry : node_->entries) {
      if (entry.key == key) return {&entry.value, reader_.place(entry.line), full};
    }
  }
  return {nullptr, reader_.place(line()), full};
}

void Section::finish() {
  if (!node_) return;
  for (const YamlNode::Entry& entry : node_->entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    std::string accepted;
    for (const std::string& known : known_) accepted += (accepted.empty() ? "" : ", ") + known;
    YamlNode name;
    name.kind = YamlNode::Kind::kScalar;
    name.text = entry.key;
    reader_.problem({nullptr, reader_.place(entry.line), key_},
                    "unknown key " + describe(name) + "; accepted: " + accepted);
  }
}

std::optional<Found> Section::scalar(std::string_view key, bool required, std::string_view what) {
  Found found = find(key);
  if (!in_list_) {
    if (auto override_found = reader_.overridden(found.key)) return override_found;
  }
  if (!found.node || found.node->kind == YamlNode::Kind::kNull) {
    if (required) {
      if (!refused_) reader_.problem(found, "missing; accepted: " + std::string(what));
      return std::nullopt;
    }
    // `key:` with nothing behind it is a slip, not a wish for the default.
    if (found.node) {
      reader_.refuse(found, what);
      return std::nullopt;
    }
    return found;
  }
  if (found.node->kind != YamlNode::Kind::kScalar) {
    reader_.refuse(found, what);
    return std::nullopt;
  }
  return found;
}

void Section::show(const Found& found, std::string value, std::string fallback) {
  if (value.empty()) value = fallback.empty() ? "\"\"" : std::move(fallback);
  reader_.effective(found.key, std::move(value), found.node ? found.place : "default");
}

bool Section::text(std::string_view key, std::string& out, bool required, std::string_view what,
                   bool (*good)(std::string_view)) {
  const std::optional<Found> found = scalar(key, required, what);
  if (!found) return false;
  if (found->node) {
    if ((required && found->node->text.empty()) || (good && !good(found->node->text))) {
      reader_.refuse(*found, what);
      return false;
    }
    out = found->node->text;
  }
  show(*found, out, "");
  return found->node != nullptr;
}

bool Section::path(std::string_view key, std::string& out, bool required) {
  constexpr std::string_view kAccepted = "a path";
  const std::optional<Found> found = scalar(key, required, kAccepted);
  if (!found) return false;
  if (found->node) {
    if (found->node->text.empty() || found->node->text.find('\0') != std::string::npos) {
      reader_.refuse(*found, kAccepted);
      return false;
    }
    out = reader_.path(found->node->text);
  }
  show(*found, out, "");
  return found->node != nullptr;
}

bool Section::number(std::string_view key, uint32_t& out, uint32_t least, uint32_t most, std::string_view unit) {
  const std::string accepted =
      std::to_string(least) + " to " + std::to_string(most) + (unit.empty() ? "" : " " + std::string(unit));
  const std::optional<Found> found = scalar(key, false, accepted);
  if (!found) return false;
  if (found->node) {
    const std::optional<uint64_t> value = found->node->quoted ? std::nullopt : parse_number(found->node->text);
    if (!value || *value < least || *value > most) {
      reader_.refuse(*found, accepted);
      return false;
    }
    out = static_cast<uint32_t>(*value);
  }
  show(*found, std::to_string(out), "");
  return found->node != nullptr;
}

bool Section::number(std::string_view key, uint16_t& out, uint16_t least, uint16_t most) {
  uint32_t wide = out;
  const bool given = number(key, wide, least, most);
  out = static_cast<uint16_t>(wide);
  return given;
}

bool Section::truth(std::string_view key, bool& out) {
  constexpr std::string_view kAccepted = "true or false";
  const std::optional<Found> found = scalar(key, false, kAccepted);
  if (!found) return false;
  if (found->node) {
    const std::string& text = found->node->text;
    if (found->node->quoted || (text != "true" && text != "false")) {
      reader_.refuse(*found, kAccepted);
      return false;
    }
    out = text == "true";
  }
  show(*found, out ? "true" : "false", "");
  return found->node != nullptr;
}

bool Section::duration(std::string_view key, std::chrono::seconds& out, std::chrono::seconds least,
                       std::chrono::seconds most) {
  const std::string accepted = "a time from " + print_duration(least) + " to " + print_duration(most);
  const std::optional<Found> found = scalar(key, false, accepted);
  if (!found) return false;
  if (found->node) {
    const std::optional<std::chrono::seconds> value = parse_duration(found->node->text);
    if (!value || *value < least || *value > most) {
      reader_.refuse(*found, accepted);
      return false;
    }
    out = *value;
  }
  show(*found, print_duration(out), "");
  return found->node != nullptr;
}

std::vector<Found> Section::list(std::string_view key, std::string_view what) {
  const Found found = find(key);
  if (!found.node) return {};
  if (found.node->kind == YamlNode::Kind::kNull) return {};
  if (found.node->kind != YamlNode::Kind::kList) {
    reader_.refuse(found, what);
    return {};
  }
  std::vector<Found> items;
  for (size_t i = 0; i < found.node->items.size(); ++i) {
    const YamlNode& item = found.node->items[i];
    items.push_back({&item, reader_.place(item.line), found.key + "[" + std::to_string(i) + "]"});
  }
  return items;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::chrono::seconds> parse_duration(std::string_view text) {
  constexpr uint64_t kMost = 100ull * 365 * 24 * 3600;
  uint64_t total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (error != std::errc{} || value > kMost || text.empty()) return std::nullopt;
    switch (text.front()) {
      case 's':
        break;
      case 'm':
        value *= 60;
        break;
      case 'h':
        value *= 3600;
        break;
      default:
        return std::nullopt;
    }
    text.remove_prefix(1);
    total += value;
    if (total > kMost) return std::nullopt;
  }
  return std::chrono::seconds(total);
}

std::string print_duration(std::chrono::seconds value) {
  const auto count = value.count();
  if (count != 0 && count % 3600 == 0) return std::to_string(count / 3600) + "h";
  if (count != 0 && count % 60 == 0) return std::to_string(count / 60) + "m";
  return std::to_string(count) + "s";
}

}  // namespace culvert::config
