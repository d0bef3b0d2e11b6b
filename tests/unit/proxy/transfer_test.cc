// Bytes from pod to pod: the whole way through two proxies, tunnels included, in both families, between nodes and on
// one.
#include <gtest/gtest.h>

#include "tests/unit/proxy/world.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

class Transfer : public testing::Test {
 protected:
  Transfer() {
    server.listen(80);
    world.publish();
  }
  World world;
  NodeHost& n1 = world.node("n1");
  NodeHost& n2 = world.node("n2");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1", "fd00:1::1"});
  PodHost& neighbour = world.pod(n1, "neighbour", {"10.0.1.2", "fd00:1::2"});
  PodHost& server = world.pod(n2, "server", {"10.0.2.1", "fd00:2::1"});
};

TEST_F(Transfer, ARequestAndItsAnswer) {
  server.on_data = [](Conn& c) {
    if (c.received == 100) {
      c.send(1000);
      c.finish();
    }
  };
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(100);
  ASSERT_TRUE(world.run_until([&] { return c.got_fin; }));
  EXPECT_EQ(c.received, 1000u);
  EXPECT_TRUE(c.intact);
  c.finish();
  Conn& s = server.accepted(0);
  ASSERT_TRUE(world.run_until([&] { return s.got_fin && world.quiet(); }));
  EXPECT_EQ(s.received, 100u);
  EXPECT_TRUE(s.intact);
  EXPECT_EQ(s.remote.address, ip("10.0.1.1")) << "the server sees the client pod's address";
  EXPECT_EQ(s.local, at("10.0.2.1:80"));

  const std::string from = "src.addr=" + c.local.to_string() + " ";
  EXPECT_EQ(n1.lines_with({"\tdebug\taccess\tconnection opened\t", from}), 1u);
  EXPECT_EQ(
      n1.lines_with({"\tinfo\taccess\tconnection complete\t", from,
                     "src.workload=\"client\" src.namespace=\"shop\" "
                     "src.identity=\"spiffe://cluster.local/ns/shop/sa/client\" src.cluster=\"Kubernetes\" ",
                     "dst.addr=10.0.2.1:15008 dst.hbone_addr=10.0.2.1:80 dst.workload=\"server\" "
                     "dst.namespace=\"shop\" dst.identity=\"spiffe://cluster.local/ns/shop/sa/server\" "
                     "dst.cluster=\"Kubernetes\" direction=\"outbound\" bytes_sent=100 bytes_recv=1000 duration="}),
      1u)
      << n1.log.back();
  EXPECT_EQ(n2.lines_with({"\tinfo\taccess\tconnection complete\tsrc.addr=10.0.1.1:",
                           "src.workload=\"client\" src.namespace=\"shop\" "
                           "src.identity=\"spiffe://cluster.local/ns/shop/sa/client\" src.cluster=\"Kubernetes\" "
                           "dst.addr=10.0.2.1:15008 dst.hbone_addr=10.0.2.1:80 dst.workload=\"server\"",
                           "direction=\"inbound\" bytes_sent=1000 bytes_recv=100"}),
            1u)
      << n2.log.back();
  EXPECT_EQ(n1.count(Counter::kProxyByteToTunnel), 100u);
  EXPECT_EQ(n1.count(Counter::kProxyByteToPod), 1000u);
  EXPECT_EQ(n1.count(Counter::kProxySessionCompleted), 1u);
  EXPECT_EQ(n1.count(Counter::kProxySessionFailed), 0u);
}

TEST_F(Transfer, NothingButTunnelsCrossesTheWire) {
  uint64_t segments = 0;
  world.on_wire = [&](const tcp::Segment& s) {
    EXPECT_TRUE(s.header.source_port == 15008 || s.header.destination_port == 15008);
    ++segments;
    return true;
  };
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(50'000);
  c.finish();
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).got_fin; }));
  EXPECT_GT(segments, 10u);
}

TEST_F(Transfer, AServerMaySpeakFirst) {
  server.on_accept = [](Conn& c) { c.send(10); };
  Conn& c = client.connect(at("10.0.2.1:80"));
  ASSERT_TRUE(world.run_until([&] { return c.received == 10; }));
  EXPECT_TRUE(c.intact);
}

