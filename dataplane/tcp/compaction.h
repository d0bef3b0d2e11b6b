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

// Copies the queue's bytes into fresh buffers. Returns the bytes copied, 0 when it is dense enough or the pool is empty
// (the queue is unchanged then).
uint64_t compact_queue(ByteQueue& queue, BufferPool& pool);

}  // namespace culvert::tcp
