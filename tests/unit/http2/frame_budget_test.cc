// The frame budget by itself, and a session that ends abusers by it.
#include "http2/frame_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/http2/wire.h"

namespace culvert::http2::test {
namespace {

using Verdict = FrameBudget::Verdict;

template <class Spend>
int spend_until_refused(Spend spend) {
  int count = 0;
  while (count < 1'000'000 && spend() == Verdict::kWithin) ++count;
  return count;
}

TEST(FrameBudget, ControlFramesAreFreeUpToABurstThenAgainstTimePayloadAndStreams) {
  FrameBudget budget(Instant{});
  Instant now{};
  auto control = [&] { return budget.on_control_frame(now); };
  EXPECT_EQ(spend_until_refused(control), 2'000);
  now += 1s;
  EXPECT_EQ(spend_until_refused(control), 100);
  budget.on_payload(51'200);
  EXPECT_EQ(spend_until_refused(control), 100);
  for (int i = 0; i < 25; ++i) budget.on_stream();
  EXPECT_EQ(spend_until_refused(control), 100);
  now += 1h;
  budget.on_payload(uint64_t{1} << 40);
  EXPECT_EQ(spend_until_refused(control), 2'000);  // never beyond the burst
}

TEST(FrameBudget, TimeEarnsWholeTokensAndLosesNoFraction) {
  FrameBudget budget(Instant{});
  Instant now{};
  auto control = [&] { return budget.on_control_frame(now); };
  spend_until_refused(control);
  int earned = 0;
  for (int i = 0; i < 1'000; ++i) {
    now += 3ms;  // 0.3 tokens
    earned += spend_until_refused(control);
  }
  EXPECT_EQ(earned, 300);
}

TEST(FrameBudget, AThousandResetsASecondAreNoAttackAndTenThousandAre) {
  for (const int per_second : {1'000, 10'000}) {
    FrameBudget budget(Instant{});
    bool ended = false;
    for (int ms = 0; ms < 60'000 && !ended; ++ms) {
      for (int i = 0; i < per_second / 1'000; ++i) {
        ended |= budget.on_reset(Instant{} + std::chrono::milliseconds(ms)) != Verdict::kWithin;
      }
    }
    EXPECT_EQ(ended, per_second == 10'000) << per_second;
  }
}

TEST(FrameBudget, OnlyExcessHeaderBytesAreCharged) {
  FrameBudget budget(Instant{});
  for (int i = 0; i < 1'000'000; ++i) ASSERT_EQ(budget.on_headers(600, Instant{}), Verdict::kWithin);
  EXPECT_EQ(spend_until_refused([&] { return budget.on_headers(4'096 + 1'024, Instant{}); }), 1'024);
  EXPECT_EQ(budget.on_continuation(1, Instant{}), Verdict::kHeaderFlood);
}

// Sends `bytes` until the session ends; returns how often.
int flood(RawPeer& peer, const std::string& bytes) {
  int count = 0;
  while (peer.end->state() != State::kEnded && count < 100'000) {
    peer.send(bytes);
    ++count;
  }
  return count;
}

struct OpenServer : RawPeer {
  OpenServer() : RawPeer(Role::kServer) {
    settle();
    send(frame(1, kEndHeaders, 1, hpack(kConnect)));
    end.events();
    end->respond(end.refs.at(0), view(kOk), false);
    collect();
    frames.clear();
  }
};

TEST(Abuse, PingFloodEndsTheConnection) {
  OpenServer peer;
  EXPECT_NEAR(flood(peer, frame(6, 0, 0, "12345678")), 2'000, 20);
  EXPECT_EQ(peer.take_goaway(), "1 ENHANCE_YOUR_CALM");
  EXPECT_EQ(peer.end->failure().kind, FailureKind::kAbuse);
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2ControlFlood), 1u);
}

TEST(Abuse, PingsWhoseAnswersAreNotTakenEndTheConnection) {
  OpenServer peer;
  ByteQueue in;
  std::string many;
  for (int i = 0; i < 1'500; ++i) many += frame(6, 0, 0, "12345678");
  in.append(peer.pool->take_copy(bytes_of(many)));
  peer.end->on_bytes(in, peer.now);
  EXPECT_EQ(peer.end->failure().kind, FailureKind::kAbuse);
}

TEST(Abuse, SettingsFloodEndsTheConnection) {
  OpenServer peer;
  EXPECT_NEAR(flood(peer, frame(4, 0, 0, "")), 2'000, 20);
  EXPECT_EQ(peer.take_goaway(), "1 ENHANCE_YOUR_CALM");
}

TEST(Abuse, EmptyDataFloodEndsTheConnection) {
  OpenServer peer;
  EXPECT_NEAR(flood(peer, frame(0, 0, 1, "")), 200, 10);
  EXPECT_EQ(peer.take_goaway(), "1 ENHANCE_YOUR_CALM");
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2EmptyDataFlood), 1u);
}

TEST(Abuse, RapidResetEndsTheConnectionAfterThousandsNotAfterOne) {
  RawPeer peer(Role::kServer);
  peer.settle();
  int count = 0;
  for (; peer.end->state() != State::kEnded && count < 100'000; ++count) {
    const int32_t stream = 2 * count + 1;
    peer.send(frame(1, kEndHeaders, stream, hpack(kConnect)) + frame(3, 0, stream, be(8, 4)));
    peer.end.events();
    for (const StreamRef ref : peer.end.refs) peer.end->release(ref);
    peer.end.refs.clear();
  }
  EXPECT_NEAR(count, 4'097, 5);
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2ResetFlood), 1u);
}

TEST(Abuse, StreamsThatWeMustResetCountToo) {
  RawPeer peer(Role::kServer);
  peer.settle();
  int count = 0;
  for (; peer.end->state() != State::kEnded && count < 100'000; ++count) {
    peer.send(frame(1, kEndHeaders, 2 * count + 1, hpack({{":method", "CONNECT"}})));
  }
  EXPECT_NEAR(count, 4'098, 5);
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2ResetFlood), 1u);
}

TEST(Abuse, PodsThatAbortConnectionsDoNotEndTheTunnel) {
  // 20,000 streams that are opened, used and aborted by their owners, 500 a second.
  RawPeer peer(Role::kServer);
  peer.settle();
  for (int count = 0; count < 20'000; ++count) {
    peer.now += 2ms;
    peer.end->poll(peer.now);
    const int32_t stream = 2 * count + 1;
    peer.send(frame(1, kEndHeaders, stream, hpack(kConnect)) + frame(3, 0, stream, be(8, 4)));
    if (const auto ping = peer.take(6)) peer.send(frame(6, kAck, 0, ping->payload));
    peer.frames.clear();
    peer.end.events();
    for (const StreamRef ref : peer.end.refs) peer.end->release(ref);
    peer.end.refs.clear();
    ASSERT_EQ(peer.end->state(), State::kOpen);
  }
}

TEST(Abuse, HeaderBytesWithoutPayloadEndTheConnection) {
  RawPeer peer(Role::kServer);
  peer.settle();
  Fields fields = kConnect;
  fields.emplace_back("x", std::string(16'000, 'x'));
  int count = 0;
  for (; peer.end->state() != State::kEnded && count < 10'000; ++count) {
    peer.send(frame(1, kEndHeaders, 2 * count + 1, hpack(fields)));
    peer.end.events();
    for (const StreamRef ref : peer.end.refs) peer.end->release(ref);
    peer.end.refs.clear();
  }
  EXPECT_NEAR(count, (1 << 20) / (16'000 - 4'096), 3);
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2HeaderFlood), 1u);
}

TEST(Abuse, ABusyPeerThatAcknowledgesOftenIsWithinTheBudget) {
  OpenServer peer;
  for (int i = 0; i < 5'000; ++i) {
    peer.send(frame(0, 0, 1, std::string(1'024, 'x')) + frame(8, 0, 0, be(1'024, 4)) + frame(8, 0, 1, be(1'024, 4)));
    peer.end.read_all(peer.end.refs[0], peer.now);
    ASSERT_EQ(peer.end->state(), State::kOpen) << i;
  }
}

}  // namespace
}  // namespace culvert::http2::test
