// One function per record. Enumerations are translated by name, never by number: either side may reorder its own.
#include "southbound/convert.h"

namespace culvert::southbound {

namespace rc = reconcile;

std::string bytes_of_address(const IpAddress& address) { return std::string(text_of(address.wire())); }

namespace {

api::Workload::Tunnel to_api(rc::Tunnel value) {
  switch (value) {
    case rc::Tunnel::kNone:
      return api::Workload::TUNNEL_NONE;
    case rc::Tunnel::kHbone:
      return api::Workload::TUNNEL_HBONE;
  }
  return api::Workload::TUNNEL_NONE;
}

api::Workload::Type to_api(rc::WorkloadType value) {
  switch (value) {
    case rc::WorkloadType::kDeployment:
      return api::Workload::DEPLOYMENT;
    case rc::WorkloadType::kCronJob:
      return api::Workload::CRONJOB;
    case rc::WorkloadType::kPod:
      return api::Workload::POD;
    case rc::WorkloadType::kJob:
      return api::Workload::JOB;
  }
  return api::Workload::DEPLOYMENT;
}

api::LoadBalancing::Mode to_api(rc::BalancingMode value) {
  switch (value) {
    case rc::BalancingMode::kStandard:
      return api::LoadBalancing::MODE_STANDARD;
    case rc::BalancingMode::kStrict:
      return api::LoadBalancing::MODE_STRICT;
    case rc::BalancingMode::kFailover:
      return api::LoadBalancing::MODE_FAILOVER;
    case rc::BalancingMode::kPassthrough:
      return api::LoadBalancing::MODE_PASSTHROUGH;
  }
  return api::LoadBalancing::MODE_STANDARD;
}

api::LoadBalancing::Scope to_api(rc::RoutingScope value) {
  switch (value) {
    case rc::RoutingScope::kRegion:
      return api::LoadBalancing::SCOPE_REGION;
    case rc::RoutingScope::kZone:
      return api::LoadBalancing::SCOPE_ZONE;
    case rc::RoutingScope::kSubzone:
      return api::LoadBalancing::SCOPE_SUBZONE;
    case rc::RoutingScope::kNode:
      return api::LoadBalancing::SCOPE_NODE;
    case rc::RoutingScope::kCluster:
      return api::LoadBalancing::SCOPE_CLUSTER;
    case rc::RoutingScope::kNetwork:
      return api::LoadBalancing::SCOPE_NETWORK;
  }
  return api::LoadBalancing::SCOPE_UNSPECIFIED;
}

api::Service::IpFamilies to_api(rc::IpFamilies value) {
  switch (value) {
    case rc::IpFamilies::kAutomatic:
      return api::Service::AUTOMATIC;
    case rc::IpFamilies::kIpv4Only:
      return api::Service::IPV4_ONLY;
    case rc::IpFamilies::kIpv6Only:
      return api::Service::IPV6_ONLY;
    case rc::IpFamilies::kDual:
      return api::Service::DUAL;
  }
  return api::Service::AUTOMATIC;
}

api::Policy::Scope to_api(rc::PolicyScope value) {
  switch (value) {
    case rc::PolicyScope::kGlobal:
      return api::Policy::SCOPE_GLOBAL;
    case rc::PolicyScope::kNamespace:
      return api::Policy::SCOPE_NAMESPACE;
    case rc::PolicyScope::kWorkloadSelector:
      return api::Policy::SCOPE_WORKLOAD_SELECTOR;
  }
  return api::Policy::SCOPE_WORKLOAD_SELECTOR;
}

void put(const Prefix& prefix, api::Prefix* out) {
  out->set_address(bytes_of_address(prefix.address));
  out->set_bits(prefix.bits);
}

void put(const rc::NetworkAddress& address, api::NetworkAddress* out) {
  out->set_network(address.network);
  out->set_address(bytes_of_address(address.address));
}

void put(const rc::Gateway& gateway, api::Gateway* out) {
  if (const auto* address = std::get_if<rc::NetworkAddress>(&gateway.destination)) {
    put(*address, out->mutable_address());
  } else if (const auto* name = std::get_if<rc::NamespacedHostname>(&gateway.destination)) {
    out->mutable_hostname()->set_name_space(name->name_space);
    out->mutable_hostname()->set_hostname(name->hostname);
  }
  out->set_hbone_port(gateway.hbone_port);
}

void put(const rc::PortMap& ports, google::protobuf::RepeatedPtrField<api::PortMapping>* out) {
  for (const auto& [service, target] : ports) {
    api::PortMapping* one = out->Add();
    one->set_service_port(service);
    one->set_target_port(target);
  }
}

void put(const std::vector<rc::StringMatch>& matches, google::protobuf::RepeatedPtrField<api::StringMatch>* out) {
  for (const rc::StringMatch& match : matches) {
    api::StringMatch* one = out->Add();
    switch (match.kind) {
      case rc::StringMatch::Kind::kExact:
        one->set_exact(match.text);
        break;
      case rc::StringMatch::Kind::kPrefix:
        one->set_prefix(match.text);
        break;
      case rc::StringMatch::Kind::kSuffix:
        one->set_suffix(match.text);
        break;
      case rc::StringMatch::Kind::kPresence:
        one->set_presence(true);
        break;
    }
  }
}

void put(const std::vector<rc::ServiceAccountMatch>& matches,
         google::protobuf::RepeatedPtrField<api::ServiceAccountMatch>* out) {
  for (const rc::ServiceAccountMatch& match : matches) {
    api::ServiceAccountMatch* one = out->Add();
    one->set_name_space(match.name_space);
    one->set_service_account(match.service_account);
  }
}

void put(const std::vector<Prefix>& prefixes, google::protobuf::RepeatedPtrField<api::Prefix>* out) {
  for (const Prefix& prefix : prefixes) put(prefix, out->Add());
}

void put(const std::vector<uint16_t>& ports, google::protobuf::RepeatedField<uint32_t>* out) {
  for (const uint16_t port : ports) out->Add(port);
}

void put(const rc::Match& match, api::Match* out) {
  put(match.namespaces, out->mutable_namespaces());
  put(match.not_namespaces, out->mutable_not_namespaces());
  put(match.principals, out->mutable_principals());
  put(match.not_principals, out->mutable_not_principals());
  put(match.service_accounts, out->mutable_service_accounts());
  put(match.not_service_accounts, out->mutable_not_service_accounts());
  put(match.source_ips, out->mutable_source_ips());
  put(match.not_source_ips, out->mutable_not_source_ips());
  put(match.destination_ips, out->mutable_destination_ips());
  put(match.not_destination_ips, out->mutable_not_destination_ips());
  put(match.destination_ports, out->mutable_destination_ports());
  put(match.not_destination_ports, out->mutable_not_destination_ports());
}

}  // namespace

api::Workload to_api(const rc::Workload& record) {
  api::Workload out;
  out.set_uid(record.uid);
  out.set_name(record.name);
  out.set_name_space(record.name_space);
  for (const IpAddress& address : record.addresses) out.add_addresses(bytes_of_address(address));
  out.set_network(record.network);
  out.set_tunnel(to_api(record.tunnel));
  out.set_network_mode(record.network_mode == rc::NetworkMode::kHostNetwork ? api::Workload::NETWORK_HOST
                                                                            : api::Workload::NETWORK_STANDARD);
  out.set_health(record.health == rc::Health::kUnhealthy ? api::Workload::UNHEALTHY : api::Workload::HEALTHY);
  out.set_trust_domain(record.trust_domain);
  out.set_service_account(record.service_account);
  out.set_node(record.node);
  out.set_cluster(record.cluster);
  out.set_hostname(record.hostname);
  out.set_workload_name(record.workload_name);
  out.set_type(to_api(record.type));
  out.set_canonical_name(record.canonical_name);
  out.set_canonical_revision(record.canonical_revision);
  out.set_native_tunnel(record.native_tunnel);
  if (record.waypoint) put(*record.waypoint, out.mutable_waypoint());
  if (record.network_gateway) put(*record.network_gateway, out.mutable_network_gateway());
  out.set_application_tunnel(record.application_tunnel.protocol == rc::ApplicationTunnelProtocol::kProxy
                                 ? api::Workload::APPLICATION_TUNNEL_PROXY
                                 : api::Workload::APPLICATION_TUNNEL_NONE);
  out.set_application_tunnel_port(record.application_tunnel.port);
  out.mutable_locality()->set_region(record.locality.region);
  out.mutable_locality()->set_zone(record.locality.zone);
  out.mutable_locality()->set_subzone(record.locality.subzone);
  out.set_capacity(record.capacity);
  for (const auto& [service, ports] : record.services) {
    api::ServicePorts* one = out.add_services();
    one->set_service(service);
    put(ports, one->mutable_ports());
  }
  for (const std::string& policy : record.authorization_policies) out.add_authorization_policies(policy);
  return out;
}

api::Service to_api(const rc::Service& record) {
  api::Service out;
  out.set_name(record.name);
  out.set_name_space(record.name_space);
  out.set_hostname(record.hostname);
  for (const rc::NetworkAddress& vip : record.vips) put(vip, out.add_vips());
  for (const rc::NetworkPrefix& vip : record.cidr_vips) {
    api::NetworkPrefix* one = out.add_cidr_vips();
    one->set_network(vip.network);
    put(vip.prefix, one->mutable_prefix());
  }
  put(record.ports, out.mutable_ports());
  for (const std::string& name : record.subject_alt_names) out.add_subject_alt_names(name);
  if (record.waypoint) put(*record.waypoint, out.mutable_waypoint());
  for (const rc::WeightedWaypoint& waypoint : record.weighted_waypoints) {
    api::WeightedWaypoint* one = out.add_weighted_waypoints();
    put(waypoint.destination, one->mutable_destination());
    one->set_weight(waypoint.weight);
  }
  if (record.load_balancing) {
    api::LoadBalancing* balancing = out.mutable_load_balancing();
    balancing->set_mode(to_api(record.load_balancing->mode));
    for (const rc::RoutingScope scope : record.load_balancing->routing_preference) {
      balancing->add_routing_preference(to_api(scope));
    }
    balancing->set_health_policy(record.load_balancing->health_policy == rc::HealthPolicy::kAllowAll
                                     ? api::LoadBalancing::ALLOW_ALL
                                     : api::LoadBalancing::ONLY_HEALTHY);
  }
  out.set_ip_families(to_api(record.ip_families));
  out.set_canonical(record.canonical);
  out.set_visibility(record.visibility == rc::Visibility::kNamespace ? api::Service::VISIBILITY_NAMESPACE
                                                                     : api::Service::VISIBILITY_PUBLIC);
  return out;
}

api::Policy to_api(const rc::Policy& record) {
  api::Policy out;
  out.set_name(record.name);
  out.set_name_space(record.name_space);
  out.set_scope(to_api(record.scope));
  out.set_action(record.action == rc::PolicyAction::kDeny ? api::Policy::DENY : api::Policy::ALLOW);
  out.set_dry_run(record.dry_run);
  for (const rc::Rule& rule : record.rules) {
    api::Rule* rule_out = out.add_rules();
    for (const rc::Clause& clause : rule) {
      api::Clause* clause_out = rule_out->add_clauses();
      for (const rc::Match& match : clause) put(match, clause_out->add_matches());
    }
  }
  return out;
}

}  // namespace culvert::southbound
