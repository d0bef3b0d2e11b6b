// Traffic series (reference 24) of both reporters: who is counted, under which labels and flags, and that bytes equal
// what the applications moved. Also which access-log lines are written, and in which form.
#include <gtest/gtest.h>

#include "tests/unit/proxy/tunnel_peer.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

constexpr std::string_view kClientId = "spiffe://cluster.local/ns/shop/sa/client";
constexpr std::string_view kServerId = "spiffe://cluster.local/ns/shop/sa/server";

class Traffic : public testing::Test {
 protected:
  Traffic() {
    server.listen(80);
    world.publish();
  }
  std::vector<TrafficSample> samples(NodeHost& node) {
    std::vector<TrafficSample> out;
    uint32_t slot = 0;
    do {
      slot = node.proxy.sample_traffic(slot, 100, world.now(), out);
    } while (slot != 0);
    return out;
  }
  // The only series of a node; an empty one when there is another number of them.
  TrafficSample only(NodeHost& node) {
    std::vector<TrafficSample> all = samples(node);
    EXPECT_EQ(all.size(), 1u) << node.name;
    return all.size() == 1 ? all[0] : TrafficSample{};
  }
  static uint64_t closed(const TrafficSample& sample, ResponseFlag flag) {
    return sample.closed[static_cast<size_t>(flag)];
  }
  static uint64_t closed(const TrafficSample& sample) {
    uint64_t sum = 0;
    for (const uint64_t one : sample.closed) sum += one;
    return sum;
  }
  // A connection that both sides finish after they sent so much.
  void transfer(const char* to, uint64_t up, uint64_t down) {
    server.on_accept = [&](Conn& c) {
      c.send(down);
      c.finish();
    };
    const size_t before = server.accepted_count();
    Conn& c = client.connect(at(to));
    c.send(up);
    c.finish();
    ASSERT_TRUE(world.run_until([&] { return c.got_fin && c.received == down; }));
    ASSERT_TRUE(world.run_until([&] { return world.quiet(); }));
    ASSERT_EQ(server.accepted(before).received, up);
  }
  // One that fails, once its pod knows and both nodes are done with it.
  void fail(const char* to = "10.0.2.1:80", Duration patience = 35s) {
    Conn& c = client.connect(at(to));
    c.send(10);
    ASSERT_TRUE(world.run_until([&] { return c.got_reset; }, patience));
    ASSERT_TRUE(world.run_until([&] { return world.quiet(); }, 1s));
  }
  // One opened, one closed under `flag`, nothing moved.
  void expect_one(NodeHost& node, ResponseFlag flag) {
    const TrafficSample sample = only(node);
    EXPECT_EQ(sample.opened, 1u) << node.name;
    EXPECT_EQ(closed(sample, flag), 1u) << node.name << " " << name_of(flag);
    EXPECT_EQ(closed(sample), 1u) << node.name;
    EXPECT_EQ(sample.received_bytes + sample.sent_bytes, 0u) << node.name;
  }

  World world;
  NodeHost& n1 = world.node("n1");
  NodeHost& n2 = world.node("n2");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1"});
  PodHost& server = world.pod(n2, "server", {"10.0.2.1"});
};

