// The TCP header and its options (RFC 9293 3.1, 3.2; RFC 7323; RFC 2018).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace culvert::wire {

struct SackBlock {
  uint32_t left = 0, right = 0;
  friend bool operator==(const SackBlock&, const SackBlock&) = default;
};

struct TcpOptions {
  std::optional<uint16_t> mss;
  std::optional<uint8_t> window_scale;  // as on the wire; above 14 counts as 14 (RFC 7323 2.3) at the receiver
  bool sack_permitted = false;
  std::optional<std::pair<uint32_t, uint32_t>> timestamps;  // TSval, TSecr
  std::array<SackBlock, 4> sack{};
  uint8_t sack_count = 0;
};

struct TcpHeader {
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint32_t sequence = 0;
  uint32_t acknowledgment = 0;
  bool fin = false, syn = false, rst = false, psh = false, ack = false, urg = false, ece = false, cwr = false;
  uint16_t window = 0;  // not scaled
  uint16_t checksum = 0;
  uint16_t urgent_pointer = 0;
  TcpOptions options;
};

enum class TcpParseError : uint8_t {
  kTooShort,   // fewer than 20 bytes
  kBadOffset,  // data offset below 5 or behind the end
  kBadOption,  // an option's length is impossible; RFC 9293 3.1: "MUST be prepared to handle illegal option length"
};

struct ParsedTcpHeader {
  TcpHeader header;
  uint16_t header_bytes;  // where the payload begins
};

// `bytes` must hold the whole header; the payload may follow or be elsewhere. The checksum is not verified here.
Result<ParsedTcpHeader, TcpParseError> parse_tcp(ByteView bytes);

inline constexpr uint16_t kTcpHeaderBytesMin = 20;
inline constexpr uint16_t kTcpHeaderBytesMax = 60;

// Bytes that emit_tcp will write. SYN: MSS, SACK-permitted, timestamps, NOP, window scale; others: NOP NOP timestamps,
// then NOP NOP SACK, the order Linux uses.
uint16_t tcp_header_bytes(const TcpHeader& header);
// Writes header and options at the front of `to` (at least tcp_header_bytes long). The checksum field is
// header.checksum.
void emit_tcp(const TcpHeader& header, MutableByteView to);

}  // namespace culvert::wire
