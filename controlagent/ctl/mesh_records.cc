// Enumerations are translated by name, never by number, as everywhere between the two sides.
#include "ctl/mesh_records.h"

#include <utility>

#include "snapshot/mesh_builder.h"

namespace culvert::ctl {

namespace {

namespace rc = reconcile;
namespace sn = snapshot;

template <class From, class To, size_t N>
To named(From value, const std::pair<From, To> (&table)[N]) {
  for (const auto& [from, to] : table) {
    if (from == value) return to;
  }
  return table[0].second;
}

constexpr std::pair<rc::Tunnel, sn::TunnelProtocol> kTunnels[] = {{rc::Tunnel::kNone, sn::TunnelProtocol::kNone},
                                                                  {rc::Tunnel::kHbone, sn::TunnelProtocol::kHbone}};
constexpr std::pair<rc::NetworkMode, sn::NetworkMode> kNetworkModes[] = {
    {rc::NetworkMode::kStandard, sn::NetworkMode::kStandard},
    {rc::NetworkMode::kHostNetwork, sn::NetworkMode::kHostNetwork}};
constexpr std::pair<rc::Health, sn::WorkloadStatus> kHealths[] = {
    {rc::Health::kHealthy, sn::WorkloadStatus::kHealthy}, {rc::Health::kUnhealthy, sn::WorkloadStatus::kUnhealthy}};
constexpr std::pair<rc::WorkloadType, sn::WorkloadType> kTypes[] = {
    {rc::WorkloadType::kDeployment, sn::WorkloadType::kDeployment},
    {rc::WorkloadType::kCronJob, sn::WorkloadType::kCronJob},
    {rc::WorkloadType::kPod, sn::WorkloadType::kPod},
    {rc::WorkloadType::kJob, sn::WorkloadType::kJob}};
constexpr std::pair<rc::ApplicationTunnelProtocol, sn::TunnelledProtocol> kTunnelled[] = {
    {rc::ApplicationTunnelProtocol::kNone, sn::TunnelledProtocol::kNone},
    {rc::ApplicationTunnelProtocol::kProxy, sn::TunnelledProtocol::kProxy}};
constexpr std::pair<rc::RoutingScope, sn::LoadBalancingScope> kScopes[] = {
    {rc::RoutingScope::kRegion, sn::LoadBalancingScope::kRegion},
    {rc::RoutingScope::kZone, sn::LoadBalancingScope::kZone},
    {rc::RoutingScope::kSubzone, sn::LoadBalancingScope::kSubzone},
    {rc::RoutingScope::kNode, sn::LoadBalancingScope::kNode},
    {rc::RoutingScope::kCluster, sn::LoadBalancingScope::kCluster},
    {rc::RoutingScope::kNetwork, sn::LoadBalancingScope::kNetwork}};
constexpr std::pair<rc::BalancingMode, sn::LoadBalancingMode> kModes[] = {
    {rc::BalancingMode::kStandard, sn::LoadBalancingMode::kStandard},
    {rc::BalancingMode::kStrict, sn::LoadBalancingMode::kStrict},
    {rc::BalancingMode::kFailover, sn::LoadBalancingMode::kFailover},
    {rc::BalancingMode::kPassthrough, sn::LoadBalancingMode::kPassthrough}};
constexpr std::pair<rc::HealthPolicy, sn::HealthPolicy> kHealthPolicies[] = {
    {rc::HealthPolicy::kOnlyHealthy, sn::HealthPolicy::kOnlyHealthy},
    {rc::HealthPolicy::kAllowAll, sn::HealthPolicy::kAllowAll}};
constexpr std::pair<rc::IpFamilies, sn::IpFamilies> kFamilies[] = {
    {rc::IpFamilies::kAutomatic, sn::IpFamilies::kAutomatic},
    {rc::IpFamilies::kIpv4Only, sn::IpFamilies::kIpv4Only},
    {rc::IpFamilies::kIpv6Only, sn::IpFamilies::kIpv6Only},
    {rc::IpFamilies::kDual, sn::IpFamilies::kDual}};
constexpr std::pair<rc::Visibility, sn::Visibility> kVisibilities[] = {
    {rc::Visibility::kPublic, sn::Visibility::kPublic}, {rc::Visibility::kNamespace, sn::Visibility::kNamespace}};
constexpr std::pair<rc::StringMatch::Kind, sn::StringMatch::Kind> kKinds[] = {
    {rc::StringMatch::Kind::kExact, sn::StringMatch::Kind::kExact},
    {rc::StringMatch::Kind::kPrefix, sn::StringMatch::Kind::kPrefix},
    {rc::StringMatch::Kind::kSuffix, sn::StringMatch::Kind::kSuffix},
    {rc::StringMatch::Kind::kPresence, sn::StringMatch::Kind::kPresence}};
constexpr std::pair<rc::PolicyScope, sn::PolicyScope> kPolicyScopes[] = {
    {rc::PolicyScope::kGlobal, sn::PolicyScope::kGlobal},
    {rc::PolicyScope::kNamespace, sn::PolicyScope::kNamespace},
    {rc::PolicyScope::kWorkloadSelector, sn::PolicyScope::kWorkloadSelector}};
constexpr std::pair<rc::PolicyAction, sn::PolicyAction> kActions[] = {
    {rc::PolicyAction::kAllow, sn::PolicyAction::kAllow}, {rc::PolicyAction::kDeny, sn::PolicyAction::kDeny}};

sn::GatewayAddress gateway(const rc::Gateway& in) {
  sn::GatewayAddress out;
  if (const auto* at = std::get_if<rc::NetworkAddress>(&in.destination)) {
    out.destination = sn::NetworkAddress{at->network, at->address};
  } else if (const auto* name = std::get_if<rc::NamespacedHostname>(&in.destination)) {
    out.destination = sn::NamespacedHostname{name->name_space, name->hostname};
  }
  out.hbone_mtls_port = in.hbone_port;
  return out;
}

std::optional<sn::GatewayAddress> gateway(const std::optional<rc::Gateway>& in) {
  return in ? std::optional<sn::GatewayAddress>(gateway(*in)) : std::nullopt;
}

sn::PortMap ports(const rc::PortMap& in) {
  sn::PortMap out;
  for (const auto& [service, target] : in) out.push_back({service, target});
  return out;
}

std::vector<sn::StringMatch> strings(const std::vector<rc::StringMatch>& in) {
  std::vector<sn::StringMatch> out;
  for (const rc::StringMatch& match : in) out.push_back({named(match.kind, kKinds), match.text});
  return out;
}

std::vector<sn::ServiceAccountMatch> accounts(const std::vector<rc::ServiceAccountMatch>& in) {
  std::vector<sn::ServiceAccountMatch> out;
  for (const rc::ServiceAccountMatch& match : in) out.push_back({match.name_space, match.service_account});
  return out;
}

std::vector<Prefix> prefixes(const std::vector<Prefix>& in) {
  std::vector<Prefix> out;
  for (const Prefix& prefix : in) out.push_back(prefix.masked());
  return out;
}

sn::Match match(const rc::Match& in) {
  sn::Match out;
  out.namespaces = {strings(in.namespaces), strings(in.not_namespaces)};
  out.principals = {strings(in.principals), strings(in.not_principals)};
  out.service_accounts = {accounts(in.service_accounts), accounts(in.not_service_accounts)};
  out.source_ips = {prefixes(in.source_ips), prefixes(in.not_source_ips)};
  out.destination_ips = {prefixes(in.destination_ips), prefixes(in.not_destination_ips)};
  out.destination_ports = {in.destination_ports, in.not_destination_ports};
  return out;
}

}  // namespace

sn::Workload to_record(const rc::Workload& in) {
  sn::Workload out;
  out.uid = in.uid;
  out.name = in.name;
  out.name_space = in.name_space;
  out.addresses = in.addresses;
  out.network = in.network;
  out.tunnel_protocol = named(in.tunnel, kTunnels);
  out.trust_domain = in.trust_domain;
  out.service_account = in.service_account;
  out.waypoint = gateway(in.waypoint);
  out.network_gateway = gateway(in.network_gateway);
  out.node = in.node;
  out.canonical_name = in.canonical_name;
  out.canonical_revision = in.canonical_revision;
  out.workload_type = named(in.type, kTypes);
  out.workload_name = in.workload_name;
  out.native_tunnel = in.native_tunnel;
  out.authorization_policies = in.authorization_policies;
  out.status = named(in.health, kHealths);
  out.cluster_id = in.cluster;
  out.hostname = in.hostname;
  for (const auto& [service, map] : in.services) out.services.push_back({service, ports(map)});
  out.application_tunnel = {named(in.application_tunnel.protocol, kTunnelled), in.application_tunnel.port};
  out.locality = {in.locality.region, in.locality.zone, in.locality.subzone};
  out.network_mode = named(in.network_mode, kNetworkModes);
  out.capacity = in.capacity;
  return out;
}

sn::Service to_record(const rc::Service& in) {
  sn::Service out;
  out.name = in.name;
  out.name_space = in.name_space;
  out.hostname = in.hostname;
  for (const rc::NetworkAddress& vip : in.vips) out.vips.push_back({vip.network, vip.address});
  for (const rc::NetworkPrefix& vip : in.cidr_vips) {
    // Of full length it is an ordinary VIP (reference 13.2).
    if (vip.prefix.bits == (vip.prefix.address.is_v4() ? 32 : 128)) {
      out.vips.push_back({vip.network, vip.prefix.address});
    } else {
      out.cidr_vips.push_back({vip.network, vip.prefix.masked()});
    }
  }
  out.ports = ports(in.ports);
  out.subject_alt_names = in.subject_alt_names;
  out.waypoint = gateway(in.waypoint);
  for (const rc::WeightedWaypoint& weighted : in.weighted_waypoints) {
    out.weighted_waypoints.push_back({gateway(weighted.destination), weighted.weight});
  }
  if (in.load_balancing) {
    sn::LoadBalancing balancing;
    for (const rc::RoutingScope scope : in.load_balancing->routing_preference) {
      balancing.routing_preference.push_back(named(scope, kScopes));
    }
    balancing.mode = named(in.load_balancing->mode, kModes);
    balancing.health_policy = named(in.load_balancing->health_policy, kHealthPolicies);
    out.load_balancing = std::move(balancing);
  }
  out.ip_families = named(in.ip_families, kFamilies);
  out.canonical = in.canonical;
  out.visibility = named(in.visibility, kVisibilities);
  return out;
}

sn::Policy to_record(const rc::Policy& in) {
  sn::Policy out;
  out.name = in.name;
  out.name_space = in.name_space;
  out.scope = named(in.scope, kPolicyScopes);
  out.action = named(in.action, kActions);
  out.dry_run = in.dry_run;
  for (const rc::Rule& rule : in.rules) {
    sn::Rule& made = out.rules.emplace_back();
    for (const rc::Clause& clause : rule) {
      sn::Clause& made_clause = made.clauses.emplace_back();
      for (const rc::Match& one : clause) made_clause.matches.push_back(match(one));
    }
  }
  return out;
}

std::shared_ptr<const sn::Mesh> build_mesh(const rc::Mesh& in) {
  sn::MeshBuilder builder;
  for (const auto& [key, service] : in.services) builder.upsert(to_record(service));
  for (const auto& [key, workload] : in.workloads) builder.upsert(to_record(workload));
  for (const auto& [key, policy] : in.policies) builder.upsert(to_record(policy));
  return builder.publish();
}

}  // namespace culvert::ctl