TEST_F(Traffic, BothReportersCountWhatTheApplicationsMoved) {
  transfer("10.0.2.1:80", 100'001, 300'007);
  transfer("10.0.2.1:80", 0, 5);
  transfer("10.0.2.1:80", 3, 0);
  for (NodeHost* node : {&n1, &n2}) {
    const TrafficSample sample = only(*node);
    EXPECT_EQ(sample.opened, 3u) << node->name;
    EXPECT_EQ(closed(sample, ResponseFlag::kNone), 3u) << node->name;
    EXPECT_EQ(closed(sample), 3u) << node->name;
    EXPECT_EQ(sample.received_bytes, 100'004u) << node->name << ": requests, on both reporters";
    EXPECT_EQ(sample.sent_bytes, 300'012u) << node->name << ": responses, on both reporters";
  }
}

TEST_F(Traffic, OpeningAndBytesAreSeenWhileTheConnectionLives) {
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(70'000);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 70'000; }));
  server.accepted(0).send(1'000);
  ASSERT_TRUE(world.run_until([&] { return c.received == 1'000; }));
  for (NodeHost* node : {&n1, &n2}) {
    const TrafficSample sample = only(*node);
    EXPECT_EQ(sample.opened, 1u);
    EXPECT_EQ(sample.received_bytes, 70'000u);
    EXPECT_EQ(sample.sent_bytes, 1'000u);
    EXPECT_EQ(closed(sample), 0u);
  }
  EXPECT_EQ(n1.proxy.traffic_totals().pod_connections, 1u);
  EXPECT_EQ(n1.proxy.traffic_totals().server_tunnels, 0u);
  EXPECT_EQ(n2.proxy.traffic_totals().pod_connections, 0u) << "what it opened itself is no accepted socket";
  EXPECT_EQ(n2.proxy.traffic_totals().server_tunnels, 1u);
  c.reset();
  ASSERT_TRUE(world.run_until([&] { return world.quiet(); }));
  EXPECT_EQ(closed(only(n1), ResponseFlag::kConnect), 1u) << "a reset is a failure";
  EXPECT_EQ(closed(only(n2), ResponseFlag::kConnect), 1u);
  EXPECT_EQ(n1.proxy.traffic_totals().pod_connections, 0u);
}

TEST_F(Traffic, LabelsComeFromTheRecordsOfBothEndsAndFromTheTunnelsIdentities) {
  snapshot::Workload from = pod("client", {"10.0.1.1"});
  from.node = "n1";
  from.workload_name = "client-deployment";
  from.canonical_name = "shop-client";
  from.canonical_revision = "v7";
  from.cluster_id = "east";
  from.locality = {"eu", "eu-1", ""};
  world.mesh.upsert(from);
  const snapshot::Service web = service("web", {"10.96.0.1"}, ports({{8080, 80}}));
  world.mesh.upsert(web);
  snapshot::Workload to = backing(pod("server", {"10.0.2.1"}), web.key(), ports({{8080, 80}}));
  to.node = "n2";
  to.workload_name = "server-deployment";
  to.canonical_name = "shop-server";
  to.locality = {"eu", "eu-2", ""};
  world.mesh.upsert(to);
  world.publish();
  transfer("10.96.0.1:8080", 1, 1);

  TrafficLabels expected;
  expected.mutual_tls = expected.localities = true;
  expected.source = {"client-deployment", "shop-client", "v7", "shop", kClientId, "east", "eu", "eu-1"};
  expected.destination = {"server-deployment", "shop-server", "v1", "shop", kServerId, "Kubernetes", "eu", "eu-2"};
  expected.service = "web.shop.svc.cluster.local";
  expected.service_namespace = "shop";
  expected.service_name = "web";
  for (NodeHost* node : {&n1, &n2}) {
    expected.reporter = node == &n1 ? Reporter::kSource : Reporter::kDestination;
    EXPECT_EQ(only(*node).key->labels(), expected) << node->name;
  }

  // By its own address: only the server's node can tell which service has the port.
  transfer("10.0.2.1:80", 1, 1);
  EXPECT_EQ(samples(n1).size(), 2u);
  EXPECT_EQ(samples(n1)[1].key->labels().service, "");
  EXPECT_EQ(only(n2).opened, 2u);
}

TEST_F(Traffic, ASourceThatNoRecordKnowsIsWhatItSaysButForItsIdentity) {
  TunnelPeer peer(world, "192.0.2.9", world.ca.credentials("spiffe://cluster.local/ns/shop/sa/outsider"));
  hbone::ConnectHeaders headers;
  headers.authority = "10.0.2.1:80";
  headers.baggage =
      "k8s.cluster.name=west,k8s.namespace.name=front,k8s.deployment.name=curl-d,service.name=curl,"
      "service.version=v3,cloud.region=us,cloud.availability_zone=us-1";
  peer.release(peer.ask(at("10.0.2.1:80"), headers));
  EXPECT_EQ(only(n2).key->labels().source,
            (TrafficPeer{"curl-d", "curl", "v3", "front", "spiffe://cluster.local/ns/shop/sa/outsider", "west", "us",
                         "us-1"}));
}

TEST_F(Traffic, APeerCannotNameAServiceThatThePodDoesNotBack) {
  const snapshot::Service web = service("web", {"10.96.0.1"}, ports({{8080, 80}}));
  const snapshot::Service api = service("api", {"10.96.0.2"}, ports({{9090, 80}}));
  world.mesh.upsert(web);
  world.mesh.upsert(api);
  world.mesh.upsert(service("bank", {"10.96.0.3"}, ports({{80, 80}})));
  snapshot::Workload record = pod("server", {"10.0.2.1"});
  record = backing(backing(record, web.key(), ports({{8080, 80}})), api.key(), ports({{9090, 80}}));
  record.node = "n2";
  world.mesh.upsert(record);
  world.publish();
  TunnelPeer peer(world, "192.0.2.9", world.ca.credentials("spiffe://cluster.local/ns/shop/sa/outsider"));
  hbone::ConnectHeaders headers;
  headers.authority = "10.0.2.1:80";
  const auto service_for = [&](const char* host) {
    headers.forwarded = std::string("for=192.0.2.9;host=") + host;
    peer.release(peer.ask(at("10.0.2.1:80"), headers));
    return std::string(samples(n2).back().key->labels().service_name);
  };
  EXPECT_EQ(service_for("web.shop.svc.cluster.local"), "web");
  EXPECT_EQ(service_for("bank.shop.svc.cluster.local"), "api") << "the first of its own that has the port";
  EXPECT_EQ(n2.lines_with({"bank"}), 0u);
}

TEST_F(Traffic, APolicysDenialIsDenyAtTheServerAndAFailedConnectAtTheClient) {
  snapshot::Policy deny;
  deny.name = "no";
  deny.name_space = "shop";
  deny.scope = snapshot::PolicyScope::kNamespace;
  deny.action = snapshot::PolicyAction::kDeny;
  snapshot::Match all;
  all.destination_ports.any_of.push_back(80);
  deny.rules = {{{{{all}}}}};
  world.mesh.upsert(deny);
  world.publish();
  fail();
  expect_one(n1, ResponseFlag::kConnect);
  expect_one(n2, ResponseFlag::kDeny);
  EXPECT_EQ(n2.lines_with({"\tdebug\taccess\tconnection opened"}), 1u) << "known before policy is asked";

  // A live one that a change denies.
  world.mesh.remove_policy("shop/no");
  world.publish();
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 10; }));
  world.mesh.upsert(deny);
  world.publish();
  ASSERT_TRUE(world.run_until([&] { return world.quiet(); }));
  EXPECT_EQ(closed(only(n2), ResponseFlag::kDeny), 2u);
  EXPECT_EQ(only(n2).received_bytes, 10u) << "what was moved before stays counted";
}

TEST_F(Traffic, APortOnWhichNobodyListensIsAFailedConnectOnBothReporters) {
  fail("10.0.2.1:81");
  expect_one(n1, ResponseFlag::kConnect);
  expect_one(n2, ResponseFlag::kConnect);
}

TEST_F(Traffic, NoAnswerToTheTunnelsSynMayBeANetworkPolicy) {
  world.on_wire = [](const tcp::Segment&) { return false; };
  fail();
  expect_one(n1, ResponseFlag::kNetworkPolicy);
  EXPECT_TRUE(samples(n2).empty());
}

TEST_F(Traffic, NoCertificateIsAnIdentityError) {
  world.run(6s);
  world.take_credentials(n1, "client");
  fail();
  expect_one(n1, ResponseFlag::kIdentityError);
}

TEST_F(Traffic, AServerThatIsSomebodyElseIsATlsFailure) {
  n2.credentials[{"cluster.local", "shop", "server"}] = world.ca.credentials("spiffe://cluster.local/ns/shop/sa/other");
  n2.proxy.install(std::make_shared<const CredentialMap>(n2.credentials), world.now());
  fail();
  expect_one(n1, ResponseFlag::kTlsFailure);
  EXPECT_TRUE(samples(n2).empty()) << "a tunnel that never came up has no connections";
}

TEST_F(Traffic, EarlyDeniesAreInNoSeries) {
  snapshot::Service guarded = service("guarded", {"10.96.0.2"}, ports({{80, 80}}));
  guarded.waypoint = snapshot::GatewayAddress{snapshot::NamespacedHostname{"shop", "gone"}, 15008};
  world.mesh.upsert(guarded);
  world.publish();
  fail("10.96.0.2:80");
  EXPECT_EQ(n1.lines_with({"\twarn\taccess\tconnection failed", "unknown waypoint: "}), 1u);
  TunnelPeer peer(world, "192.0.2.9", world.ca.credentials("spiffe://cluster.local/ns/shop/sa/outsider"));
  hbone::ConnectHeaders headers;
  headers.authority = "10.0.2.99:80";
  peer.release(peer.ask(at("10.0.2.1:80"), headers));
  EXPECT_EQ(n2.lines_with({"\twarn\taccess\tconnection failed", "ip mismatch: "}), 1u);
  EXPECT_TRUE(samples(n1).empty());
  EXPECT_TRUE(samples(n2).empty());
}

TEST_F(Traffic, ADetachedPodsConnectionsAreClosedInTheirSeriesAndItLeavesLater) {
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 10; }));
  world.detach(server);
  ASSERT_TRUE(world.run_until([&] { return world.quiet(); }));
  EXPECT_EQ(closed(only(n2), ResponseFlag::kConnect), 1u);
  world.run(15min);
  EXPECT_TRUE(samples(n2).empty());
  EXPECT_TRUE(samples(n1).empty());
}

