// Ports in memory: two nodes of one process, or anything that stands between them (a simulator's wire).
//
//   LinkPort ── Wire::send ─▶ wire ─▶ Wire::receive ── LinkPort
//
// A port gives its frames to one wire and takes them from another. A received frame is copied into the receiver's own
// pool, since pools belong to cores: into one exact buffer per frame that fits a large one, so that the address
// sanitizer sees an overread by one byte. When both ends share a pool it is moved instead. The copy is the wire's, not
// a node's, and is not counted as a copy of the node.
//
// Offload requests travel with the frame, as on a TAP: a checksum that was left to the device arrives as
// RTE_MBUF_F_RX_L4_CKSUM_NONE, a packet to be segmented arrives whole, as RTE_MBUF_F_RX_LRO with tso_segsz. Both ends
// run in one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "port/port.h"

namespace culvert::link {

// One direction.
class Wire {
 public:
  virtual ~Wire() = default;
  // Takes a prefix of `frames`; the rest stays with the caller.
  virtual size_t send(std::span<Packet> frames) = 0;
  virtual size_t receive(std::span<Packet> out) = 0;
};

// A queue of bounded length. Frames keep their sender's buffers until they are received.
class QueueWire final : public Wire {
 public:
  explicit QueueWire(size_t frames_max) : slots_(frames_max) {}
  size_t send(std::span<Packet> frames) override;
  size_t receive(std::span<Packet> out) override;
  bool empty() const { return count_ == 0; }

 private:
  std::vector<Packet> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
};

struct LinkConfig {
  std::array<uint8_t, 6> mac{};
  uint16_t mtu = 1500;
  port::Offloads offloads;  // what this end does "in hardware": tx_checksum, tso, scatter …
  // An eventfd that never becomes readable is shown as wake-up, so that a worker may sleep: frames appear only while
  // the thread that would wait for them is sending. Off: the port is polled.
  bool sleeps = true;
};

class LinkPort final : public port::Port {
 public:
  // Pool and wires outlive the port. `moves`: the sender's buffers are of the same pool, take them as they are.
  LinkPort(const LinkConfig& config, Wire& to, Wire& from, BufferPool& pool, bool moves);
  ~LinkPort() override;
  LinkPort(const LinkPort&) = delete;
  LinkPort& operator=(const LinkPort&) = delete;

  size_t rx_burst(std::span<Packet> out) override;
  size_t tx_burst(std::span<Packet> packets) override;
  const port::Offloads& offloads() const override { return config_.offloads; }
  uint16_t mtu() const override { return config_.mtu; }
  std::array<uint8_t, 6> mac() const override { return config_.mac; }
  bool link_up() const override { return up_; }
  void set_link_up(bool up) { up_ = up; }  // a cable pulled: frames sent are lost, none arrive
  port::Wakeup wakeup() const override { return {wakeup_fd_}; }
  port::PortStats stats() const override { return stats_; }
  uint16_t queues() const override { return 1; }
  std::string_view driver() const override { return "link"; }

 private:
  Packet arrive(Packet frame);

  const LinkConfig config_;
  Wire& to_;
  Wire& from_;
  BufferPool& pool_;
  const bool moves_;
  int wakeup_fd_ = -1;
  bool up_ = true;
  port::PortStats stats_;
};

// Two ports joined by two queues that they own together.
struct LinkPair {
  std::unique_ptr<port::Port> a;
  std::unique_ptr<port::Port> b;
};
// When both pools are the same one, frames are moved.
LinkPair make_link_pair(const LinkConfig& a, BufferPool& a_pool, const LinkConfig& b, BufferPool& b_pool,
                        size_t frames_max = 1024);

}  // namespace culvert::link
