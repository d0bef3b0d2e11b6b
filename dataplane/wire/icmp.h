// ICMP (RFC 792) and ICMPv6 (RFC 4443): one header shape, two sets of numbers.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/endian.h"

namespace culvert::wire {

struct IcmpHeader {
  uint8_t type = 0;
  uint8_t code = 0;
  uint16_t checksum = 0;
  uint32_t rest = 0;  // identifier and sequence of an echo, MTU, pointer
  friend bool operator==(const IcmpHeader&, const IcmpHeader&) = default;
};

inline constexpr uint16_t kIcmpBytes = 8;

inline std::optional<IcmpHeader> parse_icmp(ByteView bytes) {
  if (bytes.size() < kIcmpBytes) return std::nullopt;
  return IcmpHeader{bytes[0], bytes[1], load_be16(&bytes[2]), load_be32(&bytes[4])};
}
// `to` holds at least kIcmpBytes.
inline void emit_icmp(const IcmpHeader& header, uint8_t* to) {
  to[0] = header.type;
  to[1] = header.code;
  store_be16(to + 2, header.checksum);
  store_be32(to + 4, header.rest);
}

namespace icmp {  // RFC 792, RFC 1122 3.2.2, RFC 1812 4.3
inline constexpr uint8_t kEchoReply = 0;
inline constexpr uint8_t kUnreachable = 3;
inline constexpr uint8_t kSourceQuench = 4;
inline constexpr uint8_t kRedirect = 5;
inline constexpr uint8_t kEcho = 8;
inline constexpr uint8_t kTimeExceeded = 11;
inline constexpr uint8_t kParameterProblem = 12;

inline constexpr uint8_t kNet = 0;
inline constexpr uint8_t kHost = 1;
inline constexpr uint8_t kProtocol = 2;
inline constexpr uint8_t kPort = 3;
inline constexpr uint8_t kFragmentationNeeded = 4;
inline constexpr uint8_t kSourceRouteFailed = 5;
inline constexpr uint8_t kNetProhibited = 9;
inline constexpr uint8_t kHostProhibited = 10;
inline constexpr uint8_t kProhibited = 13;
}  // namespace icmp

namespace icmpv6 {  // RFC 4443 3, 4; RFC 4861 4
inline constexpr uint8_t kUnreachable = 1;
inline constexpr uint8_t kTooBig = 2;
inline constexpr uint8_t kTimeExceeded = 3;
inline constexpr uint8_t kParameterProblem = 4;
inline constexpr uint8_t kEcho = 128;
inline constexpr uint8_t kEchoReply = 129;
inline constexpr uint8_t kRouterSolicitation = 133;
inline constexpr uint8_t kRouterAdvertisement = 134;
inline constexpr uint8_t kNeighbourSolicitation = 135;
inline constexpr uint8_t kNeighbourAdvertisement = 136;
inline constexpr uint8_t kRedirect = 137;

inline constexpr uint8_t kNoRoute = 0;
inline constexpr uint8_t kProhibited = 1;
inline constexpr uint8_t kAddress = 3;
inline constexpr uint8_t kPort = 4;

inline constexpr uint8_t kErroneousField = 0;
inline constexpr uint8_t kUnrecognizedNextHeader = 1;
inline constexpr uint8_t kUnrecognizedOption = 2;

inline bool is_error(uint8_t type) { return type < 128; }
}  // namespace icmpv6

namespace icmp {
// Whether an ICMP message is an error: errors never answer errors (RFC 1122 3.2.2).
inline bool is_error(uint8_t type) {
  return type == kUnreachable || type == kSourceQuench || type == kRedirect || type == kTimeExceeded ||
         type == kParameterProblem;
}
}  // namespace icmp

}  // namespace culvert::wire
