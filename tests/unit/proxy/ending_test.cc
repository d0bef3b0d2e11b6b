// How a session ends is the same at both pods: half-closes, resets in both directions, lost tunnels (D23).
#include <gtest/gtest.h>

#include "tests/unit/proxy/world.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

class Ending : public testing::Test {
 protected:
  Ending() {
    server.listen(80);
    world.publish();
    c = &client.connect(at("10.0.2.1:80"));
    c->send(10);
    EXPECT_TRUE(world.run_until([&] { return server.accepted_count() == 1 && server.accepted(0).received == 10; }));
    s = &server.accepted(0);
  }
  // Within a second of the cause, both sides are done and nothing lingers.
  void expect_quiet() {
    EXPECT_TRUE(world.run_until([&] { return world.quiet(); }, 1s));
  }

  World world;
  NodeHost& n1 = world.node("n1");
  NodeHost& n2 = world.node("n2");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1"});
  PodHost& server = world.pod(n2, "server", {"10.0.2.1"});
  Conn* c = nullptr;
  Conn* s = nullptr;
};

TEST_F(Ending, TheClientsHalfCloseLeavesTheOtherDirectionOpen) {
  c->finish();
  ASSERT_TRUE(world.run_until([&] { return s->got_fin; }, 1s));
  world.run(3600s);
  EXPECT_FALSE(c->got_fin || c->got_reset || s->got_reset) << "no half-close time-out";
  s->send(500'000);
  s->finish();
  ASSERT_TRUE(world.run_until([&] { return c->got_fin; }));
  EXPECT_EQ(c->received, 500'000u);
  expect_quiet();
  EXPECT_FALSE(c->got_reset || s->got_reset);
}

TEST_F(Ending, TheServersHalfCloseLeavesTheOtherDirectionOpen) {
  s->send(7);
  s->finish();
  ASSERT_TRUE(world.run_until([&] { return c->got_fin; }, 1s));
  EXPECT_EQ(c->received, 7u);
  c->send(500'000);
  world.run(10s);
  EXPECT_EQ(s->received, 500'010u);
  c->finish();
  ASSERT_TRUE(world.run_until([&] { return s->got_fin; }));
  expect_quiet();
  EXPECT_FALSE(c->got_reset || s->got_reset);
  EXPECT_EQ(n1.count(Counter::kProxyFinToTunnel), 1u);
  EXPECT_EQ(n1.count(Counter::kProxyFinToPod), 1u);
}

TEST_F(Ending, TheClientsResetReachesTheServerAsAReset) {
  c->reset();
  ASSERT_TRUE(world.run_until([&] { return s->got_reset; }, 1s));
  EXPECT_FALSE(s->got_fin);
  expect_quiet();
  EXPECT_EQ(n1.lines_with({"\terror\taccess\tconnection complete", "error=\"io error: connection reset by the pod\""}),
            1u);
  EXPECT_EQ(
      n2.lines_with({"\terror\taccess\tconnection complete", "error=\"receive: stream reset by the peer: CANCEL\""}),
      1u);
}

TEST_F(Ending, TheServersResetReachesTheClientAsAReset) {
  s->reset();
  ASSERT_TRUE(world.run_until([&] { return c->got_reset; }, 1s));
  EXPECT_FALSE(c->got_fin);
  expect_quiet();
}

TEST_F(Ending, AResetAfterAHalfCloseIsStillAReset) {
  c->finish();
  ASSERT_TRUE(world.run_until([&] { return s->got_fin; }, 1s));
  s->reset();
  ASSERT_TRUE(world.run_until([&] { return c->got_reset; }, 1s));
  expect_quiet();
}

TEST_F(Ending, AResetInTheMiddleOfATransferIsNeverACleanEnd) {
  s->send(50'000'000);
  ASSERT_TRUE(world.run_until([&] { return c->received > 1'000'000; }));
  s->reset();
  ASSERT_TRUE(world.run_until([&] { return c->got_reset; }, 1s));
  EXPECT_FALSE(c->got_fin);
  EXPECT_TRUE(c->intact);
  expect_quiet();
}

TEST_F(Ending, WhatWasSentBeforeAnOrderlyEndArrivesEvenWhenTheReaderIsSlow) {
  // The server ends its side and has what the client still sends waiting in every queue when both FINs are exchanged.
  s->pause();
  s->finish();
  ASSERT_TRUE(world.run_until([&] { return c->got_fin; }, 1s));
  c->send(3'000'000);
  c->finish();
  world.run(10s);
  EXPECT_LT(s->received, 3'000'000u);
  s->resume();
  ASSERT_TRUE(world.run_until([&] { return s->got_fin; }, 30s));
  EXPECT_EQ(s->received, 3'000'010u);
  EXPECT_TRUE(s->intact);
  expect_quiet();
  EXPECT_FALSE(c->got_reset || s->got_reset);
  EXPECT_EQ(n1.count(Counter::kProxySessionFailed), 0u);
  EXPECT_EQ(n2.count(Counter::kProxySessionFailed), 0u);
}

TEST_F(Ending, ALostTunnelIsAReset) {
  world.on_wire = [](const tcp::Segment&) { return false; };
  ASSERT_TRUE(world.run_until([&] { return c->got_reset && s->got_reset; }, 120s));
  EXPECT_FALSE(c->got_fin || s->got_fin);
  expect_quiet();
  EXPECT_EQ(n1.count(DropReason::kProxyTunnelLost), 1u);
  EXPECT_EQ(n2.count(DropReason::kProxyTunnelLost), 1u);
}

TEST_F(Ending, BuffersAllComeBack) {
  for (int i = 0; i < 20; ++i) {
    Conn& more = client.connect(at("10.0.2.1:80"));
    more.send(200'000);
    if (i % 3 == 0) more.finish();
    if (i % 3 == 1) {
      world.run(1ms);
      more.reset();
    }
  }
  world.run(2s);
  for (size_t i = 0; i < server.accepted_count(); ++i) {
    if (!server.accepted(i).over()) server.accepted(i).reset();
  }
  expect_quiet();
  world.run(2s);
  EXPECT_EQ(world.pool->held(BufferKind::kSmall), 0u);
  EXPECT_EQ(world.pool->held(BufferKind::kLarge), 0u);
  EXPECT_EQ(world.pool->held(BufferKind::kView), 0u);
}

}  // namespace
}  // namespace culvert::proxy
