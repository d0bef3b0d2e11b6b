// The mesh file, key by key: what each one means, what it is without it, and what exactly is said when it is wrong.
#include "local/mesh_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace culvert::local {
namespace {

using reconcile::Mesh;
using reconcile::Service;
using reconcile::StringMatch;
using reconcile::Workload;
using testing::ElementsAre;
using testing::HasSubstr;

Mesh mesh_of(const std::string& text) {
  auto parsed = parse_mesh(text, "mesh.yaml");
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().front());
  return parsed ? std::move(parsed->mesh) : Mesh{};
}

std::vector<std::string> problems_of(const std::string& text) {
  auto parsed = parse_mesh(text, "mesh.yaml");
  return parsed ? std::vector<std::string>{"(accepted)"} : parsed.error();
}

IpAddress ip(const char* text) { return *IpAddress::parse(text); }
Prefix net(const char* text) { return *Prefix::parse(text); }

constexpr char kEveryKey[] = R"(
workloads:
- uid: cluster1//Pod/demo/client-1
  name: client-1
  namespace: demo
  workloadIps: [10.1.0.11, "fd01::11"]
  services:
    demo/web.demo.svc.cluster.local: {80: 8080, 443: 8443}
    demo/empty.demo.svc.cluster.local: {}
  trustDomain: cluster.local
  serviceAccount: client
  network: net1
  workloadName: client
  workloadType: pod
  canonicalName: client-app
  canonicalRevision: v2
  hostname: client.example
  node: n1
  clusterId: cluster1
  protocol: HBONE
  networkMode: HostNetwork
  waypoint: {destination: "net1/10.9.9.9", hboneMtlsPort: 15008}
  networkGateway: {destination: "istio-system/gw.example", hboneMtlsPort: 15009}
  nativeTunnel: true
  applicationTunnel: {protocol: PROXY, port: 9000}
  authorizationPolicies: [demo/allow-web]
  status: Unhealthy
  locality: {region: r1, zone: z1, subzone: s1}
  capacity: 7
services:
- name: web
  namespace: demo
  hostname: web.demo.svc.cluster.local
  vips: [/10.96.0.1, "net1/fd96::1"]
  ports: {80: 8080, 443: 0}
  cidrVips:
  - {network: net1, cidr: 10.97.0.0/16}
  subjectAltNames: ["spiffe://cluster.local/ns/demo/sa/web"]
  waypoint: {destination: demo/waypoint.demo, hboneMtlsPort: 15008}
  weightedWaypoints:
  - destination: {destination: demo/waypoint-b.demo, hboneMtlsPort: 15010}
    weight: 30
  loadBalancer:
    routingPreferences: [Region, Zone, Subzone, Node, Cluster, Network]
    mode: Failover
    healthPolicy: AllowAll
  ipFamilies: Dual
  canonical: true
  visibility: Namespace
policies:
- name: allow-web
  namespace: demo
  scope: WorkloadSelector
  action: Allow
  dryRun: false
  rules:
  - - - namespaces: [{Exact: demo}, {Prefix: de}]
        notNamespaces: [{Suffix: -test}]
        principals: [{Presence: []}]
        notPrincipals: [{Exact: cluster.local/ns/demo/sa/bad}]
        serviceAccounts: [{namespace: demo, serviceAccount: client}]
        notServiceAccounts: [{namespace: demo, serviceAccount: bad}]
        sourceIps: [10.1.0.0/24, "fd01::/64"]
        notSourceIps: [10.1.0.99/32]
        destinationIps: [10.2.0.0/16]
        notDestinationIps: [10.2.0.1/32]
        destinationPorts: [80, 65535]
        notDestinationPorts: [22]
      - {}
    - - destinationPorts: [443]
  - []
)";

