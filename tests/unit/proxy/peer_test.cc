// Servers that are not ours: what their answers, and their silence, mean for the pod that asked.
#include <gtest/gtest.h>

#include "tests/unit/proxy/tunnel_peer.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

class ForeignServer : public testing::Test {
 protected:
  ForeignServer() {
    world.mesh.upsert(pod("server", {"10.0.9.1"}));
    world.publish();
  }
  // What the server does with each request.
  void on_request(std::function<void(hbone::StreamId)> answer) {
    peer.on_event = [this, answer](const hbone::Event& event) {
      if (event.kind != hbone::EventKind::kRequest) return;
      request = *peer.tunnels().request(event.stream);
      answer(event.stream);
    };
  }
  World world;
  NodeHost& n1 = world.node("n1");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1", "fd00:1::1"});
  TunnelPeer peer{world, "10.0.9.1", world.ca.credentials("spiffe://cluster.local/ns/shop/sa/server")};
  hbone::ConnectRequest request;
};

TEST_F(ForeignServer, ReadsTheHeadersThatTheReferenceNames) {
  on_request([&](hbone::StreamId stream) { peer.tunnels().respond(stream, 200, {}, world.now()); });
  Conn& c = client.connect(at("10.0.9.1:8080"));
  ASSERT_TRUE(world.run_until([&] { return n1.count(Counter::kProxyOutboundOpened) == 1; }, 2s));
  EXPECT_EQ(request.method, "CONNECT");
  EXPECT_EQ(request.authority_text, "10.0.9.1:8080");
  EXPECT_EQ(request.baggage.cluster, "Kubernetes");
  EXPECT_EQ(request.baggage.name_space, "shop");
  EXPECT_EQ(request.baggage.workload_type, "pod");
  EXPECT_EQ(request.baggage.workload, "client");
  EXPECT_EQ(request.baggage.service, "client");
  EXPECT_EQ(request.baggage.revision, "v1");
  EXPECT_EQ(request.traceparent.size(), 55u);
  EXPECT_TRUE(request.forwarded_network.empty());
  EXPECT_FALSE(c.got_reset);
}

TEST_F(ForeignServer, AnAnswerThatIsNot200ResetsThePodAndIsNamed) {
  for (const auto& [status, text] : {std::pair<uint16_t, const char*>{401, "http status: 401 Unauthorized"},
                                     {400, "http status: 400 Bad Request"},
                                     {503, "http status: 503 Service Unavailable"}}) {
    on_request([&, s = status](hbone::StreamId stream) {
      peer.tunnels().respond(stream, s, {}, world.now());
      peer.tunnels().release(stream, world.now());
    });
    Conn& c = client.connect(at("10.0.9.1:8080"));
    ASSERT_TRUE(world.run_until([&] { return c.got_reset; }, 2s));
    EXPECT_EQ(n1.lines_with({text}), 1u) << n1.log.back();
  }
  EXPECT_EQ(n1.count(DropReason::kProxyConnectRefused), 3u);
}

TEST_F(ForeignServer, AConnectThatNobodyAnswersEndsAfterThirtySeconds) {
  on_request([](hbone::StreamId) {});
  Conn& c = client.connect(at("10.0.9.1:8080"));
  world.run(25s);
  EXPECT_FALSE(c.got_reset);
  ASSERT_TRUE(world.run_until([&] { return c.got_reset; }, 10s));
  EXPECT_EQ(n1.count(DropReason::kProxyConnectTimeout), 1u);
}

TEST_F(ForeignServer, AResetBeforeTheAnswerIsAReset) {
  on_request(
      [&](hbone::StreamId stream) { peer.tunnels().reset(stream, http2::ErrorCode::kInternalError, world.now()); });
  Conn& c = client.connect(at("10.0.9.1:8080"));
  ASSERT_TRUE(world.run_until([&] { return c.got_reset; }, 2s));
  EXPECT_EQ(n1.lines_with({"error=\"receive: stream reset by the peer: INTERNAL_ERROR\""}), 1u) << n1.log.back();
}

TEST_F(ForeignServer, AWholeAnswerArrivesEvenWhenTheServerTakesNoMore) {
  // It answers after the first bytes, ends its stream, and lets go of it with the client still sending.
  peer.on_event = [&](const hbone::Event& event) {
    hbone::Tunnels& tunnels = peer.tunnels();
    if (event.kind == hbone::EventKind::kRequest) tunnels.respond(event.stream, 200, {}, world.now());
    if (event.kind == hbone::EventKind::kReadable && tunnels.read(event.stream, 100, world.now())) {
      peer.send(event.stream, 5000);
      tunnels.finish(event.stream, world.now());
      tunnels.flush(world.now());
      tunnels.release(event.stream, world.now());
    }
  };
  Conn& c = client.connect(at("10.0.9.1:8080"));
  c.send(10'000'000);
  ASSERT_TRUE(world.run_until([&] { return c.got_fin; }, 2s));
  EXPECT_EQ(c.received, 5000u) << "all of it, before anything else";
  ASSERT_TRUE(world.run_until([&] { return c.got_reset; }, 2s)) << "and then: the rest was not taken";
  EXPECT_TRUE(world.run_until([&] { return world.quiet(); }, 1s));
  EXPECT_EQ(n1.lines_with({"bytes_recv=5000", "error=\"send: the peer took no more bytes\""}), 1u) << n1.log.back();
}

TEST_F(ForeignServer, ALostTcpConnectionResetsEveryPodOfTheTunnel) {
  on_request([&](hbone::StreamId stream) { peer.tunnels().respond(stream, 200, {}, world.now()); });
  Conn& a = client.connect(at("10.0.9.1:8080"));
  Conn& b = client.connect(at("10.0.9.1:8081"));
  ASSERT_TRUE(world.run_until([&] { return n1.count(Counter::kProxyOutboundOpened) == 2; }, 2s));
  EXPECT_EQ(n1.proxy.tunnels().tunnels(), 1u);
  peer.tunnels().close_address(ip("10.0.9.1"), world.now());
  ASSERT_TRUE(world.run_until([&] { return a.got_reset && b.got_reset; }, 1s));
  EXPECT_FALSE(a.got_fin || b.got_fin);
}

}  // namespace
}  // namespace culvert::proxy
