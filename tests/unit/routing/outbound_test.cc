// Rows A to H of reference 9.2 as tables: a mesh, a destination, the decision.
#include <gtest/gtest.h>

#include "routing/outbound.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::routing {
namespace {

using namespace testkit::records;
using namespace snapshot;

const std::string kWeb = "shop/web.shop.svc.cluster.local";

class Outbound : public testing::Test {
 protected:
  Outbound() { builder.upsert(pod("client", {"10.0.0.1", "fd00::1"})); }

  OutboundDecision decide(std::string_view destination) {
    mesh = builder.publish();
    const Workload* client = mesh->local_workload("shop", "client", "");
    return decide_outbound(*mesh, {client, ip("10.0.0.1"), at(destination), ""}, random);
  }
  std::string refused(std::string_view destination) {
    const OutboundDecision d = decide(destination);
    EXPECT_EQ(d.carried(), d.error.empty());
    return std::string(name_of(d.refusal)) + " | " + d.error;
  }
  std::string carried(std::string_view destination) {
    const OutboundDecision d = decide(destination);
    EXPECT_TRUE(d.carried()) << d.error;
    return d.hbone.to_string() + " " + d.authority.to_string();
  }
  static GatewayAddress waypoint(const std::string& ns, const std::string& hostname) {
    return {NamespacedHostname{ns, hostname}, 15008};
  }

