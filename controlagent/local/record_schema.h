// Workloads and services as ztunnel writes them down: in its local file (reference 19) and, nearly the same, in its
// config_dump (reference 22).
#pragma once

#include <string>
#include <vector>

#include "local/schema.h"
#include "reconcile/mesh.h"

namespace culvert::local {

enum class Form : uint8_t {
  kFile,  // `services` of a workload is a map with ports
  kDump,  // it is a list of names, ports stand at the services' endpoints; a CIDR VIP may be a text
};

reconcile::Workload workload(const Value& map, Form form);

// One of the `endpoints` of a service, until every workload is known.
struct Endpoint {
  uint32_t line = 0;
  std::string key, workload_uid, service;
  reconcile::PortMap ports;
  reconcile::Health health = reconcile::Health::kHealthy;
  reconcile::HealthPolicy policy = reconcile::HealthPolicy::kOnlyHealthy;
};

// Appends the service's endpoints.
reconcile::Service service(const Value& map, Form form, std::vector<Endpoint>& endpoints);

}  // namespace culvert::local