class AccessLogLevels : public Traffic {
 protected:
  size_t lines(std::string_view text) const { return n1.lines_with({text}) + n2.lines_with({text}); }
};

TEST_F(AccessLogLevels, DecideLineByLineWhatIsWritten) {
  struct Row {
    LogLevel level;
    size_t opened, complete, failed, refused;  // lines of both nodes
  };
  for (const Row& row :
       {Row{LogLevel::kOff, 0, 0, 0, 0}, Row{LogLevel::kError, 0, 0, 2, 0}, Row{LogLevel::kWarn, 0, 0, 2, 1},
        Row{LogLevel::kInfo, 0, 2, 2, 1}, Row{LogLevel::kDebug, 4, 2, 2, 1}, Row{LogLevel::kTrace, 4, 2, 2, 1}}) {
    n1.log.clear();
    n2.log.clear();
    n1.log_settings.access = n2.log_settings.access = row.level;
    transfer("10.0.2.1:80", 1, 1);
    fail("10.0.2.1:81");
    fail("10.96.0.99:80");  // nobody's address
    const std::string_view level = name_of(row.level);
    EXPECT_EQ(lines("\tdebug\taccess\tconnection opened"), row.opened) << level;
    EXPECT_EQ(lines("\tinfo\taccess\tconnection complete"), row.complete) << level;
    EXPECT_EQ(lines("\terror\taccess\tconnection complete"), row.failed) << level;
    EXPECT_EQ(lines("\twarn\taccess\tconnection failed"), row.refused) << level;
    EXPECT_EQ(n1.log.size() + n2.log.size(), row.opened + row.complete + row.failed + row.refused) << level;
  }
}

