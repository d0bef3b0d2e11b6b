#include "control/convert_mesh.h"

#include "control/api/mesh.pb.h"
#include "control/convert_fields.h"

namespace culvert::control {

// convert_policy.cc
snapshot::Policy convert_policy(const api::Policy& in, Fields& fields);

namespace {

using snapshot::GatewayAddress;

snapshot::NetworkAddress convert_network_address(const api::NetworkAddress& in, const FieldPath& path, Fields& fields) {
  return {fields.text({&path, "network"}, in.network()), fields.address({&path, "address"}, in.address())};
}

GatewayAddress convert_gateway(const api::Gateway& in, const FieldPath& path, Fields& fields) {
  GatewayAddress out;
  switch (in.destination_case()) {
    case api::Gateway::kHostname:
      out.destination =
          snapshot::NamespacedHostname{fields.required({&path, "hostname.name_space"}, in.hostname().name_space()),
                                       fields.required({&path, "hostname.hostname"}, in.hostname().hostname())};
      break;
    case api::Gateway::kAddress: {
      const FieldPath address{&path, "address"};
      out.destination = convert_network_address(in.address(), address, fields);
      break;
    }
    case api::Gateway::DESTINATION_NOT_SET:
      fields.refuse({&path, "destination"}, "a hostname or an address is accepted");
      break;
  }
  out.hbone_mtls_port = fields.port({&path, "hbone_port"}, in.hbone_port(), false);
  return out;
}

template <class Ports>
snapshot::PortMap convert_ports(const Ports& in, const FieldPath* parent, Fields& fields) {
  snapshot::PortMap out;
  for (int i = 0; i < in.size(); ++i) {
    const FieldPath path{parent, "ports", i};
    snapshot::PortMapping mapping;
    mapping.service_port = fields.port({&path, "service_port"}, in[i].service_port(), false);
    mapping.target_port = fields.port({&path, "target_port"}, in[i].target_port(), true);
    if (snapshot::has_service_port(out, mapping.service_port)) {
      fields.refuse({&path, "service_port"},
                    "each service port once is accepted, " + std::to_string(mapping.service_port) + " is named twice");
    }
    out.push_back(mapping);
  }
  return out;
}

snapshot::Workload convert_workload(const api::Workload& in, Fields& fields) {
  using snapshot::NetworkMode, snapshot::TunnelProtocol, snapshot::TunnelledProtocol, snapshot::WorkloadStatus,
      snapshot::WorkloadType;
  constexpr TunnelProtocol kTunnels[] = {TunnelProtocol::kNone, TunnelProtocol::kHbone};
  constexpr NetworkMode kModes[] = {NetworkMode::kStandard, NetworkMode::kHostNetwork};
  constexpr WorkloadStatus kStatus[] = {WorkloadStatus::kHealthy, WorkloadStatus::kUnhealthy};
  constexpr WorkloadType kTypes[] = {WorkloadType::kDeployment, WorkloadType::kCronJob, WorkloadType::kPod,
                                     WorkloadType::kJob};
  constexpr TunnelledProtocol kTunnelled[] = {TunnelledProtocol::kNone, TunnelledProtocol::kProxy};
  const auto at = [](std::string_view name) { return FieldPath{nullptr, name}; };

  snapshot::Workload out;
  out.uid = fields.required(at("uid"), in.uid());
  out.name = fields.text(at("name"), in.name());
  out.name_space = fields.required(at("name_space"), in.name_space());
  for (int i = 0; i < in.addresses_size(); ++i) {
    out.addresses.push_back(fields.address({nullptr, "addresses", i}, in.addresses(i)));
  }
  out.network = fields.text(at("network"), in.network());
  out.tunnel_protocol = fields.choice(at("tunnel"), in.tunnel(), kTunnels);
  out.network_mode = fields.choice(at("network_mode"), in.network_mode(), kModes);
  out.status = fields.choice(at("health"), in.health(), kStatus);
  out.trust_domain = fields.text(at("trust_domain"), in.trust_domain());
  out.service_account = fields.text(at("service_account"), in.service_account());
  out.node = fields.text(at("node"), in.node());
  out.cluster_id = fields.text(at("cluster"), in.cluster());
  out.hostname = fields.text(at("hostname"), in.hostname());
  out.workload_name = fields.text(at("workload_name"), in.workload_name());
  out.workload_type = fields.choice(at("type"), in.type(), kTypes);
  out.canonical_name = fields.text(at("canonical_name"), in.canonical_name());
  out.canonical_revision = fields.text(at("canonical_revision"), in.canonical_revision());
  out.native_tunnel = in.native_tunnel();
  if (in.has_waypoint()) out.waypoint = convert_gateway(in.waypoint(), at("waypoint"), fields);
  if (in.has_network_gateway()) {
    out.network_gateway = convert_gateway(in.network_gateway(), at("network_gateway"), fields);
  }
  out.application_tunnel.protocol = fields.choice(at("application_tunnel"), in.application_tunnel(), kTunnelled);
  out.application_tunnel.port = fields.port(at("application_tunnel_port"), in.application_tunnel_port(), true);
  out.locality = {fields.text(at("locality.region"), in.locality().region()),
                  fields.text(at("locality.zone"), in.locality().zone()),
                  fields.text(at("locality.subzone"), in.locality().subzone())};
  out.capacity = in.capacity();
  for (int i = 0; i < in.services_size(); ++i) {
    const FieldPath path{nullptr, "services", i};
    snapshot::ServiceMembership membership;
    membership.service = fields.key({&path, "service"}, in.services(i).service());
    membership.ports = convert_ports(in.services(i).ports(), &path, fields);
    out.services.push_back(std::move(membership));
  }
  for (int i = 0; i < in.authorization_policies_size(); ++i) {
    out.authorization_policies.push_back(
        fields.key({nullptr, "authorization_policies", i}, in.authorization_policies(i)));
  }
  return out;
}

snapshot::LoadBalancing convert_load_balancing(const api::LoadBalancing& in, Fields& fields) {
  using snapshot::HealthPolicy, snapshot::LoadBalancingMode, snapshot::LoadBalancingScope;
  constexpr LoadBalancingMode kModes[] = {LoadBalancingMode::kStandard, LoadBalancingMode::kStrict,
                                          LoadBalancingMode::kFailover, LoadBalancingMode::kPassthrough};
  constexpr HealthPolicy kPolicies[] = {HealthPolicy::kOnlyHealthy, HealthPolicy::kAllowAll};
  constexpr LoadBalancingScope kScopes[] = {LoadBalancingScope::kRegion,  LoadBalancingScope::kZone,
                                            LoadBalancingScope::kSubzone, LoadBalancingScope::kNode,
                                            LoadBalancingScope::kCluster, LoadBalancingScope::kNetwork};
  const FieldPath path{nullptr, "load_balancing"};
  snapshot::LoadBalancing out;
  out.mode = fields.choice({&path, "mode"}, in.mode(), kModes);
  out.health_policy = fields.choice({&path, "health_policy"}, in.health_policy(), kPolicies);
  for (int i = 0; i < in.routing_preference_size(); ++i) {
    const int scope = in.routing_preference(i);
    if (scope < 1 || scope > static_cast<int>(std::size(kScopes))) {
      fields.refuse({&path, "routing_preference", i},
                    "a scope from 1 (region) to 6 (network) is accepted, not " + std::to_string(scope));
      break;
    }
    out.routing_preference.push_back(kScopes[scope - 1]);
  }
  return out;
}

snapshot::Service convert_service(const api::Service& in, Fields& fields) {
  using snapshot::IpFamilies, snapshot::Visibility;
  constexpr IpFamilies kFamilies[] = {IpFamilies::kAutomatic, IpFamilies::kIpv4Only, IpFamilies::kIpv6Only,
                                      IpFamilies::kDual};
  constexpr Visibility kVisibility[] = {Visibility::kPublic, Visibility::kNamespace};
  const auto at = [](std::string_view name) { return FieldPath{nullptr, name}; };

  snapshot::Service out;
  out.name = fields.text(at("name"), in.name());
  out.name_space = fields.required(at("name_space"), in.name_space());
  out.hostname = fields.required(at("hostname"), in.hostname());
  if (out.name_space.find('/') != std::string::npos) fields.refuse(at("name_space"), "a name without `/` is accepted");
  for (int i = 0; i < in.vips_size(); ++i) {
    out.vips.push_back(convert_network_address(in.vips(i), {nullptr, "vips", i}, fields));
  }
  for (int i = 0; i < in.cidr_vips_size(); ++i) {
    const FieldPath path{nullptr, "cidr_vips", i};
    std::string network = fields.text({&path, "network"}, in.cidr_vips(i).network());
    const Prefix prefix = fields.prefix({&path, "prefix"}, in.cidr_vips(i).prefix());
    // Of full length it is an ordinary VIP (reference 13.2).
    if (prefix.bits == (prefix.address.is_v4() ? 32 : 128)) {
      out.vips.push_back({std::move(network), prefix.address});
    } else {
      out.cidr_vips.push_back({std::move(network), prefix});
    }
  }
  out.ports = convert_ports(in.ports(), nullptr, fields);
  for (int i = 0; i < in.subject_alt_names_size(); ++i) {
    out.subject_alt_names.push_back(fields.text({nullptr, "subject_alt_names", i}, in.subject_alt_names(i)));
  }
  if (in.has_waypoint()) out.waypoint = convert_gateway(in.waypoint(), at("waypoint"), fields);
  for (int i = 0; i < in.weighted_waypoints_size(); ++i) {
    const FieldPath path{nullptr, "weighted_waypoints", i};
    const FieldPath destination{&path, "destination"};
    out.weighted_waypoints.push_back({convert_gateway(in.weighted_waypoints(i).destination(), destination, fields),
                                      in.weighted_waypoints(i).weight()});
  }
  if (in.has_load_balancing()) out.load_balancing = convert_load_balancing(in.load_balancing(), fields);
  out.ip_families = fields.choice(at("ip_families"), in.ip_families(), kFamilies);
  out.canonical = in.canonical();
  out.visibility = fields.choice(at("visibility"), in.visibility(), kVisibility);
  return out;
}

// What a rejection calls the record: bounded, and safe to print.
std::string printable(std::string text) {
  constexpr size_t kShown = 256;
  if (text.size() > kShown) text.resize(kShown);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

MeshRecords convert(const api::MeshChunk& chunk) {
  MeshRecords out;
  const auto refused = [&](Fields& fields, std::string_view kind, const std::string& name) {
    std::optional<Rejection> rejection = fields.take_rejection(kind, printable(name));
    if (!rejection) return false;
    out.rejections.push_back(std::move(*rejection));
    return true;
  };
  for (const api::Workload& in : chunk.workloads()) {
    Fields fields;
    snapshot::Workload workload = convert_workload(in, fields);
    if (!refused(fields, "workload", in.uid())) out.workloads.push_back(std::move(workload));
  }
  for (const api::Service& in : chunk.services()) {
    Fields fields;
    snapshot::Service service = convert_service(in, fields);
    if (!refused(fields, "service", in.name_space() + "/" + in.hostname())) out.services.push_back(std::move(service));
  }
  for (const api::Policy& in : chunk.policies()) {
    Fields fields;
    snapshot::Policy policy = convert_policy(in, fields);
    if (!refused(fields, "policy", in.name_space() + "/" + in.name())) out.policies.push_back(std::move(policy));
  }
  out.removed_workloads.assign(chunk.removed_workloads().begin(), chunk.removed_workloads().end());
  out.removed_services.assign(chunk.removed_services().begin(), chunk.removed_services().end());
  out.removed_policies.assign(chunk.removed_policies().begin(), chunk.removed_policies().end());
  return out;
}

}  // namespace culvert::control
