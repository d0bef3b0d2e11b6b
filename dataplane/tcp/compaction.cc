#include "tcp/compaction.h"

#include <algorithm>

namespace culvert::tcp {

uint64_t compact_queue(ByteQueue& queue, BufferPool& pool) {
  const uint64_t bytes = queue.bytes();
  if (queue.memory_bytes() < 2 * bytes + kSmallRoom) return 0;
  ByteQueue dense;
  for (uint64_t at = 0; at < bytes;) {
    const uint64_t left = bytes - at;
    Packet packet = left > kSmallRoom ? pool.take_large() : pool.take_small();
    if (!packet) return 0;
    const auto take = static_cast<uint16_t>(std::min<uint64_t>(left, packet.tailroom()));
    uint8_t* to = packet.append(take);
    if (!to) return 0;
    queue.copy_out(at, {to, take});
    dense.append(std::move(packet));
    at += take;
  }
  queue = std::move(dense);
  pool.count_copied(bytes);
  return bytes;
}

}  // namespace culvert::tcp
