// Packets: chains of buffers with room for headers in front, moved and never copied on their way through the node.
//
// A Packet owns a chain of rte_mbuf. Buffers come from a BufferPool, which takes them from DPDK mempools (a node whose
// ports are DPDK's) or from the plain heap, one allocation each (unit tests, simulator, fuzzers, and nodes without
// EAL): the address sanitizer sees every heap buffer, and is blind inside a mempool.
//
//   small  2 KB of room      a frame of an ordinary MTU; the first buffer of every received frame
//   large  16 KB and a bit   a whole TLS record, or the rest of a large receive
//   view   no room           shows a part of another buffer, which it keeps alive (an indirect mbuf)
//
// Everything here belongs to one core: a pool, its packets and their views are not shared. Dropping a Packet frees it.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"

namespace culvert {

class BufferPool;
class Packet;

enum class BufferKind : uint8_t { kSmall, kLarge, kView };
inline constexpr size_t kBufferKinds = 3;

// Room before the data of a fresh buffer: Ethernet with two VLAN tags (22), IPv6 (40), TCP with all options (60) make
// 122; the virtio-net header (12) fits before them.
inline constexpr uint16_t kHeadroom = 192;
inline constexpr uint16_t kSmallRoom = 2048;
// A TLS 1.3 record is at most 5 + 16384 + 256 bytes (RFC 8446 5.2).
inline constexpr uint16_t kLargeRoom = 16'768;

// Lives in the private area of each mbuf.
struct BufferTag {
  BufferPool* pool = nullptr;
  BufferKind kind = BufferKind::kSmall;
};
// rte_mbuf wants the private area in multiples of RTE_MBUF_PRIV_ALIGN (8).
inline constexpr uint16_t kPrivateBytes = 16;
static_assert(sizeof(BufferTag) <= kPrivateBytes);

class Packet {
 public:
  Packet() = default;
  // Takes over a chain. nullptr makes an empty Packet.
  static Packet adopt(rte_mbuf* chain) { return Packet(chain); }
  Packet(Packet&& other) noexcept : head_(std::exchange(other.head_, nullptr)) {}
  Packet& operator=(Packet&& other) noexcept {
    if (this != &other) {
      reset();
      head_ = std::exchange(other.head_, nullptr);
    }
    return *this;
  }
  ~Packet() { reset(); }

  // False when empty: a take that found the pool exhausted.
  explicit operator bool() const { return head_ != nullptr; }
  void reset();
  // Gives the chain away (to a driver).
  [[nodiscard]] rte_mbuf* give() { return std::exchange(head_, nullptr); }
  rte_mbuf* mbuf() const { return head_; }  // for drivers: offload flags and lengths

  uint32_t bytes() const { return head_ ? head_->pkt_len : 0; }
  uint16_t segments() const { return head_ ? head_->nb_segs : 0; }
  // Bytes of buffer memory that this packet keeps alive, views counted at the full room of what they show (D10).
  uint32_t memory_bytes() const;

  // The first segment.
  ByteView front() const {
    return head_ ? ByteView{rte_pktmbuf_mtod(head_, const uint8_t*), head_->data_len} : ByteView{};
  }
  // Only while the buffer is not shared by a view.
  MutableByteView front_mutable() {
    return head_ ? MutableByteView{rte_pktmbuf_mtod(head_, uint8_t*), head_->data_len} : MutableByteView{};
  }

  // Room for a header in front; nullptr when there is not enough or the buffer is shared.
  [[nodiscard]] uint8_t* prepend(uint16_t bytes);
  // Room behind the last segment's data; nullptr when there is not enough or the buffer is shared.
  [[nodiscard]] uint8_t* append(uint16_t bytes);
  uint16_t headroom() const { return head_ ? rte_pktmbuf_headroom(head_) : 0; }
  uint16_t tailroom() const { return head_ ? rte_pktmbuf_tailroom(rte_pktmbuf_lastseg(head_)) : 0; }

