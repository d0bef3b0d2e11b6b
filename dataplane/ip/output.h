// The way out: puts an IP header in front of a transport packet and asks the port for checksums and segmentation, or
// prepares a received packet for its next hop.
#pragma once

#include <cstdint>

#include "base/ip_address.h"
#include "ip/datagram.h"
#include "packet/packet.h"
#include "wire/ip_protocol.h"

namespace culvert::ip {

struct OutDatagram {
  IpAddress source;
  IpAddress destination;  // of the same family
  wire::IpProtocol protocol = wire::IpProtocol::kTcp;
  uint16_t transport_header_bytes = 20;  // TCP: its header with options (mbuf l4_len)
  uint16_t segment_bytes = 0;  // TCP payload per wire segment when the packet is to be cut (tso_segsz); 0: whole
  uint8_t hop_limit = 64;      // RFC 1700's default, as Linux has it
  uint8_t ecn = 0;             // RFC 3168 codepoint
};

// Puts the header in front of `packet`, which starts with the transport header (checksum field free). DF is set (RFC
// 8900: no fragmentation; path MTU discovery); the IPv4 identification follows RFC 6864 4.1 (atomic: 0, numbered by
// whoever segments); the IPv6 flow label is a hash of the tuple (RFC 6437 3).
//
// The mbuf then asks for checksums: RTE_MBUF_F_TX_IPV4|IP_CKSUM or _IPV6, _TCP_CKSUM with the pseudo-header sum in the
// checksum field, _TCP_SEG when segment_bytes is set and exceeded; l3_len, l4_len, tso_segsz. port::OffloadPort
// completes in software what the device does not do. False when there is no room for the header or the packet is
// longer than an IP length field says; `packet` is unchanged.
[[nodiscard]] bool prepend_header(Packet& packet, const OutDatagram& out);

enum class Forwarding : uint8_t {
  kReady,    // hop limit counted down, header checksum adjusted
  kExpired,  // hop limit used up: answer with kTimeExceeded
  kTooBig,   // longer than the MTU and not to be fragmented (we never do): answer with kTooBig
};

// Prepares a packet for its next link (RFC 1812 5.3.1, RFC 8200 3). Unchanged unless kReady. A packet that a peer left
// with a partial checksum (RTE_MBUF_F_RX_L4_CKSUM_NONE) or that is to be segmented asks the next port for that.
Forwarding prepare_forward(Packet& packet, const Datagram& datagram, uint16_t mtu);

}  // namespace culvert::ip
