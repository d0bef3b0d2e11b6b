// Streams through tunnels between two nodes: what the proxy sees.
#include "hbone/tunnels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/hbone/network.h"

namespace culvert::hbone::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<TunnelInfo> list(const Tunnels& tunnels, Instant now) {
  std::vector<TunnelInfo> out;
  tunnels.for_each_tunnel(
      [](void* to, const TunnelInfo& info) { static_cast<std::vector<TunnelInfo>*>(to)->push_back(info); }, &out, now);
  return out;
}

TEST(Tunnels, AStreamIsOpenedAnsweredCarriedAndClosed) {
  Network net;
  ConnectRequest seen;
  Peer peer;
  net.server.serve = [&](StreamId id, Instant now) {
    seen = *net.server.tunnels->request(id);
    peer = *net.server.tunnels->peer(id);
    net.server.tunnels->respond(id, kStatusOk, "k8s.namespace.name=shop,service.name=b", now);
    net.server.add(id, {.to_send = 1'000});
  };
  Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 500}, net.now);
  ASSERT_TRUE(flow);
  net.run(1s);
  EXPECT_EQ(seen.fault, RequestFault::kNone);
  EXPECT_EQ(seen.authority.address, ip("10.0.0.2"));
  EXPECT_EQ(seen.authority.port, 8080);
  EXPECT_EQ(seen.baggage.name_space, "shop");
  EXPECT_EQ(seen.baggage.workload, "a");
  EXPECT_EQ(seen.traceparent, "00-00000000000000010000000000000002-0000000000000003-00");
  ASSERT_EQ(peer.identities.size(), 1u);
  EXPECT_EQ(peer.identities[0], spiffe("a"));
  EXPECT_EQ(peer.local_identity, spiffe("b"));
  EXPECT_EQ(peer.tuple.remote.address, ip("10.0.0.1"));
  EXPECT_EQ(peer.tuple.local, (Endpoint{ip("10.0.0.2"), kHbonePort}));

  EXPECT_THAT(net.client.events(), ElementsAre("1 established", "1 end"));
  EXPECT_EQ(net.client.tunnels->response(flow->id)->baggage.service, "b");
  EXPECT_EQ(net.client.tunnels->peer(flow->id)->identities.front(), spiffe("b"));
  EXPECT_EQ(flow->received, 1'000u);
  EXPECT_TRUE(flow->content_right && flow->ended);
  Flow& other = net.server.flows.at(1);
  EXPECT_EQ(other.received, 500u);
  EXPECT_TRUE(other.content_right && other.ended);

  const auto rows = list(*net.client.tunnels, net.now);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].state, "open");
  EXPECT_EQ(rows[0].peer_identity, "spiffe://cluster.local/ns/shop/sa/b");
  EXPECT_EQ(rows[0].cipher, "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(rows[0].aead, "openssl");
  EXPECT_EQ(rows[0].streams_total, 1u);
  EXPECT_GT(rows[0].bytes_sealed, 500u);

  net.client.tunnels->release(flow->id, net.now);
  net.server.tunnels->release(other.id, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->streams(), 0u);
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);  // warm, for the next one
  EXPECT_THAT(net.client.failures, IsEmpty());
  EXPECT_THAT(net.server.failures, IsEmpty());
}

TEST(Tunnels, AHundredStreamsCarryFiftyMegabytesEachWayWithoutACopy) {
  Network net;
  accept_all(net.server, {.to_send = 512 << 10});
  std::vector<Flow*> flows;
  for (int i = 0; i < 100; ++i) {
    flows.push_back(net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 512 << 10}, net.now));
    ASSERT_TRUE(flows.back());
  }
  const uint64_t copied = net.pool->bytes_copied();
  net.run(60s);
  for (auto* side : {&net.client, &net.server}) {
    ASSERT_EQ(side->flows.size(), 100u);
    for (const auto& [key, flow] : side->flows) {
      EXPECT_EQ(flow.received, 512u << 10);
      EXPECT_TRUE(flow.content_right && flow.ended);
    }
  }
  // Handshake flights and sparse queues only: less than one byte in a thousand.
  EXPECT_LT(net.pool->bytes_copied() - copied, 100u << 10);
  EXPECT_EQ(net.client.counters.value(Counter::kHboneTunnelConnected), 1u);
  EXPECT_EQ(net.client.counters.value(Counter::kHttp2DataByteReceived), 50u << 20);
  const auto rows = list(*net.client.tunnels, net.now);
  // Full DATA frames fill full records: 50 MB need 3,200.
  EXPECT_LT(rows.at(0).records_sealed, 3'700u);
}

