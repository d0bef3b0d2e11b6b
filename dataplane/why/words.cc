#include "why/words.h"

#include <algorithm>

namespace culvert::why {

using snapshot::LoadBalancingMode;
using snapshot::LoadBalancingScope;
using snapshot::MatchLists;
using snapshot::StringMatch;

namespace {

std::string_view text_of(LoadBalancingScope scope) {
  switch (scope) {
    case LoadBalancingScope::kRegion:
      return "region";
    case LoadBalancingScope::kZone:
      return "zone";
    case LoadBalancingScope::kSubzone:
      return "subzone";
    case LoadBalancingScope::kNode:
      return "node";
    case LoadBalancingScope::kCluster:
      return "cluster";
    case LoadBalancingScope::kNetwork:
      return "network";
  }
  return {};
}

std::string text_of(const StringMatch& match) {
  switch (match.kind) {
    case StringMatch::Kind::kExact:
      return match.value.empty() ? "\"\"" : match.value;
    case StringMatch::Kind::kPrefix:
      return match.value + "*";
    case StringMatch::Kind::kSuffix:
      return "*" + match.value;
    case StringMatch::Kind::kPresence:
      return "*";
  }
  return {};
}
std::string text_of(const snapshot::ServiceAccountMatch& match) {
  return match.name_space + "/" + match.service_account;
}
std::string text_of(const Prefix& prefix) { return prefix.to_string(); }
std::string text_of(uint16_t port) { return std::to_string(port); }

// Longer lists are cut: the policy itself has the rest.
constexpr size_t kValuesShown = 6;

template <class T>
void add(std::string& out, std::string_view kind, const std::vector<T>& values, bool negative) {
  if (values.empty()) return;
  if (!out.empty()) out += ", ";
  out += std::string(kind) + (negative ? " not " : " ");
  for (size_t i = 0; i < std::min(values.size(), kValuesShown); ++i) {
    if (i) out += negative ? " nor " : " or ";
    out += text_of(values[i]);
  }
  if (values.size() > kValuesShown) out += " or " + std::to_string(values.size() - kValuesShown) + " more";
}

template <class T>
void add(std::string& out, std::string_view kind, const MatchLists<T>& lists) {
  add(out, kind, lists.any_of, false);
  add(out, kind, lists.none_of, true);
}

// Columns as people see them: continuation bytes of UTF-8 take none.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

std::string name_of(const snapshot::Workload& workload) {
  return workload.name.empty() ? workload.uid : workload.name_space + "/" + workload.name;
}

std::string text_of(const snapshot::Locality& locality) {
  std::string out = locality.region;
  if (!locality.zone.empty()) out += "/" + locality.zone;
  if (!locality.subzone.empty()) out += "/" + locality.subzone;
  return out;
}

std::string text_of(const snapshot::Service& service) {
  if (!service.load_balancing) return "no preference among endpoints";
  std::string scopes;
  for (const LoadBalancingScope scope : service.load_balancing->routing_preference) {
    scopes += (scopes.empty() ? "" : ", ") + std::string(text_of(scope));
  }
  switch (service.load_balancing->mode) {
    case LoadBalancingMode::kStandard:
      return "no preference among endpoints";
    case LoadBalancingMode::kStrict:
      return "STRICT: only endpoints of the same " + scopes;
    case LoadBalancingMode::kFailover:
      return "FAILOVER: prefers endpoints of the same " + scopes + ", in this order";
    case LoadBalancingMode::kPassthrough:
      return "PASSTHROUGH: clients keep the address they dialled";
  }
  return {};
}

std::string text_of(const snapshot::Match& match) {
  if (match.empty()) return "empty match, which never holds";
  std::string out;
  add(out, "principal", match.principals);
  add(out, "namespace", match.namespaces);
  add(out, "service account", match.service_accounts);
  add(out, "source", match.source_ips);
  add(out, "destination", match.destination_ips);
  add(out, "port", match.destination_ports);
  return out;
}

std::vector<std::string> aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::vector<std::string> out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      // A column that is empty in all rows takes no room.
      if (widths[i] == 0) continue;
      if (!line.empty()) line += "  ";
      line += row[i] + std::string(widths[i] - width_of(row[i]), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out.push_back(std::move(line));
  }
  return out;
}

std::string printable(std::string_view text) {
  constexpr size_t kShown = 256;
  std::string out(text.substr(0, kShown));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

}  // namespace culvert::why
