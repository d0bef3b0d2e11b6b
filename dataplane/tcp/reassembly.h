// Reassembly of out-of-order segments for one connection.
//
// Keeps up to kRunsMax runs of bytes ahead of RCV.NXT, sorted by sequence number; a segment that continues a run is
// linked to its end. Runs that touch are reported as one block but not joined. What would exceed the limit is refused,
// not evicted: a peer must never find that data acknowledged by SACK is gone (RFC 2018 8 allows it; we choose not to).
// Bytes that are already held are kept and the new copy dropped. Cost per segment is a binary search and, for one that
// starts a run, a move of the runs behind it. Does not copy payload.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "packet/packet.h"
#include "tcp/seq.h"
#include "wire/tcp_header.h"

namespace culvert::tcp {

class Reassembly {
 public:
  static constexpr size_t kRunsMax = 512;

  struct Inserted {
    uint32_t taken_bytes = 0;
    uint32_t refused_bytes = 0;                // no room for another run, or no view left in the pool
    std::optional<wire::SackBlock> duplicate;  // the first part that was already held, for D-SACK
  };
  // `begin` is beyond RCV.NXT; window and limits were checked.
  Inserted insert(Seq begin, Packet bytes);

  // Moves the bytes that follow `next` out, up to a packet's limit, and drops what lies before it. Empty when nothing
  // follows, or when the pool has no view left: blocked() is then true and the caller tries again later.
  Packet take(Seq next);
  bool blocked() const { return blocked_; }

  bool empty() const { return runs_.empty(); }
  size_t runs() const { return runs_.size(); }
  uint64_t bytes() const { return bytes_; }
  uint64_t memory_bytes() const { return memory_; }
  uint64_t memory_share_bytes() const;  // walks all of it
  // Up to out.size() blocks: the one with the latest arrival first (RFC 2018 4), then the other recently reported ones.
  size_t sack_blocks(std::span<wire::SackBlock> out) const;
  // Copies sparse runs together; returns bytes copied.
  uint64_t compact(BufferPool& pool);
  void clear();

 private:
  struct Run {
    Seq begin, end;
    uint64_t stamp;  // when it last grew
    ByteQueue bytes;
  };
  size_t find(Seq seq) const;  // first run whose end lies behind seq

  std::vector<Run> runs_;
  uint64_t bytes_ = 0;
  uint64_t memory_ = 0;
  uint64_t stamp_ = 0;
  bool blocked_ = false;
};

}  // namespace culvert::tcp
