// The two sources of buffers behind one pool.
#include <rte_mempool.h>

#include <cstdlib>
#include <string>

#include "packet/packet.h"

namespace culvert {

namespace {

constexpr uint32_t room_of(BufferKind kind) {
  switch (kind) {
    case BufferKind::kSmall:
      return kHeadroom + kSmallRoom;
    case BufferKind::kLarge:
      return kHeadroom + kLargeRoom;
    case BufferKind::kView:
      return 0;
  }
  return 0;
}

// rte_mbuf requires cache-line alignment; the room ends where the allocation ends.
rte_mbuf* allocate_heap(uint32_t room) {
  void* memory = nullptr;
  if (posix_memalign(&memory, RTE_CACHE_LINE_SIZE, sizeof(rte_mbuf) + kPrivateBytes + room) != 0) return nullptr;
  auto* m = static_cast<rte_mbuf*>(memory);
  std::memset(static_cast<void*>(m), 0, sizeof(rte_mbuf) + kPrivateBytes);
  m->buf_addr = static_cast<uint8_t*>(memory) + sizeof(rte_mbuf) + kPrivateBytes;
  m->buf_len = static_cast<uint16_t>(room);
  m->priv_size = kPrivateBytes;
  m->nb_segs = 1;
  m->port = RTE_MBUF_PORT_INVALID;
  rte_mbuf_refcnt_set(m, 1);
  m->data_off = room < kHeadroom ? 0 : kHeadroom;
  return m;
}

}  // namespace

std::unique_ptr<BufferPool> BufferPool::on_heap(const PoolLimits& limits) {
  std::unique_ptr<BufferPool> pool(new BufferPool);
  pool->limits_ = {limits.small, limits.large, limits.view};
  return pool;
}

std::unique_ptr<BufferPool> BufferPool::on_mempools(const char* name, const PoolLimits& limits, int socket_id) {
  std::unique_ptr<BufferPool> pool(new BufferPool);
  pool->limits_ = {limits.small, limits.large, limits.view};
  static constexpr const char* kSuffixes[kBufferKinds] = {"_small", "_large", "_view"};
  for (size_t i = 0; i < kBufferKinds; ++i) {
    const auto kind = static_cast<BufferKind>(i);
    // A per-lcore cache of 256 keeps bursts off the shared ring (rte_mempool's own recommendation is a divisor of n).
    rte_mempool* mempool = rte_pktmbuf_pool_create((std::string(name) + kSuffixes[i]).c_str(), pool->limits_[i], 256,
                                                   kPrivateBytes, static_cast<uint16_t>(room_of(kind)), socket_id);
    if (!mempool) return nullptr;
    pool->mempools_[i] = mempool;
    BufferTag stamp{pool.get(), kind};
    rte_mempool_obj_iter(
        mempool,
        [](rte_mempool*, void* opaque, void* object, unsigned) {
          tag(static_cast<rte_mbuf*>(object)) = *static_cast<BufferTag*>(opaque);
        },
        &stamp);
  }
  return pool;
}

BufferPool::~BufferPool() {
  for (size_t i = 0; i < kBufferKinds; ++i) {
    if (mempools_[i]) {
      rte_mempool_free(mempools_[i]);
    } else {
      DP_CHECK(held_[i] == 0);  // a packet outlived its pool
    }
  }
}

uint32_t BufferPool::held(BufferKind kind) const {
  const auto i = static_cast<size_t>(kind);
  return mempools_[i] ? rte_mempool_in_use_count(mempools_[i]) : held_[i];
}

uint32_t BufferPool::limit(BufferKind kind) const { return limits_[static_cast<size_t>(kind)]; }

rte_mbuf* BufferPool::take_segment(BufferKind kind) {
  if (fail_countdown_ > 0 && --fail_countdown_ == 0) {
    ++refused_;
    return nullptr;
  }
  const auto i = static_cast<size_t>(kind);
  if (!mempools_[i]) return take_heap(kind, room_of(kind));
  rte_mbuf* m = rte_pktmbuf_alloc(mempools_[i]);
  if (!m) {
    ++refused_;
    return nullptr;
  }
  if (kind != BufferKind::kView) m->data_off = kHeadroom;
  return m;
}

rte_mbuf* BufferPool::take_heap(BufferKind kind, uint32_t room) {
  const auto i = static_cast<size_t>(kind);
  rte_mbuf* m = held_[i] < limits_[i] ? allocate_heap(room) : nullptr;
  if (!m) {
    ++refused_;
    return nullptr;
  }
  ++held_[i];
  tag(m) = {this, kind};
  return m;
}

rte_mbuf* BufferPool::show(rte_mbuf* segment, uint32_t offset, uint32_t bytes) {
  rte_mbuf* view = tag(segment).pool->take_segment(BufferKind::kView);
  if (!view) return nullptr;
  rte_pktmbuf_attach(view, segment);
  view->data_off = static_cast<uint16_t>(segment->data_off + offset);
  view->data_len = static_cast<uint16_t>(bytes);
  view->pkt_len = bytes;
  view->ol_flags = RTE_MBUF_F_INDIRECT;  // offload requests belong to the packet, not to its bytes
  return view;
}

void BufferPool::give_segment(rte_mbuf* segment) {
  segment->next = nullptr;
  segment->nb_segs = 1;
  if (segment->pool) {
    rte_pktmbuf_free_seg(segment);
  } else {
    give_heap(segment);
  }
}

void BufferPool::give_heap(rte_mbuf* segment) {
  if (RTE_MBUF_CLONED(segment)) {
    rte_mbuf* shown = rte_mbuf_from_indirect(segment);
    --tag(segment).pool->held_[static_cast<size_t>(BufferKind::kView)];
    std::free(segment);
    segment = shown;
  }
  if (rte_mbuf_refcnt_update(segment, -1) > 0) return;
  --tag(segment).pool->held_[static_cast<size_t>(tag(segment).kind)];
  std::free(segment);
}

Packet BufferPool::take_copy(ByteView bytes) {
  Packet result;
  do {
    Packet piece = bytes.size() > kSmallRoom ? take_large() : take_small();
    if (!piece) return {};
    const auto take = static_cast<uint16_t>(std::min<size_t>(bytes.size(), piece.tailroom()));
    if (take > 0) std::memcpy(piece.append(take), bytes.data(), take);
    bytes = bytes.subspan(take);
    bytes_copied_ += take;
    result.join(std::move(piece));
  } while (!bytes.empty());
  return result;
}

Packet BufferPool::take_exact(uint16_t bytes) {
  DP_DCHECK(bytes <= kLargeRoom);
  const BufferKind kind = bytes > kSmallRoom ? BufferKind::kLarge : BufferKind::kSmall;
  Packet result;
  if (!from_heap()) {
    result = take(kind);
  } else if (fail_countdown_ > 0 && --fail_countdown_ == 0) {
    ++refused_;
  } else {
    result = Packet::adopt(take_heap(kind, kHeadroom + uint32_t{bytes}));
  }
  if (result && bytes > 0) DP_CHECK(result.append(bytes));
  return result;
}

Packet BufferPool::take_exact_copy(ByteView bytes) {
  if (!from_heap() || bytes.size() > kLargeRoom) return take_copy(bytes);
  Packet result = take_exact(static_cast<uint16_t>(bytes.size()));
  if (!result) return result;
  if (!bytes.empty()) std::memcpy(result.front_mutable().data(), bytes.data(), bytes.size());
  bytes_copied_ += bytes.size();
  return result;
}

}  // namespace culvert
