// The mesh's records as plain values: workloads, services and authorization policies (reference 13.1 and 12.1).
//
// Whoever converts them from protobuf or from a mesh file applies the defaults and refusals of reference 13.2 and 12.2;
// from there on a record is well formed and immutable. Nothing here looks anything up: that is Mesh.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip_address.h"
#include "identity/spiffe_id.h"

namespace culvert::snapshot {

enum class TunnelProtocol : uint8_t { kNone, kHbone };
enum class NetworkMode : uint8_t { kStandard, kHostNetwork };
enum class WorkloadStatus : uint8_t { kHealthy, kUnhealthy };
enum class WorkloadType : uint8_t { kDeployment, kCronJob, kPod, kJob };
enum class IpFamilies : uint8_t { kAutomatic, kIpv4Only, kIpv6Only, kDual };
enum class Visibility : uint8_t { kPublic, kNamespace };
enum class LoadBalancingMode : uint8_t { kStandard, kStrict, kFailover, kPassthrough };
enum class LoadBalancingScope : uint8_t { kRegion, kZone, kSubzone, kNode, kCluster, kNetwork };
enum class HealthPolicy : uint8_t { kOnlyHealthy, kAllowAll };
enum class TunnelledProtocol : uint8_t { kNone, kProxy };  // ApplicationTunnel.Protocol

// An address in one of the mesh's networks; the own network is usually "".
struct NetworkAddress {
  std::string network;
  IpAddress address;
  friend auto operator<=>(const NetworkAddress&, const NetworkAddress&) = default;
};

struct NetworkPrefix {
  std::string network;
  Prefix prefix;  // shorter than a host; address bits behind it are zero
  friend auto operator<=>(const NetworkPrefix&, const NetworkPrefix&) = default;
};

struct NamespacedHostname {
  std::string name_space;
  std::string hostname;
  friend auto operator<=>(const NamespacedHostname&, const NamespacedHostname&) = default;
};

// A waypoint or a network gateway.
struct GatewayAddress {
  std::variant<NamespacedHostname, NetworkAddress> destination;
  uint16_t hbone_mtls_port = 0;
  friend bool operator==(const GatewayAddress&, const GatewayAddress&) = default;
};

struct WeightedWaypoint {
  GatewayAddress destination;
  uint32_t weight = 0;
  friend bool operator==(const WeightedWaypoint&, const WeightedWaypoint&) = default;
};

struct PortMapping {
  uint16_t service_port = 0;
  uint16_t target_port = 0;  // 0: each endpoint maps it by itself (named target port)
  friend bool operator==(const PortMapping&, const PortMapping&) = default;
};
using PortMap = std::vector<PortMapping>;

// The mapped port; 0 when the port is absent or maps to nothing.
uint16_t target_port_of(const PortMap& ports, uint16_t service_port);
bool has_service_port(const PortMap& ports, uint16_t service_port);

struct Locality {
  std::string region, zone, subzone;
  friend bool operator==(const Locality&, const Locality&) = default;
};

struct ApplicationTunnel {
  TunnelledProtocol protocol = TunnelledProtocol::kNone;
  uint16_t port = 0;  // 0: none
  friend bool operator==(const ApplicationTunnel&, const ApplicationTunnel&) = default;
};

// That a workload backs a service, and on which of its ports.
struct ServiceMembership {
  std::string service;  // "namespace/hostname"
  PortMap ports;
  friend bool operator==(const ServiceMembership&, const ServiceMembership&) = default;
};

struct Workload {
  std::string uid;
  std::string name;
  std::string name_space;
  std::vector<IpAddress> addresses;
  std::string network;
  TunnelProtocol tunnel_protocol = TunnelProtocol::kNone;
  std::string trust_domain;
  std::string service_account;
  std::optional<GatewayAddress> waypoint;
  std::optional<GatewayAddress> network_gateway;
  std::string node;
  std::string canonical_name;
  std::string canonical_revision;
  WorkloadType workload_type = WorkloadType::kDeployment;
  std::string workload_name;
  bool native_tunnel = false;
  std::vector<std::string> authorization_policies;  // "namespace/name"
  WorkloadStatus status = WorkloadStatus::kHealthy;
  std::string cluster_id;
  std::string hostname;
  std::vector<ServiceMembership> services;  // MeshBuilder keeps them sorted by service
  ApplicationTunnel application_tunnel;
  Locality locality;
  NetworkMode network_mode = NetworkMode::kStandard;
  uint32_t capacity = 1;  // weight in load balancing; 0: never chosen

