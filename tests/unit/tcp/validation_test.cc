// What is refused, and how it is answered: RFC 5961, RFC 7323 5, RFC 5927, and the plain window and ACK checks.
#include "tests/unit/tcp/peer.h"

namespace culvert::tcp::test {
namespace {

// --- RFC 5961 3: RST
// ------------------------------------------------------------------------------------------------------

TEST(Rfc5961, ResetInTheWindowButNotAtItsEdgeIsChallenged) {
  Dialogue d;
  d.accept();
  d.send({.seq = 2, .rst = true});
  d.expect(ack(1));
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpResetChallenged), 1u);
  EXPECT_EQ(d.count(Counter::kTcpChallengeAck), 1u);
}

TEST(Rfc5961, ResetOutsideTheWindowIsIgnored) {
  Dialogue d;
  d.accept();
  d.send({.seq = 0, .rst = true});
  d.send({.seq = 1 + 65'536 + 1, .rst = true});
  d.expect_nothing();
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpResetOutOfWindow), 2u);
}

TEST(Rfc5961, ResetAtTheEdgeEndsEvenWithTheWindowClosed) {
  ConnectionOptions options;
  options.rcv_buffer_bytes_max = 1000;
  Dialogue d({}, options);
  d.accept();
  d.send(data(1, 1000));
  d.expect({.seq = 1, .ack = 1001, .window = 0});
  d.expect_event(EventKind::kReadable);
  d.send({.seq = 1001, .rst = true});
  d.expect_event(EventKind::kReset);
  EXPECT_EQ(d.count(Counter::kTcpZeroWindowOut), 1u);
}

// --- RFC 5961 4: SYN
// ------------------------------------------------------------------------------------------------------

TEST(Rfc5961, SynInASynchronizedStateIsChallenged) {
  Dialogue d;
  d.accept();
  d.send({.seq = 100, .syn = true});
  d.expect(ack(1));
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpSynChallenged), 1u);
}

// A peer that rebooted: its RST in answer to the challenge ends the old connection (RFC 5961 4.2).
TEST(Rfc5961, ARebootedPeerGetsThrough) {
  Dialogue d;
  d.accept();
  d.send({.seq = 777'777'777, .syn = true});
  d.expect(ack(1));
  d.send({.seq = 1, .rst = true});  // to <SEQ=1><ACK=1>: RST at our RCV.NXT
  d.expect_event(EventKind::kReset);
}

// --- RFC 5961 5: ACK
// ------------------------------------------------------------------------------------------------------

TEST(Rfc5961, AcknowledgmentOfUnsentDataIsChallengedAndItsTextDropped) {
  Dialogue d;
  d.accept();
  d.send({.seq = 1, .ack = 2, .bytes = 10});
  d.expect(ack(1));
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpAckUnsent), 1u);
}