  MeshBuilder builder;
  std::shared_ptr<const Mesh> mesh;
  Random random{1};
};

TEST_F(Outbound, AWorkloadAddressedDirectlyIsReachedOnThePortDialled) {
  builder.upsert(pod("server", {"10.0.0.2", "fd00::2"}));
  EXPECT_EQ(carried("10.0.0.2:8080"), "10.0.0.2:15008 10.0.0.2:8080");
  EXPECT_EQ(carried("[fd00::2]:8080"), "[fd00::2]:15008 [fd00::2]:8080");
  const OutboundDecision d = decide("10.0.0.2:8080");
  EXPECT_EQ(d.endpoint_uid, "Kubernetes//Pod/shop/server");
  EXPECT_EQ(d.service_hostname, "");
  ASSERT_EQ(d.expected_identities.size(), 1u);
  EXPECT_EQ(d.expected_identities[0].uri(), "spiffe://cluster.local/ns/shop/sa/server");
}

TEST_F(Outbound, AServiceIsReachedAtOneOfItsEndpointsOnTheTargetPort) {
  Service web = service("web", {"10.96.0.1"}, ports({{80, 8080}, {90, 0}}));
  web.subject_alt_names = {"spiffe://other/ns/x/sa/y", "not an identity", "spiffe://cluster.local/ns/shop/sa/server"};
  builder.upsert(web);
  builder.upsert(backing(pod("server", {"10.0.0.2"}), kWeb, ports({{90, 9999}})));
  EXPECT_EQ(carried("10.96.0.1:80"), "10.0.0.2:15008 10.0.0.2:8080");
  EXPECT_EQ(carried("10.96.0.1:90"), "10.0.0.2:15008 10.0.0.2:9999") << "the endpoint's own map";
  const OutboundDecision d = decide("10.96.0.1:80");
  EXPECT_EQ(d.service_hostname, web.hostname);
  ASSERT_EQ(d.expected_identities.size(), 2u) << "the service's names that parse, then the workload's own, each once";
  EXPECT_EQ(d.expected_identities[0].uri(), "spiffe://other/ns/x/sa/y");
  EXPECT_EQ(d.expected_identities[1].uri(), "spiffe://cluster.local/ns/shop/sa/server");
}

TEST_F(Outbound, TheClientItselfMayBeChosenForItsOwnService) {
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  builder.upsert(backing(pod("client", {"10.0.0.1"}), kWeb));
  EXPECT_EQ(carried("10.96.0.1:80"), "10.0.0.1:15008 10.0.0.1:8080");
}

TEST_F(Outbound, TheEndpointsAddressFollowsTheFamilyDialledAndTheServicesFamilies) {
  Service web = service("web", {"10.96.0.1", "fd96::1"}, ports({{80, 8080}}));
  builder.upsert(backing(pod("server", {"fd00::2", "10.0.0.2", "10.0.0.3"}), kWeb));
  struct Row {
    IpFamilies families;
    const char *over_v4, *over_v6;
  };
  for (const Row& row : {Row{IpFamilies::kAutomatic, "10.0.0.2:8080", "[fd00::2]:8080"},
                         Row{IpFamilies::kDual, "10.0.0.2:8080", "[fd00::2]:8080"},
                         Row{IpFamilies::kIpv4Only, "10.0.0.2:8080", "10.0.0.2:8080"},
                         Row{IpFamilies::kIpv6Only, "[fd00::2]:8080", "[fd00::2]:8080"}}) {
    web.ip_families = row.families;
    builder.upsert(web);
    EXPECT_EQ(decide("10.96.0.1:80").authority.to_string(), row.over_v4);
    EXPECT_EQ(decide("[fd96::1]:80").authority.to_string(), row.over_v6);
  }
  builder.upsert(backing(pod("server", {"10.0.0.2"}), kWeb));
  EXPECT_EQ(refused("10.96.0.1:80"),
            "no_address | no valid routing destination for workload: Kubernetes//Pod/shop/server");
}

TEST_F(Outbound, RowDServicesWithoutAUsableEndpointAreRefused) {
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  EXPECT_EQ(refused("10.96.0.1:80"), "no_healthy_upstream | no healthy upstream: 10.96.0.1:80") << "no endpoint";
  builder.upsert(backing(pod("server", {"10.0.0.2"}), kWeb));
  EXPECT_EQ(refused("10.96.0.1:81"), "no_healthy_upstream | no healthy upstream: 10.96.0.1:81") << "unknown port";
  Workload sick = backing(pod("server", {"10.0.0.2"}), kWeb);
  sick.status = WorkloadStatus::kUnhealthy;
  builder.upsert(sick);
  EXPECT_EQ(refused("10.96.0.1:80"), "no_healthy_upstream | no healthy upstream: 10.96.0.1:80") << "unhealthy";
  EXPECT_EQ(carried("10.0.0.2:8080"), "10.0.0.2:15008 10.0.0.2:8080") << "health is not asked when addressed directly";
}

TEST_F(Outbound, RowDDestinationsOutsideTheMeshAndPassthroughServicesAreNamedAsSuch) {
  EXPECT_EQ(refused("192.0.2.1:443"), "outside_mesh | plaintext passthrough is not supported yet: 192.0.2.1:443");
  Service external = service("external", {"10.96.0.9"}, ports({{80, 80}}));
  external.load_balancing = LoadBalancing{{}, LoadBalancingMode::kPassthrough, HealthPolicy::kAllowAll};
  builder.upsert(external);
  builder.upsert(backing(pod("server", {"10.0.0.2"}), external.key()));
  EXPECT_EQ(refused("10.96.0.9:80"), "passthrough_service | plaintext passthrough is not supported yet: 10.96.0.9:80");
}

TEST_F(Outbound, RowBServicesBehindAWaypointAreNotBypassed) {
  Service web = service("web", {"10.96.0.1"}, ports({{80, 8080}}));
  web.waypoint = waypoint("shop", "waypoint.shop.svc.cluster.local");
  builder.upsert(web);
  builder.upsert(backing(pod("server", {"10.0.0.2"}), kWeb));
  EXPECT_EQ(refused("10.96.0.1:80"), "unknown_waypoint | unknown waypoint: shop/waypoint.shop.svc.cluster.local");
  builder.upsert(service("waypoint", {"10.96.0.8"}, ports({{15008, 15008}})));
  EXPECT_EQ(refused("10.96.0.1:80"),
            "service_waypoint | waypoints are not supported yet: shop/waypoint.shop.svc.cluster.local");
  EXPECT_EQ(carried("10.0.0.2:8080"), "10.0.0.2:15008 10.0.0.2:8080") << "the service's waypoint is not the workload's";
  web.waypoint.reset();
  web.weighted_waypoints = {{waypoint("shop", "waypoint.shop.svc.cluster.local"), 1}};
  builder.upsert(web);
  EXPECT_EQ(decide("10.96.0.1:80").refusal, OutboundRefusal::kServiceWaypoint);
}

TEST_F(Outbound, RowFWorkloadsBehindAWaypointAreReachedDirectlyByTheWaypointOnly) {
  Workload server = pod("server", {"10.0.0.2"});
  server.waypoint = GatewayAddress{NetworkAddress{"", ip("10.96.0.8")}, 15008};
  builder.upsert(server);
  EXPECT_EQ(refused("10.0.0.2:80"), "unknown_waypoint | unknown waypoint: /10.96.0.8");
  const Service gateway = service("waypoint", {"10.96.0.8"}, ports({{15008, 15008}}));
  builder.upsert(gateway);
  builder.upsert(backing(pod("other", {"10.0.0.8"}), gateway.key()));
  EXPECT_EQ(refused("10.0.0.2:80"), "workload_waypoint | waypoints are not supported yet: /10.96.0.8");

  builder.upsert(backing(pod("client", {"10.0.0.1"}), gateway.key()));
  EXPECT_EQ(carried("10.0.0.2:80"), "10.0.0.2:15008 10.0.0.2:80") << "the source is one of the waypoint's pods";
  builder.upsert(backing(pod("client", {"10.0.0.77"}), gateway.key()));
  EXPECT_EQ(decide("10.0.0.2:80").refusal, OutboundRefusal::kWorkloadWaypoint) << "its address must fit, too";

  // Addressed through a service, a workload's waypoint does not count.
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  server = backing(server, kWeb);
  builder.upsert(server);
  EXPECT_EQ(carried("10.96.0.1:80"), "10.0.0.2:15008 10.0.0.2:8080");
}

TEST_F(Outbound, RowEEndpointsInOtherNetworksAreRefused) {
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  Workload far = backing(pod("far", {}), kWeb);
  far.network = "remote";
  builder.upsert(far);
  EXPECT_EQ(decide("10.96.0.1:80").refusal, OutboundRefusal::kNoHealthyUpstream) << "no gateway to it: not an endpoint";
  far.network_gateway = GatewayAddress{NetworkAddress{"remote", ip("192.0.2.9")}, 15008};
  builder.upsert(far);
  EXPECT_EQ(refused("10.96.0.1:80"), "other_network | endpoints in other networks are not supported yet: remote");
}

TEST_F(Outbound, RowHEndpointsWithoutATunnelAreRefusedNotReachedInClear) {
  Workload plain = pod("plain", {"10.0.0.2"});
  plain.tunnel_protocol = TunnelProtocol::kNone;
  builder.upsert(plain);
  EXPECT_EQ(refused("10.0.0.2:80"), "plaintext_endpoint | plaintext passthrough is not supported yet: 10.0.0.2:80");
}

TEST_F(Outbound, EndpointsKnownByHostNameOnlyAreRefused) {
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  Workload named = backing(pod("named", {}), kWeb);
  named.hostname = "db.example";
  builder.upsert(named);
  EXPECT_EQ(refused("10.96.0.1:80"),
            "hostname_endpoint | endpoints known by host name only are not supported yet: db.example");
}

TEST_F(Outbound, APortOfOursOnLoopbackIsARecursiveCall) {
  for (const char* to : {"127.0.0.1:15001", "127.0.0.1:15006", "127.0.0.1:15008", "[::1]:15008"}) {
    EXPECT_EQ(refused(to), "recursive | attempted recursive call to ourselves");
  }
  EXPECT_EQ(decide("127.0.0.1:8080").refusal, OutboundRefusal::kOutsideMesh);
}

TEST_F(Outbound, AnAddressThatIsAWorkloadsAndAVipIsAskedInBothOrders) {
  // Row A finds the workload: not service-addressed. Row C finds the VIP, and its endpoint.
  builder.upsert(pod("server", {"10.0.0.2"}));
  builder.upsert(service("web", {"10.0.0.2"}, ports({{80, 8080}})));
  EXPECT_EQ(decide("10.0.0.2:80").refusal, OutboundRefusal::kOutsideMesh) << "no endpoint, and not service-addressed";
  builder.upsert(backing(pod("backend", {"10.0.0.3"}), kWeb));
  EXPECT_EQ(carried("10.0.0.2:80"), "10.0.0.3:15008 10.0.0.3:8080");
}

TEST_F(Outbound, AServiceHiddenFromTheClientIsNotThere) {
  Service hidden = service("web", {"10.96.0.1"}, ports({{80, 8080}}), "prod");
  hidden.visibility = Visibility::kNamespace;
  builder.upsert(hidden);
  EXPECT_EQ(decide("10.96.0.1:80").refusal, OutboundRefusal::kOutsideMesh);
}

}  // namespace
}  // namespace culvert::routing
