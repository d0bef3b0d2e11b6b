// A port: where packets enter and leave the node, behind one burst interface (D12). Drivers implement it; a port owns
// no policy, it reports what it can do. One virtual call per burst. Used by one core.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/time.h"
#include "packet/packet.h"

namespace culvert::port {

// What the device does itself; what it lacks is done in software by port::OffloadPort or the caller (port/offload.h).
struct Offloads {
  bool rx_checksum = false;      // bad L4 checksums are flagged or dropped by the device; good ones are marked
  bool tx_ip_checksum = false;   // fills the IPv4 header checksum
  bool tx_checksum = false;      // completes TCP and UDP checksums from the pseudo-header sum (both families)
  bool tso = false;              // segments TCP packets larger than the MTU
  bool lro = false;              // may deliver received TCP packets larger than the MTU
  bool scatter = false;          // transmits chains of more than one segment
  uint32_t tso_bytes_max = 0;    // largest IP packet to hand over for segmentation; 0 without tso
  uint16_t tx_segments_max = 1;  // longest chain to hand over
};

// How an idle worker learns that packets wait (D17).
struct Wakeup {
  int fd = -1;  // becomes readable when packets wait; -1: none, poll at most every kIdlePollInterval
};
inline constexpr Duration kIdlePollInterval = 500us;

struct PortStats {
  uint64_t rx_packets = 0, rx_bytes = 0, rx_errors = 0, rx_no_buffer = 0;
  uint64_t tx_packets = 0, tx_bytes = 0, tx_errors = 0, tx_full = 0;
};

class Port {
 public:
  virtual ~Port() = default;

  // Fills `out` with received Ethernet frames (no FCS); returns how many. A frame's mbuf ol_flags carry
  // RTE_MBUF_F_RX_L4_CKSUM_GOOD/BAD where the device knows.
  virtual size_t rx_burst(std::span<Packet> out) = 0;
  // Sends frames; returns how many were taken, always a prefix. Frames not taken stay with the caller. Offload requests
  // are in the mbuf: RTE_MBUF_F_TX_IPV4 or _IPV6 with l2_len and l3_len; _TX_IP_CKSUM; _TX_TCP_CKSUM (the TCP checksum
  // field then holds the pseudo-header sum); _TX_TCP_SEG with l4_len and tso_segsz.
  virtual size_t tx_burst(std::span<Packet> packets) = 0;

  virtual const Offloads& offloads() const = 0;
  virtual uint16_t mtu() const = 0;  // of the link: largest IP packet that is not segmented by the device
  virtual std::array<uint8_t, 6> mac() const = 0;
  virtual bool link_up() const = 0;
  virtual Wakeup wakeup() const = 0;
  virtual PortStats stats() const = 0;
  virtual uint16_t queues() const = 0;
  // "tap", "link", "ethdev net_memif": for the line printed at start and `culvertctl ports`.
  virtual std::string_view driver() const = 0;
};

}  // namespace culvert::port
