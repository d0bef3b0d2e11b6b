#include "hbone/baggage.h"

#include <algorithm>
#include <array>

namespace culvert::hbone {

namespace {

constexpr std::array<std::string_view, 4> kTypes = {"deployment", "cronjob", "pod", "job"};
constexpr std::string_view kNamePrefix = "k8s.";
constexpr std::string_view kNameSuffix = ".name";

void append_pair(std::string& out, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  if (!out.empty()) out += ',';
  out.append(key).append("=").append(value);
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

// The type inside "k8s.<type>.name"; empty when the key is another.
std::string_view type_of(std::string_view key) {
  if (!key.starts_with(kNamePrefix) || !key.ends_with(kNameSuffix) ||
      key.size() < kNamePrefix.size() + kNameSuffix.size()) {
    return {};
  }
  key.remove_prefix(kNamePrefix.size());
  key.remove_suffix(kNameSuffix.size());
  return std::find(kTypes.begin(), kTypes.end(), key) != kTypes.end() ? key : std::string_view{};
}

void take_pair(Baggage& baggage, std::string_view pair) {
  const size_t equals = pair.find('=');
  if (equals == std::string_view::npos) return;
  const std::string_view key = pair.substr(0, equals);
  // Between the first and a second '=', which cuts the value short.
  const std::string_view value = pair.substr(equals + 1, pair.find('=', equals + 1) - equals - 1);
  if (key == "k8s.cluster.name") {
    baggage.cluster = value;
  } else if (key == "k8s.namespace.name") {
    baggage.name_space = value;
  } else if (key == "service.name") {
    baggage.service = value;
  } else if (key == "service.version") {
    baggage.revision = value;
  } else if (key == "cloud.region") {
    baggage.region = value;
  } else if (key == "cloud.availability_zone") {
    baggage.zone = value;
  } else if (const std::string_view type = type_of(key); !type.empty()) {
    baggage.workload = value;
    baggage.workload_type = value.empty() ? std::string_view{} : type;
  }
}

}  // namespace

std::string emit_baggage(const Baggage& baggage) {
  const bool known = std::find(kTypes.begin(), kTypes.end(), baggage.workload_type) != kTypes.end();
  const std::string name_key =
      std::string(kNamePrefix) + (known ? baggage.workload_type : "deployment") + std::string(kNameSuffix);
  std::string out;
  append_pair(out, "k8s.cluster.name", baggage.cluster);
  append_pair(out, "k8s.namespace.name", baggage.name_space);
  append_pair(out, name_key, baggage.workload);
  append_pair(out, "service.name", baggage.service);
  append_pair(out, "service.version", baggage.revision);
  append_pair(out, "cloud.region", baggage.region);
  append_pair(out, "cloud.availability_zone", baggage.zone);
  return out;
}

Baggage parse_baggage(std::span<const std::string_view> lines) {
  Baggage baggage;
  for (std::string_view line : lines) {
    if (!is_ascii(line)) return {};
    while (!line.empty()) {
      const size_t comma = line.find(',');
      take_pair(baggage, line.substr(0, comma));
      line = comma == std::string_view::npos ? std::string_view{} : line.substr(comma + 1);
    }
  }
  return baggage;
}

}  // namespace culvert::hbone
