// What a device does not do itself, done in software: transmit checksums, TCP segmentation (GSO), chains longer than it
// takes. Every port of a node is wrapped in one, so that the layers above know one kind of port: it takes packets of up
// to 64 KB with offload requests in their mbufs, in chains of any length.
//
// Payload is not copied where the device takes chains: a cut segment is a fresh header buffer and views of the
// payload. Which path was taken is counted: port_tso_hardware, port_gso_software, port_checksum_hardware,
// port_checksum_software, port_chain_linearised.
#pragma once

#include <memory>
#include <vector>

#include "port/port.h"
#include "telemetry/counters.h"

namespace culvert::port {

class OffloadPort final : public Port {
 public:
  // Pool and counters outlive the port; they are those of the core that uses it.
  OffloadPort(std::unique_ptr<Port> device, BufferPool& pool, Counters& counters);
  ~OffloadPort() override;

  size_t rx_burst(std::span<Packet> out) override;
  // As Port says. Pieces of a packet that was cut and that the device did not take yet are kept here and go out first:
  // until then nothing new is taken. An empty burst only tries to get rid of them.
  size_t tx_burst(std::span<Packet> packets) override;
  bool has_pending() const;

  // What the layers above may ask for: all of it.
  const Offloads& offloads() const override { return offered_; }
  // What the device does by itself: for the line printed at start.
  const Port& device() const { return *device_; }
  uint16_t mtu() const override { return device_->mtu(); }
  std::array<uint8_t, 6> mac() const override { return device_->mac(); }
  bool link_up() const override { return device_->link_up(); }
  Wakeup wakeup() const override { return device_->wakeup(); }
  PortStats stats() const override { return device_->stats(); }
  uint16_t queues() const override { return device_->queues(); }
  std::string_view driver() const override { return device_->driver(); }

 private:
  struct Pending;
  enum class Fate : uint8_t { kReady, kCut, kImpossible, kNoBuffer };
  Fate prepare(Packet& packet);
  bool cut(Packet packet);
  bool linearise(Packet& packet);
  void complete_checksum(Packet& packet);
  uint16_t segments_max() const;
  size_t send_ready(std::span<Packet> packets);
  bool flush_pending();

  std::unique_ptr<Port> device_;
  BufferPool& pool_;
  Counters& counters_;
  Offloads offered_;
  std::unique_ptr<Pending> pending_;
};

}  // namespace culvert::port
