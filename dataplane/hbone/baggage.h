// The baggage header: how a workload describes itself to the other end of a CONNECT (reference 5.2). A value and its
// two codecs, no state. Telemetry only: nothing in it is ever trusted for routing or policy.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace culvert::hbone {

struct Baggage {
  std::string cluster = {};        // k8s.cluster.name
  std::string name_space = {};     // k8s.namespace.name
  std::string workload_type = {};  // "deployment", "cronjob", "pod", "job": the word inside k8s.<type>.name
  std::string workload = {};       // k8s.<type>.name
  std::string service = {};        // service.name: the canonical name
  std::string revision = {};       // service.version
  std::string region = {};         // cloud.region
  std::string zone = {};           // cloud.availability_zone

  friend bool operator==(const Baggage&, const Baggage&) = default;
};

// key=value pairs joined by commas in the reference's order; empty values are left out. An unknown workload type counts
// as "deployment", which is what a reader that looks at the value only takes it for.
std::string emit_baggage(const Baggage& baggage);

// Merges header lines in their order. Unknown keys are ignored, a later pair overrides an earlier one, an empty value
// unsets; any byte outside ASCII in any line makes the whole baggage empty (reference 5.2).
Baggage parse_baggage(std::span<const std::string_view> lines);

}  // namespace culvert::hbone
