// One function per object, in the order of reference 19.
//
// Where the format leaves a workload without a key (`uid` may be absent), one is made of cluster, namespace and name,
// as istiod makes them for pods (reference 13.3): the contract and every table need one. `endpoints` of a service
// become memberships of the workloads they name, which is what they mean and the only form the contract has.
#include "local/record_schema.h"

#include <array>
#include <optional>

#include "local/policy_schema.h"

namespace culvert::local {
namespace {

using reconcile::Gateway;
using reconcile::PortMap;
using reconcile::Service;
using reconcile::Workload;

template <class Enum, size_t N>
using Names = std::array<Value::Name<Enum>, N>;

constexpr Names<reconcile::Tunnel, 2> kProtocols{
    {{"TCP", reconcile::Tunnel::kNone}, {"HBONE", reconcile::Tunnel::kHbone}}};
constexpr Names<reconcile::NetworkMode, 2> kNetworkModes{
    {{"Standard", reconcile::NetworkMode::kStandard}, {"HostNetwork", reconcile::NetworkMode::kHostNetwork}}};
constexpr Names<reconcile::Health, 2> kHealths{
    {{"Healthy", reconcile::Health::kHealthy}, {"Unhealthy", reconcile::Health::kUnhealthy}}};
constexpr Names<reconcile::ApplicationTunnelProtocol, 2> kApplicationTunnels{
    {{"NONE", reconcile::ApplicationTunnelProtocol::kNone}, {"PROXY", reconcile::ApplicationTunnelProtocol::kProxy}}};
constexpr Names<reconcile::RoutingScope, 6> kRoutingScopes{{{"Region", reconcile::RoutingScope::kRegion},
                                                            {"Zone", reconcile::RoutingScope::kZone},
                                                            {"Subzone", reconcile::RoutingScope::kSubzone},
                                                            {"Node", reconcile::RoutingScope::kNode},
                                                            {"Cluster", reconcile::RoutingScope::kCluster},
                                                            {"Network", reconcile::RoutingScope::kNetwork}}};
constexpr Names<reconcile::BalancingMode, 4> kBalancingModes{{{"Standard", reconcile::BalancingMode::kStandard},
                                                              {"Strict", reconcile::BalancingMode::kStrict},
                                                              {"Failover", reconcile::BalancingMode::kFailover},
                                                              {"Passthrough", reconcile::BalancingMode::kPassthrough}}};
constexpr Names<reconcile::HealthPolicy, 2> kHealthPolicies{
    {{"OnlyHealthy", reconcile::HealthPolicy::kOnlyHealthy}, {"AllowAll", reconcile::HealthPolicy::kAllowAll}}};
constexpr Names<reconcile::IpFamilies, 3> kIpFamilies{{{"Dual", reconcile::IpFamilies::kDual},
                                                       {"IPv4", reconcile::IpFamilies::kIpv4Only},
                                                       {"IPv6", reconcile::IpFamilies::kIpv6Only}}};
constexpr Names<reconcile::Visibility, 2> kVisibilities{
    {{"Public", reconcile::Visibility::kPublic}, {"Namespace", reconcile::Visibility::kNamespace}}};

template <class Enum, size_t N>
Enum name_of(const Value& value, const Names<Enum, N>& names) {
  return value.one_of<Enum>(std::span<const Value::Name<Enum>>(names));
}

// Free text in the format ("string"); istiod's words mean something, others are kept as DEPLOYMENT (reference 13.2).
reconcile::WorkloadType workload_type(const std::string& text) {
  if (text == "cronjob") return reconcile::WorkloadType::kCronJob;
  if (text == "pod") return reconcile::WorkloadType::kPod;
  if (text == "job") return reconcile::WorkloadType::kJob;
  return reconcile::WorkloadType::kDeployment;
}

std::string not_empty(const Value& value) {
  std::string text = value.text();
  if (text.empty() && value.node().kind == config::YamlNode::Kind::kScalar) value.refuse("may not be empty");
  return text;
}

// "network/ip"; the network may be empty.
std::optional<reconcile::NetworkAddress> network_address(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return std::nullopt;
  const auto address = IpAddress::parse(std::string_view(text).substr(slash + 1));
  if (!address) return std::nullopt;
  return reconcile::NetworkAddress{text.substr(0, slash), *address};
}

// "first/second", neither empty.
bool is_pair(const std::string& text) {
  const size_t slash = text.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < text.size() &&
         text.find('/', slash + 1) == std::string::npos;
}

PortMap port_map(const Value& map) {
  PortMap ports;
  map.each_entry([&](const Value& key, const Value& target) {
    const uint64_t service_port = key.number(1, 65535);
    ports[static_cast<uint16_t>(service_port)] = target.port();
  });
  return ports;
}

Gateway gateway(const Value& map) {
  Gateway out;
  Fields(map)
      .required("destination",
                [&](const Value& v) {
                  const std::string text = v.text();
                  if (auto address = network_address(text)) {
                    out.destination = *address;
                  } else if (is_pair(text)) {
                    const size_t slash = text.find('/');
                    out.destination = reconcile::NamespacedHostname{text.substr(0, slash), text.substr(slash + 1)};
                  } else if (v.node().kind == config::YamlNode::Kind::kScalar) {
                    v.refuse_as("NETWORK/ADDRESS, NAMESPACE/HOSTNAME");
                  }
                })
      .required("hboneMtlsPort", [&](const Value& v) { out.hbone_port = static_cast<uint16_t>(v.number(1, 65535)); })
      .finish();
  return out;
}

std::string service_key(const Value& value) {
  if (!is_pair(value.text())) value.refuse_as("NAMESPACE/HOSTNAME");
  return value.text();
}

std::vector<std::string> texts(const Value& list) {
  std::vector<std::string> out;
  list.each_item([&](const Value& v) { out.push_back(v.text()); });
  return out;
}

}  // namespace

Workload workload(const Value& map, Form form) {
  Workload w;
  w.cluster = "";
  const auto text = [](std::string& into) { return [&into](const Value& v) { into = v.text(); }; };
  const auto gateway_into = [](std::optional<Gateway>& into) { return [&into](const Value& v) { into = gateway(v); }; };
  Fields fields(map);
  fields
      .required("workloadIps",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    const auto address = IpAddress::parse(item.text());
                    if (address) {
                      w.addresses.push_back(*address);
                    } else {
                      item.refuse_as("an IPv4 or IPv6 address");
                    }
                  });
                })
      .required("namespace", [&](const Value& v) { w.name_space = not_empty(v); });
  const auto services = [&](const Value& v) {
    if (form == Form::kDump) return v.each_item([&](const Value& item) { w.services[service_key(item)]; });
    v.each_entry([&](const Value& key, const Value& ports) { w.services[service_key(key)] = port_map(ports); });
  };
  form == Form::kDump ? fields.optional("services", services) : fields.required("services", services);
  fields.optional("name", text(w.name))
      .optional("uid", text(w.uid))
      .optional("trustDomain", text(w.trust_domain))
      .optional("serviceAccount", text(w.service_account))
      .optional("network", text(w.network))
      .optional("workloadName", text(w.workload_name))
      .optional("workloadType", [&](const Value& v) { w.type = workload_type(v.text()); })
      .optional("canonicalName", text(w.canonical_name))
      .optional("canonicalRevision", text(w.canonical_revision))
      .optional("hostname", text(w.hostname))
      .optional("node", text(w.node))
      .optional("clusterId", text(w.cluster))
      .optional("protocol", [&](const Value& v) { w.tunnel = name_of(v, kProtocols); })
      .optional("networkMode", [&](const Value& v) { w.network_mode = name_of(v, kNetworkModes); })
      .optional("waypoint", gateway_into(w.waypoint))
      .optional("networkGateway", gateway_into(w.network_gateway))
      .optional("nativeTunnel", [&](const Value& v) { w.native_tunnel = v.boolean(); })
      .optional("applicationTunnel",
                [&](const Value& v) {
                  Fields(v)
                      .required(
                          "protocol",
                          [&](const Value& p) { w.application_tunnel.protocol = name_of(p, kApplicationTunnels); })
                      .optional("port", [&](const Value& p) { w.application_tunnel.port = p.port(); })
                      .finish();
                })
      .optional("authorizationPolicies",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    if (!is_pair(item.text())) item.refuse_as("NAMESPACE/NAME");
                    w.authorization_policies.push_back(item.text());
                  });
                })
      .optional("status", [&](const Value& v) { w.health = name_of(v, kHealths); })
      .optional("locality",
                [&](const Value& v) {
                  Fields(v)
                      .required("region", text(w.locality.region))
                      .required("zone", text(w.locality.zone))
                      .required("subzone", text(w.locality.subzone))
                      .finish();
                })
      .optional("capacity", [&](const Value& v) { w.capacity = static_cast<uint32_t>(v.number(0, UINT32_MAX)); });
  fields.finish();
  if (w.uid.empty()) {
    const std::string own = !w.name.empty() || w.addresses.empty() ? w.name : w.addresses.front().to_string();
    w.uid = w.cluster + "//Pod/" + w.name_space + "/" + own;
  }
  return w;
}