TEST(Tunnels, EitherSideMayFinishFirstAndTheOtherRunsOn) {
  for (const bool client_first : {true, false}) {
    Network net;
    accept_all(net.server, {.to_send = 300'000, .may_send = client_first ? false : true});
    Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 300'000, .may_send = client_first}, net.now);
    net.run(5s);
    Flow& other = net.server.flows.at(1);
    Flow& first = client_first ? *flow : other;
    Flow& second = client_first ? other : *flow;
    EXPECT_TRUE(second.ended);
    EXPECT_EQ(second.received, 300'000u);
    EXPECT_FALSE(first.ended);
    net.run(30s);
    second.may_send = true;
    net.run(5s);
    EXPECT_TRUE(first.ended);
    EXPECT_EQ(first.received, 300'000u);
    EXPECT_TRUE(first.content_right && second.content_right);
  }
}

TEST(Tunnels, AResetTravelsAsCancelInBothDirections) {
  for (const bool by_client : {true, false}) {
    Network net;
    accept_all(net.server, {.to_send = 10'000, .finish = false});
    Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 10'000, .finish = false}, net.now);
    net.run(1s);
    net.client.events();
    Node& resetting = by_client ? net.client : net.server;
    Node& other = by_client ? net.server : net.client;
    resetting.tunnels->reset(by_client ? flow->id : net.server.flows.at(1).id, http2::ErrorCode::kCancel, net.now);
    net.run(1s);
    EXPECT_THAT(other.events(), ElementsAre("1 reset CANCEL"));
    EXPECT_THAT(resetting.events(), IsEmpty());
    EXPECT_EQ(net.client.tunnels->tunnels(), 1u);  // the tunnel goes on
  }
}

TEST(Tunnels, RefusalsReachTheClientWithTheirStatus) {
  for (const uint16_t status : {uint16_t{400}, uint16_t{401}, uint16_t{503}}) {
    Network net;
    net.server.serve = [&](StreamId id, Instant now) {
      net.server.tunnels->respond(id, status, "", now);
      net.server.tunnels->release(id, now);
    };
    Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 10}, net.now);
    net.run(1s);
    EXPECT_THAT(net.client.events(), ElementsAre("1 refused " + std::to_string(status)));
    net.client.tunnels->release(flow->id, net.now);
    net.run(1s);
    EXPECT_EQ(net.server.tunnels->streams(), 0u);
    EXPECT_EQ(net.client.tunnels->streams(), 0u);
  }
}

TEST(Tunnels, ARequestWithoutAPortIsShownWithItsFault) {
  Network net;
  RequestFault fault = RequestFault::kNone;
  net.server.serve = [&](StreamId id, Instant now) {
    fault = net.server.tunnels->request(id)->fault;
    net.server.tunnels->respond(id, kStatusBadRequest, "", now);
    net.server.tunnels->release(id, now);
  };
  net.client.open(net.key(), "10.0.0.2", {}, net.now);
  net.run(1s);
  EXPECT_EQ(fault, RequestFault::kAuthority);
  EXPECT_EQ(net.server.counters.value(DropReason::kHboneRequestInvalid), 1u);
  EXPECT_THAT(net.client.events(), ElementsAre("1 refused 400"));
}

TEST(Tunnels, AStreamNobodyReadsHoldsBackItsSenderAndNobodyElse) {
  Network net;
  net.server.serve = [&](StreamId id, Instant now) {
    net.server.tunnels->respond(id, kStatusOk, "", now);
    net.server.add(id, {.finish = false, .reads = net.server.flows.size() != 0});
  };
  Flow* stalled = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 10 << 20}, net.now);
  Flow* running = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 30 << 20}, net.now);
  net.run(60s, [&] { return net.server.flows.size() == 2 && net.server.flows.at(2).ended; });
  EXPECT_TRUE(net.server.flows.at(2).ended);
  EXPECT_EQ(net.server.flows.at(2).received, 30u << 20);
  EXPECT_EQ(running->sent, 30u << 20);
  // One stream window on the far side, one send queue here.
  EXPECT_LE(stalled->sent, 65'536u + (256u << 10) + 64'000u);
  net.server.flows.at(1).reads = true;
  net.run(60s);
  EXPECT_EQ(net.server.flows.at(1).received, 10u << 20);
  EXPECT_TRUE(net.server.flows.at(1).content_right);
}

