// Two stacks and a wire that loses, repeats and reorders: every byte arrives once and in order, and recovery costs what
// it may.
#include "tests/unit/tcp/network.h"

namespace culvert::tcp::test {
namespace {

TEST(Transfer, CompletesOnAPerfectWire) {
  Network n({});
  n.a.to_send = 8u << 20;
  n.b.to_send = 1u << 20;
  n.connect();
  n.run(60s);
  n.expect_complete();
  EXPECT_EQ(n.a.counters.value(Counter::kTcpRetransmitByte), 0u);
  EXPECT_EQ(n.b.counters.value(Counter::kTcpRetransmitByte), 0u);
}

struct Adversity {
  const char* name;
  WireOptions wire;
  bool sack, cubic, tso;
};

class TransferUnder : public testing::TestWithParam<Adversity> {};

TEST_P(TransferUnder, EveryByteArrivesOnceAndInOrder) {
  const Adversity& adversity = GetParam();
  ConnectionOptions options;
  options.cubic = adversity.cubic;
  InterfaceLimits interface;
  if (adversity.tso) interface.tso_bytes_max = 65'535;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    Network n(adversity.wire, seed, options, interface);
    n.a.to_send = 2u << 20;
    n.b.to_send = 300'000;
    n.connect();
    n.run(600s);
    n.expect_complete();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Wires, TransferUnder,
    testing::Values(
        Adversity{"loss1", {.loss_ppm = 10'000}, true, true, false},
        Adversity{"loss5", {.loss_ppm = 50'000}, true, true, true},
        Adversity{"loss20", {.loss_ppm = 200'000}, true, false, false},
        Adversity{"reorder", {.reorder_ppm = 100'000}, true, true, true},
        Adversity{"duplicate", {.duplicate_ppm = 100'000}, true, false, true},
        Adversity{"all", {.loss_ppm = 20'000, .duplicate_ppm = 20'000, .reorder_ppm = 50'000}, true, true, true},
        Adversity{"bottleneck", {.bits_per_second = 20'000'000, .queue_bytes = 50'000}, true, true, false},
        Adversity{
            "reno", {.bits_per_second = 20'000'000, .queue_bytes = 50'000, .loss_ppm = 1'000}, true, false, true}),
    [](const auto& row) { return row.param.name; });

// --- how well the wire is used
// --------------------------------------------------------------------------------------------

// Bits per second of payload that a transfer of `bytes` reached.
double goodput(Network& n, uint64_t bytes) {
  n.a.to_send = bytes;
  n.connect();
  n.run(600s);
  n.expect_complete();
  return static_cast<double>(bytes) * 8 / std::chrono::duration<double>(n.a.last_progress - Instant{}).count();
}

TEST(Throughput, FillsABottleneckOfOneBandwidthDelayProduct) {
  for (const bool cubic : {true, false}) {
    SCOPED_TRACE(cubic);
    ConnectionOptions options;
    options.cubic = cubic;
    // 50 Mbit/s, 20 ms: 125 KB in flight, as much again in the queue.
    Network n({.delay = 10ms, .bits_per_second = 50'000'000, .queue_bytes = 125'000}, 3, options);
    EXPECT_GT(goodput(n, 12u << 20), 0.85 * 50e6 * 1448 / 1508);
  }
}

TEST(Throughput, WindowsFollowAFastLongPath) {
  ConnectionOptions options;
  options.snd_buffer_bytes = 4u << 20;
  // 400 Mbit/s, 50 ms: 2.5 MB in flight; the receive window starts at 64 KB.
  InterfaceLimits interface;
  interface.tso_bytes_max = 65'535;
  Network n({.delay = 25ms, .bits_per_second = 400'000'000, .queue_bytes = 4u << 20}, 3, options, interface);
  EXPECT_GT(goodput(n, 40u << 20), 0.5 * 400e6);  // slow start included: a third of the time
  EXPECT_EQ(n.a.counters.value(Counter::kTcpRecoveryTimeout), 0u);
}

TEST(Throughput, SurvivesAThousandthOfLossWell) {
  Network n({.delay = 5ms, .bits_per_second = 100'000'000, .queue_bytes = 250'000, .loss_ppm = 100}, 3);
  EXPECT_GT(goodput(n, 12u << 20), 0.6 * 100e6);
}

// A reader that pauses: the window closes, is probed, and opens; nothing is lost.
TEST(Transfer, AStoppedReaderStopsTheSenderAndNotTheConnection) {
  Network n({});
  n.a.to_send = 9u << 20;
  n.b.reads = false;
  n.connect();
  n.run(60s);
  EXPECT_FALSE(n.a.closed);
  EXPECT_LE(n.b.stack.readable_bytes(n.b.id), 66'000u);
  EXPECT_GT(n.a.counters.value(Counter::kTcpWindowProbe), 3u);
  n.b.reads = true;
  n.run(60s);
  n.expect_complete();
  EXPECT_EQ(n.a.counters.value(Counter::kTcpRetransmitByte), 0u);
}

// The wire is dead for a while: everything goes on when it is back.
TEST(Transfer, OutlivesABlackout) {
  Network n({.delay = 5ms});
  n.a.to_send = 3u << 20;
  n.connect();
  n.run(12ms);
  n.wire().loss_ppm = 1'000'000;
  n.run(20s);
  EXPECT_FALSE(n.a.closed);
  n.wire().loss_ppm = 0;
  n.run(60s);
  n.expect_complete();
  EXPECT_GT(n.a.counters.value(Counter::kTcpRecoveryTimeout), 3u);
}

TEST(Transfer, SmallWritesBothWays) {
  Network n({.loss_ppm = 20'000, .reorder_ppm = 20'000}, 4);
  n.a.write_bytes = n.b.write_bytes = 10;
  n.a.to_send = n.b.to_send = 20'000;
  n.connect();
  n.run(600s);
  n.expect_complete();
}

TEST(Transfer, IsTheSameForTheSameSeed) {
  uint64_t segments[2] = {};
  int64_t ended[2] = {};
  for (int i = 0; i < 2; ++i) {
    Network n({.loss_ppm = 30'000, .duplicate_ppm = 10'000, .reorder_ppm = 30'000}, 77);
    n.a.to_send = 500'000;
    n.connect();
    n.run(600s);
    n.expect_complete();
    segments[i] = n.stats[0].segments * 1'000'000 + n.stats[1].segments;
    ended[i] = n.a.last_progress.time_since_epoch().count();
  }
  EXPECT_EQ(segments[0], segments[1]);
  EXPECT_EQ(ended[0], ended[1]);
}

// The figures of the issue: 1 % random loss and 10 ms round-trip time.
TEST(Recovery, CostsAtOnePercentLossAreBounded) {
  uint64_t lost = 0, again = 0, recoveries = 0, timeouts = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Network n({.delay = 5ms, .loss_ppm = 10'000}, seed);
    n.a.to_send = 4u << 20;
    n.connect();
    n.run(600s);
    n.expect_complete();
    lost += n.stats[0].lost_payload_bytes;
    again += n.a.counters.value(Counter::kTcpRetransmitByte);
    recoveries += n.a.counters.value(Counter::kTcpRecovery);
    timeouts += n.a.counters.value(Counter::kTcpRecoveryTimeout);
  }
  RecordProperty("lost_bytes", std::to_string(lost));
  RecordProperty("retransmitted_bytes", std::to_string(again));
  RecordProperty("recoveries", std::to_string(recoveries));
  RecordProperty("timeouts", std::to_string(timeouts));
  EXPECT_GT(lost, 300'000u);
  EXPECT_LE(again, lost + lost / 2);
  EXPECT_LT(timeouts * 20, recoveries + timeouts);
}

}  // namespace
}  // namespace culvert::tcp::test
