// What is refused, under which name, and that the pod sees a reset, the log a reason, and the far pod nothing.
#include <gtest/gtest.h>

#include "tests/unit/proxy/world.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

class Refusal : public testing::Test {
 protected:
  Refusal() {
    server.listen(80);
    world.publish();
  }
  // Connects, and expects a reset within `patience` of it.
  void expect_reset(const char* to, Duration patience = 1s) {
    Conn& c = client.connect(at(to));
    c.send(10);
    EXPECT_TRUE(world.run_until([&] { return c.got_reset; }, patience)) << to;
    EXPECT_FALSE(c.got_fin) << to;
    EXPECT_EQ(c.received, 0u);
    EXPECT_TRUE(world.run_until([&] { return world.quiet(); }, 1s)) << to;
  }

  World world;
  NodeHost& n1 = world.node("n1");
  NodeHost& n2 = world.node("n2");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1"});
  PodHost& server = world.pod(n2, "server", {"10.0.2.1"});
};

TEST_F(Refusal, APortOnWhichNobodyListens) {
  expect_reset("10.0.2.1:81");
  EXPECT_EQ(n2.count(DropReason::kProxyPodUnreachable), 1u);
  EXPECT_EQ(n2.lines_with({"\terror\taccess\tconnection complete", "direction=\"inbound\"",
                           "error=\"connection failed: connection refused\""}),
            1u);
  EXPECT_EQ(n1.count(DropReason::kProxyConnectRefused), 1u);
  EXPECT_EQ(n1.lines_with({"\terror\taccess\tconnection complete", "direction=\"outbound\"",
                           "error=\"http status: 503 Service Unavailable\""}),
            1u);
}

TEST_F(Refusal, RowsOfTheRoutingTableThatAreNotCarried) {
  snapshot::Workload plain = pod("plain", {"10.0.3.1"});
  plain.tunnel_protocol = snapshot::TunnelProtocol::kNone;
  world.mesh.upsert(plain);
  snapshot::Service web = service("web", {"10.96.0.1"}, ports({{80, 8080}}));
  world.mesh.upsert(web);
  snapshot::Service guarded = service("guarded", {"10.96.0.2"}, ports({{80, 8080}}));
  guarded.waypoint = snapshot::GatewayAddress{snapshot::NamespacedHostname{"shop", web.hostname}, 15008};
  world.mesh.upsert(guarded);
  snapshot::Workload behind = pod("behind", {"10.0.3.2"});
  behind.waypoint = guarded.waypoint;
  world.mesh.upsert(behind);
  snapshot::Service pass = service("pass", {"10.96.0.3"}, ports({{80, 8080}}));
  pass.load_balancing =
      snapshot::LoadBalancing{{}, snapshot::LoadBalancingMode::kPassthrough, snapshot::HealthPolicy::kAllowAll};
  world.mesh.upsert(pass);
  snapshot::Workload far = pod("far", {"10.0.3.3"});
  far.network = "elsewhere";
  snapshot::Service remote = service("remote", {"10.96.0.4"}, ports({{80, 8080}}));
  world.mesh.upsert(backing(far, remote.key()));
  world.mesh.upsert(remote);
  snapshot::Workload named = pod("named", {});
  named.hostname = "db.example";
  snapshot::Service external = service("external", {"10.96.0.5"}, ports({{80, 8080}}));
  world.mesh.upsert(backing(named, external.key()));
  world.mesh.upsert(external);
  snapshot::Service lost = service("lost", {"10.96.0.6"}, ports({{80, 8080}}));
  lost.waypoint = snapshot::GatewayAddress{snapshot::NamespacedHostname{"shop", "nowhere"}, 15008};
  world.mesh.upsert(lost);
  snapshot::Workload six = pod("six", {"fd00:3::1"});
  snapshot::Service six_only = service("six-only", {"10.96.0.7"}, ports({{80, 8080}}));
  world.mesh.upsert(backing(six, six_only.key()));
  world.mesh.upsert(six_only);
  world.publish();

  struct Row {
    const char* to;
    DropReason reason;
    const char* error;
  };
  const Row rows[] = {
      {"192.0.2.1:443", DropReason::kProxyOutsideMeshNotCarried,
       "plaintext passthrough is not supported yet: 192.0.2.1:443"},
      {"10.0.3.1:80", DropReason::kProxyPlaintextNotCarried, "plaintext passthrough is not supported yet: 10.0.3.1:80"},
      {"10.96.0.1:80", DropReason::kProxyNoHealthyUpstream, "no healthy upstream: 10.96.0.1:80"},
      {"10.96.0.2:80", DropReason::kProxyServiceWaypointNotCarried, "waypoints are not supported yet"},
      {"10.0.3.2:80", DropReason::kProxyWorkloadWaypointNotCarried, "waypoints are not supported yet"},
      {"10.96.0.3:80", DropReason::kProxyPassthroughNotCarried, "plaintext passthrough is not supported yet"},
      {"10.96.0.4:80", DropReason::kProxyOtherNetworkNotCarried, "endpoints in other networks are not supported yet"},
      {"10.96.0.5:80", DropReason::kProxyHostnameNotCarried, "endpoints known by host name only are not supported yet"},
      {"10.96.0.6:80", DropReason::kProxyUnknownWaypoint, "unknown waypoint: shop/nowhere"},
      {"127.0.0.1:15001", DropReason::kProxyRecursiveCall, "attempted recursive call to ourselves"},
      {"10.96.0.7:80", DropReason::kProxyNoAddress, "the pod has no address of the endpoint's family"},
  };
  for (const Row& row : rows) {
    expect_reset(row.to);
    EXPECT_EQ(n1.count(row.reason), 1u) << row.to;
    EXPECT_NE(n1.log.back().find(row.error), std::string::npos) << row.to << "\n" << n1.log.back();
  }
  EXPECT_EQ(n1.proxy.tunnels().tunnels(), 0u);
}

