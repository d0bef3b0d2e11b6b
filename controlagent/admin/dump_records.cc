#include "admin/dump_records.h"

#include <array>

namespace culvert::admin {
namespace {

using namespace reconcile;

constexpr std::string_view kHealth[] = {"Healthy", "Unhealthy"};
constexpr std::string_view kTypes[] = {"deployment", "cronjob", "pod", "job"};
constexpr std::string_view kScopes[] = {"Region", "Zone", "Subzone", "Node", "Cluster", "Network"};
constexpr std::string_view kModes[] = {"Standard", "Strict", "Failover", "Passthrough"};
constexpr std::string_view kHealthPolicies[] = {"OnlyHealthy", "AllowAll"};
constexpr std::string_view kFamilies[] = {"", "IPv4", "IPv6", "Dual"};
constexpr std::string_view kPolicyScopes[] = {"Global", "Namespace", "WorkloadSelector"};
constexpr std::string_view kMatchKinds[] = {"Exact", "Prefix", "Suffix", "Presence"};

template <size_t N>
std::string_view name_in(const std::string_view (&names)[N], auto value) {
  return names[std::min(static_cast<size_t>(value), N - 1)];
}

std::string text_of(const NetworkAddress& address) { return address.network + "/" + address.address.to_string(); }

std::string text_of(const std::variant<NetworkAddress, NamespacedHostname>& destination) {
  if (const auto* host = std::get_if<NamespacedHostname>(&destination)) return host->name_space + "/" + host->hostname;
  return text_of(std::get<NetworkAddress>(destination));
}

void optional_member(JsonWriter& out, std::string_view key, std::string_view text) {
  if (!text.empty()) out.member(key, text);
}

void write_gateway(const Gateway& gateway, JsonWriter& out) {
  out.begin_object();
  out.member("destination", std::string_view(text_of(gateway.destination)));
  out.member("hboneMtlsPort", gateway.hbone_port);
  out.end_object();
}

void write_ports(const PortMap& ports, JsonWriter& out) {
  out.begin_object();
  for (const auto& [service_port, target] : ports) out.member(std::to_string(service_port), target);
  out.end_object();
}

void write_texts(const std::vector<std::string>& texts, JsonWriter& out) {
  out.begin_array();
  for (const std::string& text : texts) out.string(text);
  out.end_array();
}

void write_workload(const Workload& w, bool ports, JsonWriter& out) {
  out.begin_object();
  if (w.application_tunnel != ApplicationTunnel()) {
    out.key("applicationTunnel");
    out.begin_object();
    out.key("port");
    w.application_tunnel.port == 0 ? out.null() : out.number(w.application_tunnel.port);
    out.member("protocol", w.application_tunnel.protocol == ApplicationTunnelProtocol::kProxy ? "PROXY" : "NONE");
    out.end_object();
  }
  if (!w.authorization_policies.empty()) out.key("authorizationPolicies"), write_texts(w.authorization_policies, out);
  optional_member(out, "canonicalName", w.canonical_name);
  optional_member(out, "canonicalRevision", w.canonical_revision);
  out.member("capacity", w.capacity);
  out.member("clusterId", std::string_view(w.cluster));
  optional_member(out, "hostname", w.hostname);
  if (w.locality != Locality()) {
    out.key("locality");
    out.begin_object();
    out.member("region", std::string_view(w.locality.region));
    out.member("subzone", std::string_view(w.locality.subzone));
    out.member("zone", std::string_view(w.locality.zone));
    out.end_object();
  }
  out.member("name", std::string_view(w.name));
  out.member("namespace", std::string_view(w.name_space));
  if (w.native_tunnel) out.member("nativeTunnel", true);
  optional_member(out, "network", w.network);
  if (w.network_gateway) out.key("networkGateway"), write_gateway(*w.network_gateway, out);
  out.member("networkMode", w.network_mode == NetworkMode::kHostNetwork ? "HostNetwork" : "Standard");
  optional_member(out, "node", w.node);
  out.member("protocol", w.tunnel == Tunnel::kHbone ? "HBONE" : "TCP");
  optional_member(out, "serviceAccount", w.service_account);
  if (ports) {
    out.key("services");
    out.begin_object();
    for (const auto& [key, map] : w.services) out.key(key), write_ports(map, out);
    out.end_object();
  } else if (!w.services.empty()) {
    out.key("services");
    out.begin_array();
    for (const auto& [key, map] : w.services) out.string(key);
    out.end_array();
  }
  out.member("status", name_in(kHealth, w.health));
  optional_member(out, "trustDomain", w.trust_domain);
  optional_member(out, "uid", w.uid);
  if (w.waypoint) out.key("waypoint"), write_gateway(*w.waypoint, out);
  out.key("workloadIps");
  out.begin_array();
  for (const IpAddress& address : w.addresses) out.string(address.to_string());
  out.end_array();
  optional_member(out, "workloadName", w.workload_name);
  out.member("workloadType", name_in(kTypes, w.type));
  out.end_object();
}

void write_matches(std::string_view key, const std::vector<StringMatch>& matches, JsonWriter& out) {
  if (matches.empty()) return;
  out.key(key);
  out.begin_array();
  for (const StringMatch& match : matches) {
    out.begin_object();
    out.key(name_in(kMatchKinds, match.kind));
    if (match.kind == StringMatch::Kind::kPresence) {
      out.begin_array();
      out.end_array();
    } else {
      out.string(match.text);
    }
    out.end_object();
  }
  out.end_array();
}

void write_matches(std::string_view key, const std::vector<ServiceAccountMatch>& matches, JsonWriter& out) {
  if (matches.empty()) return;
  out.key(key);
  out.begin_array();
  for (const ServiceAccountMatch& match : matches) {
    out.begin_object();
    out.member("namespace", std::string_view(match.name_space));
    out.member("serviceAccount", std::string_view(match.service_account));
    out.end_object();
  }
  out.end_array();
}

void write_matches(std::string_view key, const std::vector<Prefix>& prefixes, JsonWriter& out) {
  if (prefixes.empty()) return;
  out.key(key);
  out.begin_array();
  for (const Prefix& prefix : prefixes) out.string(prefix.to_string());
  out.end_array();
}

void write_matches(std::string_view key, const std::vector<uint16_t>& ports, JsonWriter& out) {
  if (ports.empty()) return;
  out.key(key);
  out.begin_array();
  for (const uint16_t port : ports) out.number(port);
  out.end_array();
}

void write_match(const Match& match, JsonWriter& out) {
  out.begin_object();
  write_matches("destinationIps", match.destination_ips, out);
  write_matches("destinationPorts", match.destination_ports, out);
  write_matches("namespaces", match.namespaces, out);
  write_matches("notDestinationIps", match.not_destination_ips, out);
  write_matches("notDestinationPorts", match.not_destination_ports, out);
  write_matches("notNamespaces", match.not_namespaces, out);
  write_matches("notPrincipals", match.not_principals, out);
  write_matches("notServiceAccounts", match.not_service_accounts, out);
  write_matches("notSourceIps", match.not_source_ips, out);
  write_matches("principals", match.principals, out);
  write_matches("serviceAccounts", match.service_accounts, out);
  write_matches("sourceIps", match.source_ips, out);
  out.end_object();
}

}  // namespace

void dump_workload(const Workload& workload, JsonWriter& out) { write_workload(workload, false, out); }
void dump_static_workload(const Workload& workload, JsonWriter& out) { write_workload(workload, true, out); }

void dump_endpoints(std::string_view key, const std::vector<const Workload*>& members, HealthPolicy policy,
                    JsonWriter& out) {
  out.begin_object();
  for (const Workload* workload : members) {
    if (policy == HealthPolicy::kOnlyHealthy && workload->health != Health::kHealthy) continue;
    const auto membership = workload->services.find(std::string(key));
    if (membership == workload->services.end()) continue;
    out.key(workload->uid);
    out.begin_object();
    out.key("port"), write_ports(membership->second, out);
    out.member("status", name_in(kHealth, workload->health));
    out.member("workloadUid", std::string_view(workload->uid));
    out.end_object();
  }
  out.end_object();
}

void dump_service(const Service& s, const std::vector<const Workload*>* members, JsonWriter& out) {
  out.begin_object();
  out.member("canonical", s.canonical);
  if (!s.cidr_vips.empty()) {
    out.key("cidrVips");
    out.begin_array();
    for (const NetworkPrefix& vip : s.cidr_vips) {
      out.begin_object();
      out.member("cidr", std::string_view(vip.prefix.to_string()));
      out.member("network", std::string_view(vip.network));
      out.end_object();
    }
    out.end_array();
  }
  out.key("endpoints");
  const HealthPolicy policy = s.load_balancing ? s.load_balancing->health_policy : HealthPolicy::kOnlyHealthy;
  dump_endpoints(s.key(), members == nullptr ? std::vector<const Workload*>() : *members, policy, out);
  out.member("hostname", std::string_view(s.hostname));
  optional_member(out, "ipFamilies", name_in(kFamilies, s.ip_families));
  if (s.load_balancing) {
    out.key("loadBalancer");
    out.begin_object();
    out.member("healthPolicy", name_in(kHealthPolicies, s.load_balancing->health_policy));
    out.member("mode", name_in(kModes, s.load_balancing->mode));
    out.key("routingPreferences");
    out.begin_array();
    for (const RoutingScope scope : s.load_balancing->routing_preference) out.string(name_in(kScopes, scope));
    out.end_array();
    out.end_object();
  }
  out.member("name", std::string_view(s.name));
  out.member("namespace", std::string_view(s.name_space));
  out.key("ports"), write_ports(s.ports, out);
  out.key("subjectAltNames"), write_texts(s.subject_alt_names, out);
  out.key("vips");
  out.begin_array();
  for (const NetworkAddress& vip : s.vips) out.string(text_of(vip));
  out.end_array();
  out.member("visibility", s.visibility == Visibility::kNamespace ? "Namespace" : "Public");
  if (s.waypoint) out.key("waypoint"), write_gateway(*s.waypoint, out);
  if (!s.weighted_waypoints.empty()) {
    out.key("weightedWaypoints");
    out.begin_array();
    for (const WeightedWaypoint& one : s.weighted_waypoints) {
      out.begin_object();
      out.key("destination"), write_gateway(one.destination, out);
      out.member("weight", one.weight);
      out.end_object();
    }
    out.end_array();
  }
  out.end_object();
}

void dump_policy(const Policy& policy, JsonWriter& out) {
  out.begin_object();
  out.member("action", policy.action == PolicyAction::kDeny ? "Deny" : "Allow");
  out.member("dryRun", policy.dry_run);
  out.member("name", std::string_view(policy.name));
  out.member("namespace", std::string_view(policy.name_space));
  out.key("rules");
  out.begin_array();
  for (const Rule& rule : policy.rules) {
    out.begin_array();
    for (const Clause& clause : rule) {
      out.begin_array();
      for (const Match& match : clause) write_match(match, out);
      out.end_array();
    }
    out.end_array();
  }
  out.end_array();
  out.member("scope", name_in(kPolicyScopes, policy.scope));
  out.end_object();
}

}  // namespace culvert::admin
