// The IPv6 header and its chain of extension headers (RFC 8200 3, 4).
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/result.h"
#include "wire/ip_protocol.h"

namespace culvert::wire {

struct Ipv6Header {
  uint8_t traffic_class = 0;
  uint32_t flow_label = 0;     // 20 bits
  uint16_t payload_bytes = 0;  // everything behind the 40 bytes
  IpProtocol next_header = IpProtocol::kTcp;
  uint8_t hop_limit = 64;
  IpAddress source;
  IpAddress destination;
  friend bool operator==(const Ipv6Header&, const Ipv6Header&) = default;
};

enum class Ipv6Error : uint8_t {
  kTooShort,  // fewer than 40 bytes
  kBadVersion,
  kBadLength,      // the payload length runs past the packet's end; a jumbogram (RFC 2675) is not supported
  kMappedAddress,  // an IPv4-mapped address on the wire (RFC 4942 2.2): it would be taken for IPv4 inside
};

inline constexpr uint16_t kIpv6Bytes = 40;

// As parse_ipv4.
Result<Ipv6Header, Ipv6Error> parse_ipv6(ByteView front, uint32_t packet_bytes);
// `to` holds at least kIpv6Bytes.
void emit_ipv6(const Ipv6Header& header, uint8_t* to);

// Limits that RFC 8504 5.3 recommends a node to have.
inline constexpr uint32_t kExtensionHeadersMax = 8;
inline constexpr uint32_t kExtensionBytesMax = 512;
inline constexpr uint32_t kExtensionOptionsMax = 8;  // per header, padding not counted

// Where the chain of extension headers led.
struct Ipv6Chain {
  IpProtocol protocol = IpProtocol::kTcp;  // the first header that is not an extension header
  uint16_t header_bytes = kIpv6Bytes;      // offset of that header from the start of the packet
  uint16_t protocol_offset = 6;            // offset of the field that named it
  bool fragment = false;                   // a fragment of a larger packet; the chain is not followed behind it
};

struct Ipv6ChainError {
  enum class Kind : uint8_t {
    kTooShort,            // a header is not all there
    kTooManyHeaders,      // past one of the limits above
    kHopByHopNotFirst,    // RFC 8200 4.1
    kRoutingHeader,       // segments left: type 0 is forbidden (RFC 5095), others are not for us
    kBadOption,           // an option that says to discard and stay silent, or whose length is wrong
    kUnrecognizedOption,  // an option that says to discard and answer (RFC 8200 4.2)
  };
  Kind kind;
  uint16_t pointer = 0;           // offset of the field at fault, for a parameter problem
  bool answer_multicast = false;  // kUnrecognizedOption: to be answered even if the packet went to a group
};

// `front` are the packet's first bytes; everything up to the transport header must lie in them, or in as many of them
// as kExtensionBytesMax allows.
Result<Ipv6Chain, Ipv6ChainError> walk_ipv6_chain(ByteView front, const Ipv6Header& header);

}  // namespace culvert::wire
