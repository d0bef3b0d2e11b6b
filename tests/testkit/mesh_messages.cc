#include "tests/testkit/mesh_messages.h"

namespace culvert::testkit {

namespace {

std::string bytes_of(const IpAddress& address) {
  const ByteView wire = address.wire();
  return {reinterpret_cast<const char*>(wire.data()), wire.size()};
}

void put(const reconcile::NetworkAddress& from, istio::workload::NetworkAddress& to) {
  to.set_network(from.network);
  to.set_address(bytes_of(from.address));
}

void put(const reconcile::Gateway& from, istio::workload::GatewayAddress& to) {
  if (const auto* address = std::get_if<reconcile::NetworkAddress>(&from.destination)) {
    put(*address, *to.mutable_address());
  } else {
    const auto& name = std::get<reconcile::NamespacedHostname>(from.destination);
    to.mutable_hostname()->set_namespace_(name.name_space);
    to.mutable_hostname()->set_hostname(name.hostname);
  }
  to.set_hbone_mtls_port(from.hbone_port);
}

template <class Ports>
void put(const reconcile::PortMap& from, Ports& to) {
  for (const auto& [service, target] : from) {
    istio::workload::Port& port = *to.Add();
    port.set_service_port(service);
    port.set_target_port(target);
  }
}

istio::workload::WorkloadType type_of(reconcile::WorkloadType type) {
  switch (type) {
    case reconcile::WorkloadType::kDeployment:
      return istio::workload::DEPLOYMENT;
    case reconcile::WorkloadType::kCronJob:
      return istio::workload::CRONJOB;
    case reconcile::WorkloadType::kPod:
      return istio::workload::POD;
    case reconcile::WorkloadType::kJob:
      return istio::workload::JOB;
  }
  return istio::workload::DEPLOYMENT;
}

istio::workload::LoadBalancing::Scope scope_of(reconcile::RoutingScope scope) {
  using Out = istio::workload::LoadBalancing;
  switch (scope) {
    case reconcile::RoutingScope::kRegion:
      return Out::REGION;
    case reconcile::RoutingScope::kZone:
      return Out::ZONE;
    case reconcile::RoutingScope::kSubzone:
      return Out::SUBZONE;
    case reconcile::RoutingScope::kNode:
      return Out::NODE;
    case reconcile::RoutingScope::kCluster:
      return Out::CLUSTER;
    case reconcile::RoutingScope::kNetwork:
      return Out::NETWORK;
  }
  return Out::UNSPECIFIED_SCOPE;
}

istio::workload::LoadBalancing::Mode mode_of(reconcile::BalancingMode mode) {
  using Out = istio::workload::LoadBalancing;
  switch (mode) {
    case reconcile::BalancingMode::kStandard:
      return Out::UNSPECIFIED_MODE;
    case reconcile::BalancingMode::kStrict:
      return Out::STRICT;
    case reconcile::BalancingMode::kFailover:
      return Out::FAILOVER;
    case reconcile::BalancingMode::kPassthrough:
      return Out::PASSTHROUGH;
  }
  return Out::UNSPECIFIED_MODE;
}

istio::workload::IPFamilies families_of(reconcile::IpFamilies families) {
  switch (families) {
    case reconcile::IpFamilies::kAutomatic:
      return istio::workload::AUTOMATIC;
    case reconcile::IpFamilies::kIpv4Only:
      return istio::workload::IPV4_ONLY;
    case reconcile::IpFamilies::kIpv6Only:
      return istio::workload::IPV6_ONLY;
    case reconcile::IpFamilies::kDual:
      return istio::workload::DUAL;
  }
  return istio::workload::AUTOMATIC;
}

void put(const std::vector<reconcile::StringMatch>& from,
         google::protobuf::RepeatedPtrField<istio::security::StringMatch>& to) {
  for (const reconcile::StringMatch& match : from) {
    istio::security::StringMatch& out = *to.Add();
    switch (match.kind) {
      case reconcile::StringMatch::Kind::kExact:
        out.set_exact(match.text);
        break;
      case reconcile::StringMatch::Kind::kPrefix:
        out.set_prefix(match.text);
        break;
      case reconcile::StringMatch::Kind::kSuffix:
        out.set_suffix(match.text);
        break;
      case reconcile::StringMatch::Kind::kPresence:
        out.mutable_presence();
        break;
    }
  }
}

void put(const std::vector<Prefix>& from, google::protobuf::RepeatedPtrField<istio::security::Address>& to) {
  for (const Prefix& prefix : from) {
    istio::security::Address& out = *to.Add();
    out.set_address(bytes_of(prefix.address));
    out.set_length(prefix.bits);
  }
}

void put(const std::vector<reconcile::ServiceAccountMatch>& from,
         google::protobuf::RepeatedPtrField<istio::security::ServiceAccountMatch>& to) {
  for (const reconcile::ServiceAccountMatch& match : from) {
    istio::security::ServiceAccountMatch& out = *to.Add();
    out.set_namespace_(match.name_space);
    out.set_serviceaccount(match.service_account);
  }
}

void put(const reconcile::Match& from, istio::security::Match& to) {
  put(from.namespaces, *to.mutable_namespaces());
  put(from.not_namespaces, *to.mutable_not_namespaces());
  put(from.principals, *to.mutable_principals());
  put(from.not_principals, *to.mutable_not_principals());
  put(from.service_accounts, *to.mutable_service_accounts());
  put(from.not_service_accounts, *to.mutable_not_service_accounts());
  put(from.source_ips, *to.mutable_source_ips());
  put(from.not_source_ips, *to.mutable_not_source_ips());
  put(from.destination_ips, *to.mutable_destination_ips());
  put(from.not_destination_ips, *to.mutable_not_destination_ips());
  for (const uint16_t port : from.destination_ports) to.add_destination_ports(port);
  for (const uint16_t port : from.not_destination_ports) to.add_not_destination_ports(port);
}

}  // namespace

istio::workload::Address message_of(const reconcile::Workload& record) {
  istio::workload::Address address;
  istio::workload::Workload& out = *address.mutable_workload();
  out.set_uid(record.uid);
  out.set_name(record.name);
  out.set_namespace_(record.name_space);
  for (const IpAddress& ip : record.addresses) out.add_addresses(bytes_of(ip));
  out.set_network(record.network);
  out.set_tunnel_protocol(record.tunnel == reconcile::Tunnel::kHbone ? istio::workload::HBONE : istio::workload::NONE);
  out.set_network_mode(record.network_mode == reconcile::NetworkMode::kHostNetwork ? istio::workload::HOST_NETWORK
                                                                                   : istio::workload::STANDARD);
  out.set_status(record.health == reconcile::Health::kHealthy ? istio::workload::HEALTHY : istio::workload::UNHEALTHY);
  out.set_trust_domain(record.trust_domain);
  out.set_service_account(record.service_account);
  out.set_node(record.node);
  out.set_cluster_id(record.cluster);
  out.set_hostname(record.hostname);
  out.set_workload_name(record.workload_name);
  out.set_workload_type(type_of(record.type));
  out.set_canonical_name(record.canonical_name);
  out.set_canonical_revision(record.canonical_revision);
  out.set_native_tunnel(record.native_tunnel);
  if (record.waypoint) put(*record.waypoint, *out.mutable_waypoint());
  if (record.network_gateway) put(*record.network_gateway, *out.mutable_network_gateway());
  if (record.application_tunnel != reconcile::ApplicationTunnel{}) {
    out.mutable_application_tunnel()->set_protocol(record.application_tunnel.protocol ==
                                                           reconcile::ApplicationTunnelProtocol::kProxy
                                                       ? istio::workload::ApplicationTunnel::PROXY
                                                       : istio::workload::ApplicationTunnel::NONE);
    out.mutable_application_tunnel()->set_port(record.application_tunnel.port);
  }
  if (record.locality != reconcile::Locality{}) {
    out.mutable_locality()->set_region(record.locality.region);
    out.mutable_locality()->set_zone(record.locality.zone);
    out.mutable_locality()->set_subzone(record.locality.subzone);
  }
  if (record.capacity != 1) out.mutable_capacity()->set_value(record.capacity);
  for (const auto& [service, ports] : record.services) {
    put(ports, *(*out.mutable_services())[service].mutable_ports());
  }
  for (const std::string& policy : record.authorization_policies) out.add_authorization_policies(policy);
  return address;
}

istio::workload::Address message_of(const reconcile::Service& record) {
  istio::workload::Address address;
  istio::workload::Service& out = *address.mutable_service();
  out.set_name(record.name);
  out.set_namespace_(record.name_space);
  out.set_hostname(record.hostname);
  for (const reconcile::NetworkAddress& vip : record.vips) put(vip, *out.add_addresses());
  for (const reconcile::NetworkPrefix& vip : record.cidr_vips) {
    istio::workload::NetworkAddress& to = *out.add_addresses();
    to.set_network(vip.network);
    to.set_address(bytes_of(vip.prefix.address));
    to.set_length(vip.prefix.bits);
  }
  put(record.ports, *out.mutable_ports());
  for (const std::string& san : record.subject_alt_names) out.add_subject_alt_names(san);
  if (record.waypoint) put(*record.waypoint, *out.mutable_waypoint());
  for (const reconcile::WeightedWaypoint& waypoint : record.weighted_waypoints) {
    istio::workload::WeightedWaypoint& to = *out.add_weighted_waypoints();
    put(waypoint.destination, *to.mutable_destination());
    to.set_weight(waypoint.weight);
  }
  if (record.load_balancing) {
    istio::workload::LoadBalancing& to = *out.mutable_load_balancing();
    to.set_mode(mode_of(record.load_balancing->mode));
    for (const reconcile::RoutingScope scope : record.load_balancing->routing_preference) {
      to.add_routing_preference(scope_of(scope));
    }
    to.set_health_policy(record.load_balancing->health_policy == reconcile::HealthPolicy::kAllowAll
                             ? istio::workload::LoadBalancing::ALLOW_ALL
                             : istio::workload::LoadBalancing::ONLY_HEALTHY);
  }
  out.set_ip_families(families_of(record.ip_families));
  out.set_canonical(record.canonical);
  out.set_visibility(record.visibility == reconcile::Visibility::kNamespace ? istio::workload::Service::NAMESPACE
                                                                            : istio::workload::Service::PUBLIC);
  return address;
}

istio::security::Authorization message_of(const reconcile::Policy& record) {
  istio::security::Authorization out;
  out.set_name(record.name);
  out.set_namespace_(record.name_space);
  out.set_scope(record.scope == reconcile::PolicyScope::kGlobal      ? istio::security::GLOBAL
                : record.scope == reconcile::PolicyScope::kNamespace ? istio::security::NAMESPACE
                                                                     : istio::security::WORKLOAD_SELECTOR);
  out.set_action(record.action == reconcile::PolicyAction::kAllow ? istio::security::ALLOW : istio::security::DENY);
  out.set_dry_run(record.dry_run);
  for (const reconcile::Rule& rule : record.rules) {
    istio::security::Group& group = *out.add_groups();
    for (const reconcile::Clause& clause : rule) {
      istio::security::Rules& rules = *group.add_rules();
      for (const reconcile::Match& match : clause) put(match, *rules.add_matches());
    }
  }
  return out;
}

}  // namespace culvert::testkit