TEST_F(Refusal, AnEndpointWithoutARoute) {
  world.mesh.upsert(pod("unrouted", {"203.0.113.9"}));
  world.publish();
  expect_reset("203.0.113.9:80");
  EXPECT_EQ(n1.count(DropReason::kProxyNoRoute), 1u);
}

TEST_F(Refusal, AnEndpointThatDoesNotAnswerTakesTenSeconds) {
  world.mesh.upsert(pod("silent", {"10.0.9.9"}));
  world.publish();
  Conn& c = client.connect(at("10.0.9.9:80"));
  world.run(9s);
  EXPECT_FALSE(c.got_reset);
  ASSERT_TRUE(world.run_until([&] { return c.got_reset; }, 3s));
  EXPECT_EQ(n1.lines_with({"error=\"connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: "}), 1u)
      << n1.log.back();
}

TEST_F(Refusal, WithoutACertificateNothingLeavesInClear) {
  world.run(6s);  // no longer a pod that was attached moments ago
  world.take_credentials(n1, "client");
  uint64_t on_wire = 0;
  world.on_wire = [&](const tcp::Segment&) { return ++on_wire > 0; };
  expect_reset("10.0.2.1:80");
  EXPECT_EQ(n1.count(DropReason::kProxyNoMeshAccess), 1u);
  EXPECT_EQ(n1.count(DropReason::kProxyNoCredentials), 1u);
  EXPECT_EQ(on_wire, 0u);
  EXPECT_EQ(n1.lines_with({"error=\"no valid certificate for spiffe://cluster.local/ns/shop/sa/client\""}), 1u);
  // It comes back with one.
  world.give_credentials(n1, "client", {});
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(1);
  EXPECT_TRUE(world.run_until([&] { return server.accepted_count() == 1; }, 1s));
}

