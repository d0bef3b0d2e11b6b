// Opening: passive, active, simultaneous, refused, and what the options of the SYN agree on.
#include "tests/unit/tcp/peer.h"

namespace culvert::tcp::test {
namespace {

TEST(Handshake, AcceptsAnyDestinationThatTheFilterAccepts) {
  Dialogue d;
  d.tuple.local = *Endpoint::parse("203.0.113.7:4242");
  d.accept();
  EXPECT_EQ(*d.stack->tuple(d.id), d.tuple);
  EXPECT_STREQ(d.info().state, "ESTABLISHED");
  EXPECT_EQ(d.count(Counter::kTcpConnectionAccepted), 1u);
}

TEST(Handshake, OffersWhatThePeerOffers) {
  Dialogue d;
  d.peer = {.mss = 1460, .window_scale = 7, .sack = true, .timestamps = true};
  d.send({.seq = 0, .syn = true});
  const Received r = d.expect({.seq = 0, .ack = 1, .syn = true});
  EXPECT_EQ(r.header.options.mss, 1460);
  EXPECT_TRUE(r.header.options.sack_permitted);
  EXPECT_EQ(r.header.options.window_scale, 7);
  ASSERT_TRUE(r.header.options.timestamps);
  EXPECT_EQ(r.header.options.timestamps->second, d.peer_clock());
  EXPECT_EQ(r.header.window, 65'535);
}

TEST(Handshake, OffersNothingThatThePeerDoesNot) {
  Dialogue d;
  d.peer = {.mss = 536, .window_scale = std::nullopt, .sack = false};
  d.send({.seq = 0, .syn = true});
  const Received r = d.expect({.seq = 0, .ack = 1, .syn = true});
  EXPECT_FALSE(r.header.options.sack_permitted);
  EXPECT_FALSE(r.header.options.window_scale);
  EXPECT_FALSE(r.header.options.timestamps);
}

TEST(Handshake, SynHasLinuxOptionOrder) {
  Dialogue d;
  ASSERT_TRUE(d.stack->connect(kInterface, d.tuple, {}, d.now).ok());
  OutSegment out[1];
  ASSERT_EQ(d.stack->take_output(out, d.now), 1u);
  std::vector<uint8_t> bytes(out[0].packet.bytes());
  out[0].packet.copy_out(0, bytes);
  ASSERT_EQ(bytes.size(), 40u);
  const std::vector<uint8_t> kinds{bytes[20], bytes[24], bytes[26], bytes[36], bytes[37]};
  EXPECT_EQ(kinds, (std::vector<uint8_t>{2 /* MSS */, 4 /* SACK */, 8 /* TS */, 1 /* NOP */, 3 /* WS */}));
}

TEST(Handshake, RefusesWithResetWhenTheFilterSaysSo) {
  Dialogue d;
  d.verdict = SynVerdict::kRefuse;
  d.send({.seq = 0, .syn = true});
  const auto r = d.next();
  ASSERT_TRUE(r);
  EXPECT_TRUE(r->header.rst && r->header.ack);
  EXPECT_EQ(r->header.sequence, 0u);
  EXPECT_EQ(r->ack, 1u);
  EXPECT_EQ(d.count(DropReason::kTcpSynRefused), 1u);
}

TEST(Handshake, DropsSilentlyWhenTheFilterSaysSo) {
  Dialogue d;
  d.verdict = SynVerdict::kDrop;
  d.send({.seq = 0, .syn = true});
  d.expect_nothing();
  EXPECT_EQ(d.count(DropReason::kTcpSynFiltered), 1u);
}

TEST(Handshake, RepeatsTheSynAckWithBackOffAndGivesUpSilently) {
  Dialogue d;
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  for (const Duration wait : {1s, 2s, 4s, 8s, 16s}) {
    EXPECT_EQ(d.advance_to_output(), wait);
    d.expect({.seq = 0, .ack = 1, .syn = true});
  }
  d.advance(120s);
  EXPECT_EQ(d.stack->connections(), 0u);
  EXPECT_EQ(d.count(Counter::kTcpTimedOutSyn), 1u);
}

TEST(Handshake, AnswersARepeatedSynWithTheSameSynAck) {
  Dialogue d;
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  const uint32_t isn = d.stack_isn;
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  EXPECT_EQ(d.stack_isn, isn);
}

TEST(Handshake, HalfOpenConnectionsAreBounded) {
  StackLimits limits;
  limits.half_open_max = 2;
  Dialogue d(limits);
  for (uint16_t port = 1000; port < 1003; ++port) {
    d.tuple.remote.port = port;
    d.send({.seq = 0, .syn = true});
  }
  EXPECT_EQ(d.take_all().size(), 2u);
  EXPECT_EQ(d.count(DropReason::kTcpHalfOpenFull), 1u);
}

TEST(Handshake, ConnectionsAreBounded) {
  StackLimits limits;
  limits.connections_max = 1;
  Dialogue d(limits);
  d.accept();
  const Tuple first = d.tuple;
  d.tuple.remote.port = 99;
  d.send({.seq = 0, .syn = true});
  d.expect_nothing();
  EXPECT_EQ(d.count(DropReason::kTcpConnectionsFull), 1u);
  EXPECT_EQ(d.stack->connect(kInterface, first, {}, d.now).error(), Stack::ConnectError::kFull);
}

TEST(Handshake, ResetInSynReceivedGoesBackToListen) {
  Dialogue d;
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  d.send({.seq = 1, .rst = true});
  EXPECT_EQ(d.stack->connections(), 0u);
  d.expect_no_event();
}

TEST(Handshake, WrongAckInSynReceivedIsAnsweredWithReset) {
  Dialogue d;
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  d.send({.seq = 1, .ack = 77});
  d.expect({.seq = 77, .rst = true});
  EXPECT_EQ(d.stack->connections(), 1u);
}

TEST(Handshake, ConnectsFromAnyAddress) {
  Dialogue d;
  d.tuple.local = *Endpoint::parse("198.51.100.9:0");
  d.connect();
  EXPECT_EQ(d.stack->tuple(d.id)->local.address, *IpAddress::parse("198.51.100.9"));
  EXPECT_GE(d.tuple.local.port, 32'768);
  EXPECT_EQ(d.count(Counter::kTcpConnectionOpened), 1u);
}

TEST(Handshake, RepeatsTheSynAndGivesUp) {
  Dialogue d;
  d.start_connect();
  for (const Duration wait : {1s, 2s, 4s}) {
    EXPECT_EQ(d.advance_to_output(), wait);
    d.expect({.seq = 0, .syn = true});
  }
  d.advance(2'999ms);
  d.expect_no_event();
  d.advance(1ms);
  d.expect_event(EventKind::kTimedOut);
  EXPECT_EQ(d.count(Counter::kTcpSynRetransmit), 3u);
}

TEST(Handshake, ResetRefusesAConnect) {
  Dialogue d;
  d.start_connect();
  d.send({.seq = 0, .ack = 1, .rst = true});
  d.expect_event(EventKind::kRefused);
}

TEST(Handshake, ResetWithAWrongAckDoesNotRefuse) {
  Dialogue d;
  d.start_connect();
  d.send({.seq = 0, .ack = 9, .rst = true});
  d.send({.seq = 0, .rst = true});
  d.expect_no_event();
  d.expect_nothing();
}

TEST(Handshake, AnAnswerToAnOlderSynIsReset) {
  Dialogue d;
  d.start_connect();
  d.send({.seq = 0, .ack = 5, .syn = true});
  d.expect({.seq = 5, .rst = true});
  d.send({.seq = 0, .ack = 1, .syn = true});
  d.expect({.seq = 1, .ack = 1});
  d.expect_event(EventKind::kConnected);
}

TEST(Handshake, SimultaneousOpenEstablishes) {
  Dialogue d;
  d.start_connect();
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  d.send({.seq = 0, .ack = 1, .syn = true});
  d.expect({.seq = 1, .ack = 1});
  d.expect_event(EventKind::kConnected);
  EXPECT_EQ(d.count(Counter::kTcpConnectionSimultaneousOpen), 1u);
}

TEST(Handshake, UnreachableDestinationRefusesAConnect) {
  Dialogue d;
  d.start_connect();
  d.stack->on_icmp_error(kInterface, d.tuple, d.stack_isn, IcmpErrorKind::kPortUnreachable, 0, d.now);
  d.expect_event(EventKind::kRefused);
}

TEST(Handshake, TheSameTupleIsInUseOnceAndFreeOnAnotherInterface) {
  Dialogue d;
  d.tuple.local.port = 777;
  d.connect();
  EXPECT_EQ(d.stack->connect(kInterface, d.tuple, {}, d.now).error(), Stack::ConnectError::kInUse);
  EXPECT_EQ(d.stack->connect(InterfaceId{9}, d.tuple, {}, d.now).error(), Stack::ConnectError::kNoInterface);
  d.stack->set_interface(InterfaceId{9}, {}, {}, {});
  EXPECT_TRUE(d.stack->connect(InterfaceId{9}, d.tuple, {}, d.now).ok());
  d.take_all();
}

TEST(Handshake, DataInTheAckOfTheHandshakeIsTaken) {
  Dialogue d;
  d.send({.seq = 0, .syn = true});
  d.expect({.seq = 0, .ack = 1, .syn = true});
  d.send(data(1, 100));
  d.expect_event(EventKind::kAccepted);
  d.expect_event(EventKind::kReadable);
  d.expect(ack(101));
  EXPECT_EQ(d.read(), 100u);
}

TEST(Handshake, IllegalFlagsAreDropped) {
  Dialogue d;
  d.send({.seq = 0, .syn = true, .fin = true});
  d.send({.seq = 0, .syn = true, .rst = true});
  d.send({.seq = 0});
  d.expect_nothing();
  EXPECT_EQ(d.count(DropReason::kTcpBadFlags), 3u);
}

TEST(Handshake, AStraySegmentIsAnsweredWithReset) {
  Dialogue d;
  d.send({.seq = 10, .ack = 33, .bytes = 5});
  d.expect({.seq = 33, .rst = true});
  d.send({.seq = 10, .rst = true});
  d.expect_nothing();
}

TEST(Handshake, InitialSequenceNumbersGrowPerTupleAndDifferBetweenTuples) {
  Dialogue d;
  d.send({.seq = 0, .syn = true});
  const uint32_t first = d.next()->header.sequence;
  d.send({.seq = 1, .rst = true});
  d.advance(4ms);
  d.send({.seq = 0, .syn = true});
  const uint32_t second = d.next()->header.sequence;
  EXPECT_EQ(second - first, 1000u);  // one step per 4 microseconds
  d.tuple.remote.port = 40'001;
  d.send({.seq = 0, .syn = true});
  EXPECT_GT(d.next()->header.sequence - second, 1'000'000u);
}

}  // namespace
}  // namespace culvert::tcp::test
