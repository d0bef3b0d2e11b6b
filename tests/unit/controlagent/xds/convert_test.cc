// Workloads and services: one row for each rule of reference 13.2, and what is refused names its field.
#include "xds/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace culvert::xds {
namespace {

using reconcile::Service;
using reconcile::Workload;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
namespace api = istio::workload;

const std::string kV4 = std::string("\x0a\x00\x00\x07", 4);
const std::string kV6 = std::string("\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 16);

api::Workload workload() {
  api::Workload out;
  out.set_uid("Kubernetes//Pod/shop/web");
  out.set_name("web");
  out.set_namespace_("shop");
  return out;
}
api::Service service() {
  api::Service out;
  out.set_name("web");
  out.set_namespace_("shop");
  out.set_hostname("web.shop.svc.cluster.local");
  return out;
}
api::GatewayAddress waypoint() {
  api::GatewayAddress out;
  out.mutable_hostname()->set_namespace_("shop");
  out.mutable_hostname()->set_hostname("waypoint.shop.svc.cluster.local");
  out.set_hbone_mtls_port(15008);
  return out;
}

Workload taken(const api::Workload& in) {
  Fields fields;
  Workload out = convert(in, "resource-name", fields);
  EXPECT_EQ(fields.take_problem(), "");
  return out;
}
Service taken(const api::Service& in) {
  Fields fields;
  Service out = convert(in, fields);
  EXPECT_EQ(fields.take_problem(), "");
  return out;
}
std::string problem(const api::Workload& in) {
  Fields fields;
  convert(in, "resource-name", fields);
  return fields.take_problem();
}
std::string problem(const api::Service& in) {
  Fields fields;
  convert(in, fields);
  return fields.take_problem();
}

TEST(WorkloadConversion, EveryFieldIsCarriedOver) {
  api::Workload in = workload();
  in.add_addresses(kV4);
  in.add_addresses(kV6);
  in.set_network("net");
  in.set_tunnel_protocol(api::HBONE);
  in.set_trust_domain("td");
  in.set_service_account("sa");
  *in.mutable_waypoint() = waypoint();
  in.set_node("n1");
  in.set_canonical_name("canon");
  in.set_canonical_revision("v2");
  in.set_workload_type(api::POD);
  in.set_workload_name("web-deploy");
  in.set_native_tunnel(true);
  in.add_authorization_policies("shop/wide");
  in.set_status(api::UNHEALTHY);
  in.set_cluster_id("c2");
  in.mutable_network_gateway()->mutable_address()->set_network("far");
  in.mutable_network_gateway()->mutable_address()->set_address(kV4);
  in.mutable_network_gateway()->set_hbone_mtls_port(15009);
  in.set_hostname("web.example");
  api::Port& port = *(*in.mutable_services())["shop/web.shop.svc.cluster.local"].add_ports();
  port.set_service_port(80);
  port.set_target_port(8080);
  port.set_app_protocol(api::HTTP2);
  in.mutable_application_tunnel()->set_protocol(api::ApplicationTunnel::PROXY);
  in.mutable_application_tunnel()->set_port(15088);
  in.mutable_locality()->set_region("r");
  in.mutable_locality()->set_zone("z");
  in.mutable_locality()->set_subzone("s");
  in.set_network_mode(api::HOST_NETWORK);
  in.add_extensions()->set_name("ignored");
  in.mutable_capacity()->set_value(3);

  Workload want;
  want.uid = "Kubernetes//Pod/shop/web";
  want.name = "web";
  want.name_space = "shop";
  want.addresses = {*IpAddress::parse("10.0.0.7"), *IpAddress::parse("fd00::1")};
  want.network = "net";
  want.tunnel = reconcile::Tunnel::kHbone;
  want.network_mode = reconcile::NetworkMode::kHostNetwork;
  want.health = reconcile::Health::kUnhealthy;
  want.trust_domain = "td";
  want.service_account = "sa";
  want.node = "n1";
  want.cluster = "c2";
  want.hostname = "web.example";
  want.workload_name = "web-deploy";
  want.type = reconcile::WorkloadType::kPod;
  want.canonical_name = "canon";
  want.canonical_revision = "v2";
  want.native_tunnel = true;
  want.waypoint = {reconcile::NamespacedHostname{"shop", "waypoint.shop.svc.cluster.local"}, 15008};
  want.network_gateway = {reconcile::NetworkAddress{"far", *IpAddress::parse("10.0.0.7")}, 15009};
  want.application_tunnel = {reconcile::ApplicationTunnelProtocol::kProxy, 15088};
  want.locality = {"r", "z", "s"};
  want.capacity = 3;
  want.services = {{"shop/web.shop.svc.cluster.local", {{80, 8080}}}};
  want.authorization_policies = {"shop/wide"};
  EXPECT_EQ(taken(in), want);
}

TEST(WorkloadConversion, WhatIsEmptyHasTheDefaultsOfTheMesh) {
  const Workload w = taken(workload());
  EXPECT_EQ(w.trust_domain, "cluster.local");
  EXPECT_EQ(w.service_account, "default");
  EXPECT_EQ(w.cluster, "Kubernetes");
  EXPECT_EQ(w.capacity, 1u);
  EXPECT_EQ(w.tunnel, reconcile::Tunnel::kNone);
  EXPECT_EQ(w.type, reconcile::WorkloadType::kDeployment);
  EXPECT_EQ(w.network, "");
  EXPECT_FALSE(w.waypoint || w.network_gateway);
}

TEST(WorkloadConversion, ACapacityOfZeroThatIsSaidIsZero) {
  api::Workload in = workload();
  in.mutable_capacity()->set_value(0);
  EXPECT_EQ(taken(in).capacity, 0u);
}

TEST(WorkloadConversion, WithoutAUidTheResourcesNameIsIt) {
  api::Workload in = workload();
  in.clear_uid();
  EXPECT_EQ(taken(in).uid, "resource-name");
}

TEST(WorkloadConversion, AnUnknownTypeIsADeployment) {
  api::Workload in = workload();
  in.set_workload_type(static_cast<api::WorkloadType>(77));
  EXPECT_EQ(taken(in).type, reconcile::WorkloadType::kDeployment);
}

TEST(WorkloadConversion, PortsAreCutToSixteenBits) {
  api::Workload in = workload();
  auto& ports = (*in.mutable_services())["shop/a"];
  ports.add_ports()->set_service_port(65'536 + 80);
  ports.mutable_ports(0)->set_target_port(65'536 + 81);
  ports.add_ports()->set_service_port(81);
  ports.add_ports()->set_service_port(65'536);
  in.mutable_application_tunnel()->set_port(65'536 + 9);
  const Workload w = taken(in);
  EXPECT_THAT(w.services.at("shop/a"), ElementsAre(Pair(80, 81), Pair(81, 0)));
  EXPECT_EQ(w.application_tunnel.port, 9);
}

TEST(WorkloadConversion, APolicyNameThatIsNoneIsLeftOutAndSaid) {
  api::Workload in = workload();
  in.add_authorization_policies("wide");
  in.add_authorization_policies("shop/wide");
  Fields fields;
  EXPECT_THAT(convert(in, "r", fields).authorization_policies, ElementsAre("shop/wide"));
  EXPECT_FALSE(fields.refused());
  EXPECT_THAT(fields.take_notes(),
              ElementsAre("workload.authorization_policies[0]: `wide` is not namespace/name, left out"));
}

struct Refused {
  std::string name;
  std::function<void(api::Workload&)> change;
  std::string problem;
};
void PrintTo(const Refused& row, std::ostream* out) { *out << row.name; }

class WorkloadRefusal : public testing::TestWithParam<Refused> {};

TEST_P(WorkloadRefusal, NamesTheField) {
  api::Workload in = workload();
  GetParam().change(in);
  EXPECT_EQ(problem(in), GetParam().problem);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, WorkloadRefusal,
    testing::Values(
        Refused{"Namespace", [](auto& w) { w.clear_namespace_(); }, "workload.namespace: is missing"},
        Refused{"Address",
                [](auto& w) {
                  w.add_addresses(kV4);
                  w.add_addresses("12345");
                },
                "workload.addresses[1]: 5 bytes, an address has 4 or 16"},
        Refused{"EmptyAddress", [](auto& w) { w.add_addresses(""); },
                "workload.addresses[0]: 0 bytes, an address has 4 or 16"},
        Refused{"LegacyTunnel", [](auto& w) { w.set_tunnel_protocol(api::LEGACY_ISTIO_MTLS); },
                "workload.tunnel_protocol: is LEGACY_ISTIO_MTLS, which is not spoken here"},
        Refused{"Tunnel", [](auto& w) { w.set_tunnel_protocol(static_cast<api::TunnelProtocol>(9)); },
                "workload.tunnel_protocol: is a value that this build does not know: 9"},
        Refused{"NegativeTunnel", [](auto& w) { w.set_tunnel_protocol(static_cast<api::TunnelProtocol>(-1)); },
                "workload.tunnel_protocol: is a value that this build does not know: -1"},
        Refused{"Mode", [](auto& w) { w.set_network_mode(static_cast<api::NetworkMode>(2)); },
                "workload.network_mode: is a value that this build does not know: 2"},
        Refused{"Status", [](auto& w) { w.set_status(static_cast<api::WorkloadStatus>(2)); },
                "workload.status: is a value that this build does not know: 2"},
        Refused{"ApplicationTunnel",
                [](auto& w) {
                  w.mutable_application_tunnel()->set_protocol(static_cast<api::ApplicationTunnel::Protocol>(2));
                },
                "workload.application_tunnel.protocol: is a value that this build does not know: 2"},
        Refused{"WaypointDestination", [](auto& w) { w.mutable_waypoint()->set_hbone_mtls_port(15008); },
                "workload.waypoint.destination: is missing"},
        Refused{"WaypointPort",
                [](auto& w) {
                  *w.mutable_waypoint() = waypoint();
                  w.mutable_waypoint()->set_hbone_mtls_port(65'536);
                },
                "workload.waypoint.hbone_mtls_port: is 0, a gateway needs its port"},
        Refused{"WaypointHostname",
                [](auto& w) {
                  *w.mutable_waypoint() = waypoint();
                  w.mutable_waypoint()->mutable_hostname()->clear_hostname();
                },
                "workload.waypoint.hostname.hostname: is missing"},
        Refused{"GatewayAddress",
                [](auto& w) {
                  w.mutable_network_gateway()->set_hbone_mtls_port(1);
                  w.mutable_network_gateway()->mutable_address()->set_address("123");
                },
                "workload.network_gateway.address.address: 3 bytes, an address has 4 or 16"},
        Refused{"ServiceKey", [](auto& w) { (*w.mutable_services())["web"]; },
                "workload.services: the key `web` is not namespace/hostname"},
        Refused{"HalfServiceKey", [](auto& w) { (*w.mutable_services())["shop/"]; },
                "workload.services: the key `shop/` is not namespace/hostname"},
        Refused{"ControlCharacter", [](auto& w) { w.set_node("n\n1"); }, "workload.node: holds a control character"},
        Refused{"LongText", [](auto& w) { w.set_hostname(std::string(5000, 'a')); },
                "workload.hostname: 5000 bytes, at most 4096 are taken"}),
    [](const auto& row) { return row.param.name; });

TEST(ServiceConversion, EveryFieldIsCarriedOver) {
  api::Service in = service();
  in.add_addresses()->set_network("net");
  in.mutable_addresses(0)->set_address(kV4);
  in.add_ports()->set_service_port(80);
  in.mutable_ports(0)->set_target_port(8080);
  in.add_ports()->set_service_port(81);
  in.add_subject_alt_names("spiffe://td/ns/a/sa/b");
  *in.mutable_waypoint() = waypoint();
  in.mutable_load_balancing()->add_routing_preference(api::LoadBalancing::REGION);
  in.mutable_load_balancing()->add_routing_preference(api::LoadBalancing::NETWORK);
  in.mutable_load_balancing()->set_mode(api::LoadBalancing::FAILOVER);
  in.mutable_load_balancing()->set_health_policy(api::LoadBalancing::ALLOW_ALL);
  in.set_ip_families(api::DUAL);
  in.add_extensions()->set_name("ignored");
  in.set_canonical(true);
  in.set_ingress_use_waypoint(true);
  *in.add_weighted_waypoints()->mutable_destination() = waypoint();
  in.mutable_weighted_waypoints(0)->set_weight(7);
  in.set_visibility(api::Service::NAMESPACE);

  Service want;
  want.name = "web";
  want.name_space = "shop";
  want.hostname = "web.shop.svc.cluster.local";
  want.vips = {{"net", *IpAddress::parse("10.0.0.7")}};
  want.ports = {{80, 8080}, {81, 0}};
  want.subject_alt_names = {"spiffe://td/ns/a/sa/b"};
  want.waypoint = {reconcile::NamespacedHostname{"shop", "waypoint.shop.svc.cluster.local"}, 15008};
  want.weighted_waypoints = {{*want.waypoint, 7}};
  want.load_balancing = {reconcile::BalancingMode::kFailover,
                         {reconcile::RoutingScope::kRegion, reconcile::RoutingScope::kNetwork},
                         reconcile::HealthPolicy::kAllowAll};
  want.ip_families = reconcile::IpFamilies::kDual;
  want.canonical = true;
  want.visibility = reconcile::Visibility::kNamespace;
  EXPECT_EQ(taken(in), want);
}

TEST(ServiceConversion, ALengthMakesABlockOfAnAddressUnlessItIsWhole) {
  struct Row {
    std::string address;
    std::optional<uint32_t> length;
    std::string vip, block;
  };
  const std::string mapped = std::string(10, '\0') + "\xff\xff" + kV4;
  for (const Row& row :
       {Row{kV4, std::nullopt, "10.0.0.7", ""}, Row{kV4, 32, "10.0.0.7", ""}, Row{kV4, 24, "", "10.0.0.0/24"},
        Row{kV4, 0, "", "0.0.0.0/0"}, Row{kV6, 128, "fd00::1", ""}, Row{kV6, 64, "", "fd00::/64"},
        Row{mapped, std::nullopt, "10.0.0.7", ""}, Row{mapped, 104, "", "10.0.0.0/8"}}) {
    api::Service in = service();
    in.add_addresses()->set_address(row.address);
    if (row.length) in.mutable_addresses(0)->set_length(*row.length);
    const Service s = taken(in);
    if (row.block.empty()) {
      ASSERT_EQ(s.vips.size(), 1u);
      EXPECT_EQ(s.vips[0].address.to_string(), row.vip);
      EXPECT_THAT(s.cidr_vips, IsEmpty());
    } else {
      ASSERT_EQ(s.cidr_vips.size(), 1u) << row.block;
      EXPECT_EQ(s.cidr_vips[0].prefix.to_string(), row.block);
      EXPECT_THAT(s.vips, IsEmpty());
    }
  }
}

TEST(ServiceConversion, AnUnknownVisibilityIsPublic) {
  api::Service in = service();
  in.set_visibility(static_cast<api::Service::Visibility>(5));
  EXPECT_EQ(taken(in).visibility, reconcile::Visibility::kPublic);
}

struct RefusedService {
  std::string name;
  std::function<void(api::Service&)> change;
  std::string problem;
};
void PrintTo(const RefusedService& row, std::ostream* out) { *out << row.name; }

class ServiceRefusal : public testing::TestWithParam<RefusedService> {};

TEST_P(ServiceRefusal, NamesTheField) {
  api::Service in = service();
  GetParam().change(in);
  EXPECT_EQ(problem(in), GetParam().problem);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, ServiceRefusal,
    testing::Values(
        RefusedService{"Namespace", [](auto& s) { s.clear_namespace_(); }, "service.namespace: is missing"},
        RefusedService{"SlashInNamespace", [](auto& s) { s.set_namespace_("a/b"); }, "service.namespace: holds a `/`"},
        RefusedService{"Hostname", [](auto& s) { s.clear_hostname(); }, "service.hostname: is missing"},
        RefusedService{"Address", [](auto& s) { s.add_addresses()->set_address("1"); },
                       "service.addresses[0].address: 1 bytes, an address has 4 or 16"},
        RefusedService{"Length",
                       [](auto& s) {
                         s.add_addresses()->set_address(kV4);
                         s.mutable_addresses(0)->set_length(33);
                       },
                       "service.addresses[0].length: 33 does not fit an address of 4 bytes"},
        RefusedService{"UnspecifiedScope",
                       [](auto& s) {
                         s.mutable_load_balancing()->add_routing_preference(api::LoadBalancing::NODE);
                         s.mutable_load_balancing()->add_routing_preference(api::LoadBalancing::UNSPECIFIED_SCOPE);
                       },
                       "service.load_balancing.routing_preference[1]: is UNSPECIFIED_SCOPE"},
        RefusedService{"UnknownScope",
                       [](auto& s) {
                         s.mutable_load_balancing()->add_routing_preference(static_cast<api::LoadBalancing::Scope>(7));
                       },
                       "service.load_balancing.routing_preference[0]: is a value that this build does not know: 7"},
        RefusedService{"Mode",
                       [](auto& s) { s.mutable_load_balancing()->set_mode(static_cast<api::LoadBalancing::Mode>(4)); },
                       "service.load_balancing.mode: is a value that this build does not know: 4"},
        RefusedService{"HealthPolicy",
                       [](auto& s) {
                         s.mutable_load_balancing()->set_health_policy(
                             static_cast<api::LoadBalancing::HealthPolicy>(2));
                       },
                       "service.load_balancing.health_policy: is a value that this build does not know: 2"},
        RefusedService{"Families", [](auto& s) { s.set_ip_families(static_cast<api::IPFamilies>(4)); },
                       "service.ip_families: is a value that this build does not know: 4"},
        RefusedService{"Waypoint", [](auto& s) { s.mutable_waypoint(); }, "service.waypoint.destination: is missing"},
        RefusedService{"WeightedWaypoint", [](auto& s) { s.add_weighted_waypoints(); },
                       "service.weighted_waypoints[0].destination.destination: is missing"},
        RefusedService{"Name", [](auto& s) { s.set_name("a\tb"); }, "service.name: holds a control character"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace culvert::xds