TEST_F(Refusal, AnExpiredCertificateIsNone) {
  world.give_credentials(n1, "client", {.not_after = world.calendar() + 5s});
  world.run(10s);
  expect_reset("10.0.2.1:80");
  EXPECT_EQ(n1.count(DropReason::kProxyCredentialsExpired), 1u);
}

TEST_F(Refusal, AServerPodWithoutACertificateTakesNoTunnel) {
  world.run(6s);
  world.take_credentials(n2, "server");
  expect_reset("10.0.2.1:80");
  EXPECT_EQ(n2.count(DropReason::kProxyNoCredentials), 1u);
  EXPECT_EQ(server.accepted_count(), 0u);
  EXPECT_EQ(n2.lines_with({"\twarn\taccess\tconnection failed\tsrc.addr=10.0.1.1:",
                           "dst.addr=10.0.2.1:15008 direction=\"inbound\" error="}),
            1u);
}

TEST_F(Refusal, APodJustAttachedIsGivenTimeForItsCertificate) {
  world.take_credentials(n1, "client");
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  world.run(3s);
  EXPECT_FALSE(c.got_reset);
  world.give_credentials(n1, "client", {});
  EXPECT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 10; }, 1s));
  world.take_credentials(n1, "client");
  Conn& late = client.connect(at("10.0.2.1:80"));
  late.send(10);
  world.run(10s);
  EXPECT_TRUE(late.got_reset) << "but no longer than five seconds, though a tunnel is up";
  EXPECT_FALSE(c.got_reset);
  EXPECT_EQ(n1.count(DropReason::kProxyNoMeshAccess), 1u);
  EXPECT_EQ(server.accepted_count(), 1u);
}

TEST_F(Refusal, ATunnelToAPodJustAttachedIsTakenWhenItsCertificateIsThere) {
  world.take_credentials(n2, "server");
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  world.run(2s);
  EXPECT_FALSE(c.got_reset);
  EXPECT_GE(n2.count(DropReason::kProxyNotReady), 1u);
  world.give_credentials(n2, "server", {});
  EXPECT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 10; }, 3s));
}

TEST_F(Refusal, AServerThatIsSomebodyElseIsNotSpokenTo) {
  // The pod's node shows another identity than the client's mesh expects.
  n2.credentials[{"cluster.local", "shop", "server"}] = world.ca.credentials("spiffe://cluster.local/ns/shop/sa/other");
  n2.proxy.install(std::make_shared<const CredentialMap>(n2.credentials), world.now());
  expect_reset("10.0.2.1:80");
  EXPECT_EQ(server.accepted_count(), 0u);
  EXPECT_EQ(n1.lines_with({"error=\"identity verification error: "}), 1u) << n1.log.back();
}

TEST_F(Refusal, APodWhoseRecordComesLateIsServedAndOneWithoutIsRefusedAfterFiveSeconds) {
  snapshot::Workload record = pod("client", {"10.0.1.1"});
  record.node = "n1";
  world.mesh.remove_workload(record.uid);
  world.publish();
  Conn& never = client.connect(at("10.0.2.1:80"));
  world.run(4s);
  EXPECT_FALSE(never.got_reset);
  ASSERT_TRUE(world.run_until([&] { return never.got_reset; }, 2s));
  EXPECT_EQ(n1.count(DropReason::kProxyNoWorkload), 1u);
  EXPECT_EQ(n1.lines_with({"\twarn\taccess\tconnection failed",
                           "error=\"failed to fetch information about local workload: shop/client\""}),
            1u);

  Conn& late = client.connect(at("10.0.2.1:80"));
  late.send(10);
  world.run(3s);
  world.mesh.upsert(record);
  world.publish();
  EXPECT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 10; }, 1s));
  world.run(10s);
  EXPECT_FALSE(late.got_reset) << "the wait is over";
}

