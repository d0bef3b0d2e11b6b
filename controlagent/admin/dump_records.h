// Workloads, services and policies as config_dump shows them (reference 22): ztunnel's words, keys in order, what
// equals its default left out where ztunnel leaves it out.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "admin/json_writer.h"
#include "reconcile/mesh.h"

namespace culvert::admin {

// The workloads that belong to services, by the service's key, each list in order of uid.
using Members = std::map<std::string_view, std::vector<const reconcile::Workload*>>;

void dump_workload(const reconcile::Workload& workload, JsonWriter& out);
// As the local file has it (reference 19): `services` with the ports.
void dump_static_workload(const reconcile::Workload& workload, JsonWriter& out);
// `members` may be null: no endpoints.
void dump_service(const reconcile::Service& service, const std::vector<const reconcile::Workload*>* members,
                  JsonWriter& out);
void dump_policy(const reconcile::Policy& policy, JsonWriter& out);

// {"uid": {workloadUid, port, status}}: the endpoints of service `key` that `policy` takes in.
void dump_endpoints(std::string_view key, const std::vector<const reconcile::Workload*>& members,
                    reconcile::HealthPolicy policy, JsonWriter& out);

}  // namespace culvert::admin
