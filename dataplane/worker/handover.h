// Packets between the workers of one node (D4): one ring for each ordered pair of workers.
//
// A worker that receives a segment of another's flow puts it into the ring to its owner; a worker that has an IP packet
// for an interface it does not drive puts it into the ring to the one that does. The rings hold buffers by pointer: a
// pool's buffers may be freed by another core when they come from mempools; heap buffers may not, so nodes with heap
// buffers run all their workers on one thread (simulation). A full ring drops and counts.
#pragma once

#include <memory>
#include <vector>

#include "base/ring.h"
#include "telemetry/counters.h"
#include "worker/pipeline.h"

namespace culvert::worker {

// What travels: a segment (next_hop unused) or an IP packet to send.
struct Handed {
  rte_mbuf* chain;
  IpAddress next_hop;
  tcp::Tuple tuple;
  InterfaceId interface;
  uint8_t is_segment;
  uint8_t ecn_ce;
};

class Handover {
 public:
  explicit Handover(uint32_t workers, uint64_t seed);
  ~Handover();

  // The view of one worker; counters and mailbox are its own and the others'.
  std::unique_ptr<Steering> steering_of(uint32_t worker, Counters& counters);
  // Takes what others put for `worker`, at most a burst per peer. Returns how many.
  size_t take(uint32_t worker, Pipeline& pipeline, Instant now);
  bool waiting(uint32_t worker) const;
  // Called after a put, to wake the other worker.
  void set_wake(uint32_t worker, void (*wake)(void* context), void* context) { wakes_[worker] = {wake, context}; }

  // The one that reads and writes the ports. Ports have one queue each for now.
  static constexpr uint32_t kPortWorker = 0;

 private:
  class Of;
  struct Wake {
    void (*call)(void*) = nullptr;
    void* context = nullptr;
  };
  Ring<Handed>& ring(uint32_t from, uint32_t to) { return *rings_[from * workers_ + to]; }

  const uint32_t workers_;
  const uint64_t seed_;
  std::vector<std::unique_ptr<Ring<Handed>>> rings_;
  std::vector<Wake> wakes_;
};

}  // namespace culvert::worker
