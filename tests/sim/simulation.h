// One run of a scenario with one seed: whole nodes, their pods and the wire on a virtual clock, in one thread.
//
// Everything is real but the clock and the wire: TCP on every side, TLS handshakes by OpenSSL (drawing from the seed),
// HBONE, routing, policy. Two runs with one seed do the same, byte for byte; the digest says so.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "telemetry/counters.h"
#include "tests/sim/scenario.h"

namespace culvert::sim {

struct RunOptions {
  std::string pcap;  // file for the wire's frames; empty: none
};

struct RunResult {
  uint64_t seed = 0;
  uint64_t digest = 0;  // of every frame and every ending, with their instants
  Duration virtual_time{};
  uint64_t turns = 0;
  uint64_t bytes_delivered = 0;
  uint32_t flows = 0, flows_complete = 0, flows_failed = 0;
  std::vector<std::string> drawn;  // impairments and faults of this run, readable
  std::vector<std::string> violations;
  LinkCounts wire;
  std::array<uint64_t, kCounters> counters{};  // summed over the nodes
  std::array<uint64_t, kDropReasons> drops{};
};

RunResult run(const Scenario& scenario, uint64_t seed, const RunOptions& options = {});

}  // namespace culvert::sim
