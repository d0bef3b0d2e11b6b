// DPDK's environment layer: memory for mempools, and the bus that finds devices (D22). Nothing else of it is used:
// worker threads are the program's own and register themselves.
//
// With huge pages it runs --in-memory, which leaves no file behind; without them --no-huge --no-shconf with a size
// computed from the pools (22.11 refuses --in-memory together with --no-huge). No telemetry socket, no secondary
// processes, and no thread is pinned: EAL binds the thread that starts it to one core, which is undone here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "packet/packet.h"

namespace culvert::ethdev {

enum class HugePages : uint8_t {
  kWhenEnough,  // used when enough of them are free
  kRequired,    // without them the start fails
  kNever,
};

struct EalSettings {
  HugePages huge_pages = HugePages::kWhenEnough;
  PoolLimits limits;                     // of each pool that BufferPool::on_mempools will be asked for
  uint32_t pools = 1;                    // how many: one per worker
  std::string file_prefix = "culvert";   // of this process alone
  std::vector<std::string> pci_allowed;  // PCI addresses with driver arguments; none: the PCI bus is not touched
};

// Megabytes that mempools of these limits need, and what drivers take besides.
uint32_t memory_mb_for(const PoolLimits& limits, uint32_t pools, bool huge_pages);

// EAL while it lives. One per process, and only once: EAL cannot be started again.
class Eal {
 public:
  // The error is one sentence that says what to do.
  static Result<std::unique_ptr<Eal>, std::string> start(const EalSettings& settings);
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

  bool huge_pages() const { return huge_pages_; }
  // The arguments EAL was started with, for the line printed at start.
  const std::vector<std::string>& arguments() const { return arguments_; }

 private:
  Eal() = default;
  bool huge_pages_ = false;
  std::vector<std::string> arguments_;
};

// Makes the calling thread known to EAL, so that mempools give it a cache of its own. False when EAL's table of threads
// is full; everything works without, slower.
bool register_thread();
void unregister_thread();

}  // namespace culvert::ethdev
