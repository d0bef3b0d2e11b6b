// What time does: retransmission, probes, delayed ACKs, keepalive, giving up; and flow control, which lives from it.
#include "tests/unit/tcp/peer.h"

namespace culvert::tcp::test {
namespace {

// --- RFC 6298
// -------------------------------------------------------------------------------------------------------------

TEST(RetransmissionTimeout, BacksOffAndGivesUp) {
  Dialogue d;
  d.accept({.sack = false});
  d.write(100);
  d.expect(data(1, 100));
  Duration wait = d.info().rto;
  EXPECT_GE(wait, 200ms);
  for (int i = 0; i < 15; ++i) {
    EXPECT_EQ(d.advance_to_output(), wait) << i;
    d.expect(data(1, 100));
    wait = std::min<Duration>(2 * wait, 120s);
  }
  d.advance(121s);
  d.expect_event(EventKind::kTimedOut);
  EXPECT_EQ(d.count(Counter::kTcpTimedOutRetransmit), 1u);
  EXPECT_EQ(d.count(Counter::kTcpTimeoutRetransmit), 15u);
}

TEST(RetransmissionTimeout, IsMeasuredAndNotFromRetransmissions) {
  Dialogue d;
  d.accept({.sack = false});
  d.write(100);
  d.expect(data(1, 100));
  d.advance(100ms);
  d.send(ack(101));
  const Duration srtt = d.info().srtt;
  EXPECT_GT(srtt, 10ms);
  d.write(100);
  d.expect(data(101, 100));
  d.advance_to_output();
  d.expect(data(101, 100));
  d.advance(100ms);
  d.send(ack(201));  // of which transmission? Karn: no sample, and the back-off stays
  EXPECT_EQ(d.info().srtt, srtt);
  d.write(100);
  d.expect(data(201, 100));
  EXPECT_GT(d.info().rto, 2 * 200ms);
}

TEST(RetransmissionTimeout, OfASegmentThatWasNotLostIsUndone) {
  Dialogue d;
  d.accept({.sack = false, .timestamps = true});
  for (int i = 0; i < 20; ++i) {
    d.write(1448);
    d.take_all();
    d.advance(10ms);
    d.send(ack(1449u + 1448u * static_cast<uint32_t>(i)));
  }
  const uint32_t cwnd = d.info().cwnd;
  d.write(14'480);
  EXPECT_EQ(d.take_all().size(), 10u);
  const uint32_t echo = d.echo;
  d.advance_to_output();  // a delay spike
  EXPECT_EQ(d.take_all().size(), 1u);
  EXPECT_LT(d.info().cwnd, cwnd);
  d.send({.seq = 1, .ack = 28'961 + 1448, .timestamps = std::pair{d.peer_clock(), echo}});
  EXPECT_GE(d.info().cwnd, cwnd);
  EXPECT_EQ(d.count(Counter::kTcpRecoveryUndone), 1u);
  d.take_all();
}

// --- fast retransmit
// --------------------------------------------------------------------------------------------------------

TEST(FastRetransmit, ThreeDuplicateAcksWithoutSack) {
  Dialogue d;
  d.accept({.sack = false});
  d.write(14'600);
  EXPECT_EQ(d.take_all().size(), 10u);
  d.send(ack(1));
  d.send(ack(1));
  d.expect_nothing();
  d.send(ack(1));
  d.expect(data(1, 1460));
  EXPECT_EQ(d.count(Counter::kTcpRecovery), 1u);
  d.send(ack(14'601));
  EXPECT_EQ(d.count(Counter::kTcpRecoveryTimeout), 0u);
}

TEST(FastRetransmit, PartialAckRetransmitsTheNextHole) {  // RFC 6582
  Dialogue d;
  d.accept({.sack = false});
  d.write(14'600);
  EXPECT_EQ(d.take_all().size(), 10u);
  for (int i = 0; i < 3; ++i) d.send(ack(1));
  d.expect(data(1, 1460));
  d.advance(10ms);
  d.send(ack(1461 + 1460));
  d.expect(data(2921, 1460));
  d.send(ack(14'601));
}

TEST(FastRetransmit, LimitedTransmitSendsNewDataOnTheFirstDuplicates) {  // RFC 3042
  Dialogue d;
  d.accept({.sack = false});
  d.write(20'000);
  EXPECT_EQ(d.take_all().size(), 10u);
  d.send(ack(1));
  d.expect(data(14'601, 1460));
  d.send(ack(1));
  d.expect(data(16'061, 1460));
  d.expect_nothing();
}

TEST(FastRetransmit, EarlyRetransmitWithFewOutstanding) {  // RFC 5827
  Dialogue d;
  d.accept({.sack = false});
  d.write(2920);
  EXPECT_EQ(d.take_all().size(), 2u);
  d.send(ack(1));
  d.expect(data(1, 1460));
}

TEST(FastRetransmit, SackOfThreeSegmentsRetransmitsExactlyTheHoles) {
  Dialogue d;
  d.accept({.rtt = 20ms});
  d.write(14'600);
  EXPECT_EQ(d.take_all().size(), 10u);
  d.advance(10ms);
  // Lost: the first and the third.
  d.send({.seq = 1, .ack = 1, .sacks = {{1461, 2921}}});
  d.send({.seq = 1, .ack = 1, .sacks = {{4381, 5841}, {1461, 2921}}});
  d.send({.seq = 1, .ack = 1, .sacks = {{4381, 7301}, {1461, 2921}}});
  d.expect(data(1, 1460));
  d.send({.seq = 1, .ack = 1, .sacks = {{4381, 14'601}, {1461, 2921}}});
  d.expect(data(2921, 1460));
  d.expect_nothing();
  d.send(ack(14'601));
  EXPECT_EQ(d.count(Counter::kTcpFastRetransmit), 2u);
  EXPECT_EQ(d.count(Counter::kTcpRetransmitByte), 2920u);
}

TEST(FastRetransmit, ReorderingShorterThanAQuarterOfTheRoundTripIsNoLoss) {  // RFC 8985 6.2
  Dialogue d;
  d.accept({.rtt = 40ms});
  d.write(1460);
  d.take_all();
  d.advance(40ms);
  d.send(ack(1461));
  d.write(2920);
  EXPECT_EQ(d.take_all().size(), 2u);
  d.advance(40ms);
  d.send({.seq = 1, .ack = 1461, .sacks = {{2921, 4381}}});
  d.expect_nothing();
  d.advance(2ms);
  d.send(ack(4381));
  d.advance(1s);
  d.expect_nothing();
  EXPECT_EQ(d.count(Counter::kTcpRetransmitByte), 0u);
}

TEST(FastRetransmit, ALostRetransmissionIsFoundWithoutATimeout) {
  Dialogue d;
  d.accept({.rtt = 20ms});
  d.write(14'600);
  EXPECT_EQ(d.take_all().size(), 10u);
  d.advance(20ms);
  d.send({.seq = 1, .ack = 1, .sacks = {{1461, 7301}}});
  d.expect(data(1, 1460));
  d.write(5000);
  d.advance(1ms);
  d.send({.seq = 1, .ack = 1, .sacks = {{1461, 14'601}}});
  const auto fresh = d.take_all();  // new data, sent behind the retransmission
  ASSERT_FALSE(fresh.empty());
  d.advance(20ms);
  d.send({.seq = 1, .ack = 1, .sacks = {{1461, 14'601 + fresh[0].bytes}}});
  d.advance(10ms);
  bool again = false;
  for (const Received& r : d.take_all()) again = again || r.seq == 1;
  EXPECT_TRUE(again);
  EXPECT_EQ(d.count(Counter::kTcpRecoveryTimeout), 0u);
}

// --- tail loss (RFC 8985 7)
// -------------------------------------------------------------------------------------------------

TEST(TailLoss, AProbeRepeatsTheLastSegmentAfterTwoRoundTrips) {
  Dialogue d;
  d.accept();
  d.write(1460);
  d.take_all();
  d.advance(20ms);
  d.send(ack(1461));
  const Duration srtt = d.info().srtt;
  d.write(4380);
  EXPECT_EQ(d.take_all().size(), 3u);
  EXPECT_EQ(d.advance_to_output(), 2 * srtt);
  d.expect(data(4381, 1460));
  d.advance(20ms);
  d.send({.seq = 1, .ack = 1461, .sacks = {{4381, 5841}}});  // the probe arrived, the two before it had not
  d.advance(20ms);
  d.expect(data(1461, 1460));
  d.send(ack(2921));
  d.expect(data(2921, 1460));
  d.send(ack(5841));
  EXPECT_EQ(d.count(Counter::kTcpTailProbe), 1u);
  EXPECT_EQ(d.count(Counter::kTcpRecoveryTimeout), 0u);
}

// --- delayed ACK
// ------------------------------------------------------------------------------------------------------------

class DelayedAck : public testing::Test {
 protected:
  void SetUp() override {
    d.accept();
    // The first sixteen are acknowledged at once.
    for (; at < 1 + 16 * 1000; at += 1000) {
      d.send(data(at, 1000));
      d.expect(ack(at + 1000));
    }
    d.expect_event(EventKind::kReadable);
  }
  Dialogue d;
  uint32_t at = 1;
};

TEST_F(DelayedAck, WaitsAtMost40Milliseconds) {
  d.send(data(at, 1000));
  d.expect_nothing();
  EXPECT_EQ(d.advance_to_output(), 40ms);
  d.expect(ack(at + 1000));
  EXPECT_EQ(d.count(Counter::kTcpDelayedAck), 1u);
}

TEST_F(DelayedAck, EverySecondSegmentIsAcknowledgedAtOnce) {
  d.send(data(at, 1000));
  d.expect_nothing();
  d.send(data(at + 1000, 1000));
  d.expect(ack(at + 2000));
}

TEST_F(DelayedAck, OutOfOrderIsAcknowledgedAtOnce) {
  d.send(data(at + 1000, 1000));
  d.expect({.seq = 1, .ack = at, .sacks = {{at + 1000, at + 2000}}});
  d.send(data(at, 1000));
  d.expect(ack(at + 2000));
}

// --- zero window (RFC 9293 3.8.6.1)
// -----------------------------------------------------------------------------------------

TEST(ZeroWindow, IsProbedWithBackOffUntilItOpens) {
  Dialogue d;
  d.accept({.window_scale = std::nullopt, .window = 1000});
  d.write(3000);
  d.expect(data(1, 1000));
  d.send({.seq = 1, .ack = 1001, .window = 0});
  d.peer.window = 0;
  EXPECT_EQ(d.count(Counter::kTcpZeroWindowIn), 1u);
  Duration wait = d.advance_to_output();
  EXPECT_GE(wait, 200ms);
  d.expect({.seq = 1000, .ack = 1});
  for (int i = 0; i < 5; ++i) {
    d.send({.seq = 1, .ack = 1001, .window = 0});
    const Duration next = d.advance_to_output();
    EXPECT_EQ(next, 2 * wait);
    wait = next;
    d.expect({.seq = 1000, .ack = 1});
  }
  d.send({.seq = 1, .ack = 1001, .window = 5000});
  d.expect(data(1001, 1460));
  d.expect(data(2461, 540));
  EXPECT_EQ(d.count(Counter::kTcpWindowProbe), 6u);
}

TEST(ZeroWindow, APeerThatAnswersProbesIsNeverGivenUp) {
  Dialogue d;
  d.accept({.window_scale = std::nullopt, .window = 0});
  d.write(10);
  for (int i = 0; i < 40; ++i) {
    d.advance_to_output();
    d.expect({.seq = 0, .ack = 1});
    d.send({.seq = 1, .ack = 1, .window = 0});
  }
  d.expect_no_event();
}

TEST(ZeroWindow, AWindowThatShrankOverDataInFlightIsNoReasonToGiveUp) {
  Dialogue d;
  d.accept({.window_scale = std::nullopt, .window = 3000});
  d.write(1000);
  d.expect(data(1, 1000));
  for (int i = 0; i < 40; ++i) {
    d.send({.seq = 1, .ack = 1, .window = 0});
    d.advance_to_output();
    d.expect(data(1, 1000));
  }
  d.send({.seq = 1, .ack = 1001, .window = 3000});
  d.expect_no_event();
}

TEST(ZeroWindow, APeerThatDoesNotAnswerIsGivenUp) {
  Dialogue d;
  d.accept({.window_scale = std::nullopt, .window = 0});
  d.write(10);
  for (int i = 0; i < 15; ++i) {
    d.advance_to_output();
    d.expect({.seq = 0, .ack = 1});
  }
  d.advance(121s);
  d.expect_event(EventKind::kTimedOut);
  EXPECT_EQ(d.count(Counter::kTcpTimedOutPersist), 1u);
}

TEST(ZeroWindow, OpensWhenTheApplicationReads) {
  ConnectionOptions options;
  options.rcv_buffer_bytes_max = 8000;
  Dialogue d({}, options);
  d.accept();
  d.send(data(1, 8000));
  d.expect({.seq = 1, .ack = 8001, .window = 0});
  d.expect_event(EventKind::kReadable);
  EXPECT_EQ(d.read(100), 100u);
  d.expect_nothing();  // a silly window is not told (RFC 9293 3.8.6.2.2)
  EXPECT_EQ(d.read(), 7900u);
  d.expect({.seq = 1, .ack = 8001, .window = 8000});
  EXPECT_EQ(d.count(Counter::kTcpWindowUpdate), 1u);
}

TEST(Window, ScalingDoesNotPullItsEdgeToTheLeft) {  // RFC 7323 2.4
  ConnectionOptions options;
  options.rcv_buffer_bytes_max = 8'000'000;  // a shift of 7
  Dialogue d({}, options);
  d.accept();
  uint64_t edge = 1 + d.info().rcv_wnd;
  for (uint32_t at = 1; at < 1 + 16 * 7; at += 7) {
    d.send(data(at, 7));
    d.advance(50ms);
    for (const Received& r : d.take_all()) {
      const uint64_t told = r.ack + (uint64_t{r.header.window} << 7);
      EXPECT_GE(told, edge);
      edge = told;
    }
  }
  d.expect_event(EventKind::kReadable);
}

// A scaled window cannot be told to the byte. Whatever the size of the peer's segments, a reader that stopped stops it.
TEST(Window, SmallSegmentsDoNotCarryItsEdgeBeyondTheBuffer) {
  ConnectionOptions options;
  options.rcv_buffer_bytes_max = 8'000'000;  // a shift of 7
  for (const uint32_t bytes : {1u, 100u, 127u, 129u}) {
    Dialogue d({}, options);
    d.accept();
    uint64_t told = d.info().rcv_wnd;
    uint32_t at = 1;
    for (; at < 200'000 && at + bytes <= 1 + told; at += bytes) {
      d.send(data(at, bytes));
      d.advance(50ms);
      for (const Received& r : d.take_all()) told = r.ack - 1 + (uint64_t{r.header.window} << 7);
    }
    EXPECT_LE(told, 65'536u + 256) << bytes << " bytes in each";
    EXPECT_LE(d.stack->readable_bytes(d.id), 65'536u + 256) << bytes << " bytes in each";
    EXPECT_GE(d.stack->readable_bytes(d.id), 65'535u - 256);
    d.strict = false;
  }
}

TEST(SillyWindow, TheSenderWaitsForHalfTheWindowOrAFullSegment) {
  Dialogue d;
  d.accept({.window_scale = std::nullopt, .window = 4000});
  d.write(10'000);
  EXPECT_EQ(d.take_all().size(), 2u);  // 1460 + 1460; the remaining 1080 are less than a segment and half the window
  d.send({.seq = 1, .ack = 1461, .window = 2540});
  d.expect_nothing();
  d.send({.seq = 1, .ack = 2921, .window = 1200});
  d.expect_nothing();
  d.advance_to_output();
  d.expect(data(2921, 1200));  // the override: nothing else would ever move
}

TEST(Nagle, HoldsAShortSegmentWhileSomethingIsUnacknowledged) {
  ConnectionOptions options;
  options.nodelay = false;
  Dialogue d({}, options);
  d.accept();
  d.write(100);
  d.expect(data(1, 100));
  d.write(100);
  d.expect_nothing();
  d.write(1460);
  d.expect(data(101, 1460));
  d.expect_nothing();
  d.send(ack(1561));
  d.expect(data(1561, 100));
}

TEST(Window, GrowsWithAFastReader) {
  Dialogue d;
  d.accept();
  uint32_t at = 1;
  for (int round = 0; round < 12; ++round) {
    const uint32_t window = std::min(d.info().rcv_wnd, 400'000u);
    for (uint32_t sent = 0; sent + 1460 <= window; sent += 1460) {
      d.send(data(at, 1460));
      at += 1460;
    }
    d.advance(10ms);
    while (d.read() > 0) {
    }
    while (d.next_event()) {
    }
    d.take_all();
  }
  d.send(data(at, 1460));
  d.read();
  d.advance(50ms);
  d.take_all();
  EXPECT_GT(d.info().rcv_wnd, 500'000u);
  d.strict = false;
}

TEST(Window, StaysSmallWithASlowReader) {
  Dialogue d;
  d.accept();
  d.send(data(1, 60'000));
  d.advance(100ms);
  d.expect_event(EventKind::kReadable);
  d.take_all();
  for (int i = 0; i < 60; ++i) {
    d.read(1000);
    d.advance(10ms);
  }
  d.take_all();
  EXPECT_LE(d.info().rcv_wnd, 65'536u);
}

// --- keepalive, user timeout
// --------------------------------------------------------------------------------------------------

TEST(Keepalive, ProbesAnIdlePeerAndGivesUp) {
  Dialogue d;
  d.accept();
  EXPECT_EQ(d.advance_to_output(), 180s);
  d.expect({.seq = 0, .ack = 1});
  d.send(ack(1));
  EXPECT_EQ(d.advance_to_output(), 180s);
  for (int i = 0; i < 9; ++i) {
    d.expect({.seq = 0, .ack = 1}, "probe");
    d.advance(180s);
  }
  d.expect_event(EventKind::kTimedOut);
  EXPECT_TRUE(d.next()->header.rst);
  EXPECT_EQ(d.count(Counter::kTcpTimedOutKeepalive), 1u);
  EXPECT_EQ(d.count(Counter::kTcpKeepaliveProbe), 10u);
}

TEST(Keepalive, CanBeOff) {
  ConnectionOptions options;
  options.keepalive = false;
  Dialogue d({}, options);
  d.accept();
  EXPECT_EQ(d.stack->next_deadline(), kNever);
}

TEST(UserTimeout, EndsAConnectionWhoseDataIsNotAcknowledged) {
  ConnectionOptions options;
  options.user_timeout = 5s;
  Dialogue d({}, options);
  d.accept();
  d.advance(60s);
  d.write(10);
  d.take_all();
  d.advance(4900ms);
  d.take_all();
  d.expect_no_event();
  d.advance(100ms);
  d.expect_event(EventKind::kTimedOut);
  d.take_all();
  EXPECT_EQ(d.count(Counter::kTcpTimedOutUser), 1u);
}

// --- congestion window
// ----------------------------------------------------------------------------------------------------------

TEST(CongestionWindow, BeginsWithTenSegmentsAndRestartsAfterIdling) {
  Dialogue d;
  d.accept();
  d.write(100'000);
  EXPECT_EQ(d.take_all().size(), 10u);
  uint32_t acked = 1;
  while (acked < 100'001) {
    d.advance(10ms);
    acked = std::min(acked + 2920, 100'001u);
    d.send(ack(acked));
    d.take_all();
  }
  EXPECT_GT(d.info().cwnd, 30'000u);
  d.advance(30s);
  d.write(100'000);
  EXPECT_EQ(d.take_all().size(), 10u);
  EXPECT_EQ(d.count(Counter::kTcpIdleRestart), 1u);
}

// --- events, memory
// -------------------------------------------------------------------------------------------------------------

TEST(Events, WritableComesWhenAThirdIsFree) {
  ConnectionOptions options;
  options.snd_buffer_bytes = 9000;
  Dialogue d({}, options);
  d.accept();
  EXPECT_EQ(d.stack->writable_bytes(d.id), 9000u);
  for (int i = 0; i < 6; ++i) d.write(1500);
  EXPECT_EQ(d.stack->writable_bytes(d.id), 0u);
  d.take_all();
  d.send(ack(1461));
  d.expect_no_event();
  d.send(ack(4381));
  d.expect_event(EventKind::kWritable);
  d.expect_no_event();
}

TEST(Events, WritableComesAlsoForAnOwnerThatOnlyLooked) {
  ConnectionOptions options;
  options.snd_buffer_bytes = 9000;
  Dialogue d({}, options);
  d.accept();
  for (int i = 0; i < 5; ++i) d.write(1500);
  EXPECT_EQ(d.stack->writable_bytes(d.id), 1500u);  // too little for what it has
  d.take_all();
  d.send(ack(1461));
  d.send(ack(4381));
  d.expect_event(EventKind::kWritable);
}

TEST(Events, AreHandedOutInAnyPortions) {
  Dialogue d;
  d.peer = {};
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  d.send({.seq = 1, .ack = 1, .bytes = 10, .fin = true});
  d.take_all();
  d.expect_event(EventKind::kAccepted);
  d.expect_event(EventKind::kReadable);
  d.expect_event(EventKind::kPeerFin);
}

TEST(Memory, SingleBytesDoNotHoldABufferEach) {
  Dialogue d;
  d.accept();
  for (uint32_t i = 0; i < 1000; ++i) d.send(data(1 + i, 1));
  d.take_all();
  d.expect_event(EventKind::kReadable);
  EXPECT_LT(d.pool->held(BufferKind::kSmall), 40u);
  EXPECT_GT(d.count(Counter::kTcpCompactedByte), 0u);
  EXPECT_EQ(d.read(), 1000u);
  for (uint32_t i = 0; i < 1000; ++i) d.write(1);
  EXPECT_LT(d.pool->held(BufferKind::kSmall), 40u);
  d.strict = false;
}

TEST(Memory, UnderPressureTheWindowsEdgeStaysUntilTheMemoryIsBack) {
  StackLimits limits;
  limits.memory_bytes_max = 100'000;
  Dialogue d(limits);
  d.accept();
  const auto edge = [&d] { return d.info().bytes_in + d.info().rcv_wnd; };
  uint32_t at = 1;
  for (; d.count(Counter::kTcpMemoryPressure) == 0; at += 1000) {
    d.send(data(at, 1000));
    d.advance(50ms);
  }
  for (int i = 0; i < 6; ++i, at += 1000) {
    d.send(data(at, 1000));
    d.advance(50ms);
  }
  EXPECT_EQ(d.count(DropReason::kTcpMemoryFull), 0u);
  const uint64_t before = edge();
  EXPECT_EQ(d.read(3000), 3000u);
  d.send(data(at, 1000));
  d.advance(50ms);
  EXPECT_LE(edge(), before + 128) << "a scaled window is rounded up, and no more";
  while (d.read() > 0) {
  }
  d.take_all();
  EXPECT_GT(edge(), before + 10'000);
  d.strict = false;
}

TEST(Memory, PressureStopsWindowsAndRefusesWhatIsOutOfOrderButNothingAcknowledgedIsLost) {
  StackLimits limits;
  limits.memory_bytes_max = 100'000;
  Dialogue d(limits);
  d.accept();
  uint32_t at = 1;
  for (; at < 1 + 50 * 1000; at += 1000) {
    d.advance(2ms);
    d.send(data(at, 1000));
  }
  d.take_all();
  d.expect_event(EventKind::kReadable);
  EXPECT_GT(d.count(Counter::kTcpMemoryPressure), 0u);
  EXPECT_GT(d.count(DropReason::kTcpMemoryFull), 0u);
  const uint64_t received = d.stack->readable_bytes(d.id);
  EXPECT_LT(received, 50'000u);
  d.advance(2ms);
  d.send(data(1 + static_cast<uint32_t>(received) + 1000, 1000));
  d.advance(2ms);
  while (d.read() > 0) {
  }
  d.advance(2ms);
  for (const Received& r : d.take_all()) EXPECT_TRUE(r.sacks.empty());
  d.send(data(1 + static_cast<uint32_t>(received), 1000));
  EXPECT_EQ(d.read(), 1000u);
  d.strict = false;
}

}  // namespace
}  // namespace culvert::tcp::test
