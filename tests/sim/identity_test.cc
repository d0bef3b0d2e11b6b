// Certificates and the end of a node in whole meshes: short lives and rotation under load, what happens when no renewal
// comes (D16), CRLs, and drains that meet every kind of traffic.
#include <gtest/gtest.h>

#include "tests/sim/simulation.h"

namespace culvert::sim {
namespace {

uint64_t count(const RunResult& run, Counter counter) { return run.counters[static_cast<size_t>(counter)]; }
uint64_t count(const RunResult& run, DropReason reason) { return run.drops[static_cast<size_t>(reason)]; }

// Flows over a minute, some of them living through all of it, on a wire that loses packets.
Scenario a_minute() {
  Scenario scenario = two_nodes();
  scenario.wire.loss_ppm = 2'000;
  scenario.traffic = {{.from = "n1-p1", .to = "n2-p1", .connections = 40, .spread = 60s},
                      {.from = "n2-p2", .to = "n1-p2", .ipv6 = true, .connections = 20, .spread = 60s},
                      {.from = "n1-p2", .to = "n1-p1", .connections = 20, .spread = 60s},
                      {.from = "n1-p1",
                       .to = "n2-p2",
                       .connections = 3,
                       .bytes_up = 1 << 20,
                       .bytes_down = 1 << 20,
                       .reader_pause = 15s}};
  return scenario;
}

TEST(Rotation, EveryTenSecondsUnderLoadLosesNoByte) {
  Scenario scenario = a_minute();
  scenario.leaf_life = 15s;
  scenario.rotate_every = 10s;
  // Tunnels that go after their first stream: handshakes all the time, each with what is in force then.
  scenario.faults = {{.kind = FaultKind::kGoaway, .at = 1s, .target = "n1"},
                     {.kind = FaultKind::kGoaway, .at = 2s, .target = "n2"}};
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const RunResult result = run(scenario, seed);
    ASSERT_TRUE(result.violations.empty()) << "seed " << seed << ": " << result.violations.front();
    EXPECT_EQ(result.flows, 83u);
    EXPECT_EQ(result.flows_complete, result.flows) << "seed " << seed;
    EXPECT_GT(result.virtual_time, 45s) << "some live through several certificates";
    EXPECT_GT(count(result, Counter::kHboneTunnelConnected), 40u) << "and most meet a new handshake";
    EXPECT_EQ(count(result, Counter::kTlsHandshakeFailed), 0u);
  }
}

TEST(Rotation, ThatDoesNotComeRefusesWhatIsNewAndLeavesTheRest) {
  Scenario scenario = a_minute();
  scenario.leaf_life = 20s;
  scenario.traffic[3].start = 1s;
  scenario.traffic[3].spread = 1s;
  const RunResult result = run(scenario, 7);
  ASSERT_TRUE(result.violations.empty()) << result.violations.front();
  EXPECT_GT(result.flows_failed, 30u) << "two thirds begin when the certificates are over";
  EXPECT_GT(result.flows_complete, 20u) << "one third before; and the three that live longest";
  EXPECT_EQ(count(result, DropReason::kProxyNoMeshAccess), result.flows_failed) << "each by name";
  EXPECT_GT(result.virtual_time, 45s);
}

TEST(Revocation, EndsThePeersSessionsAndRefusesNewOnes) {
  Scenario scenario = a_minute();
  scenario.faults = {{.kind = FaultKind::kRevoke, .at = 30s, .target = "n2-p1"}};
  const RunResult result = run(scenario, 3);
  ASSERT_TRUE(result.violations.empty()) << result.violations.front();
  EXPECT_EQ(count(result, Counter::kHboneCrlSourceClosed), 1u) << "the tunnel to it";
  EXPECT_GT(count(result, Counter::kHboneCrlSourceRejected), 5u);
  EXPECT_GT(result.flows_failed, 10u);
  EXPECT_GT(result.flows_complete, 50u) << "nobody else's";
}

// With every impairment of the wire, over many seeds: the deadline is kept, nothing hangs, ends agree at both sides.
TEST(Drain, OfEitherNodeKeepsItsDeadlineWhateverTheWireDoes) {
  Scenario scenario = two_nodes();
  scenario.random = {.impairments = 2, .faults = 0, .offloads = true};
  uint64_t cut = 0;
  uint64_t complete = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    scenario.faults = {{.kind = FaultKind::kDrain,
                        .at = std::chrono::milliseconds(50 + seed * 10),
                        .target = seed % 2 ? "n1" : "n2",
                        .lasts = std::chrono::milliseconds(seed % 5 * 400)}};
    const RunResult result = run(scenario, seed);
    ASSERT_TRUE(result.violations.empty()) << "seed " << seed << ": " << result.violations.front();
    cut += count(result, DropReason::kProxyDrainDeadline);
    complete += result.flows_complete;
  }
  EXPECT_GT(cut, 50u);
  EXPECT_GT(complete, 100u);
}

// On a good wire a drain with time enough cuts nobody.
TEST(Drain, WithTimeEnoughCutsNobody) {
  Scenario scenario = two_nodes();
  for (TrafficSpec& traffic : scenario.traffic) traffic.spread = 100ms;
  scenario.faults = {{.kind = FaultKind::kDrain, .at = 150ms, .target = "n2", .lasts = 60s}};
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const RunResult result = run(scenario, seed);
    ASSERT_TRUE(result.violations.empty()) << "seed " << seed << ": " << result.violations.front();
    EXPECT_EQ(result.flows_complete, result.flows) << "seed " << seed;
    EXPECT_EQ(count(result, DropReason::kProxyDrainDeadline), 0u);
    EXPECT_LT(result.virtual_time, 40s);
  }
}

}  // namespace
}  // namespace culvert::sim