TEST(MeshFile, EveryKeyOfAWorkloadArrives) {
  Workload w;
  w.uid = "cluster1//Pod/demo/client-1";
  w.name = "client-1";
  w.name_space = "demo";
  w.addresses = {ip("10.1.0.11"), ip("fd01::11")};
  w.services = {{"demo/web.demo.svc.cluster.local", {{80, 8080}, {443, 8443}}},
                {"demo/empty.demo.svc.cluster.local", {}}};
  w.trust_domain = "cluster.local";
  w.service_account = "client";
  w.network = "net1";
  w.workload_name = "client";
  w.type = reconcile::WorkloadType::kPod;
  w.canonical_name = "client-app";
  w.canonical_revision = "v2";
  w.hostname = "client.example";
  w.node = "n1";
  w.cluster = "cluster1";
  w.tunnel = reconcile::Tunnel::kHbone;
  w.network_mode = reconcile::NetworkMode::kHostNetwork;
  w.waypoint = reconcile::Gateway{reconcile::NetworkAddress{"net1", ip("10.9.9.9")}, 15008};
  w.network_gateway = reconcile::Gateway{reconcile::NamespacedHostname{"istio-system", "gw.example"}, 15009};
  w.native_tunnel = true;
  w.application_tunnel = {reconcile::ApplicationTunnelProtocol::kProxy, 9000};
  w.authorization_policies = {"demo/allow-web"};
  w.health = reconcile::Health::kUnhealthy;
  w.locality = {"r1", "z1", "s1"};
  w.capacity = 7;
  const Mesh mesh = mesh_of(kEveryKey);
  ASSERT_EQ(mesh.workloads.size(), 1u);
  EXPECT_EQ(mesh.workloads.begin()->first, w.uid);
  EXPECT_TRUE(mesh.workloads.begin()->second == w);
}

TEST(MeshFile, EveryKeyOfAServiceArrives) {
  Service s;
  s.name = "web";
  s.name_space = "demo";
  s.hostname = "web.demo.svc.cluster.local";
  s.vips = {{"", ip("10.96.0.1")}, {"net1", ip("fd96::1")}};
  s.ports = {{80, 8080}, {443, 0}};
  s.cidr_vips = {{"net1", net("10.97.0.0/16")}};
  s.subject_alt_names = {"spiffe://cluster.local/ns/demo/sa/web"};
  s.waypoint = reconcile::Gateway{reconcile::NamespacedHostname{"demo", "waypoint.demo"}, 15008};
  s.weighted_waypoints = {{{reconcile::NamespacedHostname{"demo", "waypoint-b.demo"}, 15010}, 30}};
  using reconcile::RoutingScope;
  s.load_balancing = reconcile::LoadBalancing{reconcile::BalancingMode::kFailover,
                                              {RoutingScope::kRegion, RoutingScope::kZone, RoutingScope::kSubzone,
                                               RoutingScope::kNode, RoutingScope::kCluster, RoutingScope::kNetwork},
                                              reconcile::HealthPolicy::kAllowAll};
  s.ip_families = reconcile::IpFamilies::kDual;
  s.canonical = true;
  s.visibility = reconcile::Visibility::kNamespace;
  const Mesh mesh = mesh_of(kEveryKey);
  ASSERT_EQ(mesh.services.size(), 1u);
  EXPECT_EQ(mesh.services.begin()->first, "demo/web.demo.svc.cluster.local");
  EXPECT_TRUE(mesh.services.begin()->second == s);
}

