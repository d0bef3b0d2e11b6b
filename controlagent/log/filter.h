// Which lines are written: a level for everything, and levels for targets, in ztunnel's words (reference 20, RUST_LOG;
// 21.1, /logging).
//
//   spec = item *("," item);  item = level / target ("=" / ":") level
//   level = "off" / "error" / "warn" / "info" / "debug" / "trace", in any case; "warning" and "critical" are accepted
//
// A target's level also holds for the targets below it ("xds" for "xds::stream"); the longest one that fits decides.
// ztunnel's own prefix is accepted: "ztunnel::xds" is "xds", and "ztunnel" alone is every target but "access" and
// "dns", which ztunnel names without it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "log/log.h"

namespace culvert::log {

class Filter {
 public:
  explicit Filter(std::optional<Level> everything = Level::kInfo) : everything_(everything) {}

  // A whole filter; what it does not name is info. The error is one sentence that names the item.
  static Result<Filter, std::string> parse(std::string_view spec);
  // This one with the items of `spec` added or changed; all of it or nothing.
  Result<Filter, std::string> with(std::string_view spec) const;

  // None: off.
  std::optional<Level> level_of(std::string_view target) const;
  bool passes(std::string_view target, Level level) const;

  // Targets first, the longest names before the others, then the level of everything: "xds::stream=off,access=debug,
  // info" without the blank. parse() of it is the same filter.
  std::string to_string() const;

  friend bool operator==(const Filter&, const Filter&) = default;

 private:
  std::optional<Level> everything_;
  std::map<std::string, std::optional<Level>, std::less<>> targets_;
};

std::string_view name_of(std::optional<Level> level);  // "off" for none

// At most this many targets in one filter: /logging is asked from outside.
inline constexpr size_t kTargetsMax = 64;

}  // namespace culvert::log