TEST_F(Refusal, OurOwnAddressOnAPodsLink) {
  expect_reset("169.254.1.1:80");
  EXPECT_EQ(n1.count(DropReason::kProxySynToGateway), 1u);
  EXPECT_EQ(n1.proxy.sessions(), 0u);
}

TEST_F(Refusal, PlainTcpFromOutsideAndAddressesOfNobody) {
  Counters counters;
  {
    tcp::Stack outside({}, *world.pool, counters, 5, world.now());
    outside.set_interface(InterfaceId{0}, {}, {}, {});
    world.join_wire(ip("192.0.2.7"), outside);
    const auto plain = outside.connect(InterfaceId{0}, {at("192.0.2.7:4000"), at("10.0.2.1:80")}, {}, world.now());
    ASSERT_TRUE(plain.ok());
    world.run(1s);
    tcp::Event event;
    ASSERT_EQ(outside.take_events({&event, 1}), 1u);
    EXPECT_EQ(event.kind, tcp::EventKind::kRefused);
    EXPECT_EQ(n2.count(DropReason::kProxyInboundPlaintext), 1u);
    world.leave_wire(ip("192.0.2.7"));
  }
  tcp::Tuple nobody{at("10.0.2.77:15008"), at("192.0.2.7:4000")};
  const tcp::SynFilter filter = n2.proxy.uplink_filter();
  EXPECT_EQ(filter.decide(filter.context, World::kUplink, nobody), tcp::SynVerdict::kDrop);
  EXPECT_EQ(n2.count(DropReason::kProxySynUnattached), 1u);
  const tcp::SynFilter pods = n2.proxy.pod_filter();
  EXPECT_EQ(pods.decide(pods.context, InterfaceId{99}, nobody), tcp::SynVerdict::kDrop);
  EXPECT_EQ(n2.count(DropReason::kProxySynUnattached), 2u);
}

TEST_F(Refusal, BeyondTheLimitOfTunnels) {
  hbone::Limits one;
  one.tunnels_max = 1;
  NodeHost& small = world.node("n3", one);
  PodHost& pod_here = world.pod(small, "crowded", {"10.0.3.1"});
  PodHost& second = world.pod(n2, "second", {"10.0.2.2"});
  second.listen(80);
  world.publish();
  Conn& first = pod_here.connect(at("10.0.2.1:80"));
  first.send(10);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1; }, 1s));
  Conn& refused = pod_here.connect(at("10.0.2.2:80"));
  EXPECT_TRUE(world.run_until([&] { return refused.got_reset; }, 1s));
  EXPECT_EQ(small.count(DropReason::kProxyTunnelsFull), 1u);
  EXPECT_FALSE(first.got_reset);
}

TEST_F(Refusal, ConnectHeadersThatNoServerWouldTake) {
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1; }, 1s)) << "the tunnel is up";
  snapshot::Workload record = pod("client", {"10.0.1.1"});
  record.node = "n1";
  record.workload_name = std::string(200'000, 'x');
  world.mesh.upsert(record);
  world.publish();
  Conn& refused = client.connect(at("10.0.2.1:80"));
  EXPECT_TRUE(world.run_until([&] { return refused.got_reset; }, 1s));
  EXPECT_EQ(n1.count(DropReason::kProxyHeadersTooLarge), 1u);
  EXPECT_FALSE(c.got_reset);
}

TEST_F(Refusal, BeyondTheLimitOfSessionsSynsAreDropped) {
  for (int i = 0; i < 1000; ++i) client.connect(at("10.0.2.1:80"));
  ASSERT_TRUE(world.run_until([&] { return n1.proxy.sessions() == 1000; }, 2s));
  Conn& c = client.connect(at("10.0.2.1:80"));
  world.run(500ms);
  EXPECT_FALSE(c.connected);
  EXPECT_GE(n1.count(DropReason::kProxySessionsFull), 1u);
}

}  // namespace
}  // namespace culvert::proxy
