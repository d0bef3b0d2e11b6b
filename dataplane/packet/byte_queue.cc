#include <algorithm>

#include "packet/packet.h"

namespace culvert {

ByteQueue::ByteQueue(ByteQueue&& other) noexcept { *this = std::move(other); }

ByteQueue& ByteQueue::operator=(ByteQueue&& other) noexcept {
  if (this != &other) {
    clear();
    head_ = std::exchange(other.head_, nullptr);
    tail_ = std::exchange(other.tail_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    memory_bytes_ = std::exchange(other.memory_bytes_, 0);
    cursor_ = std::exchange(other.cursor_, nullptr);
    cursor_offset_ = std::exchange(other.cursor_offset_, 0);
  }
  return *this;
}

uint64_t ByteQueue::memory_share_bytes() const {
  uint64_t total = 0;
  for (rte_mbuf* m = head_; m; m = m->next) {
    const rte_mbuf* holder = RTE_MBUF_CLONED(m) ? rte_mbuf_from_indirect(m) : m;
    total += m->buf_len / std::max<uint32_t>(rte_mbuf_refcnt_read(holder), 1);
  }
  return total;
}

void ByteQueue::append(Packet packet) {
  if (packet.bytes() == 0) return;
  bytes_ += packet.bytes();
  memory_bytes_ += packet.memory_bytes();
  rte_mbuf* first = packet.give();
  if (tail_) {
    tail_->next = first;
  } else {
    head_ = first;
  }
  tail_ = rte_pktmbuf_lastseg(first);
}

void ByteQueue::clear() {
  while (head_) {
    rte_mbuf* next = head_->next;
    BufferPool::give_segment(head_);
    head_ = next;
  }
  tail_ = cursor_ = nullptr;
  bytes_ = memory_bytes_ = cursor_offset_ = 0;
}

void ByteQueue::drop_front(uint64_t bytes) {
  DP_DCHECK(bytes <= bytes_);
  bytes_ -= bytes;
  // The cursor's offset counts from the front; a cursor in a segment that goes is forgotten.
  if (cursor_) {
    const uint64_t end = cursor_offset_ + cursor_->data_len;
    if (end <= bytes) {
      cursor_ = nullptr;
      cursor_offset_ = 0;
    } else {
      cursor_offset_ = cursor_offset_ > bytes ? cursor_offset_ - bytes : 0;
    }
  }
  while (head_ && bytes >= head_->data_len) {
    rte_mbuf* next = head_->next;
    bytes -= head_->data_len;
    memory_bytes_ -= head_->buf_len;
    BufferPool::give_segment(head_);
    head_ = next;
  }
  if (!head_) {
    tail_ = nullptr;
    DP_DCHECK(bytes == 0);
    return;
  }
  head_->data_off = static_cast<uint16_t>(head_->data_off + bytes);
  head_->data_len = static_cast<uint16_t>(head_->data_len - bytes);
}

Packet ByteQueue::take_front(uint32_t bytes) {
  DP_DCHECK(bytes <= bytes_ && bytes <= kPacketBytesMax);
  if (bytes == 0) return {};
  cursor_ = nullptr;
  cursor_offset_ = 0;
  uint32_t left = bytes;
  uint16_t segments = 0;
  rte_mbuf* last = nullptr;
  rte_mbuf* m = head_;
  while (m && left >= m->data_len) {
    left -= m->data_len;
    last = m;
    m = m->next;
    ++segments;
    if (left == 0) break;
  }
  rte_mbuf* straddling = nullptr;
  if (left > 0) {
    straddling = BufferPool::show(m, 0, left);
    if (!straddling) return {};
    m->data_off = static_cast<uint16_t>(m->data_off + left);
    m->data_len = static_cast<uint16_t>(m->data_len - left);
    ++segments;
  }
  rte_mbuf* front = last ? head_ : straddling;
  for (rte_mbuf* s = last ? head_ : nullptr; s && s != m; s = s->next) memory_bytes_ -= s->buf_len;
  if (last) last->next = straddling;
  head_ = m;
  if (!head_) tail_ = nullptr;
  bytes_ -= bytes;
  front->pkt_len = bytes;
  front->nb_segs = segments;
  return Packet::adopt(front);
}

Packet ByteQueue::view(uint64_t offset, uint32_t bytes) {
  DP_DCHECK(offset + bytes <= bytes_);
  if (bytes == 0) return {};
  uint64_t at = 0;
  rte_mbuf* m = head_;
  if (cursor_ && cursor_offset_ <= offset) {
    m = cursor_;
    at = cursor_offset_;
  }
  while (offset >= at + m->data_len) {
    at += m->data_len;
    m = m->next;
  }
  rte_mbuf* first = nullptr;
  rte_mbuf* last = nullptr;
  uint32_t left = bytes;
  uint16_t segments = 0;
  uint64_t skip = offset - at;
  for (;;) {
    const auto take = static_cast<uint32_t>(std::min<uint64_t>(left, m->data_len - skip));
    rte_mbuf* v = BufferPool::show(m, static_cast<uint32_t>(skip), take);
    if (!v) {
      Packet::adopt(first).reset();
      return {};
    }
    if (last) {
      last->next = v;
    } else {
      first = v;
    }
    last = v;
    ++segments;
    left -= take;
    if (left == 0) break;
    at += m->data_len;
    m = m->next;
    skip = 0;
  }
  cursor_ = m;
  cursor_offset_ = at;
  first->pkt_len = bytes;
  first->nb_segs = segments;
  return Packet::adopt(first);
}

size_t ByteQueue::copy_out(uint64_t offset, MutableByteView to) const {
  uint8_t* at = to.data();
  for_each(offset, to.size(), [&at](ByteView piece) {
    std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  });
  return static_cast<size_t>(at - to.data());
}

}  // namespace culvert
