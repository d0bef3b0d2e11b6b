// A node's end (reference 21.4): what is open goes on until the deadline, what ends by then ends cleanly, the rest is
// reset and named, and nothing keeps the node a second longer than its last session.
#include <gtest/gtest.h>

#include "tests/unit/proxy/world.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

constexpr std::string_view kDrainError = "error=\"connection closed due to connection drain\"";

class Draining : public testing::Test {
 protected:
  Draining() {
    server.listen(80);
    world.publish();
  }
  // So many connections more. The i-th begins with 1 + i bytes, by which its other end is found.
  void connect(size_t count) {
    for (const size_t until = conns.size() + count; conns.size() < until;) {
      conns.push_back(&client.connect(at("10.0.2.1:80")));
      conns.back()->send(conns.size());
    }
    ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == conns.size(); }));
    world.run(100ms);
    far.resize(conns.size());
    for (size_t i = 0; i < conns.size(); ++i) {
      Conn& conn = server.accepted(i);
      ASSERT_TRUE(conn.received >= 1 && conn.received <= far.size());
      if (!far[conn.received - 1]) far[conn.received - 1] = &conn;
    }
    for (const Conn* conn : far) ASSERT_TRUE(conn);
  }
  bool drained_within(NodeHost& node, Duration patience) {
    return world.run_until([&] { return node.proxy.drained() && !node.stack.has_output(); }, patience);
  }
  void expect_nothing_left(NodeHost& node) {
    EXPECT_EQ(node.proxy.sessions(), 0u);
    EXPECT_EQ(node.proxy.tunnels().tunnels(), 0u);
    EXPECT_EQ(node.proxy.tunnels().streams(), 0u);
    EXPECT_EQ(node.stack.connections(), 0u);
  }

  World world;
  NodeHost& n1 = world.node("n1");
  NodeHost& n2 = world.node("n2");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1"});
  PodHost& server = world.pod(n2, "server", {"10.0.2.1"});
  std::vector<Conn*> conns;  // at the client's pod
  std::vector<Conn*> far;    // at the server's pod, in the order of `conns`
};

// The node whose pods are called, and the one whose pods call: drained alike.
class FiveHundred : public Draining, public testing::WithParamInterface<bool> {
 protected:
  NodeHost& draining = GetParam() ? n2 : n1;
  NodeHost& other = GetParam() ? n1 : n2;
};

