// Who shares a tunnel with whom, who waits, and what a failed tunnel tells its waiters.
#include "hbone/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/hbone/network.h"

namespace culvert::hbone::test {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST(Pool, StreamsOfOneKeyShareATunnelAndWaitForItTogether) {
  Network net;
  accept_all(net.server, {.finish = false});
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now));
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);
  net.run(1s);
  EXPECT_THAT(net.client.events(), SizeIs(20));
  EXPECT_EQ(net.client.counters.value(Counter::kHboneTunnelConnected), 1u);
  EXPECT_EQ(net.client.counters.value(Counter::kHboneStreamWaited), 20u);
  net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.counters.value(Counter::kHboneStreamWaited), 20u);
  EXPECT_EQ(net.client.counters.value(Counter::kHboneTunnelConnected), 1u);
}

TEST(Pool, EveryPartOfTheKeySeparates) {
  Network net;
  accept_all(net.server, {.finish = false});
  const TunnelKey base = net.key();
  std::vector<TunnelKey> keys = {base};
  keys.push_back(base);
  keys.back().source_identity = spiffe("c");
  keys.push_back(base);
  keys.back().source = ip("10.0.0.11");
  keys.push_back(base);
  keys.back().expected = {spiffe("b"), spiffe("x")};
  keys.push_back(base);
  keys.back().expected = {spiffe("x"), spiffe("b")};  // order counts
  keys.push_back(base);
  keys.back().destination.address = ip("10.0.0.12");
  for (const TunnelKey& key : keys) ASSERT_TRUE(net.client.open(key, "10.0.0.2:8080", {.finish = false}, net.now));
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), keys.size());
  EXPECT_THAT(net.client.events(), SizeIs(keys.size()));
  // Each stream's tunnel has the source it asked for.
  EXPECT_EQ(net.client.tunnels->peer(net.client.flows.at(3).id)->tuple.local.address, ip("10.0.0.11"));
  for (const TunnelKey& key : keys) ASSERT_TRUE(net.client.open(key, "10.0.0.2:8080", {.finish = false}, net.now));
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), keys.size());
}

TEST(Pool, AFullTunnelLeavesForGoodAndTheRestGetsAnother) {
  Network net;
  accept_all(net.server, {});
  for (int i = 0; i < 250; ++i) {
    ASSERT_TRUE(net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now));
  }
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);  // one attempt at a time
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 3u);
  for (const auto& [key, flow] : net.client.flows) EXPECT_TRUE(flow.established);
  // Half of the first tunnel's streams end: it is not handed out again.
  for (uint64_t i = 1; i <= 50; ++i) {
    net.client.tunnels->finish(net.client.flows.at(i).id, net.now);
    net.client.tunnels->release(net.client.flows.at(i).id, net.now);
  }
  net.run(1s);
  for (int i = 0; i < 60; ++i) net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 4u);
  // And closes with its last one.
  for (uint64_t i = 51; i <= 100; ++i) net.client.tunnels->release(net.client.flows.at(i).id, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 3u);
}

TEST(Pool, TheServersLimitCountsWhenItIsLower) {
  Limits limits;
  limits.server_streams_max = 5;
  Network net(limits);
  accept_all(net.server, {.finish = false});
  for (int i = 0; i < 12; ++i) net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 3u);
  for (const auto& [key, flow] : net.client.flows) EXPECT_TRUE(flow.established);
}

TEST(Pool, AnUnusedTunnelIsClosedInOrderAfterFiveMinutes) {
  Network net;
  accept_all(net.server, {});
  Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 5}, net.now);
  net.run(1s);
  net.client.tunnels->release(flow->id, net.now);
  net.server.tunnels->release(net.server.flows.at(1).id, net.now);
  net.run(4min);
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);
  net.run(2min);
  EXPECT_EQ(net.client.tunnels->tunnels(), 0u);
  EXPECT_EQ(net.server.tunnels->tunnels(), 0u);
  EXPECT_EQ(net.client.tcp->connections() + net.server.tcp->connections(), 0u);
  EXPECT_THAT(net.server.failures, IsEmpty());
  EXPECT_EQ(net.server.counters.value(Counter::kHttp2GoawayReceived), 1u);
  EXPECT_EQ(net.server.counters.value(DropReason::kHboneTunnelLost), 0u);
}

TEST(Pool, AnIdleTunnelWithAStreamOnlyLeavesThePool) {
  Network net;
  accept_all(net.server, {.finish = false});
  Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(10min);
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);
  flow->to_send = 100;
  net.run(1s);
  EXPECT_EQ(net.server.flows.at(1).received, 100u);
  net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 2u);
}

