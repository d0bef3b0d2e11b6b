#include "packet/packet.h"

namespace culvert {

namespace {

bool shared(const rte_mbuf* m) { return RTE_MBUF_CLONED(m) || rte_mbuf_refcnt_read(m) > 1; }

}  // namespace

void Packet::reset() {
  rte_mbuf* m = std::exchange(head_, nullptr);
  while (m) {
    rte_mbuf* next = m->next;
    BufferPool::give_segment(m);
    m = next;
  }
}

uint32_t Packet::memory_bytes() const {
  uint32_t total = 0;
  for (const rte_mbuf* m = head_; m; m = m->next) total += m->buf_len;
  return total;
}

uint8_t* Packet::prepend(uint16_t bytes) {
  if (!head_ || shared(head_) || bytes > rte_pktmbuf_headroom(head_)) return nullptr;
  head_->data_off = static_cast<uint16_t>(head_->data_off - bytes);
  head_->data_len = static_cast<uint16_t>(head_->data_len + bytes);
  head_->pkt_len += bytes;
  return rte_pktmbuf_mtod(head_, uint8_t*);
}

uint8_t* Packet::append(uint16_t bytes) {
  if (!head_) return nullptr;
  rte_mbuf* last = rte_pktmbuf_lastseg(head_);
  if (shared(last) || bytes > rte_pktmbuf_tailroom(last)) return nullptr;
  uint8_t* tail = rte_pktmbuf_mtod_offset(last, uint8_t*, last->data_len);
  last->data_len = static_cast<uint16_t>(last->data_len + bytes);
  head_->pkt_len += bytes;
  return tail;
}

void Packet::trim_front(uint32_t bytes) {
  DP_DCHECK(bytes <= this->bytes());
  while (bytes > 0) {
    if (bytes >= head_->data_len && head_->next) {
      rte_mbuf* rest = head_->next;
      bytes -= head_->data_len;
      rest->pkt_len = head_->pkt_len - head_->data_len;
      rest->nb_segs = static_cast<uint16_t>(head_->nb_segs - 1);
      BufferPool::give_segment(head_);
      head_ = rest;
      continue;
    }
    head_->data_off = static_cast<uint16_t>(head_->data_off + bytes);
    head_->data_len = static_cast<uint16_t>(head_->data_len - bytes);
    head_->pkt_len -= bytes;
    return;
  }
}

void Packet::trim_back(uint32_t bytes) {
  DP_DCHECK(bytes <= this->bytes());
  if (bytes == 0) return;
  const uint32_t keep = head_->pkt_len - bytes;
  head_->pkt_len = keep;
  uint32_t left = keep;
  rte_mbuf* m = head_;
  uint16_t segments = 1;
  while (left > m->data_len) {
    left -= m->data_len;
    m = m->next;
    ++segments;
  }
  m->data_len = static_cast<uint16_t>(left);
  rte_mbuf* rest = std::exchange(m->next, nullptr);
  head_->nb_segs = segments;
  while (rest) {
    rte_mbuf* next = rest->next;
    BufferPool::give_segment(rest);
    rest = next;
  }
}

bool Packet::pull_up(uint16_t bytes) {
  if (bytes > this->bytes()) return false;
  if (bytes <= head_->data_len) return true;
  // A fresh small buffer takes the front; what remains of the old chain follows it.
  Packet front = BufferPool::tag(head_).pool->take_small();
  if (!front) return false;
  uint8_t* to = front.append(bytes);
  if (!to) return false;
  copy_out(0, {to, bytes});
  rte_mbuf* f = front.head_;
  f->port = head_->port;
  f->ol_flags |= head_->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
  f->tx_offload = head_->tx_offload;
  f->packet_type = head_->packet_type;
  trim_front(bytes);
  if (this->bytes() == 0) {
    reset();
  }
  Packet rest = std::move(*this);
  *this = std::move(front);
  if (rest) join(std::move(rest));
  return true;
}

Packet Packet::view(uint32_t offset, uint32_t bytes) const {
  DP_DCHECK(offset + bytes <= this->bytes());
  Packet result;
  rte_mbuf* last = nullptr;
  for (rte_mbuf* m = head_; m && bytes; m = m->next) {
    if (offset >= m->data_len) {
      offset -= m->data_len;
      continue;
    }
    const uint32_t take = bytes < m->data_len - offset ? bytes : m->data_len - offset;
    rte_mbuf* v = BufferPool::show(m, offset, take);
    if (!v) return {};
    if (!last) {
      result.head_ = v;
    } else {
      last->next = v;
      ++result.head_->nb_segs;
      result.head_->pkt_len += take;
    }
    last = v;
    bytes -= take;
    offset = 0;
  }
  return result;
}

void Packet::join(Packet tail) {
  if (!tail) return;
  if (!head_) {
    head_ = tail.give();
    return;
  }
  rte_mbuf* t = tail.give();
  rte_pktmbuf_lastseg(head_)->next = t;
  head_->nb_segs = static_cast<uint16_t>(head_->nb_segs + t->nb_segs);
  head_->pkt_len += t->pkt_len;
}

Packet Packet::split_front(uint32_t bytes) {
  DP_DCHECK(bytes <= this->bytes());
  if (bytes == this->bytes()) return std::move(*this);
  if (bytes == 0) return {};
  // Walk to the segment in which the cut lies.
  uint32_t left = bytes;
  uint16_t whole = 0;
  rte_mbuf* before = nullptr;
  rte_mbuf* m = head_;
  while (left >= m->data_len) {
    left -= m->data_len;
    before = m;
    m = m->next;
    ++whole;
  }
  rte_mbuf* straddling = nullptr;
  if (left > 0) {
    straddling = BufferPool::show(m, 0, left);
    if (!straddling) return {};
    m->data_off = static_cast<uint16_t>(m->data_off + left);
    m->data_len = static_cast<uint16_t>(m->data_len - left);
  }
  m->pkt_len = head_->pkt_len - bytes;
  m->nb_segs = static_cast<uint16_t>(head_->nb_segs - whole);
  rte_mbuf* front = whole ? head_ : straddling;
  if (before) before->next = straddling;
  front->pkt_len = bytes;
  front->nb_segs = static_cast<uint16_t>(whole + (straddling ? 1 : 0));
  head_ = m;
  return Packet(front);
}

void Packet::copy_out(uint32_t offset, MutableByteView to) const {
  uint8_t* at = to.data();
  for_each(offset, static_cast<uint32_t>(to.size()), [&at](ByteView piece) {
    std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  });
}

}  // namespace culvert
