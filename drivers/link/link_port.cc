#include "drivers/link/link_port.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace culvert::link {

size_t QueueWire::send(std::span<Packet> frames) {
  const size_t n = std::min(frames.size(), slots_.size() - count_);
  for (size_t i = 0; i < n; ++i) slots_[(first_ + count_ + i) % slots_.size()] = std::move(frames[i]);
  count_ += n;
  return n;
}

size_t QueueWire::receive(std::span<Packet> out) {
  const size_t n = std::min(out.size(), count_);
  for (size_t i = 0; i < n; ++i) {
    out[i] = std::move(slots_[first_]);
    first_ = (first_ + 1) % slots_.size();
  }
  count_ -= n;
  return n;
}

namespace {

// What the sender asked of the device, as a receiver is told it.
struct Arrival {
  uint64_t flags = 0;
  uint16_t segment_bytes = 0;
};

Arrival arrival_of(const rte_mbuf* m) {
  Arrival a;
  if (m->ol_flags & RTE_MBUF_F_TX_L4_MASK || m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) {
    a.flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  }
  if (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) {
    a.flags |= RTE_MBUF_F_RX_LRO;
    a.segment_bytes = m->tso_segsz;
  }
  return a;
}

void apply(const Arrival& a, rte_mbuf* m) {
  m->ol_flags = (m->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL)) | a.flags;
  m->tx_offload = 0;
  m->tso_segsz = a.segment_bytes;
}

// A copy in as few buffers as possible. Empty when the pool is.
Packet copy_of(const Packet& frame, BufferPool& pool) {
  Packet copy;
  const uint32_t bytes = frame.bytes();
  uint32_t offset = 0;
  do {
    const auto piece_bytes = static_cast<uint16_t>(std::min<uint32_t>(bytes - offset, kLargeRoom));
    Packet piece = pool.take_exact(piece_bytes);
    if (!piece) return {};
    if (piece_bytes > 0) frame.copy_out(offset, piece.front_mutable());
    copy.join(std::move(piece));
    offset += piece_bytes;
  } while (offset < bytes);
  return copy;
}

}  // namespace

LinkPort::LinkPort(const LinkConfig& config, Wire& to, Wire& from, BufferPool& pool, bool moves)
    : config_(config), to_(to), from_(from), pool_(pool), moves_(moves) {
  if (config.sleeps) wakeup_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

LinkPort::~LinkPort() {
  if (wakeup_fd_ >= 0) close(wakeup_fd_);
}

Packet LinkPort::arrive(Packet frame) {
  const Arrival arrival = arrival_of(frame.mbuf());
  Packet here = moves_ ? std::move(frame) : copy_of(frame, pool_);
  if (here) apply(arrival, here.mbuf());
  return here;
}

size_t LinkPort::rx_burst(std::span<Packet> out) {
  size_t filled = 0;
  // A frame for which there is no buffer is lost; the next one is looked at all the same, so that 0 means empty.
  while (filled < out.size()) {
    Packet frame;
    if (from_.receive({&frame, 1}) == 0) break;
    if (!up_) continue;
    const uint32_t bytes = frame.bytes();
    out[filled] = arrive(std::move(frame));
    if (!out[filled]) {
      ++stats_.rx_no_buffer;
      continue;
    }
    ++filled;
    ++stats_.rx_packets;
    stats_.rx_bytes += bytes;
  }
  return filled;
}

size_t LinkPort::tx_burst(std::span<Packet> packets) {
  if (!up_) {
    for (Packet& p : packets) p.reset();
    stats_.tx_errors += packets.size();
    return packets.size();
  }
  uint64_t bytes = 0;
  // Sizes are read before the frames are given away; those of refused ones are taken back.
  for (const Packet& p : packets) bytes += p.bytes();
  const size_t n = to_.send(packets);
  for (size_t i = n; i < packets.size(); ++i) bytes -= packets[i].bytes();
  stats_.tx_packets += n;
  stats_.tx_bytes += bytes;
  if (n < packets.size()) ++stats_.tx_full;
  return n;
}

namespace {

// Keeps the wires alive as long as either port: the pair's halves may go in any order.
struct Wires {
  explicit Wires(size_t frames_max) : ab(frames_max), ba(frames_max) {}
  QueueWire ab, ba;
};

class PairedPort final : public port::Port {
 public:
  PairedPort(const LinkConfig& config, std::shared_ptr<Wires> wires, bool a, BufferPool& pool, bool moves)
      : wires_(std::move(wires)),
        port_(config, a ? wires_->ab : wires_->ba, a ? wires_->ba : wires_->ab, pool, moves) {}

  size_t rx_burst(std::span<Packet> out) override { return port_.rx_burst(out); }
  size_t tx_burst(std::span<Packet> packets) override { return port_.tx_burst(packets); }
  const port::Offloads& offloads() const override { return port_.offloads(); }
  uint16_t mtu() const override { return port_.mtu(); }
  std::array<uint8_t, 6> mac() const override { return port_.mac(); }
  bool link_up() const override { return port_.link_up(); }
  port::Wakeup wakeup() const override { return port_.wakeup(); }
  port::PortStats stats() const override { return port_.stats(); }
  uint16_t queues() const override { return port_.queues(); }
  std::string_view driver() const override { return port_.driver(); }

 private:
  std::shared_ptr<Wires> wires_;
  LinkPort port_;
};

}  // namespace

LinkPair make_link_pair(const LinkConfig& a, BufferPool& a_pool, const LinkConfig& b, BufferPool& b_pool,
                        size_t frames_max) {
  auto wires = std::make_shared<Wires>(frames_max);
  const bool moves = &a_pool == &b_pool;
  return {std::make_unique<PairedPort>(a, wires, true, a_pool, moves),
          std::make_unique<PairedPort>(b, wires, false, b_pool, moves)};
}

}  // namespace culvert::link