  // Cut bytes off either end. At most bytes(); segments that become empty are freed (the last one stays).
  void trim_front(uint32_t bytes);
  void trim_back(uint32_t bytes);

  // Makes the first `bytes` contiguous, copying headers if they are scattered. False: the packet is shorter, the room
  // is too small, or the pool is empty; the packet is unchanged.
  [[nodiscard]] bool pull_up(uint16_t bytes);

  // A second Packet that shows bytes [offset, offset + bytes) without copying. Empty when the pool has no view left.
  [[nodiscard]] Packet view(uint32_t offset, uint32_t bytes) const;
  // Puts `tail` behind this packet.
  void join(Packet tail);
  // Takes the first `bytes` off into a Packet of their own; a segment that straddles the cut is shown by a view. Empty,
  // and unchanged, when the pool has no view left.
  [[nodiscard]] Packet split_front(uint32_t bytes);

  // Copies out of the chain; the range must exist. Payload that is copied on its way is counted by the caller
  // (BufferPool::count_copied); headers are not.
  void copy_out(uint32_t offset, MutableByteView to) const;

  // Calls visit(ByteView) for each non-empty piece of [offset, offset + bytes), in order.
  template <class Visit>
  void for_each(uint32_t offset, uint32_t bytes, Visit&& visit) const {
    DP_DCHECK(offset + bytes <= this->bytes());
    for (const rte_mbuf* m = head_; m && bytes; m = m->next) {
      if (offset >= m->data_len) {
        offset -= m->data_len;
        continue;
      }
      const uint32_t take = bytes < m->data_len - offset ? bytes : m->data_len - offset;
      visit(ByteView{rte_pktmbuf_mtod_offset(m, const uint8_t*, offset), take});
      bytes -= take;
      offset = 0;
    }
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for_each(0, bytes(), std::forward<Visit>(visit));
  }

 private:
  explicit Packet(rte_mbuf* head) : head_(head) {}
  rte_mbuf* head_ = nullptr;
};

struct PoolLimits {
  uint32_t small = 8192;
  uint32_t large = 2048;
  uint32_t view = 16384;
};

// Where buffers come from; one per core.
class BufferPool {
 public:
  // Buffers from the heap, never more than the limits at a time. Needs no EAL.
  static std::unique_ptr<BufferPool> on_heap(const PoolLimits& limits);
  // DPDK mempools named after `name`; EAL must be up. Null when memory is short.
  static std::unique_ptr<BufferPool> on_mempools(const char* name, const PoolLimits& limits, int socket_id);
  // All packets must have come back.
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Empty when the limit is reached (counted in refused()).
  [[nodiscard]] Packet take_small() { return take(BufferKind::kSmall); }
  [[nodiscard]] Packet take_large() { return take(BufferKind::kLarge); }
  // A packet holding a copy of `bytes` (any length), in as few buffers as possible. Empty when the pool is.
  [[nodiscard]] Packet take_copy(ByteView bytes);
  // Heap pools: one allocation that ends exactly behind `bytes`, with kHeadroom before them, so that the address
  // sanitizer catches an overread by one byte. Mempool pools: same as take_copy.
  [[nodiscard]] Packet take_exact_copy(ByteView bytes);
  // The same without contents: one buffer of `bytes` (at most kLargeRoom) for a driver to fill. Not counted as copied.
  [[nodiscard]] Packet take_exact(uint16_t bytes);

  bool from_heap() const { return mempools_[0] == nullptr; }
  // For drivers that fill descriptors themselves; null for heap pools.
  rte_mempool* mempool(BufferKind kind) const { return mempools_[static_cast<size_t>(kind)]; }

  uint32_t held(BufferKind kind) const;  // buffers out at the moment
  uint32_t limit(BufferKind kind) const;
  uint64_t refused() const { return refused_; }
  uint64_t bytes_copied() const { return bytes_copied_; }  // payload copied by take_copy, pull_up and count_copied
  void count_copied(uint64_t bytes) { bytes_copied_ += bytes; }

