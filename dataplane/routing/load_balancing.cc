// Two passes over the endpoints: the first finds the best rank and the weight that stands at it, the second the
// endpoint on which the drawn number falls. Nothing is collected, so nothing is allocated. An endpoint of capacity 0
// ranks like any other and is never drawn: where only such stand at the best rank, there is no choice.
#include "routing/load_balancing.h"

#include <algorithm>

namespace culvert::routing {

using snapshot::LoadBalancing;
using snapshot::LoadBalancingMode;
using snapshot::LoadBalancingScope;
using snapshot::Service;
using snapshot::ServiceEndpoint;
using snapshot::Workload;

namespace {

bool same_scope(LoadBalancingScope scope, const Workload& a, const Workload& b) {
  switch (scope) {
    case LoadBalancingScope::kRegion:
      return a.locality.region == b.locality.region;
    case LoadBalancingScope::kZone:
      return a.locality.zone == b.locality.zone;
    case LoadBalancingScope::kSubzone:
      return a.locality.subzone == b.locality.subzone;
    case LoadBalancingScope::kNode:
      return a.node == b.node;
    case LoadBalancingScope::kCluster:
      return a.cluster_id == b.cluster_id;
    case LoadBalancingScope::kNetwork:
      return a.network == b.network;
  }
  return false;
}

bool reachable(const ServiceEndpoint& endpoint, const Workload& client) {
  if (endpoint.has_destination) return true;
  return endpoint.workload->network != client.network && endpoint.workload->network_gateway.has_value();
}

}  // namespace

uint32_t failover_rank(const LoadBalancing& balancing, const Workload& client, const Workload& endpoint) {
  const auto& scopes = balancing.routing_preference;
  uint32_t rank = 0;
  for (size_t i = 0; i < scopes.size(); ++i) {
    const bool leading_network = i == 0 && scopes[i] == LoadBalancingScope::kNetwork;
    if (same_scope(scopes[i], client, endpoint)) {
      rank += leading_network ? static_cast<uint32_t>(scopes.size()) : 1;
    } else if (!leading_network) {
      break;
    }
  }
  return rank;
}

bool strict_match(const LoadBalancing& balancing, const Workload& client, const Workload& endpoint) {
  return std::all_of(balancing.routing_preference.begin(), balancing.routing_preference.end(),
                     [&](LoadBalancingScope scope) { return same_scope(scope, client, endpoint); });
}

uint16_t target_port_of(const Service& service, const ServiceEndpoint& endpoint, uint16_t service_port) {
  if (const uint16_t own = snapshot::target_port_of(*endpoint.ports, service_port)) return own;
  if (const uint16_t common = snapshot::target_port_of(service.ports, service_port)) return common;
  return endpoint.workload->application_tunnel.port != 0 ? service_port : uint16_t{0};
}

namespace {

// `common_port`: the service's own target port, looked up once for all endpoints.
Judgement judge(const Service& service, const ServiceEndpoint& endpoint, const Workload& client, uint16_t service_port,
                uint16_t common_port) {
  if (!reachable(endpoint, client)) return {Standing::kUnreachable};
  // A service that maps the port maps it for all.
  if (common_port == 0 && target_port_of(service, endpoint, service_port) == 0) return {Standing::kNoPort};
  if (!service.load_balancing) return {};
  const LoadBalancing& balancing = *service.load_balancing;
  switch (balancing.mode) {
    case LoadBalancingMode::kStrict:
      return {strict_match(balancing, client, *endpoint.workload) ? Standing::kEligible : Standing::kOutOfScope};
    case LoadBalancingMode::kFailover:
      return {Standing::kEligible, failover_rank(balancing, client, *endpoint.workload)};
    case LoadBalancingMode::kStandard:
      return {};
    case LoadBalancingMode::kPassthrough:
      break;
  }
  return {Standing::kPassthrough};
}

}  // namespace

Judgement judge_endpoint(const Service& service, const ServiceEndpoint& endpoint, const Workload& client,
                         uint16_t service_port) {
  return judge(service, endpoint, client, service_port, snapshot::target_port_of(service.ports, service_port));
}

std::optional<Choice> choose_endpoint(const snapshot::Mesh& mesh, const Service& service, const Workload& client,
                                      uint16_t service_port, Random& random) {
  if (!snapshot::has_service_port(service.ports, service_port)) return std::nullopt;
  const uint16_t common_port = snapshot::target_port_of(service.ports, service_port);

  // The rank of an endpoint that may be chosen; none for one that may not.
  auto rank_of = [&](const ServiceEndpoint& endpoint) -> std::optional<uint32_t> {
    const Judgement judgement = judge(service, endpoint, client, service_port, common_port);
    if (judgement.standing != Standing::kEligible) return std::nullopt;
    return judgement.rank;
  };

  const auto endpoints = mesh.endpoints(service);
  uint32_t best = 0;
  uint64_t weight = 0;
  for (const ServiceEndpoint& endpoint : endpoints) {
    const auto rank = rank_of(endpoint);
    if (!rank || *rank < best) continue;
    if (*rank > best) {
      best = *rank;
      weight = 0;
    }
    weight += endpoint.capacity;
  }
  if (weight == 0) return std::nullopt;

  uint64_t drawn = random.below(weight);
  for (const ServiceEndpoint& endpoint : endpoints) {
    const auto rank = rank_of(endpoint);
    if (!rank || *rank != best) continue;
    if (drawn < endpoint.capacity) {
      return Choice{&endpoint, target_port_of(service, endpoint, service_port)};
    }
    drawn -= endpoint.capacity;
  }
  return std::nullopt;
}

}  // namespace culvert::routing