TEST_F(Transfer, MegabytesBothWaysAtOnceOverBothFamilies) {
  server.on_accept = [](Conn& c) {
    c.send(3'000'000);
    c.finish();
  };
  for (const char* to : {"10.0.2.1:80", "[fd00:2::1]:80"}) {
    Conn& c = client.connect(at(to));
    c.send(3'000'000);
    c.finish();
    ASSERT_TRUE(world.run_until([&] { return c.closed || c.got_fin; })) << to;
    ASSERT_TRUE(world.run_until([&] { return world.quiet(); })) << to;
    Conn& s = server.accepted(server.accepted_count() - 1);
    EXPECT_EQ(c.received, 3'000'000u) << to;
    EXPECT_EQ(s.received, 3'000'000u) << to;
    EXPECT_TRUE(c.intact && s.intact && c.got_fin && s.got_fin && !c.got_reset && !s.got_reset) << to;
    EXPECT_EQ(s.remote.address.is_v4(), c.local.address.is_v4());
  }
}

TEST_F(Transfer, PodsOfOneNodeMeetThroughTheWholePath) {
  neighbour.listen(80);
  neighbour.on_accept = [](Conn& c) {
    c.send(200'000);
    c.finish();
  };
  bool wire_used = false;
  world.on_wire = [&](const tcp::Segment&) { return wire_used = true; };
  for (const char* to : {"10.0.1.2:80", "[fd00:1::2]:80"}) {
    Conn& c = client.connect(at(to));
    c.send(200'000);
    c.finish();
    ASSERT_TRUE(world.run_until([&] { return c.received == 200'000 && world.quiet(); })) << to;
    Conn& s = neighbour.accepted(neighbour.accepted_count() - 1);
    EXPECT_EQ(s.received, 200'000u);
    EXPECT_TRUE(c.intact && s.intact);
    EXPECT_EQ(s.remote.address, c.local.address);
  }
  EXPECT_FALSE(wire_used);
  EXPECT_EQ(n1.lines_with({"connection complete", "direction=\"outbound\"",
                           "dst.identity=\"spiffe://cluster.local/ns/shop/sa/neighbour\""}),
            2u);
  EXPECT_EQ(n1.lines_with({"connection complete", "direction=\"inbound\"",
                           "src.identity=\"spiffe://cluster.local/ns/shop/sa/client\""}),
            2u);
}

TEST_F(Transfer, TwoHundredConnectionsAtOnce) {
  server.on_data = [](Conn& c) {
    if (c.received == 5000) {
      c.send(20'000);
      c.finish();
    }
  };
  std::vector<Conn*> conns;
  for (int i = 0; i < 200; ++i) {
    conns.push_back(&client.connect(at("10.0.2.1:80")));
    conns.back()->send(5000);
    conns.back()->finish();
  }
  ASSERT_TRUE(world.run_until(
      [&] { return std::all_of(conns.begin(), conns.end(), [](Conn* c) { return c->got_fin; }) && world.quiet(); }));
  for (Conn* c : conns) EXPECT_TRUE(c->intact && c->received == 20'000 && !c->got_reset);
  EXPECT_EQ(server.accepted_count(), 200u);
  EXPECT_LE(n2.proxy.tunnels().tunnels(), 3u) << "streams share tunnels (100 on each)";
}

TEST_F(Transfer, AServiceSpreadsOverItsEndpoints) {
  PodHost& second = world.pod(n2, "second", {"10.0.2.2"});
  second.listen(8080);
  server.listen(8080);
  neighbour.listen(8080);
  world.mesh.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  for (auto [name, node, address] : {std::tuple{"server", "n2", "10.0.2.1"}, std::tuple{"second", "n2", "10.0.2.2"},
                                     std::tuple{"neighbour", "n1", "10.0.1.2"}}) {
    auto record = backing(pod(name, {address}), "shop/web.shop.svc.cluster.local");
    record.node = node;
    world.mesh.upsert(record);
  }
  world.publish();
  for (int i = 0; i < 60; ++i) {
    Conn& c = client.connect(at("10.96.0.1:80"));
    c.send(10);
    c.finish();
  }
  auto total = [&] { return server.accepted_count() + second.accepted_count() + neighbour.accepted_count(); };
  ASSERT_TRUE(world.run_until([&] { return total() == 60; }));
  EXPECT_GT(server.accepted_count(), 8u);
  EXPECT_GT(second.accepted_count(), 8u);
  EXPECT_GT(neighbour.accepted_count(), 8u);
  EXPECT_EQ(server.accepted(0).local.port, 8080);
  EXPECT_EQ(
      n1.lines_with({"connection opened", "direction=\"outbound\"", "dst.service=\"web.shop.svc.cluster.local\""}),
      60u);
  EXPECT_EQ(n2.lines_with({"connection opened", "direction=\"inbound\"", "dst.service=\"web.shop.svc.cluster.local\""}),
            server.accepted_count() + second.accepted_count())
      << "the client says which service it dialled";
}

TEST_F(Transfer, APodThatReachesItselfThroughItsServiceIsCalledFromItsGateway) {
  world.mesh.upsert(service("self", {"10.96.0.2"}, ports({{80, 8080}})));
  auto record = backing(pod("client", {"10.0.1.1"}), "shop/self.shop.svc.cluster.local");
  record.node = "n1";
  world.mesh.upsert(record);
  world.publish();
  client.listen(8080);
  Conn& c = client.connect(at("10.96.0.2:80"));
  c.send(10);
  ASSERT_TRUE(world.run_until([&] { return client.accepted_count() == 1 && client.accepted(0).received == 10; }));
  EXPECT_EQ(client.accepted(0).remote.address, ip("169.254.1.1")) << "no host takes a packet from its own address";
}

TEST_F(Transfer, AStalledReaderStopsNobodyElse) {
  PodHost& other = world.pod(n1, "other", {"10.0.1.3"});
  world.publish();
  Conn* stalled = nullptr;
  server.on_accept = [&](Conn& c) {
    if (!stalled) {
      stalled = &c;
      c.pause();
    }
  };
  Conn& slow = client.connect(at("10.0.2.1:80"));
  slow.send(200'000'000);
  world.run(5s);
  ASSERT_NE(stalled, nullptr);
  const uint64_t accepted = slow.sent;
  EXPECT_LT(accepted, 40'000'000u) << "what nobody reads is not taken without bound";
  world.run(5s);
  EXPECT_EQ(slow.sent, accepted);
  // Another stream of the same tunnel, and another pod's.
  for (PodHost* pod : {&client, &other}) {
    Conn& c = pod->connect(at("10.0.2.1:80"));
    c.send(1'000'000);
    c.finish();
    const size_t n = server.accepted_count();
    ASSERT_TRUE(world.run_until([&] { return server.accepted_count() > n && server.accepted(n).got_fin; }));
    EXPECT_EQ(server.accepted(n).received, 1'000'000u);
  }
  // Once it reads again, everything comes.
  slow.finish();
  stalled->resume();
  ASSERT_TRUE(world.run_until([&] { return stalled->got_fin; }, 120s));
  EXPECT_EQ(stalled->received, 200'000'000u);
  EXPECT_TRUE(stalled->intact);
}

TEST_F(Transfer, LossOnTheWireLosesNoByte) {
  uint64_t n = 0;
  world.on_wire = [&](const tcp::Segment&) { return ++n % 50 != 0; };
  server.on_data = [](Conn& c) {
    if (c.received == 500'000) {
      c.send(500'000);
      c.finish();
    }
  };
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(500'000);
  c.finish();
  ASSERT_TRUE(world.run_until([&] { return c.got_fin; }, 120s));
  EXPECT_TRUE(c.intact && server.accepted(0).intact);
  EXPECT_EQ(c.received, 500'000u);
}

TEST_F(Transfer, SessionsAreListed) {
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(1234);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 1234; }));
  world.run(2s);
  const auto out = n1.sessions(world.now());
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].direction, "outbound");
  EXPECT_EQ(out[0].source, c.local);
  EXPECT_EQ(out[0].destination, at("10.0.2.1:80"));
  EXPECT_EQ(out[0].hbone_authority, "10.0.2.1:80");
  EXPECT_EQ(out[0].source_identity, "spiffe://cluster.local/ns/shop/sa/client");
  EXPECT_EQ(out[0].destination_identity, "spiffe://cluster.local/ns/shop/sa/server");
  EXPECT_EQ(out[0].tunnel_peer, "10.0.2.1:15008");
  EXPECT_EQ(out[0].state, "open");
  EXPECT_EQ(out[0].bytes_sent, 1234u);
  EXPECT_GE(out[0].age, 2s);
  const auto in = n2.sessions(world.now());
  ASSERT_EQ(in.size(), 1u);
  EXPECT_EQ(in[0].direction, "inbound");
  EXPECT_EQ(in[0].source.address, ip("10.0.1.1"));
  EXPECT_EQ(in[0].destination, at("10.0.2.1:80"));
  EXPECT_EQ(in[0].bytes_received, 1234u);
}

}  // namespace
}  // namespace culvert::proxy
