// Records as messages: one of each with every field set, as protobuf prints it.
#include "southbound/convert.h"

#include <gtest/gtest.h>

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

namespace culvert::southbound {
namespace {

namespace rc = reconcile;

template <class Message>
::testing::AssertionResult same(const Message& made, const std::string& expected_text) {
  Message expected;
  if (!google::protobuf::TextFormat::ParseFromString(expected_text, &expected)) {
    return ::testing::AssertionFailure() << "the expectation is no message";
  }
  google::protobuf::util::MessageDifferencer differ;
  std::string report;
  differ.ReportDifferencesToString(&report);
  if (differ.Compare(expected, made)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << report;
}

TEST(ConvertWorkload, KeepsEveryField) {
  rc::Workload w;
  w.uid = "u";
  w.name = "n";
  w.name_space = "ns";
  w.addresses = {*IpAddress::parse("1.2.3.4"), *IpAddress::parse("102:304:506:708:90a:b0c:d0e:f10")};
  w.network = "net";
  w.tunnel = rc::Tunnel::kHbone;
  w.network_mode = rc::NetworkMode::kHostNetwork;
  w.health = rc::Health::kUnhealthy;
  w.trust_domain = "td";
  w.service_account = "sa";
  w.node = "n1";
  w.cluster = "c";
  w.hostname = "h";
  w.workload_name = "wn";
  w.type = rc::WorkloadType::kCronJob;
  w.canonical_name = "cn";
  w.canonical_revision = "cr";
  w.native_tunnel = true;
  w.waypoint = rc::Gateway{rc::NetworkAddress{"net", *IpAddress::parse("1.1.1.1")}, 15008};
  w.network_gateway = rc::Gateway{rc::NamespacedHostname{"gns", "gh"}, 15009};
  w.application_tunnel = {rc::ApplicationTunnelProtocol::kProxy, 9000};
  w.locality = {"r", "z", "s"};
  w.capacity = 7;
  w.services = {{"ns/h", {{80, 8080}, {443, 0}}}};
  w.authorization_policies = {"ns/p"};
  EXPECT_TRUE(same(to_api(w), R"(
    uid: "u" name: "n" name_space: "ns"
    addresses: "\001\002\003\004" addresses: "\001\002\003\004\005\006\007\010\t\n\013\014\r\016\017\020"
    network: "net" tunnel: TUNNEL_HBONE network_mode: NETWORK_HOST health: UNHEALTHY
    trust_domain: "td" service_account: "sa" node: "n1" cluster: "c" hostname: "h" workload_name: "wn" type: CRONJOB
    canonical_name: "cn" canonical_revision: "cr" native_tunnel: true
    waypoint { address { network: "net" address: "\001\001\001\001" } hbone_port: 15008 }
    network_gateway { hostname { name_space: "gns" hostname: "gh" } hbone_port: 15009 }
    application_tunnel: APPLICATION_TUNNEL_PROXY application_tunnel_port: 9000
    locality { region: "r" zone: "z" subzone: "s" } capacity: 7
    services { service: "ns/h" ports { service_port: 80 target_port: 8080 } ports { service_port: 443 } }
    authorization_policies: "ns/p")"));
}

TEST(ConvertService, KeepsEveryField) {
  rc::Service s;
  s.name = "n";
  s.name_space = "ns";
  s.hostname = "h";
  s.vips = {{"net", *IpAddress::parse("1.2.3.4")}};
  s.cidr_vips = {{"net", *Prefix::parse("1.0.0.0/8")}};
  s.ports = {{80, 8080}};
  s.subject_alt_names = {"spiffe://td/ns/ns/sa/sa"};
  s.waypoint = rc::Gateway{rc::NamespacedHostname{"gns", "gh"}, 1};
  s.weighted_waypoints = {{{rc::NamespacedHostname{"gns", "g2"}, 2}, 30}};
  s.load_balancing =
      rc::LoadBalancing{rc::BalancingMode::kFailover,
                        {rc::RoutingScope::kRegion, rc::RoutingScope::kZone, rc::RoutingScope::kSubzone,
                         rc::RoutingScope::kNode, rc::RoutingScope::kCluster, rc::RoutingScope::kNetwork},
                        rc::HealthPolicy::kAllowAll};
  s.ip_families = rc::IpFamilies::kDual;
  s.canonical = true;
  s.visibility = rc::Visibility::kNamespace;
  EXPECT_TRUE(same(to_api(s), R"(
    name: "n" name_space: "ns" hostname: "h" vips { network: "net" address: "\001\002\003\004" }
    cidr_vips { network: "net" prefix { address: "\001\000\000\000" bits: 8 } }
    ports { service_port: 80 target_port: 8080 } subject_alt_names: "spiffe://td/ns/ns/sa/sa"
    waypoint { hostname { name_space: "gns" hostname: "gh" } hbone_port: 1 }
    weighted_waypoints { destination { hostname { name_space: "gns" hostname: "g2" } hbone_port: 2 } weight: 30 }
    load_balancing { mode: MODE_FAILOVER health_policy: ALLOW_ALL routing_preference: [SCOPE_REGION, SCOPE_ZONE,
      SCOPE_SUBZONE, SCOPE_NODE, SCOPE_CLUSTER, SCOPE_NETWORK] }
    ip_families: DUAL canonical: true visibility: VISIBILITY_NAMESPACE)"));
}

TEST(ConvertPolicy, KeepsEveryField) {
  using Kind = rc::StringMatch::Kind;
  rc::Match m;
  m.namespaces = {{Kind::kExact, "a"}};
  m.not_namespaces = {{Kind::kPrefix, "b"}};
  m.principals = {{Kind::kSuffix, "c"}};
  m.not_principals = {{Kind::kPresence, ""}};
  m.service_accounts = {{"ns", "d"}};
  m.not_service_accounts = {{"ns", "e"}};
  m.source_ips = {*Prefix::parse("1.0.0.0/8")};
  m.not_source_ips = {*Prefix::parse("2.0.0.0/8")};
  m.destination_ips = {*Prefix::parse("3.0.0.0/8")};
  m.not_destination_ips = {*Prefix::parse("4.0.0.0/8")};
  m.destination_ports = {80};
  m.not_destination_ports = {22};
  rc::Policy p;
  p.name = "n";
  p.name_space = "ns";
  p.scope = rc::PolicyScope::kWorkloadSelector;
  p.action = rc::PolicyAction::kDeny;
  p.dry_run = true;
  p.rules = {{{m, {}}, {}}, {}};
  EXPECT_TRUE(same(to_api(p), R"(
    name: "n" name_space: "ns" scope: SCOPE_WORKLOAD_SELECTOR action: DENY dry_run: true
    rules { clauses { matches {
      namespaces { exact: "a" } not_namespaces { prefix: "b" }
      principals { suffix: "c" } not_principals { presence: true }
      service_accounts { name_space: "ns" service_account: "d" }
      not_service_accounts { name_space: "ns" service_account: "e" }
      source_ips { address: "\001\000\000\000" bits: 8 }
      not_source_ips { address: "\002\000\000\000" bits: 8 }
      destination_ips { address: "\003\000\000\000" bits: 8 }
      not_destination_ips { address: "\004\000\000\000" bits: 8 }
      destination_ports: 80 not_destination_ports: 22 } matches {} } clauses {} }
    rules {})"));
}

TEST(ConvertEnumerations, ByNameEachValue) {
  const auto type = [](rc::WorkloadType t) {
    rc::Workload w;
    w.type = t;
    return to_api(w).type();
  };
  EXPECT_EQ(type(rc::WorkloadType::kDeployment), api::Workload::DEPLOYMENT);
  EXPECT_EQ(type(rc::WorkloadType::kPod), api::Workload::POD);
  EXPECT_EQ(type(rc::WorkloadType::kJob), api::Workload::JOB);
  const auto mode = [](rc::BalancingMode m) {
    rc::Service s;
    s.load_balancing = rc::LoadBalancing{m, {}, rc::HealthPolicy::kOnlyHealthy};
    return to_api(s).load_balancing().mode();
  };
  EXPECT_EQ(mode(rc::BalancingMode::kStandard), api::LoadBalancing::MODE_STANDARD);
  EXPECT_EQ(mode(rc::BalancingMode::kStrict), api::LoadBalancing::MODE_STRICT);
  EXPECT_EQ(mode(rc::BalancingMode::kPassthrough), api::LoadBalancing::MODE_PASSTHROUGH);
  const auto families = [](rc::IpFamilies f) {
    rc::Service s;
    s.ip_families = f;
    return to_api(s).ip_families();
  };
  EXPECT_EQ(families(rc::IpFamilies::kAutomatic), api::Service::AUTOMATIC);
  EXPECT_EQ(families(rc::IpFamilies::kIpv4Only), api::Service::IPV4_ONLY);
  EXPECT_EQ(families(rc::IpFamilies::kIpv6Only), api::Service::IPV6_ONLY);
  const auto scope = [](rc::PolicyScope v) {
    rc::Policy p;
    p.scope = v;
    return to_api(p).scope();
  };
  EXPECT_EQ(scope(rc::PolicyScope::kGlobal), api::Policy::SCOPE_GLOBAL);
  EXPECT_EQ(scope(rc::PolicyScope::kNamespace), api::Policy::SCOPE_NAMESPACE);
}

}  // namespace
}  // namespace culvert::southbound