namespace {

reconcile::LoadBalancing load_balancing(const Value& map) {
  reconcile::LoadBalancing out;
  Fields(map)
      .required(
          "routingPreferences",
          [&](const Value& v) {
            v.each_item([&](const Value& item) { out.routing_preference.push_back(name_of(item, kRoutingScopes)); });
          })
      .required("mode", [&](const Value& v) { out.mode = name_of(v, kBalancingModes); })
      .required("healthPolicy", [&](const Value& v) { out.health_policy = name_of(v, kHealthPolicies); })
      .finish();
  return out;
}

Endpoint endpoint(const Value& map) {
  Endpoint out;
  out.line = map.line();
  out.key = map.key();
  Fields(map)
      .required("workloadUid", [&](const Value& v) { out.workload_uid = not_empty(v); })
      .required("port", [&](const Value& v) { out.ports = port_map(v); })
      .optional("status", [&](const Value& v) { out.health = name_of(v, kHealths); })
      .finish();
  return out;
}

}  // namespace

Service service(const Value& map, Form form, std::vector<Endpoint>& all_endpoints) {
  Service s;
  std::vector<Endpoint> endpoints;
  Fields(map)
      .required("name", [&](const Value& v) { s.name = not_empty(v); })
      .required("namespace", [&](const Value& v) { s.name_space = not_empty(v); })
      .required("hostname", [&](const Value& v) { s.hostname = not_empty(v); })
      .required("vips",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    const auto vip = network_address(item.text());
                    if (vip) {
                      s.vips.push_back(*vip);
                    } else {
                      item.refuse_as("NETWORK/ADDRESS, with an empty network /ADDRESS");
                    }
                  });
                })
      .required("ports", [&](const Value& v) { s.ports = port_map(v); })
      .optional("cidrVips",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    reconcile::NetworkPrefix vip;
                    // A text in the dumps of some versions: "network/address/bits".
                    const std::string& text = item.node().text;
                    const auto prefix = Prefix::parse(std::string_view(text).substr(text.find('/') + 1));
                    if (item.node().kind == config::YamlNode::Kind::kScalar && form == Form::kDump && prefix) {
                      vip = {text.substr(0, text.find('/')), *prefix};
                    } else {
                      Fields(item)
                          .required("network", [&](const Value& n) { vip.network = n.text(); })
                          .required("cidr", [&](const Value& c) { vip.prefix = cidr(c); })
                          .finish();
                    }
                    s.cidr_vips.push_back(vip);
                  });
                })
      .optional("endpoints",
                [&](const Value& v) {
                  v.each_entry([&](const Value&, const Value& item) { endpoints.push_back(endpoint(item)); });
                })
      .optional("subjectAltNames", [&](const Value& v) { s.subject_alt_names = texts(v); })
      .optional("waypoint", [&](const Value& v) { s.waypoint = gateway(v); })
      .optional("weightedWaypoints",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    reconcile::WeightedWaypoint w;
                    Fields(item)
                        .required("destination", [&](const Value& d) { w.destination = gateway(d); })
                        .required("weight",
                                  [&](const Value& n) { w.weight = static_cast<uint32_t>(n.number(0, UINT32_MAX)); })
                        .finish();
                    s.weighted_waypoints.push_back(w);
                  });
                })
      .optional("loadBalancer", [&](const Value& v) { s.load_balancing = load_balancing(v); })
      .optional("ipFamilies", [&](const Value& v) { s.ip_families = name_of(v, kIpFamilies); })
      .optional("canonical", [&](const Value& v) { s.canonical = v.boolean(); })
      .optional("visibility", [&](const Value& v) { s.visibility = name_of(v, kVisibilities); })
      .finish();
  for (Endpoint& e : endpoints) {
    e.service = s.key();
    if (s.load_balancing) e.policy = s.load_balancing->health_policy;
    all_endpoints.push_back(std::move(e));
  }
  return s;
}

}  // namespace culvert::local
