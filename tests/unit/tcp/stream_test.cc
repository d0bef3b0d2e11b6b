// Data both ways, closing and resetting: the ordinary life of a connection.
#include "tests/unit/tcp/peer.h"

namespace culvert::tcp::test {
namespace {

TEST(Stream, ReceivesAndAcknowledges) {
  Dialogue d;
  d.accept();
  d.send(data(1, 1000));
  d.expect(ack(1001));
  d.expect_event(EventKind::kReadable);
  d.send(data(1001, 1000));
  d.expect(ack(2001));
  d.expect_no_event();  // not read since
  EXPECT_EQ(d.read(), 2000u);
  d.send(data(2001, 1));
  d.expect_event(EventKind::kReadable);
  d.expect(ack(2002));
  EXPECT_EQ(d.read(), 1u);
}

TEST(Stream, SendsInSegmentsOfThePeersMss) {
  Dialogue d;
  d.accept({.mss = 1000});
  d.write(2500);
  d.expect(data(1, 1000));
  d.expect(data(1001, 1000));
  const Received last = d.expect(data(2001, 500));
  EXPECT_TRUE(last.header.psh);
  d.send(ack(2501));
  EXPECT_EQ(d.stack->unacknowledged_bytes(d.id), 0u);
}

TEST(Stream, LeavesSegmentationToAPortThatCan) {
  InterfaceLimits limits;
  limits.tso_bytes_max = 65'535;
  Dialogue d({}, {}, limits);
  d.accept({.mss = 1460});
  d.write(10'000);
  const Received r = d.expect(data(1, 10'000));
  EXPECT_EQ(r.segment_bytes, 1460);
  d.write(100);
  EXPECT_EQ(d.expect(data(10'001, 100)).segment_bytes, 0);
}

TEST(Stream, TakesSegmentsOf64KB) {
  Dialogue d;
  d.accept();
  d.send(data(1, 65'000));
  d.expect(ack(65'001));
  d.expect_event(EventKind::kReadable);
  EXPECT_EQ(d.read(), 65'000u);
  d.take_all();
}

TEST(Stream, HonoursThePeersWindow) {
  Dialogue d;
  d.accept({.window_scale = std::nullopt, .window = 3000});
  d.write(5000);
  d.expect(data(1, 1460));
  d.expect(data(1461, 1460));
  d.expect_nothing();
  d.send(ack(2921));
  d.expect(data(2921, 1460));
  d.expect(data(4381, 620));
}

TEST(Stream, ScalesThePeersWindow) {
  Dialogue d;
  d.accept({.window_scale = 4, .window = 200});
  EXPECT_EQ(d.info().snd_wnd, 3200u);
}

TEST(Stream, PiggybacksTheAcknowledgment) {
  Dialogue d;
  d.accept();
  d.send(data(1, 100));
  d.expect_event(EventKind::kReadable);
  d.write(50);
  d.expect({.seq = 1, .ack = 101, .bytes = 50});
  d.expect_nothing();
}

TEST(Stream, ParsesInPlaceAndTakesOut) {
  Dialogue d;
  d.accept();
  d.send(data(1, 1000));
  d.expect(ack(1001));
  d.expect_event(EventKind::kReadable);
  ByteQueue* queue = d.stack->receive_queue(d.id);
  ASSERT_EQ(queue->bytes(), 1000u);
  d.stack->consumed(d.id, 300, d.now);  // dropped there
  EXPECT_EQ(queue->bytes(), 700u);
  Packet taken = queue->take_front(200);
  d.stack->consumed(d.id, 200, d.now);  // already out
  EXPECT_EQ(queue->bytes(), 500u);
  d.send(data(1001, 10));
  d.expect_event(EventKind::kReadable);  // although the queue was not empty
  EXPECT_EQ(d.stack->readable_bytes(d.id), 510u);
  d.expect(ack(1011));
}

// Both sides' numbers run over the end of the sequence space in mid-stream.
TEST(Stream, SurvivesTheWrapOfSequenceNumbers) {
  Dialogue d;
  d.peer_isn = 0xffff0000;
  // The stack's number cannot be chosen; tuples are tried until one comes out near the end.
  for (uint16_t port = 1024;; ++port) {
    ASSERT_LT(port, 60'000);
    d.tuple.remote.port = port;
    d.send({.seq = 0, .syn = true});
    const auto r = d.next();
    ASSERT_TRUE(r);
    if (r->header.sequence >= 0xffe00000) break;
    d.send({.seq = 1, .rst = true});
  }
  d.send({.seq = 1, .ack = 1});
  d.expect_event(EventKind::kAccepted);
  const uint32_t isn = d.stack_isn;
  uint32_t sent = 0, received = 0, acked = 1;
  while (sent < 3'000'000) {
    for (int i = 0; i < 8; ++i, sent += 1460) d.write(1460);
    d.send(data(1 + received, 1000, acked));
    received += 1000;
    d.advance(5ms);
    for (const Received& r : d.take_all()) {
      EXPECT_TRUE(r.payload_right);
      acked = std::max(acked, r.seq + r.bytes);
    }
    d.send({.seq = 1 + received, .ack = acked});
    EXPECT_EQ(d.read(), 1000u);
  }
  d.take_all();
  EXPECT_LT(isn + sent, isn);
  EXPECT_LT(d.peer_isn + received, d.peer_isn);
  EXPECT_GT(acked, 2'900'000u);
  EXPECT_EQ(d.count(Counter::kTcpRecovery), 0u);
  EXPECT_EQ(d.count(Counter::kTcpRecoveryTimeout), 0u);
  d.strict = false;
}

// --- closing
// ------------------------------------------------------------------------------------------------------------

TEST(Close, ActiveCloseGoesThroughTimeWait) {
  Dialogue d;
  d.accept();
  d.write(10);
  d.stack->shutdown_write(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .bytes = 10, .fin = true});
  EXPECT_STREQ(d.info().state, "FIN-WAIT-1");
  d.send(ack(12));
  d.expect_event(EventKind::kSent);
  EXPECT_STREQ(d.info().state, "FIN-WAIT-2");
  d.send({.seq = 1, .ack = 12, .fin = true});
  d.expect({.seq = 12, .ack = 2});
  d.expect_event(EventKind::kPeerFin);
  d.expect_event(EventKind::kClosed);
  EXPECT_STREQ(d.info().state, "TIME-WAIT");
  EXPECT_EQ(d.count(Counter::kTcpTimeWait), 1u);
  EXPECT_EQ(d.stack->next_deadline(), d.now + 60s);
}

TEST(Close, PassiveClose) {
  Dialogue d;
  d.accept();
  d.send({.seq = 1, .ack = 1, .bytes = 5, .fin = true});
  d.expect(ack(7));
  d.expect_event(EventKind::kReadable);
  d.expect_event(EventKind::kPeerFin);
  EXPECT_FALSE(d.stack->peer_finished(d.id));
  EXPECT_EQ(d.read(), 5u);
  EXPECT_TRUE(d.stack->peer_finished(d.id));
  d.write(3);  // half-closed: this direction goes on
  d.expect({.seq = 1, .ack = 7, .bytes = 3});
  d.stack->shutdown_write(d.id, d.now);
  d.expect({.seq = 4, .ack = 7, .fin = true});
  EXPECT_STREQ(d.info().state, "LAST-ACK");
  d.send(ack(5, 7));
  d.expect_event(EventKind::kSent);
  d.expect_event(EventKind::kClosed);
  EXPECT_EQ(d.stack->connections(), 0u);
}

TEST(Close, HalfCloseReceivesInFinWait2) {
  Dialogue d;
  d.accept();
  d.stack->shutdown_write(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .fin = true});
  d.send(ack(2));
  d.expect_event(EventKind::kSent);
  d.send(data(1, 700, 2));
  d.expect({.seq = 2, .ack = 701});
  d.expect_event(EventKind::kReadable);
  EXPECT_EQ(d.read(), 700u);
  EXPECT_FALSE(d.stack->write(d.id, pattern_packet(*d.pool, 0, 1), d.now));
}

TEST(Close, SimultaneousClose) {
  Dialogue d;
  d.accept();
  d.stack->shutdown_write(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .fin = true});
  d.send({.seq = 1, .ack = 1, .fin = true});
  d.expect_event(EventKind::kPeerFin);
  d.expect({.seq = 2, .ack = 2});
  EXPECT_STREQ(d.info().state, "CLOSING");
  d.send(ack(2, 2));
  d.expect_event(EventKind::kSent);
  d.expect_event(EventKind::kClosed);
  d.take_all();
}

TEST(Close, WhatWasNotReadIsThereAfterTheClose) {
  Dialogue d;
  d.accept();
  d.stack->shutdown_write(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .fin = true});
  d.send({.seq = 1, .ack = 2, .bytes = 900, .fin = true});
  d.expect_event(EventKind::kReadable);
  d.expect_event(EventKind::kPeerFin);
  d.expect_event(EventKind::kSent);
  d.expect_event(EventKind::kClosed);
  d.expect_no_event();
  d.expect_no_event();
  EXPECT_EQ(d.read(), 900u);
  EXPECT_TRUE(d.stack->peer_finished(d.id));
  d.expect_no_event();
  EXPECT_EQ(d.stack->tuple(d.id), nullptr);  // nothing left: the handle ended
  d.take_all();
}

TEST(Close, WhatWasNotReadIsThereAfterThePassiveClose) {
  Dialogue d;
  d.accept();
  d.send({.seq = 1, .ack = 1, .bytes = 900, .fin = true});
  d.expect(ack(902));
  d.stack->shutdown_write(d.id, d.now);
  d.expect({.seq = 1, .ack = 902, .fin = true});
  d.send(ack(2, 902));
  d.expect_event(EventKind::kReadable);
  d.expect_event(EventKind::kPeerFin);
  d.expect_event(EventKind::kSent);
  d.expect_event(EventKind::kClosed);
  d.expect_no_event();
  d.expect_no_event();
  EXPECT_EQ(d.read(), 900u);
  d.expect_no_event();
  EXPECT_EQ(d.stack->tuple(d.id), nullptr);
}

TEST(Close, FinIsRetransmitted) {
  Dialogue d;
  d.accept();
  d.stack->shutdown_write(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .fin = true});
  d.advance_to_output();
  d.expect({.seq = 1, .ack = 1, .fin = true});
  d.send(ack(2));
  d.expect_event(EventKind::kSent);
}

TEST(Close, AReleasedConnectionClosesByItself) {
  Dialogue d;
  d.accept();
  d.write(100);
  d.stack->release(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .bytes = 100, .fin = true});
  d.send({.seq = 1, .ack = 102, .fin = true});
  d.expect({.seq = 102, .ack = 2});
  EXPECT_EQ(d.stack->connections(), 0u);
  EXPECT_EQ(d.stack->tuple(d.id), nullptr);
}

TEST(Close, AReleasedConnectionWithUnreadDataIsReset) {
  Dialogue d;
  d.accept();
  d.send(data(1, 10));
  d.expect_event(EventKind::kReadable);
  d.stack->release(d.id, d.now);
  d.expect({.seq = 1, .ack = 11, .rst = true});
}

TEST(Close, DataToAReleasedConnectionIsAnsweredWithReset) {
  Dialogue d;
  d.accept();
  d.stack->release(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .fin = true});
  d.send(data(1, 10, 2));
  d.expect({.seq = 2, .ack = 1, .rst = true});
  EXPECT_EQ(d.count(DropReason::kTcpDataAfterClose), 1u);
  EXPECT_EQ(d.stack->connections(), 0u);
}

TEST(Close, AReleasedConnectionDoesNotWaitForeverForTheFin) {
  Dialogue d;
  d.accept();
  d.stack->release(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .fin = true});
  d.send(ack(2));
  d.advance(59s);
  EXPECT_EQ(d.stack->connections(), 1u);
  d.advance(2s);
  EXPECT_EQ(d.stack->connections(), 0u);
  EXPECT_EQ(d.count(Counter::kTcpTimedOutOrphan), 1u);
}

// --- reset
// --------------------------------------------------------------------------------------------------------------

TEST(Reset, EndsTheConnection) {
  Dialogue d;
  d.accept();
  d.write(10);
  d.expect(data(1, 10));
  d.send({.seq = 1, .rst = true});
  d.expect_event(EventKind::kReset);
  EXPECT_EQ(d.stack->connections(), 0u);
  EXPECT_EQ(d.count(Counter::kTcpResetIn), 1u);
}

TEST(Reset, AbortSendsOneAndNoEventFollows) {
  Dialogue d;
  d.accept();
  d.write(5000);
  d.stack->abort(d.id, d.now);
  d.expect({.seq = 1, .ack = 1, .rst = true});
  EXPECT_EQ(d.stack->tuple(d.id), nullptr);
  EXPECT_FALSE(d.stack->write(d.id, pattern_packet(*d.pool, 0, 1), d.now));
}

TEST(Reset, RemovedInterfaceResetsItsConnectionsWithoutASegment) {
  Dialogue d;
  d.accept();
  d.write(10);
  d.stack->remove_interface(kInterface, d.now);
  d.expect_event(EventKind::kReset);
  d.expect_nothing();
  d.send(ack(1));
  EXPECT_EQ(d.count(DropReason::kTcpNoInterface), 1u);
}

}  // namespace
}  // namespace culvert::tcp::test
