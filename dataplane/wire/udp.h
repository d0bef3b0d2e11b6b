// The UDP header (RFC 768): enough to recognise a port that nobody here listens on.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/endian.h"

namespace culvert::wire {

struct UdpHeader {
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint16_t bytes = 8;     // header and payload
  uint16_t checksum = 0;  // 0: none (IPv4 only)
  friend bool operator==(const UdpHeader&, const UdpHeader&) = default;
};

inline constexpr uint16_t kUdpBytes = 8;

// `transport_bytes`: what the IP header says follows it. None when the length field is impossible.
inline std::optional<UdpHeader> parse_udp(ByteView front, uint32_t transport_bytes) {
  if (front.size() < kUdpBytes) return std::nullopt;
  UdpHeader h{load_be16(&front[0]), load_be16(&front[2]), load_be16(&front[4]), load_be16(&front[6])};
  if (h.bytes < kUdpBytes || h.bytes > transport_bytes) return std::nullopt;
  return h;
}
inline void emit_udp(const UdpHeader& header, uint8_t* to) {
  store_be16(to, header.source_port);
  store_be16(to + 2, header.destination_port);
  store_be16(to + 4, header.bytes);
  store_be16(to + 6, header.checksum);
}

}  // namespace culvert::wire
