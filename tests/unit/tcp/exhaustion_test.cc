// The pool refuses the n-th take, for every n: nothing leaks, nothing hangs, and the bytes that arrive are right.
#include "tests/unit/tcp/network.h"

namespace culvert::tcp::test {
namespace {

void transfer_with_failure(uint64_t nth, bool sender_fails) {
  WireOptions wire;
  wire.loss_ppm = 30'000;
  Network n(wire, 5);
  n.a.to_send = 30'000;
  n.b.to_send = 10'000;
  n.connect();
  (sender_fails ? n.a : n.b).pool->fail_take(nth);
  n.run(120s);
  n.expect_complete();
}

TEST(PoolExhaustion, EveryTakeOfTheSenderMayFailOnce) {
  for (uint64_t nth = 1; nth <= 150; ++nth) {
    SCOPED_TRACE(nth);
    transfer_with_failure(nth, true);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(PoolExhaustion, EveryTakeOfTheReceiverMayFailOnce) {
  for (uint64_t nth = 1; nth <= 150; ++nth) {
    SCOPED_TRACE(nth);
    transfer_with_failure(nth, false);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(PoolExhaustion, ASmallPoolIsSlowButComplete) {
  Network n({.delay = 1ms}, 9, {}, {}, {}, {.small = 60, .large = 40, .view = 60});
  n.a.to_send = 1u << 20;
  n.connect();
  n.run(600s);
  n.expect_complete();
}

TEST(PoolExhaustion, OutputWaitsAndDoesNotSpin) {
  Dialogue d({}, {}, {}, {.small = 4, .large = 1, .view = 8});
  d.accept();
  d.write(1000);
  Packet hog[4];
  for (Packet& p : hog) p = d.pool->take_small();
  OutSegment out[1];
  EXPECT_TRUE(d.stack->has_output());
  EXPECT_EQ(d.stack->take_output(out, d.now), 0u);
  EXPECT_FALSE(d.stack->has_output());
  EXPECT_LE(d.stack->next_deadline(), d.now + 1ms);
  for (Packet& p : hog) p.reset();
  d.now += 1ms;
  d.stack->poll(d.now);
  EXPECT_TRUE(d.stack->has_output());
  d.expect(data(1, 1000));
  EXPECT_EQ(d.count(Counter::kTcpNoBuffer), 1u);
}

}  // namespace
}  // namespace culvert::tcp::test
