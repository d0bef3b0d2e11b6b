// Sparse queues (D10): memory is held by the buffer, and a peer that sends single bytes makes each of them hold one.
// When a queue holds much more memory than payload, the payload is copied together and the buffers go back.
#pragma once

#include <cstdint>

#include "packet/packet.h"

namespace culvert::tcp {

// Worth copying: more than four times the payload, and more than a receive burst's worth on top, so that short queues
// of ordinary packets never are. The copying is amortised: a queue just compacted must grow by half of itself in sparse
// buffers before it is sparse again.
inline bool is_sparse(uint64_t payload_bytes, uint64_t memory_bytes) {
  return memory_bytes > 4 * payload_bytes + (32u << 10);
}

// What a queue costs for the stack's account: its buffers, but no more than compaction lets it come to. (What is beyond
// it is shared with other holders, each of whom would count it whole.)
inline uint64_t accounted_bytes(uint64_t payload_bytes, uint64_t memory_bytes) {
  const uint64_t sparse = 4 * payload_bytes + (32u << 10);
  return memory_bytes < sparse ? memory_bytes : sparse;
}

// Copies the queue's bytes into fresh buffers. Returns the bytes copied, 0 when it is dense enough or the pool is empty
// (the queue is unchanged then).
uint64_t compact_queue(ByteQueue& queue, BufferPool& pool);

// Decides when to look closely. A queue of views of the same buffers seems sparse and is not, which only a walk over it
// tells; the walk is not repeated before the queue has doubled.
class SparseGuard {
 public:
  // True: sparse indeed. `share()` walks: the memory with shared buffers divided among their holders.
  template <class Share>
  bool check(uint64_t payload_bytes, uint64_t memory_bytes, Share&& share) {
    checked_ = checked_ < memory_bytes ? checked_ : memory_bytes;
    if (!is_sparse(payload_bytes, memory_bytes) || memory_bytes < 2 * checked_) return false;
    if (is_sparse(payload_bytes, share())) return true;
    checked_ = memory_bytes;
    return false;
  }

 private:
  uint64_t checked_ = 0;  // memory at the last walk that found it dense
};

}  // namespace culvert::tcp