  identity::SpiffeId identity() const { return {trust_domain, name_space, service_account}; }
  bool has_identity(const identity::SpiffeId& id) const;  // the same comparison without building one
  bool has_address(const IpAddress& address) const;
  friend bool operator==(const Workload&, const Workload&) = default;
};

// "deployment", "cronjob", "pod", "job": as baggage spells it (reference 5.2).
std::string_view name_of(WorkloadType type);

struct LoadBalancing {
  std::vector<LoadBalancingScope> routing_preference;
  LoadBalancingMode mode = LoadBalancingMode::kStandard;
  HealthPolicy health_policy = HealthPolicy::kOnlyHealthy;
  friend bool operator==(const LoadBalancing&, const LoadBalancing&) = default;
};

struct Service {
  std::string name;
  std::string name_space;
  std::string hostname;
  std::vector<NetworkAddress> vips;
  std::vector<NetworkPrefix> cidr_vips;
  PortMap ports;
  std::vector<std::string> subject_alt_names;  // as sent; those that are not SPIFFE identities verify nobody
  std::optional<GatewayAddress> waypoint;
  std::vector<WeightedWaypoint> weighted_waypoints;
  std::optional<LoadBalancing> load_balancing;
  IpFamilies ip_families = IpFamilies::kAutomatic;
  bool canonical = false;
  Visibility visibility = Visibility::kPublic;

  std::string key() const { return name_space + "/" + hostname; }
  friend bool operator==(const Service&, const Service&) = default;
};

// --- authorization ---------------------------------------------------------------------------------------------------

enum class PolicyScope : uint8_t { kGlobal, kNamespace, kWorkloadSelector };
enum class PolicyAction : uint8_t { kAllow, kDeny };

struct StringMatch {
  enum class Kind : uint8_t { kExact, kPrefix, kSuffix, kPresence };
  Kind kind = Kind::kPresence;
  std::string value;  // empty for kPresence
  friend bool operator==(const StringMatch&, const StringMatch&) = default;
};

struct ServiceAccountMatch {
  std::string name_space;
  std::string service_account;
  friend bool operator==(const ServiceAccountMatch&, const ServiceAccountMatch&) = default;
};

// A positive and a negative list of one kind. Both must hold (reference 12.3).
template <class T>
struct MatchLists {
  std::vector<T> any_of;
  std::vector<T> none_of;
  bool empty() const { return any_of.empty() && none_of.empty(); }
  friend bool operator==(const MatchLists&, const MatchLists&) = default;
};

struct Match {
  MatchLists<StringMatch> namespaces;
  MatchLists<StringMatch> principals;
  MatchLists<ServiceAccountMatch> service_accounts;
  MatchLists<Prefix> source_ips;
  MatchLists<Prefix> destination_ips;
  MatchLists<uint16_t> destination_ports;

  bool empty() const {
    return namespaces.empty() && principals.empty() && service_accounts.empty() && source_ips.empty() &&
           destination_ips.empty() && destination_ports.empty();
  }
  friend bool operator==(const Match&, const Match&) = default;
};

struct Clause {
  std::vector<Match> matches;
  friend bool operator==(const Clause&, const Clause&) = default;
};

struct Rule {
  std::vector<Clause> clauses;
  friend bool operator==(const Rule&, const Rule&) = default;
};

struct Policy {
  std::string name;
  std::string name_space;
  PolicyScope scope = PolicyScope::kGlobal;
  PolicyAction action = PolicyAction::kAllow;
  bool dry_run = false;
  std::vector<Rule> rules;

  std::string key() const { return name_space + "/" + name; }
  friend bool operator==(const Policy&, const Policy&) = default;
};

}  // namespace culvert::snapshot
