#include "log/filter.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace culvert::log {
namespace {

constexpr std::string_view kZtunnel = "ztunnel";
constexpr size_t kTargetBytesMax = 128;

struct Spelling {
  std::string_view name;
  std::optional<Level> level;
};
// The first one of a level is the one that is printed.
constexpr std::array<Spelling, 8> kSpellings = {{{"off", std::nullopt},
                                                 {"error", Level::kError},
                                                 {"warn", Level::kWarn},
                                                 {"info", Level::kInfo},
                                                 {"debug", Level::kDebug},
                                                 {"trace", Level::kTrace},
                                                 {"warning", Level::kWarn},
                                                 {"critical", Level::kError}}};

const Spelling* find_level(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  const auto found = std::find_if(kSpellings.begin(), kSpellings.end(), [&](const auto& s) { return s.name == lower; });
  return found == kSpellings.end() ? nullptr : &*found;
}

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool is_target(std::string_view text) {
  return !text.empty() && text.size() <= kTargetBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == ':' || c == '.';
  });
}

// Printable and short, for a sentence.
std::string quoted(std::string_view text) {
  std::string out = "`";
  for (const char c : text.substr(0, kTargetBytesMax)) out += c >= ' ' && c < 127 ? c : '?';
  return out + "`";
}

std::string_view without_prefix(std::string_view target) {
  if (target.starts_with("ztunnel::")) target.remove_prefix(kZtunnel.size() + 2);
  return target;
}

bool covers(std::string_view above, std::string_view target) {
  if (above == kZtunnel) return target != "access" && target != "dns";
  return target == above || (target.starts_with(above) && target.substr(above.size()).starts_with("::"));
}

}  // namespace

std::string_view name_of(std::optional<Level> level) {
  return std::find_if(kSpellings.begin(), kSpellings.end(), [&](const auto& s) { return s.level == level; })->name;
}

Result<Filter, std::string> Filter::parse(std::string_view spec) { return Filter().with(spec); }

Result<Filter, std::string> Filter::with(std::string_view spec) const {
  Filter out = *this;
  for (bool more = true; more;) {
    const size_t comma = spec.find(',');
    const std::string_view item = trim(spec.substr(0, comma));
    more = comma != std::string_view::npos;
    if (more) spec.remove_prefix(comma + 1);

    if (const Spelling* level = find_level(item)) {
      out.everything_ = level->level;
      continue;
    }
    // The last one: a target may hold colons itself.
    const size_t split = item.find_last_of("=:");
    if (split == std::string_view::npos) return quoted(item) + " is neither a level nor target=level";
    std::string_view target = trim(item.substr(0, split));
    if (!is_target(target)) return quoted(item) + ": " + quoted(target) + " is no target";
    const Spelling* level = find_level(trim(item.substr(split + 1)));
    if (level == nullptr) return quoted(item) + ": " + quoted(trim(item.substr(split + 1))) + " is no level";
    out.targets_[std::string(without_prefix(target))] = level->level;
  }
  if (out.targets_.size() > kTargetsMax) return "more than " + std::to_string(kTargetsMax) + " targets";
  return out;
}

std::optional<Level> Filter::level_of(std::string_view target) const {
  const std::pair<const std::string, std::optional<Level>>* best = nullptr;
  for (const auto& one : targets_) {
    if (!covers(one.first, target)) continue;
    // "ztunnel" names everything, so it is the weakest however long its name.
    const bool better =
        best == nullptr || best->first == kZtunnel || (one.first != kZtunnel && one.first.size() > best->first.size());
    if (better) best = &one;
  }
  return best == nullptr ? everything_ : best->second;
}

bool Filter::passes(std::string_view target, Level level) const {
  const auto least = level_of(target);
  return least && level <= *least;
}

std::string Filter::to_string() const {
  std::vector<std::pair<std::string, std::optional<Level>>> sorted(targets_.begin(), targets_.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  std::string out;
  for (const auto& [target, level] : sorted) out += target + "=" + std::string(name_of(level)) + ",";
  return out + std::string(name_of(everything_));
}

}  // namespace culvert::log
