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
  std::cout << "lost " << lost << " retransmitted " << again << " recoveries " << recoveries << " timeouts " << timeouts
            << "\n";
  EXPECT_GT(lost, 300'000u);
  EXPECT_LE(again, lost + lost / 2);
  EXPECT_LT(timeouts * 20, recoveries + timeouts);
}

}  // namespace
}  // namespace culvert::tcp::test