TEST_F(AccessLogLevels, TheFormChangesFromOneLineToTheNext) {
  transfer("10.0.2.1:80", 1, 1);
  EXPECT_EQ(lines("{\"level\""), 0u);
  n1.log_settings.format = LogFormat::kJson;
  transfer("10.0.2.1:80", 1, 2);
  EXPECT_EQ(
      n1.lines_with({"{\"level\":\"info\",\"time\":\"", "\"scope\":\"access\",\"message\":\"connection complete\"",
                     "\"dst.addr\":\"10.0.2.1:15008\"", "\"bytes_sent\":1,\"bytes_recv\":2,\"duration\":\""}),
      1u);
  EXPECT_EQ(n2.lines_with({"{\"level\""}), 0u);
}

// What documentation, tests and users look for (reference 26.4): the beginning of `error=` for each condition that this
// node can meet.
class ErrorTexts : public Traffic {
 protected:
  void expect(NodeHost& node, const std::string& beginning) {
    EXPECT_EQ(node.lines_with({" error=\"" + beginning}), 1u) << beginning;
    if (node.lines_with({" error=\"" + beginning}) != 1) {
      for (const std::string& line : node.log) ADD_FAILURE() << line;
    }
    n1.log.clear();
    n2.log.clear();
  }
  void put_policy(snapshot::PolicyAction action, uint16_t port) {
    snapshot::Policy p;
    p.name = "only";
    p.name_space = "shop";
    p.scope = snapshot::PolicyScope::kNamespace;
    p.action = action;
    snapshot::Match match;
    match.destination_ports.any_of.push_back(port);
    p.rules = {{{{{match}}}}};
    world.mesh.upsert(p);
    world.publish();
  }
};

