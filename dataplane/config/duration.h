// Spans of time as the configuration and the command line write them: "90s", "10m", "24h", also joined, "1h30m".
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace culvert::config {

// None when it is something else, also without a unit, or longer than a hundred years.
std::optional<std::chrono::seconds> parse_duration(std::string_view text);
// The largest unit that leaves no rest: "90m", "2h", "61s".
std::string print_duration(std::chrono::seconds value);

}  // namespace culvert::config