  // Tests: the n-th take from now fails (1 = the next one), once. 0 switches it off.
  void fail_take(uint64_t nth) { fail_countdown_ = nth; }

  // Raw segments, for Packet and for drivers.
  rte_mbuf* take_segment(BufferKind kind);
  // A view segment of [offset, offset + bytes) of another segment, from that segment's own pool; null when it has none.
  static rte_mbuf* show(rte_mbuf* segment, uint32_t offset, uint32_t bytes);
  static void give_segment(rte_mbuf* segment);  // one reference to one segment
  static BufferTag& tag(rte_mbuf* segment) { return *static_cast<BufferTag*>(rte_mbuf_to_priv(segment)); }

 private:
  BufferPool() = default;
  [[nodiscard]] Packet take(BufferKind kind) { return Packet::adopt(take_segment(kind)); }
  rte_mbuf* take_heap(BufferKind kind, uint32_t room);
  static void give_heap(rte_mbuf* segment);

  std::array<rte_mempool*, kBufferKinds> mempools_{};
  std::array<uint32_t, kBufferKinds> limits_{};
  std::array<uint32_t, kBufferKinds> held_{};  // heap only; a mempool counts by itself
  uint64_t refused_ = 0;
  uint64_t bytes_copied_ = 0;
  uint64_t fail_countdown_ = 0;
};

// A first-in first-out of payload bytes held in packet buffers: a receive queue, a send queue, undecoded records.
// Appending links the packet's segments, so neither append nor drop copies or allocates.
class ByteQueue {
 public:
  ByteQueue() = default;
  ByteQueue(ByteQueue&& other) noexcept;
  ByteQueue& operator=(ByteQueue&& other) noexcept;
  ~ByteQueue() { clear(); }

  uint64_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  uint64_t memory_bytes() const { return memory_bytes_; }  // buffers held, at their full room
  // The same with each shared buffer divided among its holders. Walks the queue.
  uint64_t memory_share_bytes() const;

  void append(Packet packet);
  void clear();
  // Forgets the first `bytes` (at most bytes()).
  void drop_front(uint64_t bytes);
  // Moves the first `bytes` out (at most bytes(), at most kPacketBytesMax); a straddled segment is shown by a view.
  // Empty when the pool has no view left; nothing is lost then.
  [[nodiscard]] Packet take_front(uint32_t bytes);
  // Shows [offset, offset + bytes) without moving it. Sequential offsets cost O(segments shown).
  [[nodiscard]] Packet view(uint64_t offset, uint32_t bytes);
  // Copies the first to.size() bytes at `offset`; returns how many were there.
  size_t copy_out(uint64_t offset, MutableByteView to) const;
  // The contiguous bytes at the front.
  ByteView front() const {
    return head_ ? ByteView{rte_pktmbuf_mtod(head_, const uint8_t*), head_->data_len} : ByteView{};
  }
  template <class Visit>
  void for_each(uint64_t offset, uint64_t bytes, Visit&& visit) const {
    for (const rte_mbuf* m = head_; m && bytes; m = m->next) {
      if (offset >= m->data_len) {
        offset -= m->data_len;
        continue;
      }
      const uint64_t take = bytes < m->data_len - offset ? bytes : m->data_len - offset;
      visit(ByteView{rte_pktmbuf_mtod_offset(m, const uint8_t*, offset), static_cast<size_t>(take)});
      bytes -= take;
      offset = 0;
    }
  }

 private:
  rte_mbuf* head_ = nullptr;
  rte_mbuf* tail_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t memory_bytes_ = 0;
  // Where the last view ended, so that a sender that walks the queue does not start over each time.
  rte_mbuf* cursor_ = nullptr;
  uint64_t cursor_offset_ = 0;  // queue offset of the cursor segment's first byte
};

// rte_mbuf counts a packet's segments in 16 bits and its bytes in 32; no caller needs more than this at a time.
inline constexpr uint32_t kPacketBytesMax = 1u << 20;

}  // namespace culvert