TEST(MeshFile, EveryKeyOfAPolicyArrives) {
  using Kind = StringMatch::Kind;
  reconcile::Match m;
  m.namespaces = {{Kind::kExact, "demo"}, {Kind::kPrefix, "de"}};
  m.not_namespaces = {{Kind::kSuffix, "-test"}};
  m.principals = {{Kind::kPresence, ""}};
  m.not_principals = {{Kind::kExact, "cluster.local/ns/demo/sa/bad"}};
  m.service_accounts = {{"demo", "client"}};
  m.not_service_accounts = {{"demo", "bad"}};
  m.source_ips = {net("10.1.0.0/24"), net("fd01::/64")};
  m.not_source_ips = {net("10.1.0.99/32")};
  m.destination_ips = {net("10.2.0.0/16")};
  m.not_destination_ips = {net("10.2.0.1/32")};
  m.destination_ports = {80, 65535};
  m.not_destination_ports = {22};
  reconcile::Match https;
  https.destination_ports = {443};
  reconcile::Policy p;
  p.name = "allow-web";
  p.name_space = "demo";
  p.scope = reconcile::PolicyScope::kWorkloadSelector;
  p.action = reconcile::PolicyAction::kAllow;
  p.rules = {{{m, {}}, {https}}, {}};
  const Mesh mesh = mesh_of(kEveryKey);
  ASSERT_EQ(mesh.policies.size(), 1u);
  EXPECT_EQ(mesh.policies.begin()->first, "demo/allow-web");
  EXPECT_TRUE(mesh.policies.begin()->second == p);
}

TEST(MeshFile, WhatIsLeftOutIsEmptyAndNothingIsSubstituted) {
  Workload w;
  w.uid = "//Pod/demo/a";
  w.name = "a";
  w.name_space = "demo";
  w.addresses = {ip("10.0.0.1")};
  Service s;
  s.name = s.name_space = s.hostname = "x";
  const Mesh mesh = mesh_of(R"(
workloads: [{name: a, namespace: demo, workloadIps: [10.0.0.1], services: {}}]
services: [{name: x, namespace: x, hostname: x, vips: [], ports: {}}]
policies: [{name: p, namespace: "n", scope: Global, action: Deny, dryRun: true, rules: []}]
)");
  ASSERT_EQ(mesh.workloads.size(), 1u);
  EXPECT_TRUE(mesh.workloads.begin()->second == w);
  EXPECT_EQ(mesh.workloads.begin()->second.cluster, "");
  EXPECT_EQ(mesh.workloads.begin()->second.identity(), std::nullopt);
  EXPECT_TRUE(mesh.services.begin()->second == s);
  EXPECT_TRUE(mesh.policies.begin()->second.dry_run);
  EXPECT_EQ(mesh.policies.begin()->second.action, reconcile::PolicyAction::kDeny);
}

TEST(MeshFile, NothingIsAnEmptyMeshAndNullIsAnAbsentKey) {
  EXPECT_TRUE(mesh_of("") == Mesh{});
  EXPECT_TRUE(mesh_of("# nothing yet\n") == Mesh{});
  EXPECT_TRUE(mesh_of("workloads:\nservices: ~\npolicies: null\n") == Mesh{});
}

TEST(MeshFile, TwoWorkloadsWithoutUidDifferByNameOrElseByAddress) {
  const Mesh mesh = mesh_of(R"(
workloads:
- {name: a, namespace: n, workloadIps: [10.0.0.1], services: {}}
- {namespace: n, workloadIps: [10.0.0.2], services: {}, clusterId: c}
)");
  EXPECT_TRUE(mesh.workloads.contains("//Pod/n/a"));
  EXPECT_TRUE(mesh.workloads.contains("c//Pod/n/10.0.0.2"));
}

// --- enumerations, every spelling -----------------------------------------------------------------------------------

template <class Enum>
struct Spelling {
  std::string text;
  Enum value;
};

Workload workload_with(const std::string& keys) {
  return mesh_of("workloads: [{name: a, namespace: n, workloadIps: [], services: {}, " + keys + "}]")
      .workloads.begin()
      ->second;
}
Service service_with(const std::string& keys) {
  return mesh_of("services: [{name: a, namespace: n, hostname: h, vips: [], ports: {}, " + keys + "}]")
      .services.begin()
      ->second;
}