TEST(Pool, ANewCertificateIsForNewTunnelsOnly) {
  Network net;
  accept_all(net.server, {.finish = false});
  Flow* old = net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  // The client's workload is another from now on, and the server's next certificate is none the client expects.
  net.client.own["a"] = net.ca.credentials("spiffe://cluster.local/ns/shop/sa/a2");
  net.server.pod = net.ca.credentials("spiffe://cluster.local/ns/shop/sa/b2");
  old->to_send = 1'000;
  net.run(1s);
  EXPECT_EQ(net.server.flows.at(1).received, 1'000u);
  TunnelKey key = net.key("a", "b2");
  net.client.open(key, "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_EQ(net.server.tunnels->peer(net.server.flows.at(1).id)->identities.front(), spiffe("a"));
  EXPECT_EQ(net.server.tunnels->peer(net.server.flows.at(2).id)->identities.front(), spiffe("a2"));
}

TEST(Failure, AWrongServerIdentityFailsEveryWaiterByName) {
  Network net;
  for (int i = 0; i < 3; ++i) net.client.open(net.key("a", "someone-else"), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(),
              ElementsAre("1 lost handshake failed", "2 lost handshake failed", "3 lost handshake failed"));
  EXPECT_THAT(net.client.tunnels->failure(net.client.flows.at(1).id),
              HasSubstr("peer did not present the expected SAN"));
  ASSERT_THAT(net.client.failures, SizeIs(1));
  EXPECT_FALSE(net.client.failures[0].was_up);
  ASSERT_THAT(net.server.failures, SizeIs(1));
  EXPECT_FALSE(net.server.failures[0].was_up);
  EXPECT_EQ(net.server.failures[0].side, Side::kServer);
  EXPECT_EQ(net.client.tunnels->tunnels(), 0u);
  net.run(10s);
  EXPECT_EQ(net.server.tunnels->tunnels(), 0u);
  EXPECT_EQ(net.client.tcp->connections(), 0u);
}

TEST(Failure, ARefusedClientCertificateIsAHandshakeFailureNotALostTunnel) {
  Network net;
  TestCa stranger;
  net.client.own["a"] = stranger.credentials({.uri_sans = {"spiffe://cluster.local/ns/shop/sa/a"}}, net.ca);
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost handshake failed"));
  ASSERT_THAT(net.client.failures, SizeIs(1));
  EXPECT_FALSE(net.client.failures[0].was_up);
  EXPECT_THAT(net.client.failures[0].text, HasSubstr("tls handshake error"));
  EXPECT_EQ(net.client.counters.value(Counter::kHboneTunnelConnected), 0u);
  EXPECT_EQ(net.server.counters.value(Counter::kHboneTunnelAccepted), 0u);
}

TEST(Failure, WithoutACertificateNothingLeaves) {
  Network net;
  ConnectHeaders headers;
  headers.authority = "10.0.0.2:8080";
  const auto opened = net.client.tunnels->open(net.key("unknown"), headers, net.now);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error(), OpenError::kNoCredentials);
  EXPECT_EQ(net.client.counters.value(DropReason::kHboneNoCredentials), 1u);
  EXPECT_EQ(net.client.tcp->connections(), 0u);
  net.server.pod = nullptr;
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost connection reset"));
  EXPECT_EQ(net.server.counters.value(DropReason::kHboneNoCredentials), 1u);
}

TEST(Failure, ASilentAddressSuspectsANetworkPolicy) {
  Network net;
  net.server.syn_verdict = tcp::SynVerdict::kDrop;
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(11s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost connect timeout"));
  EXPECT_THAT(net.client.failures.at(0).text,
              HasSubstr("connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008"));
}

TEST(Failure, AClosedPortIsRefusedAtOnce) {
  Network net;
  net.server.syn_verdict = tcp::SynVerdict::kRefuse;
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(100ms);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost connect refused"));
  EXPECT_THAT(net.client.failures.at(0).text, HasSubstr("connection failed: "));
}

TEST(Failure, AServerThatNeverFinishesTheHandshakeIsGivenUpAfterTenSeconds) {
  Network net;
  // What the server has to say is lost, but for its SYN.
  net.tamper = [](tcp::Segment& segment, bool to_server) {
    if (!to_server && !segment.header.syn) segment.payload.reset();
  };
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(9s);
  EXPECT_THAT(net.client.events(), IsEmpty());
  net.run(2s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost set-up timeout"));
}

TEST(Failure, AWithdrawnWaiterIsForgotten) {
  Network net;
  accept_all(net.server, {});
  Flow* first = net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  Flow* second = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 5}, net.now);
  net.client.tunnels->release(first->id, net.now);
  net.client.flows.erase(1);
  net.run(1s);
  EXPECT_EQ(net.server.flows.size(), 1u);
  EXPECT_TRUE(second->ended);
  EXPECT_EQ(net.client.tunnels->streams(), 1u);
}

TEST(Failure, TunnelsAndWaitersAreBounded) {
  Limits limits;
  limits.tunnels_max = 1;
  limits.waiters_max = 3;
  Network net(limits);
  accept_all(net.server, {});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(net.client.open(net.key(), "10.0.0.2:8080", {}, net.now));
  ConnectHeaders headers;
  headers.authority = "10.0.0.2:8080";
  EXPECT_EQ(net.client.tunnels->open(net.key(), headers, net.now).error(), OpenError::kFull);
  EXPECT_EQ(net.client.counters.value(DropReason::kHboneWaitersFull), 1u);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->open(net.key("c"), headers, net.now).error(), OpenError::kFull);
  EXPECT_EQ(net.client.counters.value(DropReason::kHboneTunnelsFull), 1u);
}

}  // namespace
}  // namespace culvert::hbone::test