TEST(Tunnels, ALostTunnelIsALossForEveryOpenStreamAndNeverAnEnd) {
  Network net;
  accept_all(net.server, {.to_send = 1'000, .finish = false});
  for (int i = 0; i < 3; ++i) net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 1'000, .finish = false}, net.now);
  net.run(1s);
  net.client.events();
  // The RST of a host that went away.
  net.tamper = [](tcp::Segment& segment, bool to_server) {
    if (to_server) return;
    segment.header.rst = true;
    segment.payload.reset();
  };
  net.server.flows.at(1).to_send += 1'000;
  net.run(1s);
  EXPECT_THAT(net.client.events(),
              ElementsAre("1 lost connection reset", "2 lost connection reset", "3 lost connection reset"));
  ASSERT_EQ(net.client.failures.size(), 1u);
  EXPECT_TRUE(net.client.failures[0].was_up);
  EXPECT_EQ(net.client.failures[0].loss, Loss::kTcpReset);
  EXPECT_EQ(net.client.counters.value(DropReason::kHboneTunnelLost), 1u);
}

TEST(Tunnels, StreamsThatCameAfterOthersLeftHearOfTheLossToo) {
  for (const uint64_t leaving : {1, 2, 3}) {
    Network net;
    accept_all(net.server, {.finish = false});
    for (int i = 0; i < 3; ++i) net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
    net.run(1s);
    net.client.tunnels->release(net.client.flows.at(leaving).id, net.now);
    net.client.flows.erase(leaving);
    net.run(1s);
    net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
    net.run(1s);
    net.client.events();
    net.server.deaf = true;
    net.run(60s, [&] { return net.client.log.size() == 3; });
    std::vector<std::string> expected;
    for (const uint64_t flow : {1, 2, 3, 4}) {
      if (flow != leaving) expected.push_back(std::to_string(flow) + " lost ping timeout");
    }
    EXPECT_EQ(net.client.events(), expected);
  }
}

TEST(Tunnels, ATcpEndWithoutCloseNotifyIsALoss) {
  Network net;
  accept_all(net.server, {.to_send = 1'000, .finish = false});
  net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 1'000, .finish = false}, net.now);
  net.run(1s);
  net.client.events();
  net.tamper = [done = false](tcp::Segment& segment, bool to_server) mutable {
    if (to_server || done) return;
    done = true;
    segment.header.fin = true;
    segment.payload.reset();
  };
  net.server.flows.at(1).to_send += 1'000;
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost connection truncated"));
  EXPECT_EQ(net.client.flows.at(1).ended, false);
}

TEST(Tunnels, ASilentPeerIsLostAfterThirtySeconds) {
  Network net;
  accept_all(net.server, {.finish = false});
  net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(5s);
  net.client.events();
  const Instant silent = net.now;
  net.server.deaf = true;
  net.run(60s, [&] { return !net.client.log.empty(); });
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost ping timeout"));
  EXPECT_LE(net.now - silent, 30s);
  EXPECT_THAT(net.client.failures.at(0).text, HasSubstr("HBONE ping timeout"));
  net.run(60s);
  EXPECT_THAT(net.server.events(), ElementsAre("1 lost ping timeout"));
}

TEST(Tunnels, PingsKeepAnIdleTunnelAlive) {
  Network net;
  accept_all(net.server, {.finish = false});
  net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1h);
  EXPECT_THAT(net.client.events(), ElementsAre("1 established"));
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);
}

TEST(Tunnels, WhatThePeerHadEndedSurvivesTheTunnel) {
  Network net;
  accept_all(net.server, {.to_send = 50'000});
  Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 10, .finish = false, .reads = false}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 established", "1 end"));
  net.server.tunnels->close_address(net.server.address, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 stopped CANCEL"));
  flow->reads = true;
  net.run(1s);
  EXPECT_EQ(flow->received, 50'000u);
  EXPECT_TRUE(flow->ended && flow->content_right);
  EXPECT_FALSE(net.client.tunnels->write(flow->id, pattern_packet(*net.pool, 0, 10), net.now));
  net.client.tunnels->release(flow->id, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 0u);
}

TEST(Tunnels, AGoneWorkloadResetsItsStreamsOnBothSidesWithinASecond) {
  Network net;
  accept_all(net.server, {.to_send = 1'000, .finish = false});
  for (int i = 0; i < 2; ++i) net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 1'000, .finish = false}, net.now);
  net.run(1s);
  net.client.events();
  net.server.tunnels->close_address(net.server.address, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 reset CANCEL", "2 reset CANCEL"));
  EXPECT_THAT(net.server.events(), ElementsAre("1 lost closed", "2 lost closed"));
  EXPECT_THAT(net.server.failures, IsEmpty());
  for (auto& [key, flow] : net.client.flows) net.client.tunnels->release(flow.id, net.now);
  for (auto& [key, flow] : net.server.flows) net.server.tunnels->release(flow.id, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 0u);
  EXPECT_EQ(net.server.tunnels->tunnels(), 0u);
}

TEST(Tunnels, DrainLetsStreamsFinishAndSendsNewOnesElsewhere) {
  Network net;
  accept_all(net.server, {.to_send = 1'000, .finish = false});
  Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 10'000, .may_send = false}, net.now);
  net.run(1s);
  net.server.tunnels->drain(net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);
  net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 5}, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 2u);
  flow->may_send = true;
  net.run(1s);
  EXPECT_EQ(net.server.flows.at(1).received, 10'000u);
  net.server.tunnels->finish(net.server.flows.at(1).id, net.now);
  net.run(1s);
  EXPECT_TRUE(flow->ended);
  // The drained tunnel closes with its last stream.
  net.client.tunnels->release(flow->id, net.now);
  net.server.tunnels->release(net.server.flows.at(1).id, net.now);
  net.run(10s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);
  EXPECT_EQ(net.server.tunnels->tunnels(), 1u);
  for (const auto& failure : net.client.failures) ADD_FAILURE() << failure.text;
}

TEST(Tunnels, EveryByteSurvivesTheNthFailureOfAPool) {
  for (uint64_t nth = 1; nth < 2'000; nth += nth < 60 ? 1 : 37) {
    Network net;
    accept_all(net.server, {.to_send = 100'000});
    Flow* flow = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 100'000}, net.now);
    ASSERT_TRUE(flow);
    net.pool->fail_take(nth);
    net.run(60s, [&] { return flow->over || (flow->ended && net.server.flows.at(1).ended); });
    net.pool->fail_take(0);
    // A tunnel that could not even be made fails by name; one that was made loses nothing.
    if (flow->over) {
      EXPECT_THAT(net.client.events(), testing::Contains(HasSubstr("lost"))) << nth;
    } else {
      EXPECT_TRUE(flow->ended && flow->content_right) << nth;
      EXPECT_EQ(flow->received, 100'000u) << nth;
      EXPECT_EQ(net.server.flows.at(1).received, 100'000u) << nth;
    }
  }
}

}  // namespace
}  // namespace culvert::hbone::test