TEST(MeshFile, KnowsEverySpellingOfItsEnumerations) {
  using namespace reconcile;
  EXPECT_EQ(workload_with("protocol: TCP").tunnel, Tunnel::kNone);
  EXPECT_EQ(workload_with("protocol: HBONE").tunnel, Tunnel::kHbone);
  EXPECT_EQ(workload_with("networkMode: Standard").network_mode, NetworkMode::kStandard);
  EXPECT_EQ(workload_with("networkMode: HostNetwork").network_mode, NetworkMode::kHostNetwork);
  EXPECT_EQ(workload_with("status: Healthy").health, Health::kHealthy);
  EXPECT_EQ(workload_with("status: Unhealthy").health, Health::kUnhealthy);
  EXPECT_EQ(workload_with("applicationTunnel: {protocol: NONE}").application_tunnel, ApplicationTunnel{});
  EXPECT_EQ(workload_with("workloadType: cronjob").type, WorkloadType::kCronJob);
  EXPECT_EQ(workload_with("workloadType: job").type, WorkloadType::kJob);
  EXPECT_EQ(workload_with("workloadType: deployment").type, WorkloadType::kDeployment);
  EXPECT_EQ(workload_with("workloadType: statefulset").type, WorkloadType::kDeployment);
  EXPECT_EQ(service_with("ipFamilies: IPv4").ip_families, IpFamilies::kIpv4Only);
  EXPECT_EQ(service_with("ipFamilies: IPv6").ip_families, IpFamilies::kIpv6Only);
  EXPECT_EQ(service_with("visibility: Public").visibility, Visibility::kPublic);
  for (const auto& [text, mode] :
       {std::pair{"Standard", BalancingMode::kStandard}, std::pair{"Strict", BalancingMode::kStrict},
        std::pair{"Failover", BalancingMode::kFailover}, std::pair{"Passthrough", BalancingMode::kPassthrough}}) {
    const Service s = service_with(
        "loadBalancer: {routingPreferences: [], healthPolicy: OnlyHealthy, mode: " + std::string(text) + "}");
    EXPECT_EQ(s.load_balancing->mode, mode);
    EXPECT_EQ(s.load_balancing->health_policy, HealthPolicy::kOnlyHealthy);
  }
  for (const auto& [text, scope] :
       {std::pair{"Global", PolicyScope::kGlobal}, std::pair{"Namespace", PolicyScope::kNamespace},
        std::pair{"WorkloadSelector", PolicyScope::kWorkloadSelector}}) {
    EXPECT_EQ(mesh_of("policies: [{name: p, namespace: n, action: Allow, dryRun: false, rules: [], scope: " +
                      std::string(text) + "}]")
                  .policies.begin()
                  ->second.scope,
              scope);
  }
}

// --- what is wrong, and the exact words
// -------------------------------------------------------------------------------

struct Bad {
  std::string name, text, problem;
  friend void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
};

class MeshFileRefuses : public testing::TestWithParam<Bad> {};

TEST_P(MeshFileRefuses, NamingLineKeyAndWhatIsAccepted) {
  EXPECT_THAT(problems_of(GetParam().text), ElementsAre(GetParam().problem));
}

// A workload whose third line is the one under test, and so on.
std::string in_workload(const std::string& line) {
  return "workloads:\n- {name: a, namespace: n, workloadIps: [10.0.0.1], services: {},\n   " + line + "}\n";
}
std::string in_service(const std::string& line) {
  return "services:\n- {name: a, namespace: n, hostname: h, vips: [], ports: {},\n   " + line + "}\n";
}
std::string in_match(const std::string& line) {
  return "policies:\n- {name: p, namespace: n, scope: Global, action: Allow, dryRun: false, rules: [[[\n  {" + line +
         "}]]]}\n";
}

