// The IPv4 header with its options (RFC 791 3.1).
//
// Options are walked and their lengths checked; what they ask for is ignored (RFC 1122 3.2.1.8 lets a host), but source
// routes are reported, since a node that follows them lets a sender choose its path (RFC 7126 4.3).
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/result.h"
#include "wire/ip_protocol.h"

namespace culvert::wire {

struct Ipv4Header {
  uint8_t header_bytes = 20;  // 20–60
  uint8_t tos = 0;            // DSCP and ECN
  uint16_t total_bytes = 20;  // header and payload
  uint16_t identification = 0;
  bool dont_fragment = false;
  bool more_fragments = false;
  uint16_t fragment_offset = 0;  // bytes
  uint8_t ttl = 64;
  IpProtocol protocol = IpProtocol::kTcp;
  uint16_t checksum = 0;  // as received; emit computes it
  IpAddress source;
  IpAddress destination;
  bool source_routed = false;  // carries a loose or strict source route

  bool is_fragment() const { return more_fragments || fragment_offset != 0; }
  friend bool operator==(const Ipv4Header&, const Ipv4Header&) = default;
};

enum class Ipv4Error : uint8_t {
  kTooShort,  // fewer bytes than the header says it has
  kBadVersion,
  kBadLength,  // header length below 20, total length below the header's or behind the packet's end
  kBadOption,  // an option's length runs out of the header
};

inline constexpr uint16_t kIpv4Bytes = 20;
inline constexpr uint16_t kIpv4BytesMax = 60;

// `front` are the packet's first bytes, in which the whole header must lie; `packet_bytes` is the packet's length,
// which the total length must not exceed. The checksum is not verified here.
Result<Ipv4Header, Ipv4Error> parse_ipv4(ByteView front, uint32_t packet_bytes);
// True when the header's checksum is right. `front` holds header_bytes.
bool verify_ipv4_checksum(ByteView front, uint8_t header_bytes);
// Writes 20 bytes, no options, with the right checksum. `to` holds at least kIpv4Bytes.
void emit_ipv4(const Ipv4Header& header, uint8_t* to);

}  // namespace culvert::wire
