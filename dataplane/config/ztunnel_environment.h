// What Culvert makes of ztunnel's environment variables (reference 20). A DaemonSet written for ztunnel starts Culvert
// with the same variables; each has one of four fates, told in one table that the README shows too.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace culvert::config {

using Lookup = std::function<std::optional<std::string>(const std::string&)>;

enum class Fate : uint8_t {
  kKey,      // means a key of culvert.yaml
  kAgent,    // read by culvert-agent itself
  kOnly,     // one value is what Culvert does; another one stops the start
  kNothing,  // describes what Culvert has not, or decides by itself: accepted, and said once
};

struct ZtunnelVariable {
  std::string_view name;  // ending in "*": a prefix
  Fate fate;
  std::string_view what;  // the key; or the value that is accepted; else ""
  std::string_view why;   // for people
};
std::span<const ZtunnelVariable> ztunnel_variables();

struct EnvironmentReport {
  std::vector<std::string> problems;  // values that Culvert cannot honour: the start stops
  std::vector<std::string> notes;     // variables that are set and do nothing here
};
EnvironmentReport check_environment(const Lookup& lookup);

// `lookup` with values in the form that culvert.yaml has: counts of threads in per cent or "all" become numbers for
// `cores`, the grace period becomes the deadline it leaves (reference 21.4), PROXY_CONFIG's discoveryAddress and
// concurrency stand in for variables that are not set.
Lookup in_our_terms(Lookup lookup, uint32_t cores);

// Variables of this process whose names begin with `prefix`, without it, in order of their names.
std::vector<std::pair<std::string, std::string>> process_environment_under(std::string_view prefix);

// The part of PROXY_CONFIG that node metadata is made of. Errors are one sentence.
struct ProxyConfig {
  std::string discovery_address;
  std::optional<uint32_t> concurrency;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::string problem;  // "": readable
};
ProxyConfig parse_proxy_config(std::string_view yaml);

}  // namespace culvert::config