TEST_F(ErrorTexts, OfConnectionsThatPolicyEnds) {
  put_policy(snapshot::PolicyAction::kDeny, 80);
  fail();
  EXPECT_EQ(n1.lines_with({" error=\"http status: 401 Unauthorized\""}), 1u);
  expect(n2, "connection closed due to policy rejection: explicitly denied by: shop/only");
  put_policy(snapshot::PolicyAction::kAllow, 443);
  fail();
  expect(n2, "connection closed due to policy rejection: allow policies exist, but none allowed");
  put_policy(snapshot::PolicyAction::kAllow, 80);
  Conn& c = client.connect(at("10.0.2.1:80"));
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1; }));
  put_policy(snapshot::PolicyAction::kDeny, 80);
  ASSERT_TRUE(world.run_until([&] { return c.got_reset && world.quiet(); }));
  expect(n2, "connection closed due to policy change");
}

TEST_F(ErrorTexts, OfDestinationsThatCannotBeReached) {
  fail("10.0.2.1:81");
  EXPECT_EQ(n1.lines_with({" error=\"http status: 503 Service Unavailable\""}), 1u);
  expect(n2, "connection failed: ");
  world.mesh.upsert(service("empty", {"10.96.0.5"}, ports({{80, 80}})));
  snapshot::Service guarded = service("guarded", {"10.96.0.6"}, ports({{80, 80}}));
  guarded.waypoint = snapshot::GatewayAddress{snapshot::NamespacedHostname{"shop", "gone"}, 15008};
  world.mesh.upsert(guarded);
  world.publish();
  fail("10.96.0.5:80");
  expect(n1, "no healthy upstream: 10.96.0.5:80");
  fail("10.96.0.6:80");
  expect(n1, "unknown waypoint: ");
  fail("127.0.0.1:15008");
  expect(n1, "attempted recursive call to ourselves");
}

TEST_F(ErrorTexts, OfTunnelsThatDoNotComeUp) {
  n2.credentials[{"cluster.local", "shop", "server"}] = world.ca.credentials("spiffe://cluster.local/ns/shop/sa/other");
  n2.proxy.install(std::make_shared<const CredentialMap>(n2.credentials), world.now());
  fail();
  expect(n1, "identity verification error: peer did not present the expected SAN (");
  testkit::TestCa other_ca;
  n2.credentials[{"cluster.local", "shop", "server"}] = other_ca.credentials(std::string(kServerId));
  n2.proxy.install(std::make_shared<const CredentialMap>(n2.credentials), world.now());
  fail();
  expect(n1, "tls handshake error: ");
  world.on_wire = [](const tcp::Segment&) { return false; };
  fail();
  expect(n1, "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: ");
}

TEST_F(ErrorTexts, OfALocalPodWithoutARecord) {
  world.mesh.remove_workload("Kubernetes//Pod/shop/client");
  world.publish();
  fail();
  expect(n1, "failed to fetch information about local workload: ");
}

TEST_F(ErrorTexts, OfBrokenConnections) {
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 10; }));
  c.reset();
  ASSERT_TRUE(world.run_until([&] { return world.quiet(); }));
  EXPECT_EQ(n2.lines_with({" error=\"receive: "}), 1u);
  expect(n1, "io error: ");
}

TEST_F(ErrorTexts, OfRequestsThatAreNone) {
  TunnelPeer peer(world, "192.0.2.9", world.ca.credentials("spiffe://cluster.local/ns/shop/sa/outsider"));
  for (const auto& [authority, beginning] :
       {std::pair{"nonsense", "no valid authority pseudo header: "}, std::pair{"10.0.2.99:80", "ip mismatch: "},
        std::pair{"who.example:80", "no service or workload for hostname: who.example"}}) {
    hbone::ConnectHeaders headers;
    headers.authority = authority;
    peer.release(peer.ask(at("10.0.2.1:80"), headers));
    expect(n2, beginning);
  }
}

}  // namespace
}  // namespace culvert::proxy
