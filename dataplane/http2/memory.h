// The allocator that nghttp2 gets: plain heap, bounded twice, per session and per core, and counted (D10).
//
// nghttp2 allocates per session, stream, header block and queued frame, never per byte of DATA. A refused allocation is
// an error it handles: the call that asked fails, or the session ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace culvert::http2 {

// What all sessions of one core hold together. Outlives them.
struct CoreMemory {
  explicit CoreMemory(uint64_t limit) : bytes_max(limit) {}
  uint64_t bytes_max;
  uint64_t bytes = 0;
  uint64_t refused = 0;  // allocations that found either bound reached
};

// One session's share. Pinned: nghttp2 keeps its address.
class SessionMemory {
 public:
  SessionMemory(CoreMemory& core, uint64_t bytes_max) : core_(core), bytes_max_(bytes_max) {}
  SessionMemory(const SessionMemory&) = delete;
  SessionMemory& operator=(const SessionMemory&) = delete;

  void* allocate(size_t bytes);  // null when a bound is reached
  void* reallocate(void* old, size_t bytes);
  void release(void* block);
  uint64_t bytes() const { return bytes_; }

 private:
  CoreMemory& core_;
  uint64_t bytes_max_;
  uint64_t bytes_ = 0;
};

}  // namespace culvert::http2
