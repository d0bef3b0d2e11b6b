// The mesh as the agent knows it: plain values, whatever source they came from (a file, later istiod). Field for field
// what the contract carries (dataplane/control/api/mesh.proto), with every default already applied (reference 13.2,
// 19).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ip_address.h"

namespace culvert::reconcile {

struct NetworkAddress {
  std::string network;
  IpAddress address;
  friend bool operator==(const NetworkAddress&, const NetworkAddress&) = default;
};

struct NetworkPrefix {
  std::string network;
  Prefix prefix;
  friend bool operator==(const NetworkPrefix&, const NetworkPrefix&) = default;
};

struct NamespacedHostname {
  std::string name_space, hostname;
  friend bool operator==(const NamespacedHostname&, const NamespacedHostname&) = default;
};

// A waypoint or a network gateway.
struct Gateway {
  std::variant<NetworkAddress, NamespacedHostname> destination;
  uint16_t hbone_port = 0;
  friend bool operator==(const Gateway&, const Gateway&) = default;
};

struct WeightedWaypoint {
  Gateway destination;
  uint32_t weight = 0;
  friend bool operator==(const WeightedWaypoint&, const WeightedWaypoint&) = default;
};

// Service port to target port; a target of 0 is resolved by the endpoint's own map.
using PortMap = std::map<uint16_t, uint16_t>;

enum class Tunnel : uint8_t { kNone, kHbone };
enum class NetworkMode : uint8_t { kStandard, kHostNetwork };
enum class Health : uint8_t { kHealthy, kUnhealthy };
enum class WorkloadType : uint8_t { kDeployment, kCronJob, kPod, kJob };
enum class ApplicationTunnelProtocol : uint8_t { kNone, kProxy };

struct ApplicationTunnel {
  ApplicationTunnelProtocol protocol = ApplicationTunnelProtocol::kNone;
  uint16_t port = 0;  // 0: none
  friend bool operator==(const ApplicationTunnel&, const ApplicationTunnel&) = default;
};

struct Locality {
  std::string region, zone, subzone;
  friend bool operator==(const Locality&, const Locality&) = default;
};

struct Workload {
  std::string uid;  // the key
  std::string name, name_space;
  std::vector<IpAddress> addresses;
  std::string network;
  Tunnel tunnel = Tunnel::kNone;
  NetworkMode network_mode = NetworkMode::kStandard;
  Health health = Health::kHealthy;
  std::string trust_domain, service_account;
  std::string node, cluster, hostname;
  std::string workload_name;
  WorkloadType type = WorkloadType::kDeployment;
  std::string canonical_name, canonical_revision;
  bool native_tunnel = false;
  std::optional<Gateway> waypoint, network_gateway;
  ApplicationTunnel application_tunnel;
  Locality locality;
  uint32_t capacity = 1;
  std::map<std::string, PortMap> services;          // by "namespace/hostname"
  std::vector<std::string> authorization_policies;  // "namespace/name"
  friend bool operator==(const Workload&, const Workload&) = default;

  // spiffe://<trust domain>/ns/<namespace>/sa/<service account>; none when one of the three is empty.
  std::optional<std::string> identity() const;
};

enum class RoutingScope : uint8_t { kRegion, kZone, kSubzone, kNode, kCluster, kNetwork };
enum class BalancingMode : uint8_t { kStandard, kStrict, kFailover, kPassthrough };
enum class HealthPolicy : uint8_t { kOnlyHealthy, kAllowAll };
enum class IpFamilies : uint8_t { kAutomatic, kIpv4Only, kIpv6Only, kDual };
enum class Visibility : uint8_t { kPublic, kNamespace };

struct LoadBalancing {
  BalancingMode mode = BalancingMode::kStandard;
  std::vector<RoutingScope> routing_preference;
  HealthPolicy health_policy = HealthPolicy::kOnlyHealthy;
  friend bool operator==(const LoadBalancing&, const LoadBalancing&) = default;
};

struct Service {
  std::string name, name_space, hostname;
  std::vector<NetworkAddress> vips;
  std::vector<NetworkPrefix> cidr_vips;
  PortMap ports;
  std::vector<std::string> subject_alt_names;
  std::optional<Gateway> waypoint;
  std::vector<WeightedWaypoint> weighted_waypoints;
  std::optional<LoadBalancing> load_balancing;
  IpFamilies ip_families = IpFamilies::kAutomatic;
  bool canonical = false;
  Visibility visibility = Visibility::kPublic;
  friend bool operator==(const Service&, const Service&) = default;

  std::string key() const { return name_space + "/" + hostname; }
};

struct StringMatch {
  enum class Kind : uint8_t { kExact, kPrefix, kSuffix, kPresence };
  Kind kind = Kind::kPresence;
  std::string text;
  friend bool operator==(const StringMatch&, const StringMatch&) = default;
};

struct ServiceAccountMatch {
  std::string name_space, service_account;
  friend bool operator==(const ServiceAccountMatch&, const ServiceAccountMatch&) = default;
};

// Reference 12.3: an empty list is not asked; a match without any entry never matches.
struct Match {
  std::vector<StringMatch> namespaces, not_namespaces, principals, not_principals;
  std::vector<ServiceAccountMatch> service_accounts, not_service_accounts;
  std::vector<Prefix> source_ips, not_source_ips, destination_ips, not_destination_ips;
  std::vector<uint16_t> destination_ports, not_destination_ports;
  friend bool operator==(const Match&, const Match&) = default;
};

using Clause = std::vector<Match>;  // any of them
using Rule = std::vector<Clause>;   // all of them

enum class PolicyScope : uint8_t { kGlobal, kNamespace, kWorkloadSelector };
enum class PolicyAction : uint8_t { kAllow, kDeny };

struct Policy {
  std::string name, name_space;
  PolicyScope scope = PolicyScope::kGlobal;
  PolicyAction action = PolicyAction::kAllow;
  bool dry_run = false;
  std::vector<Rule> rules;  // any of them
  friend bool operator==(const Policy&, const Policy&) = default;

  std::string key() const { return name_space + "/" + name; }
};

struct Mesh {
  std::map<std::string, Workload> workloads;  // by uid
  std::map<std::string, Service> services;    // by "namespace/hostname"
  std::map<std::string, Policy> policies;     // by "namespace/name"
  friend bool operator==(const Mesh&, const Mesh&) = default;
};

}  // namespace culvert::reconcile