INSTANTIATE_TEST_SUITE_P(
    Table, MeshFileRefuses,
    testing::Values(
        Bad{"syntax", "workloads: [\n", "mesh.yaml:2: not YAML: end of sequence flow not found"},
        Bad{"top_level_key", "workloads: []\npods: []\n",
            "mesh.yaml:2: pods: is not a key here; accepted: workloads, policies, services"},
        Bad{"top_level_type", "- a\n", "mesh.yaml:1: a list is not accepted; accepted: a map"},
        Bad{"list_type", "workloads: 7\n", "mesh.yaml:1: workloads: `7` is not accepted; accepted: a list"},
        Bad{"item_type", "workloads:\n- 7\n", "mesh.yaml:2: workloads[0]: `7` is not accepted; accepted: a map"},
        Bad{"workload_key", in_workload("ports: {}"),
            "mesh.yaml:3: workloads[0].ports: is not a key here; accepted: workloadIps, namespace, services, name, "
            "uid, "
            "trustDomain, serviceAccount, network, workloadName, workloadType, canonicalName, canonicalRevision, "
            "hostname, node, clusterId, protocol, networkMode, waypoint, networkGateway, nativeTunnel, "
            "applicationTunnel, authorizationPolicies, status, locality, capacity"},
        Bad{"snake_case", "workloads:\n- {namespace: n, workload_ips: [], workloadIps: [], services: {}}\n",
            "mesh.yaml:2: workloads[0].workload_ips: is not a key here; accepted: workloadIps, namespace, services, "
            "name, uid, trustDomain, serviceAccount, network, workloadName, workloadType, canonicalName, "
            "canonicalRevision, hostname, node, clusterId, protocol, networkMode, waypoint, networkGateway, "
            "nativeTunnel, applicationTunnel, authorizationPolicies, status, locality, capacity"},
        Bad{"no_ips", "workloads:\n- {namespace: n, services: {}}\n",
            "mesh.yaml:2: workloads[0].workloadIps: is required"},
        Bad{"no_namespace", "workloads:\n- {workloadIps: [], services: {}}\n",
            "mesh.yaml:2: workloads[0].namespace: is required"},
        Bad{"empty_namespace", "workloads:\n- {namespace: '', workloadIps: [], services: {}}\n",
            "mesh.yaml:2: workloads[0].namespace: may not be empty"},
        Bad{"no_services", "workloads:\n- {namespace: n, workloadIps: []}\n",
            "mesh.yaml:2: workloads[0].services: is required"},
        Bad{"address", "workloads:\n- {namespace: n, services: {}, workloadIps: [10.0.0.1,\n 10.0.0.300]}\n",
            "mesh.yaml:3: workloads[0].workloadIps[1]: `10.0.0.300` is not accepted; accepted: an IPv4 or IPv6 "
            "address"},
        Bad{"service_name", "workloads:\n- {namespace: n, workloadIps: [], services: {web: {}}}\n",
            "mesh.yaml:2: workloads[0].services: `web` is not accepted; accepted: NAMESPACE/HOSTNAME"},
        Bad{"service_port", "workloads:\n- {namespace: n, workloadIps: [], services: {n/h: {0: 80}}}\n",
            "mesh.yaml:2: workloads[0].services[n/h]: `0` is not accepted; accepted: a number from 1 to 65535"},
        Bad{"target_port", "workloads:\n- {namespace: n, workloadIps: [], services: {n/h: {80: 70000}}}\n",
            "mesh.yaml:2: workloads[0].services[n/h][80]: `70000` is not accepted; accepted: a number from 0 to 65535"},
        Bad{"quoted_port", "workloads:\n- {namespace: n, workloadIps: [], services: {n/h: {80: '8080'}}}\n",
            "mesh.yaml:2: workloads[0].services[n/h][80]: `8080` is not accepted; accepted: a number from 0 to 65535"},
        Bad{"protocol", in_workload("protocol: hbone"),
            "mesh.yaml:3: workloads[0].protocol: `hbone` is not accepted; accepted: TCP, HBONE"},
        Bad{"network_mode", in_workload("networkMode: Host"),
            "mesh.yaml:3: workloads[0].networkMode: `Host` is not accepted; accepted: Standard, HostNetwork"},
        Bad{"status", in_workload("status: [Healthy]"),
            "mesh.yaml:3: workloads[0].status: a list is not accepted; accepted: Healthy, Unhealthy"},
        Bad{"boolean", in_workload("nativeTunnel: yes"),
            "mesh.yaml:3: workloads[0].nativeTunnel: `yes` is not accepted; accepted: true, false"},
        Bad{"quoted_boolean", in_workload("nativeTunnel: 'true'"),
            "mesh.yaml:3: workloads[0].nativeTunnel: `true` is not accepted; accepted: true, false"},
        Bad{"capacity", in_workload("capacity: -1"),
            "mesh.yaml:3: workloads[0].capacity: `-1` is not accepted; accepted: a number from 0 to 4294967295"},
        Bad{"text", in_workload("node: {a: b}"),
            "mesh.yaml:3: workloads[0].node: a map is not accepted; accepted: a text"},
        Bad{"waypoint_destination", in_workload("waypoint: {destination: gw, hboneMtlsPort: 1}"),
            "mesh.yaml:3: workloads[0].waypoint.destination: `gw` is not accepted; accepted: NETWORK/ADDRESS, "
            "NAMESPACE/HOSTNAME"},
        Bad{"waypoint_port", in_workload("networkGateway: {destination: a/b}"),
            "mesh.yaml:3: workloads[0].networkGateway.hboneMtlsPort: is required"},
        Bad{"waypoint_key", in_workload("waypoint: {destination: a/b, hboneMtlsPort: 1, port: 2}"),
            "mesh.yaml:3: workloads[0].waypoint.port: is not a key here; accepted: destination, hboneMtlsPort"},
        Bad{"application_tunnel", in_workload("applicationTunnel: {protocol: HAPROXY}"),
            "mesh.yaml:3: workloads[0].applicationTunnel.protocol: `HAPROXY` is not accepted; accepted: NONE, PROXY"},
        Bad{"policy_name", in_workload("authorizationPolicies: [web]"),
            "mesh.yaml:3: workloads[0].authorizationPolicies[0]: `web` is not accepted; accepted: NAMESPACE/NAME"},
        Bad{"locality", in_workload("locality: {region: r, zone: z}"),
            "mesh.yaml:3: workloads[0].locality.subzone: is required"},
        Bad{"uid_twice",
            "workloads:\n- {uid: u, namespace: n, workloadIps: [], services: {}}\n- {uid: u, namespace: n, "
            "workloadIps: [], "
            "services: {}}\n",
            "mesh.yaml:3: workloads[1]: uid `u` is given twice"},
        Bad{"key_twice", "workloads: []\nworkloads: []\n", "mesh.yaml:2: key `workloads` is given twice"},
        Bad{"vip", "services:\n- {name: a, namespace: n, hostname: h, ports: {}, vips: [10.0.0.1]}\n",
            "mesh.yaml:2: services[0].vips[0]: `10.0.0.1` is not accepted; accepted: NETWORK/ADDRESS, with an empty "
            "network /ADDRESS"},
        Bad{"cidr", in_service("cidrVips: [{network: '', cidr: 10.0.0.1}]"),
            "mesh.yaml:3: services[0].cidrVips[0].cidr: `10.0.0.1` is not accepted; accepted: ADDRESS/LENGTH"},
        Bad{"endpoint", in_service("endpoints: {e: {port: {}}}"),
            "mesh.yaml:3: services[0].endpoints[e].workloadUid: is required"},
        Bad{"load_balancer", in_service("loadBalancer: {mode: Strict, healthPolicy: AllowAll}"),
            "mesh.yaml:3: services[0].loadBalancer.routingPreferences: is required"},
        Bad{"scope_name",
            in_service("loadBalancer: {mode: Strict, healthPolicy: AllowAll, routingPreferences: [Rack]}"),
            "mesh.yaml:3: services[0].loadBalancer.routingPreferences[0]: `Rack` is not accepted; accepted: Region, "
            "Zone, "
            "Subzone, Node, Cluster, Network"},
        Bad{"ip_families", in_service("ipFamilies: ipv4"),
            "mesh.yaml:3: services[0].ipFamilies: `ipv4` is not accepted; accepted: Dual, IPv4, IPv6"},
        Bad{"visibility", in_service("visibility: Private"),
            "mesh.yaml:3: services[0].visibility: `Private` is not accepted; accepted: Public, Namespace"},
        Bad{"weight", in_service("weightedWaypoints: [{destination: {destination: a/b, hboneMtlsPort: 1}}]"),
            "mesh.yaml:3: services[0].weightedWaypoints[0].weight: is required"},
        Bad{"service_twice",
            "services:\n- {name: a, namespace: n, hostname: h, vips: [], ports: {}}\n- {name: b, namespace: n, "
            "hostname: "
            "h, vips: [], ports: {}}\n",
            "mesh.yaml:3: services[1]: the service `n/h` is given twice"},
        Bad{"policy_required", "policies:\n- {name: p, namespace: n, scope: Global, action: Allow, rules: []}\n",
            "mesh.yaml:2: policies[0].dryRun: is required"},
        Bad{"policy_action",
            "policies:\n- {name: p, namespace: n, scope: Global, action: ALLOW, dryRun: false, rules: []}\n",
            "mesh.yaml:2: policies[0].action: `ALLOW` is not accepted; accepted: Allow, Deny"},
        Bad{"clauses",
            "policies:\n- {name: p, namespace: n, scope: Global, action: Deny, dryRun: false, rules: [{a: b}]}\n",
            "mesh.yaml:2: policies[0].rules[0]: a map is not accepted; accepted: a list"},
        Bad{"match_key", in_match("ports: [1]"),
            "mesh.yaml:3: policies[0].rules[0][0][0].ports: is not a key here; accepted: namespaces, notNamespaces, "
            "principals, notPrincipals, serviceAccounts, notServiceAccounts, sourceIps, notSourceIps, destinationIps, "
            "notDestinationIps, destinationPorts, notDestinationPorts"},
        Bad{"string_match", in_match("principals: [demo]"),
            "mesh.yaml:3: policies[0].rules[0][0][0].principals[0]: `demo` is not accepted; accepted: {Exact: TEXT}, "
            "{Prefix: TEXT}, {Suffix: TEXT}, {Presence: []}"},
        Bad{"string_match_key", in_match("principals: [{Regex: a}]"),
            "mesh.yaml:3: policies[0].rules[0][0][0].principals[0].Regex: is not a key here; accepted: {Exact: TEXT}, "
            "{Prefix: TEXT}, {Suffix: TEXT}, {Presence: []}"},
        Bad{"presence", in_match("principals: [{Presence: true}]"),
            "mesh.yaml:3: policies[0].rules[0][0][0].principals[0].Presence: `true` is not accepted; accepted: []"},
        Bad{"match_port", in_match("destinationPorts: [65536]"),
            "mesh.yaml:3: policies[0].rules[0][0][0].destinationPorts[0]: `65536` is not accepted; accepted: a number "
            "from "
            "0 to 65535"},
        Bad{"match_cidr", in_match("sourceIps: [10.0.0.0/33]"),
            "mesh.yaml:3: policies[0].rules[0][0][0].sourceIps[0]: `10.0.0.0/33` is not accepted; accepted: "
            "ADDRESS/LENGTH"}),
    [](const auto& row) { return row.param.name; });