TEST_P(FiveHundred, OpenStreamsAreNotCutBeforeTheDeadline) {
  connect(500);
  const Instant due = world.now() + 5s;
  draining.proxy.drain(due, world.now());
  // During the drain: every stream carries bytes both ways, and a hundred of them come to their end.
  for (size_t i = 0; i < conns.size(); ++i) {
    conns[i]->send(3'000);
    far[i]->send(5'000);
  }
  world.run(2s);
  for (size_t i = 0; i < 100; ++i) {
    conns[i]->send(20'000);
    conns[i]->finish();
    far[i]->send(30'000);
    far[i]->finish();
  }
  world.run(due - world.now() - 1ms);
  for (size_t i = 0; i < conns.size(); ++i) {
    const bool ends = i < 100;
    ASSERT_FALSE(conns[i]->got_reset || far[i]->got_reset) << i;
    ASSERT_EQ(far[i]->received, (i + 1) + 3'000 + (ends ? 20'000u : 0u)) << i;
    ASSERT_EQ(conns[i]->received, 5'000 + (ends ? 30'000u : 0u)) << i;
    ASSERT_TRUE(conns[i]->intact && far[i]->intact) << i;
    ASSERT_EQ(conns[i]->got_fin && far[i]->got_fin, ends) << i;
  }
  EXPECT_FALSE(draining.proxy.drained());
  EXPECT_EQ(draining.proxy.sessions(), 400u);
  EXPECT_EQ(draining.lines_with({kDrainError}), 0u);

  // At the deadline what is left is reset towards both ends, and the node is done within a second.
  ASSERT_TRUE(drained_within(draining, 1s));
  expect_nothing_left(draining);
  world.run(100ms);
  for (size_t i = 100; i < conns.size(); ++i) ASSERT_TRUE(conns[i]->got_reset && far[i]->got_reset) << i;
  for (size_t i = 0; i < 100; ++i) ASSERT_FALSE(conns[i]->got_reset || far[i]->got_reset) << i;
  EXPECT_EQ(draining.lines_with({"\terror\taccess\tconnection complete", kDrainError}), 400u);
  EXPECT_EQ(draining.count(DropReason::kProxyDrainDeadline), 400u);
  EXPECT_EQ(draining.count(Counter::kProxySessionCompleted), 100u);
  // The peer hears of each by RST_STREAM, and of the tunnels' end in order.
  EXPECT_EQ(other.lines_with({"error=\"receive: stream reset by the peer: CANCEL\""}), 400u);
  EXPECT_EQ(other.count(Counter::kProxySessionCompleted), 100u);
  EXPECT_EQ(other.proxy.tunnels().tunnels(), 0u);
}
INSTANTIATE_TEST_SUITE_P(, FiveHundred, testing::Values(true, false),
                         [](const auto& p) { return p.param ? "Inbound" : "Outbound"; });

TEST_F(Draining, ANodeIsDoneWithinASecondOfItsLastSessionHoweverFarTheDeadline) {
  connect(3);
  n2.proxy.drain(world.now() + 1h, world.now());
  world.run(60s);
  EXPECT_FALSE(n2.proxy.drained());
  for (size_t i = 0; i < conns.size(); ++i) {
    conns[i]->finish();
    far[i]->finish();
  }
  ASSERT_TRUE(world.run_until([&] { return n2.proxy.sessions() == 0; }, 1s));
  ASSERT_TRUE(drained_within(n2, 1s));
  expect_nothing_left(n2);
  EXPECT_EQ(n2.lines_with({kDrainError}), 0u);
  for (size_t i = 0; i < conns.size(); ++i) EXPECT_FALSE(conns[i]->got_reset || far[i]->got_reset);
}

TEST_F(Draining, AnIdleNodeTellsItsPeersAndIsDone) {
  connect(1);
  conns[0]->finish();
  far[0]->finish();
  ASSERT_TRUE(world.run_until([&] { return world.quiet(); }));
  EXPECT_EQ(n1.proxy.tunnels().tunnels(), 1u) << "it stays in the pool";
  n2.proxy.drain(world.now() + 5s, world.now());
  ASSERT_TRUE(drained_within(n2, 1s));
  expect_nothing_left(n2);
  EXPECT_GE(n1.count(Counter::kHttp2GoawayReceived), 1u);
  EXPECT_EQ(n1.proxy.tunnels().tunnels(), 0u);
}

TEST_F(Draining, ANodeWithNothingIsDoneAtOnce) {
  n2.proxy.drain(world.now() + 5s, world.now());
  ASSERT_TRUE(drained_within(n2, 1ms));
}

TEST_F(Draining, APeerThatDoesNotAnswerKeepsTheNodeForHalfASecond) {
  connect(1);
  conns[0]->finish();
  far[0]->finish();
  ASSERT_TRUE(world.run_until([&] { return world.quiet(); }));
  world.on_wire = [](const tcp::Segment&) { return false; };
  const Instant start = world.now();
  n2.proxy.drain(start + 1h, start);
  ASSERT_TRUE(drained_within(n2, 1s));
  EXPECT_GE(world.now() - start, 400ms) << "it had time to answer";
  EXPECT_EQ(n2.stack.connections(), 0u);
}

TEST_F(Draining, NewConnectionsAndTunnelsAreLeftWithoutAnAnswer) {
  connect(1);
  n1.proxy.drain(world.now() + 1h, world.now());
  n2.proxy.drain(world.now() + 1h, world.now());
  Conn& late = client.connect(at("10.0.2.1:80"));
  // Over a tunnel from a node that is not draining to one that is.
  NodeHost& n3 = world.node("n3");
  PodHost& third = world.pod(n3, "third", {"10.0.3.1"});
  world.publish();
  Conn& from_third = third.connect(at("10.0.2.1:80"));
  world.run(3s);
  EXPECT_FALSE(late.connected || late.got_reset) << "its SYNs wait for a successor";
  EXPECT_GE(n1.count(DropReason::kProxyDraining), 2u);
  EXPECT_FALSE(from_third.got_reset);
  EXPECT_GE(n2.count(DropReason::kProxyDraining), 2u);
  EXPECT_EQ(server.accepted_count(), 1u);
  // What was there goes on.
  conns[0]->send(100);
  world.run(1s);
  EXPECT_EQ(far[0]->received, 101u);
}

TEST_F(Draining, AStreamThatWasOnItsWayIsServed) {
  connect(1);
  Conn& late = client.connect(at("10.0.2.1:80"));
  late.send(10);
  // The pod's connection stands and its CONNECT is under way when the node hears that it ends.
  ASSERT_TRUE(world.run_until([&] { return n1.proxy.sessions() == 2; }));
  ASSERT_EQ(n2.proxy.sessions(), 1u);
  n2.proxy.drain(world.now() + 5s, world.now());
  world.run(1s);
  ASSERT_EQ(server.accepted_count(), 2u);
  EXPECT_EQ(server.accepted(1).received, 10u);
  server.accepted(1).send(10);
  world.run(100ms);
  EXPECT_EQ(late.received, 10u);
}

TEST_F(Draining, AConnectionWhoseTunnelIsBeingMadeIsServed) {
  conns.push_back(&client.connect(at("10.0.2.1:80")));
  conns[0]->send(10);
  ASSERT_TRUE(world.run_until([&] { return n2.proxy.tunnels().tunnels() == 1; }));
  ASSERT_EQ(n2.count(Counter::kHboneTunnelAccepted), 0u) << "its handshake is under way";
  n1.proxy.drain(world.now() + 5s, world.now());
  n2.proxy.drain(world.now() + 5s, world.now());
  world.run(1s);
  ASSERT_EQ(server.accepted_count(), 1u);
  EXPECT_EQ(server.accepted(0).received, 10u);
}

TEST_F(Draining, AConnectionWithinTheNodeThatWaitsForItsTunnelIsServed) {
  PodHost& near = world.pod(n2, "near", {"10.0.2.2"});
  world.publish();
  Conn& late = near.connect(at("10.0.2.1:80"));
  late.send(10);
  ASSERT_TRUE(world.run_until([&] { return n2.proxy.sessions() == 1; }));
  n2.proxy.drain(world.now() + 5s, world.now());
  world.run(1s);
  ASSERT_EQ(server.accepted_count(), 1u);
  EXPECT_EQ(server.accepted(0).received, 10u);
}

TEST_F(Draining, APodThatReadsSlowlyGetsItsLastBytes) {
  connect(1);
  far[0]->pause();
  conns[0]->send(200'000);
  conns[0]->finish();
  far[0]->finish();
  world.run(1s);
  n2.proxy.drain(world.now() + 5s, world.now());
  world.run(3s);
  EXPECT_EQ(n2.proxy.sessions(), 0u) << "its bytes lie in the node's TCP";
  EXPECT_FALSE(n2.proxy.drained());
  far[0]->resume();
  ASSERT_TRUE(drained_within(n2, 1s));
  EXPECT_EQ(far[0]->received, 200'001u);
  EXPECT_TRUE(far[0]->got_fin && far[0]->intact);
}

TEST_F(Draining, APodThatReadsNothingHasUntilTheDeadline) {
  connect(1);
  far[0]->pause();
  conns[0]->send(200'000);
  conns[0]->finish();
  far[0]->finish();
  world.run(1s);
  const Instant due = world.now() + 5s;
  n2.proxy.drain(due, world.now());
  world.run(4s);
  EXPECT_FALSE(n2.proxy.drained());
  ASSERT_TRUE(drained_within(n2, due + 1s - world.now()));
  EXPECT_GE(world.now(), due);
  world.run(10ms);
  EXPECT_TRUE(far[0]->got_reset) << "it is told that bytes are missing";
}

TEST_F(Draining, ASecondCallBringsTheDeadlineNearerAndNeverPutsItOff) {
  connect(2);
  n2.proxy.drain(world.now() + 1h, world.now());
  world.run(1s);
  n2.proxy.drain(world.now() + 2h, world.now());
  n2.proxy.drain(world.now() + 2s, world.now());
  n2.proxy.drain(world.now() + 2h, world.now());
  world.run(1900ms);
  EXPECT_EQ(n2.proxy.sessions(), 2u);
  ASSERT_TRUE(drained_within(n2, 1s));
  EXPECT_TRUE(conns[0]->got_reset && conns[1]->got_reset);
}

TEST_F(Draining, WithoutADeadlineEverythingIsCutAtOnce) {
  connect(2);
  n2.proxy.drain(world.now(), world.now());
  ASSERT_TRUE(drained_within(n2, 100ms));
  world.run(10ms);
  EXPECT_TRUE(conns[0]->got_reset && conns[1]->got_reset && far[0]->got_reset && far[1]->got_reset);
  EXPECT_EQ(n2.lines_with({kDrainError}), 2u);
}

// --- revocation, as the pods see it ----------------------------------------------------------------------------------

TEST_F(Draining, ASessionOfARevokedPeerIsResetAndNamed) {
  connect(2);
  const identity::SpiffeId id{"cluster.local", "shop", "client"};
  const std::string pem = world.ca.crl_pem({.serials = {n1.credentials.at(id)->serial_decimal()}});
  const auto set = identity::CrlSet::parse({pem});
  ASSERT_TRUE(set.ok());
  n2.proxy.install(*set, world.now());
  world.run(1s);
  for (size_t i = 0; i < conns.size(); ++i) EXPECT_TRUE(conns[i]->got_reset && far[i]->got_reset);
  EXPECT_EQ(n2.lines_with({"\terror\taccess\tconnection complete", "direction=\"inbound\"",
                           "error=\"connection closed: peer certificate revoked by CRL\""}),
            2u);
  EXPECT_EQ(n2.count(DropReason::kProxyPeerRevoked), 2u);
  EXPECT_EQ(n2.count(Counter::kHboneCrlDestinationClosed), 1u);
  // A new connection finds no tunnel, and its handshake is refused.
  Conn& again = client.connect(at("10.0.2.1:80"));
  ASSERT_TRUE(world.run_until([&] { return again.got_reset; }, 5s));
  EXPECT_EQ(n2.count(Counter::kHboneCrlDestinationRejected), 1u);
  EXPECT_EQ(n2.lines_with({"\twarn\taccess\tconnection failed", "certificate revoked"}), 1u);
}

}  // namespace
}  // namespace culvert::proxy
