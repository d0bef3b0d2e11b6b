// Workloads and services (reference 13.2). Beyond the rules there, what the data plane has no use for does not get that
// far: a port map's service port 0 is left out (no connection has it), an entry of authorization_policies that is not
// namespace/name is left out (it names no policy, so it never took effect), a gateway without a port is refused.
#include "xds/convert.h"

namespace culvert::xds {
namespace {

using reconcile::PortMap;
namespace api = istio::workload;

constexpr std::string_view kUnknownValue = "is a value that this build does not know: ";

uint16_t port(uint32_t value) { return static_cast<uint16_t>(value); }  // cut, as ztunnel does

// An enumerator by table, none for a value beyond it.
template <class Enum, size_t N>
Enum choice(const FieldPath& path, int value, const Enum (&known)[N], Fields& fields) {
  if (value >= 0 && static_cast<size_t>(value) < N) return known[value];
  fields.refuse(path, std::string(kUnknownValue) + std::to_string(value));
  return known[0];
}
template <class Enum, size_t N>
Enum choice_or_first(int value, const Enum (&known)[N]) {
  return value >= 0 && static_cast<size_t>(value) < N ? known[value] : known[0];
}

// A pair with something on both sides of its first slash.
bool is_pair(std::string_view text) {
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && slash > 0 && slash + 1 < text.size();
}

template <class Ports>
PortMap port_map(const Ports& in) {
  PortMap out;
  for (const api::Port& one : in) {
    if (port(one.service_port()) != 0) out.insert_or_assign(port(one.service_port()), port(one.target_port()));
  }
  return out;
}

reconcile::Gateway gateway(const api::GatewayAddress& in, const FieldPath& path, Fields& fields) {
  reconcile::Gateway out;
  switch (in.destination_case()) {
    case api::GatewayAddress::kHostname: {
      const FieldPath host{&path, "hostname"};
      out.destination = reconcile::NamespacedHostname{fields.required({&host, "namespace"}, in.hostname().namespace_()),
                                                      fields.required({&host, "hostname"}, in.hostname().hostname())};
      break;
    }
    case api::GatewayAddress::kAddress: {
      const FieldPath address{&path, "address"};
      out.destination = reconcile::NetworkAddress{fields.text({&address, "network"}, in.address().network()),
                                                  fields.address({&address, "address"}, in.address().address())};
      break;
    }
    case api::GatewayAddress::DESTINATION_NOT_SET:
      fields.refuse({&path, "destination"}, "is missing");
      break;
  }
  out.hbone_port = port(in.hbone_mtls_port());
  if (out.hbone_port == 0) fields.refuse({&path, "hbone_mtls_port"}, "is 0, a gateway needs its port");
  return out;
}

reconcile::LoadBalancing load_balancing(const api::LoadBalancing& in, const FieldPath& path, Fields& fields) {
  using reconcile::BalancingMode, reconcile::HealthPolicy, reconcile::RoutingScope;
  constexpr BalancingMode kModes[] = {BalancingMode::kStandard, BalancingMode::kStrict, BalancingMode::kFailover,
                                      BalancingMode::kPassthrough};
  constexpr HealthPolicy kPolicies[] = {HealthPolicy::kOnlyHealthy, HealthPolicy::kAllowAll};
  constexpr RoutingScope kScopes[] = {RoutingScope::kRegion, RoutingScope::kZone,    RoutingScope::kSubzone,
                                      RoutingScope::kNode,   RoutingScope::kCluster, RoutingScope::kNetwork};
  reconcile::LoadBalancing out;
  out.mode = choice({&path, "mode"}, in.mode(), kModes, fields);
  out.health_policy = choice({&path, "health_policy"}, in.health_policy(), kPolicies, fields);
  for (int i = 0; i < in.routing_preference_size() && !fields.refused(); ++i) {
    const FieldPath item{&path, "routing_preference", i};
    const int scope = in.routing_preference(i);
    if (scope == api::LoadBalancing::UNSPECIFIED_SCOPE) {
      fields.refuse(item, "is UNSPECIFIED_SCOPE");
    } else if (scope < 0 || static_cast<size_t>(scope) > std::size(kScopes)) {
      fields.refuse(item, std::string(kUnknownValue) + std::to_string(scope));
    } else {
      out.routing_preference.push_back(kScopes[scope - 1]);
    }
  }
  return out;
}

// An address of a service: one host or a block (reference 13.2).
void add_vip(const api::NetworkAddress& in, const FieldPath& path, reconcile::Service& out, Fields& fields) {
  std::string network = fields.text({&path, "network"}, in.network());
  const IpAddress address = fields.address({&path, "address"}, in.address());
  if (fields.refused()) return;
  if (!in.has_length() || in.length() == in.address().size() * 8) {
    out.vips.push_back({std::move(network), address});
    return;
  }
  const auto prefix = Fields::prefix(in.address(), in.length());
  if (!prefix) {
    fields.refuse({&path, "length"}, std::to_string(in.length()) + " does not fit an address of " +
                                         std::to_string(in.address().size()) + " bytes");
    return;
  }
  out.cidr_vips.push_back({std::move(network), *prefix});
}

std::string or_default(std::string text, std::string_view otherwise) {
  return text.empty() ? std::string(otherwise) : text;
}

}  // namespace

reconcile::Workload convert(const api::Workload& in, const std::string& name, Fields& fields) {
  using reconcile::Health, reconcile::NetworkMode, reconcile::Tunnel, reconcile::WorkloadType;
  constexpr Health kHealth[] = {Health::kHealthy, Health::kUnhealthy};
  constexpr NetworkMode kModes[] = {NetworkMode::kStandard, NetworkMode::kHostNetwork};
  constexpr Tunnel kTunnels[] = {Tunnel::kNone, Tunnel::kHbone};
  constexpr WorkloadType kTypes[] = {WorkloadType::kDeployment, WorkloadType::kCronJob, WorkloadType::kPod,
                                     WorkloadType::kJob};
  constexpr reconcile::ApplicationTunnelProtocol kTunnelled[] = {reconcile::ApplicationTunnelProtocol::kNone,
                                                                 reconcile::ApplicationTunnelProtocol::kProxy};
  const FieldPath root{nullptr, "workload"};
  const auto at = [&root](std::string_view field, int index = -1) { return FieldPath{&root, field, index}; };

  reconcile::Workload out;
  out.uid = fields.text(at("uid"), in.uid().empty() ? name : in.uid());
  out.name = fields.text(at("name"), in.name());
  out.name_space = fields.required(at("namespace"), in.namespace_());
  for (int i = 0; i < in.addresses_size(); ++i) {
    out.addresses.push_back(fields.address(at("addresses", i), in.addresses(i)));
  }
  out.network = fields.text(at("network"), in.network());
  if (in.tunnel_protocol() == api::LEGACY_ISTIO_MTLS) {
    fields.refuse(at("tunnel_protocol"), "is LEGACY_ISTIO_MTLS, which is not spoken here");
  } else {
    out.tunnel = choice(at("tunnel_protocol"), in.tunnel_protocol(), kTunnels, fields);
  }
  out.network_mode = choice(at("network_mode"), in.network_mode(), kModes, fields);
  out.health = choice(at("status"), in.status(), kHealth, fields);
  out.trust_domain = or_default(fields.text(at("trust_domain"), in.trust_domain()), "cluster.local");
  out.service_account = or_default(fields.text(at("service_account"), in.service_account()), "default");
  out.node = fields.text(at("node"), in.node());
  out.cluster = or_default(fields.text(at("cluster_id"), in.cluster_id()), "Kubernetes");
  out.hostname = fields.text(at("hostname"), in.hostname());
  out.workload_name = fields.text(at("workload_name"), in.workload_name());
  out.type = choice_or_first(in.workload_type(), kTypes);
  out.canonical_name = fields.text(at("canonical_name"), in.canonical_name());
  out.canonical_revision = fields.text(at("canonical_revision"), in.canonical_revision());
  out.native_tunnel = in.native_tunnel();
  if (in.has_waypoint()) out.waypoint = gateway(in.waypoint(), at("waypoint"), fields);
  if (in.has_network_gateway()) out.network_gateway = gateway(in.network_gateway(), at("network_gateway"), fields);
  if (in.has_application_tunnel()) {
    const FieldPath tunnel = at("application_tunnel");
    out.application_tunnel.protocol =
        choice({&tunnel, "protocol"}, in.application_tunnel().protocol(), kTunnelled, fields);
    out.application_tunnel.port = port(in.application_tunnel().port());
  }
  const FieldPath locality = at("locality");
  out.locality = {fields.text({&locality, "region"}, in.locality().region()),
                  fields.text({&locality, "zone"}, in.locality().zone()),
                  fields.text({&locality, "subzone"}, in.locality().subzone())};
  out.capacity = in.has_capacity() ? in.capacity().value() : 1;
  for (const auto& [service, ports] : in.services()) {
    const FieldPath path = at("services");
    if (!is_pair(service)) fields.refuse(path, "the key `" + shown(service) + "` is not namespace/hostname");
    out.services.emplace(fields.text(path, service), port_map(ports.ports()));
  }
  for (int i = 0; i < in.authorization_policies_size(); ++i) {
    const FieldPath path = at("authorization_policies", i);
    if (is_pair(in.authorization_policies(i))) {
      out.authorization_policies.push_back(fields.text(path, in.authorization_policies(i)));
    } else {
      fields.note(path, "`" + shown(in.authorization_policies(i)) + "` is not namespace/name, left out");
    }
  }
  return out;
}

reconcile::Service convert(const api::Service& in, Fields& fields) {
  using reconcile::IpFamilies, reconcile::Visibility;
  constexpr IpFamilies kFamilies[] = {IpFamilies::kAutomatic, IpFamilies::kIpv4Only, IpFamilies::kIpv6Only,
                                      IpFamilies::kDual};
  constexpr Visibility kVisibility[] = {Visibility::kPublic, Visibility::kNamespace};
  const FieldPath root{nullptr, "service"};
  const auto at = [&root](std::string_view field, int index = -1) { return FieldPath{&root, field, index}; };

  reconcile::Service out;
  out.name = fields.text(at("name"), in.name());
  out.name_space = fields.required(at("namespace"), in.namespace_());
  if (out.name_space.find('/') != std::string::npos) fields.refuse(at("namespace"), "holds a `/`");
  out.hostname = fields.required(at("hostname"), in.hostname());
  for (int i = 0; i < in.addresses_size() && !fields.refused(); ++i) {
    add_vip(in.addresses(i), at("addresses", i), out, fields);
  }
  out.ports = port_map(in.ports());
  for (int i = 0; i < in.subject_alt_names_size(); ++i) {
    out.subject_alt_names.push_back(fields.text(at("subject_alt_names", i), in.subject_alt_names(i)));
  }
  if (in.has_waypoint()) out.waypoint = gateway(in.waypoint(), at("waypoint"), fields);
  for (int i = 0; i < in.weighted_waypoints_size() && !fields.refused(); ++i) {
    const FieldPath path = at("weighted_waypoints", i);
    const FieldPath destination{&path, "destination"};
    out.weighted_waypoints.push_back(
        {gateway(in.weighted_waypoints(i).destination(), destination, fields), in.weighted_waypoints(i).weight()});
  }
  if (in.has_load_balancing()) {
    out.load_balancing = load_balancing(in.load_balancing(), at("load_balancing"), fields);
  }
  out.ip_families = choice(at("ip_families"), in.ip_families(), kFamilies, fields);
  out.canonical = in.canonical();
  out.visibility = choice_or_first(in.visibility(), kVisibility);
  return out;
}

}  // namespace culvert::xds