TEST(MeshFile, TellsEveryProblemInOrderOfLines) {
  EXPECT_THAT(problems_of("services: 1\npolicies: 2\nworkloads: 3\nmore: 4\n"),
              ElementsAre("mesh.yaml:1: services: `1` is not accepted; accepted: a list",
                          "mesh.yaml:2: policies: `2` is not accepted; accepted: a list",
                          "mesh.yaml:3: workloads: `3` is not accepted; accepted: a list",
                          "mesh.yaml:4: more: is not a key here; accepted: workloads, policies, services"));
}

TEST(MeshFile, CountsProblemsBeyondAHundred) {
  std::string text = "workloads:\n";
  for (int i = 0; i < 130; i++) text += "- 1\n";
  const auto problems = problems_of(text);
  ASSERT_EQ(problems.size(), 101u);
  EXPECT_EQ(problems.back(), "mesh.yaml: and 30 more");
}

TEST(MeshFile, AnUnreadableFileIsAProblemToo) {
  EXPECT_THAT(load_mesh("/nonexistent/mesh.yaml").error(), ElementsAre("/nonexistent/mesh.yaml: cannot be read"));
}

// --- endpoints and warnings
// --------------------------------------------------------------------------------------------

constexpr char kEndpoints[] = R"(
workloads:
- {uid: a, name: a, namespace: n, workloadIps: [10.0.0.1], services: {}}
- {uid: b, name: b, namespace: n, workloadIps: [10.0.0.2], services: {n/h: {80: 1111}}}
- {uid: c, name: c, namespace: n, workloadIps: [10.0.0.3], services: {}}
services:
- name: h
  namespace: n
  hostname: h
  vips: []
  ports: {80: 8080}
  endpoints:
    one: {workloadUid: a, port: {80: 9090}}
    two: {workloadUid: b, port: {80: 9090}, status: Healthy}
    three: {workloadUid: c, port: {80: 9090}, status: Unhealthy}
    four: {workloadUid: nobody, port: {}}
)";

