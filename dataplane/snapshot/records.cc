// The few questions that a record answers by itself.
#include "snapshot/records.h"

#include <algorithm>

namespace culvert::snapshot {

uint16_t target_port_of(const PortMap& ports, uint16_t service_port) {
  for (const PortMapping& mapping : ports) {
    if (mapping.service_port == service_port) return mapping.target_port;
  }
  return 0;
}

bool has_service_port(const PortMap& ports, uint16_t service_port) {
  return std::any_of(ports.begin(), ports.end(), [&](const PortMapping& m) { return m.service_port == service_port; });
}

bool Workload::has_identity(const identity::SpiffeId& id) const {
  return id.trust_domain == trust_domain && id.name_space == name_space && id.service_account == service_account;
}

bool Workload::has_address(const IpAddress& address) const {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

std::string_view name_of(WorkloadType type) {
  switch (type) {
    case WorkloadType::kDeployment:
      return "deployment";
    case WorkloadType::kCronJob:
      return "cronjob";
    case WorkloadType::kPod:
      return "pod";
    case WorkloadType::kJob:
      return "job";
  }
  return "deployment";
}

}  // namespace culvert::snapshot