TEST(Rfc5961, AcknowledgmentOlderThanTheLargestWindowIsChallenged) {
  Dialogue d;
  d.accept({.window_scale = std::nullopt, .window = 1000});
  d.send({.seq = 1, .ack = 1u - 70'000u, .bytes = 10});
  d.expect(ack(1));
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpAckTooOld), 1u);
  d.send({.seq = 1, .ack = 1u - 60'000u, .bytes = 10});  // old, but from inside the window: its text counts
  d.expect(ack(11));
  d.expect_event(EventKind::kReadable);
}

TEST(Rfc5961, ChallengesAreLimited) {
  Dialogue d;
  d.accept();
  for (int i = 0; i < 50; ++i) d.send({.seq = 2, .rst = true});
  d.expect(ack(1));
  d.expect_nothing();
  d.advance(500ms);
  d.send({.seq = 2, .rst = true});
  d.expect(ack(1));
  EXPECT_EQ(d.count(Counter::kTcpChallengeAck), 2u);
}

// --- RFC 9293 3.10.7.4
// ----------------------------------------------------------------------------------------------------

TEST(Window, DataBehindTheWindowIsCutOff) {
  ConnectionOptions options;
  options.rcv_buffer_bytes_max = 4000;
  Dialogue d({}, options);
  d.accept();
  d.send(data(1, 5000));
  d.expect({.seq = 1, .ack = 4001, .window = 0});
  d.expect_event(EventKind::kReadable);
  EXPECT_EQ(d.read(), 4000u);
  d.expect({.seq = 1, .ack = 4001, .window = 4000});
}

TEST(Window, DataEntirelyBehindTheWindowIsDroppedAndAnswered) {
  Dialogue d;
  d.accept();
  d.send(data(70'000, 10));
  d.expect(ack(1));
  EXPECT_EQ(d.count(DropReason::kTcpOutOfWindow), 1u);
}

TEST(Window, DuplicateDataIsAnsweredWithDsack) {
  Dialogue d;
  d.accept();
  d.send(data(1, 100));
  d.expect(ack(101));
  d.expect_event(EventKind::kReadable);
  d.send(data(1, 100));
  d.expect({.seq = 1, .ack = 101, .sacks = {{1, 101}}});
  EXPECT_EQ(d.count(Counter::kTcpDsackOut), 1u);
  EXPECT_EQ(d.count(Counter::kTcpSegmentDuplicate), 1u);
}

TEST(Window, PartlyDuplicateDataIsTakenFromWhereItIsNew) {
  Dialogue d;
  d.accept();
  d.send(data(1, 100));
  d.expect(ack(101));
  d.expect_event(EventKind::kReadable);
  d.send(data(51, 100));
  d.expect({.seq = 1, .ack = 151, .sacks = {{51, 101}}});
  EXPECT_EQ(d.read(), 150u);
}

TEST(Window, KeepaliveProbesOfThePeerAreAnswered) {
  Dialogue d;
  d.accept();
  d.send({.seq = 0, .ack = 1});
  d.expect(ack(1));
  d.send({.seq = 0, .ack = 1});  // at once again: limited
  d.expect_nothing();
  d.advance(600ms);
  d.send({.seq = 0, .ack = 1});
  d.expect(ack(1));
}

TEST(Window, SegmentWithoutAckIsDropped) {
  Dialogue d;
  d.accept();
  d.send({.seq = 1, .bytes = 10, .fin = true});
  d.expect_nothing();
  EXPECT_EQ(d.count(DropReason::kTcpBadFlags), 1u);
}

TEST(Window, UrgentDataStaysInLine) {
  Dialogue d;
  d.accept();
  d.send({.seq = 1, .ack = 1, .bytes = 10, .urg = true});
  d.expect(ack(11));
  d.expect_event(EventKind::kReadable);
  EXPECT_EQ(d.read(), 10u);
}

TEST(Window, DataBehindTheFinIsDropped) {
  Dialogue d;
  d.accept();
  d.send({.seq = 1, .ack = 1, .bytes = 10, .fin = true});
  d.expect(ack(12));
  d.expect_event(EventKind::kReadable);
  d.expect_event(EventKind::kPeerFin);
  d.send(data(12, 10));
  d.expect(ack(12));
  EXPECT_EQ(d.count(DropReason::kTcpDataAfterFin), 1u);
  EXPECT_EQ(d.read(), 10u);
}

TEST(Window, AFinThatOvertookItsDataWaitsForIt) {
  Dialogue d;
  d.accept();
  d.send({.seq = 101, .ack = 1, .fin = true});
  d.expect(ack(1));
  d.expect_no_event();
  d.send(data(1, 100));
  d.expect(ack(102));
  d.expect_event(EventKind::kReadable);
  d.expect_event(EventKind::kPeerFin);
}

// --- RFC 7323 5: PAWS
// -----------------------------------------------------------------------------------------------------

class Timestamps : public testing::Test {
 protected:
  void SetUp() override { d.accept({.timestamps = true}); }
  Dialogue d;
  uint32_t ts() { return d.peer_clock(); }
};

TEST_F(Timestamps, OlderTimestampIsDroppedAndAnswered) {
  d.send({.seq = 1, .ack = 1, .bytes = 10, .timestamps = std::pair{ts() - 1, d.echo}});
  d.expect(ack(1));
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpPaws), 1u);
}

TEST_F(Timestamps, ARefusedSegmentLeavesNoTimestampBehind) {
  d.send({.seq = 1, .ack = 9999, .fin = true, .timestamps = std::pair{ts() + 200'000, d.echo}});
  d.expect(ack(1));
  d.send({.seq = 1, .ack = 1, .bytes = 10, .timestamps = std::pair{ts() + 1, d.echo}});
  EXPECT_EQ(d.expect(ack(11)).header.options.timestamps->second, ts() + 1);
  d.expect_event(EventKind::kReadable);
}

TEST_F(Timestamps, EqualTimestampIsAccepted) {
  d.send({.seq = 1, .ack = 1, .bytes = 10, .timestamps = std::pair{ts(), d.echo}});
  d.expect(ack(11));
  d.expect_event(EventKind::kReadable);
}

TEST_F(Timestamps, ResetIsNotSubjectToPaws) {
  d.send({.seq = 1, .rst = true, .timestamps = std::pair{ts() - 1000, d.echo}});
  d.expect_event(EventKind::kReset);
}

TEST_F(Timestamps, SegmentWithoutTimestampIsDroppedSilently) {
  d.send({.seq = 1, .ack = 1, .bytes = 10, .no_timestamps = true});
  d.expect_nothing();
  EXPECT_EQ(d.count(DropReason::kTcpTimestampMissing), 1u);
}

TEST_F(Timestamps, AfterADayCountIdleTheOldTimestampIsForgotten) {
  ConnectionOptions options;
  options.keepalive = false;
  Dialogue e({}, options);
  e.accept({.timestamps = true});
  const uint32_t old = e.peer_clock();
  e.advance(24h * 25);
  e.send({.seq = 1, .ack = 1, .bytes = 10, .timestamps = std::pair{old - 5, e.echo}});
  e.expect(ack(11));
  e.expect_event(EventKind::kReadable);
}

TEST_F(Timestamps, EchoesTheTimestampOfTheSegmentThatTheAckAnswers) {
  const uint32_t first = ts();
  d.send({.seq = 1, .ack = 1, .bytes = 10, .timestamps = std::pair{first + 1, d.echo}});
  EXPECT_EQ(d.expect(ack(11)).header.options.timestamps->second, first + 1);
  // Out of order: the echo stays with the segment before the hole (RFC 7323 4.3).
  d.send({.seq = 21, .ack = 1, .bytes = 10, .timestamps = std::pair{first + 2, d.echo}});
  EXPECT_EQ(d.expect({.seq = 1, .ack = 11, .sacks = {{21, 31}}}).header.options.timestamps->second, first + 1);
  d.send({.seq = 11, .ack = 1, .bytes = 10, .timestamps = std::pair{first + 3, d.echo}});
  EXPECT_EQ(d.expect(ack(31)).header.options.timestamps->second, first + 3);
  d.expect_event(EventKind::kReadable);
}

TEST_F(Timestamps, TsvalIsInMilliseconds) {
  d.write(1);
  const uint32_t before = d.expect(data(1, 1)).header.options.timestamps->first;
  d.advance(50ms);
  d.write(1);
  EXPECT_EQ(d.expect(data(2, 1)).header.options.timestamps->first - before, 50u);
}

TEST_F(Timestamps, TakeTwelveBytesOfEverySegment) {
  d.write(3000);
  d.expect(data(1, 1448));
  d.expect(data(1449, 1448));
  d.expect(data(2897, 104));
}

TEST(TimestampsInHandshake, SynAckThatEchoesNothingOfOursIsDropped) {
  Dialogue d;
  d.peer.timestamps = true;
  d.start_connect();
  d.send({.seq = 0, .ack = 1, .syn = true, .timestamps = std::pair{1u, d.echo - 100}});
  d.expect_nothing();
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpSynSentUnacceptable), 1u);
}

// --- RFC 5927: ICMP
// -------------------------------------------------------------------------------------------------------

TEST(Icmp, ErrorsInAnEstablishedConnectionAreSoft) {
  Dialogue d;
  d.accept();
  d.write(10);
  d.expect(data(1, 10));
  for (const auto kind : {IcmpErrorKind::kUnreachable, IcmpErrorKind::kPortUnreachable, IcmpErrorKind::kProhibited}) {
    d.stack->on_icmp_error(kInterface, d.tuple, d.stack_isn + 1, kind, 0, d.now);
  }
  d.expect_no_event();
  EXPECT_EQ(d.stack->connections(), 1u);
}

TEST(Icmp, ErrorsAboutWhatIsNotOutstandingAreIgnored) {
  Dialogue d;
  d.start_connect();
  d.stack->on_icmp_error(kInterface, d.tuple, d.stack_isn + 1, IcmpErrorKind::kPortUnreachable, 0, d.now);
  d.stack->on_icmp_error(kInterface, {d.tuple.remote, d.tuple.local}, d.stack_isn, IcmpErrorKind::kPortUnreachable, 0,
                         d.now);
  d.expect_no_event();
  EXPECT_EQ(d.count(DropReason::kTcpIcmpUnmatched), 2u);
}

TEST(Icmp, PathMtuIsTakenAndWhatWasTooLongIsSentAgain) {
  Dialogue d;
  d.accept();
  d.write(2920);
  d.expect(data(1, 1460));
  d.expect(data(1461, 1460));
  d.stack->on_icmp_error(kInterface, d.tuple, d.stack_isn + 1, IcmpErrorKind::kTooBig, 1040, d.now);
  EXPECT_EQ(d.info().mss, 1000u);
  d.expect(data(1, 1000));
  d.send(ack(1001));
  d.expect(data(1001, 1000));
  d.send(ack(2001));
  d.expect(data(2001, 920));
  EXPECT_EQ(d.count(Counter::kTcpPathMtuReduced), 1u);
  EXPECT_EQ(d.count(Counter::kTcpRecoveryTimeout), 0u);
}

TEST(Icmp, PathMtuIsBoundedAndNeverRaised) {
  Dialogue d;
  d.accept();
  d.write(100);
  d.expect(data(1, 100));
  d.stack->on_icmp_error(kInterface, d.tuple, d.stack_isn + 1, IcmpErrorKind::kTooBig, 9000, d.now);
  EXPECT_EQ(d.count(DropReason::kTcpIcmpBadMtu), 1u);
  d.stack->on_icmp_error(kInterface, d.tuple, d.stack_isn + 1, IcmpErrorKind::kTooBig, 68, d.now);
  EXPECT_EQ(d.info().mss, 512u);
}

// --- TIME-WAIT
// ------------------------------------------------------------------------------------------------------------

class InTimeWait : public testing::Test {
 protected:
  void enter(const PeerOptions& peer) {
    d.accept(peer);
    d.stack->shutdown_write(d.id, d.now);
    d.expect({.seq = 1, .ack = 1, .fin = true});
    d.send({.seq = 1, .ack = 2, .fin = true});
    d.expect({.seq = 2, .ack = 2});
    d.expect_event(EventKind::kPeerFin);
    d.expect_event(EventKind::kSent);
    d.expect_event(EventKind::kClosed);
  }
  Dialogue d;
};

TEST_F(InTimeWait, RetransmittedFinIsAcknowledgedAndStartsTheWaitAnew) {
  enter({});
  d.advance(40s);
  d.send({.seq = 1, .ack = 2, .fin = true});
  d.expect({.seq = 2, .ack = 2});
  d.advance(40s);
  d.send({.seq = 1, .ack = 2, .fin = true});
  d.expect({.seq = 2, .ack = 2});
  d.advance(61s);
  d.send({.seq = 1, .ack = 2, .fin = true});
  d.expect({.seq = 2, .rst = true});  // gone
}

TEST_F(InTimeWait, ResetIsIgnored) {  // RFC 1337
  enter({});
  d.send({.seq = 2, .rst = true});
  d.send({.seq = 1, .ack = 2, .fin = true});
  d.expect({.seq = 2, .ack = 2});
}

TEST_F(InTimeWait, SynWithAHigherSequenceNumberOpensAnew) {
  enter({});
  const uint32_t old_isn = d.stack_isn;
  d.send({.seq = 1000, .syn = true});
  const Received r = d.expect({.seq = 0, .ack = 1001, .syn = true});
  EXPECT_GT(static_cast<int32_t>(r.header.sequence - old_isn), 65'536);
  EXPECT_EQ(d.count(Counter::kTcpTimeWaitReused), 1u);
}

TEST_F(InTimeWait, SynWithAnOlderSequenceNumberIsAnsweredWithTheLastAck) {
  enter({});
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 2, .ack = 2});
}

TEST_F(InTimeWait, SynWithAHigherTimestampOpensAnewWhateverItsNumber) {  // RFC 6191
  enter({.timestamps = true});
  d.send({.seq = 0u - 5000u, .syn = true, .timestamps = std::pair{d.peer_clock() + 1, 0u}});
  d.expect({.seq = 0, .ack = 1u - 5000u, .syn = true});
}

TEST_F(InTimeWait, SynWithAnOlderTimestampDoesNot) {
  enter({.timestamps = true});
  d.send({.seq = 5000, .syn = true, .timestamps = std::pair{d.peer_clock() - 1, 0u}});
  d.expect({.seq = 2, .ack = 2});
}

TEST_F(InTimeWait, OurOwnConnectReopensAfterASecondWithTimestamps) {
  enter({.timestamps = true});
  EXPECT_EQ(d.stack->connect(kInterface, d.tuple, {}, d.now).error(), Stack::ConnectError::kInUse);
  d.advance(1100ms);
  EXPECT_TRUE(d.stack->connect(kInterface, d.tuple, {}, d.now).ok());
  d.take_all();
}

TEST(TimeWaitTable, TheOldestMakesRoom) {
  StackLimits limits;
  limits.time_wait_max = 2;
  Dialogue d(limits);
  d.strict = false;
  for (uint16_t port = 1; port <= 3; ++port) {
    d.tuple.remote.port = port;
    d.id = {};
    d.accept();
    d.stack->shutdown_write(d.id, d.now);
    d.take_all();
    d.send({.seq = 1, .ack = 2, .fin = true});
    d.take_all();
    while (d.next_event()) {
    }
    d.advance(1ms);
  }
  EXPECT_EQ(d.count(Counter::kTcpTimeWaitRecycled), 1u);
  d.tuple.remote.port = 1;
  d.send({.seq = 1, .ack = 2, .fin = true});
  EXPECT_TRUE(d.next()->header.rst);
  d.tuple.remote.port = 3;
  d.send({.seq = 1, .ack = 2, .fin = true});
  EXPECT_FALSE(d.next()->header.rst);
}

}  // namespace
}  // namespace culvert::tcp::test