TEST(MeshFile, EndpointsOfAServiceBecomeMembershipsOfTheirWorkloads) {
  const Mesh mesh = mesh_of(kEndpoints);
  EXPECT_EQ(mesh.workloads.at("a").services.at("n/h"), (reconcile::PortMap{{80, 9090}}));
  EXPECT_EQ(mesh.workloads.at("b").services.at("n/h"), (reconcile::PortMap{{80, 1111}})) << "its own word wins";
  EXPECT_TRUE(mesh.workloads.at("c").services.empty()) << "unhealthy, and the service wants healthy ones";
}

TEST(MeshFile, AnUnhealthyEndpointStaysWhereTheServiceAllowsAll) {
  const Mesh mesh = mesh_of(std::string(kEndpoints) +
                            "  loadBalancer: {routingPreferences: [], mode: Standard, healthPolicy: AllowAll}\n");
  EXPECT_TRUE(mesh.workloads.at("c").services.contains("n/h"));
}

TEST(MeshFile, WarnsOfNamesThatLeadNowhere) {
  const auto parsed = parse_mesh(kEndpoints, "mesh.yaml");
  ASSERT_TRUE(parsed);
  EXPECT_THAT(parsed->warnings,
              ElementsAre("mesh.yaml:16: services[0].endpoints[four].workloadUid: no workload has the "
                          "uid `nobody`; never chosen"));
  const auto second = parse_mesh(R"(workloads:
- {uid: u, namespace: n, workloadIps: [], services: {}, protocol: HBONE, authorizationPolicies: [n/p]}
)",
                                 "mesh.yaml");
  ASSERT_TRUE(second);
  EXPECT_THAT(
      second->warnings,
      ElementsAre("mesh.yaml:2: workloads: `u` speaks HBONE and has no identity: set trustDomain and serviceAccount",
                  "mesh.yaml:2: workloads: `u` names the policy `n/p`, which does not exist: not enforced"));
}

}  // namespace
}  // namespace culvert::local
