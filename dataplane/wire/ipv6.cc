#include "wire/ipv6.h"

#include "base/endian.h"

namespace culvert::wire {

Result<Ipv6Header, Ipv6Error> parse_ipv6(ByteView front, uint32_t packet_bytes) {
  if (front.size() < kIpv6Bytes) return Ipv6Error::kTooShort;
  const uint8_t* p = front.data();
  const uint32_t first = load_be32(p);
  if (first >> 28 != 6) return Ipv6Error::kBadVersion;
  Ipv6Header h;
  h.traffic_class = static_cast<uint8_t>(first >> 20);
  h.flow_label = first & 0xfffff;
  h.payload_bytes = load_be16(p + 4);
  if (uint32_t{kIpv6Bytes} + h.payload_bytes > packet_bytes) return Ipv6Error::kBadLength;
  h.next_header = static_cast<IpProtocol>(p[6]);
  // A payload length of zero with hop-by-hop options announces a jumbogram (RFC 2675 3).
  if (h.payload_bytes == 0 && h.next_header == IpProtocol::kHopByHop) return Ipv6Error::kBadLength;
  h.hop_limit = p[7];
  h.source = IpAddress::v6(p + 8);
  h.destination = IpAddress::v6(p + 24);
  if (h.source.is_v4() || h.destination.is_v4()) return Ipv6Error::kMappedAddress;
  return h;
}

void emit_ipv6(const Ipv6Header& header, uint8_t* to) {
  store_be32(to, 6u << 28 | uint32_t{header.traffic_class} << 20 | (header.flow_label & 0xfffff));
  store_be16(to + 4, header.payload_bytes);
  to[6] = static_cast<uint8_t>(header.next_header);
  to[7] = header.hop_limit;
  std::memcpy(to + 8, header.source.bytes().data(), 16);
  std::memcpy(to + 24, header.destination.bytes().data(), 16);
}

namespace {

using ChainError = Ipv6ChainError::Kind;

constexpr uint8_t kPad1 = 0;
constexpr uint8_t kPadN = 1;
constexpr uint8_t kRouterAlert = 5;  // RFC 2711; asks routers to look, which a host need not

// The options of a hop-by-hop or destination options header, RFC 8200 4.2. `begin` and `end` are offsets in `front`.
std::optional<Ipv6ChainError> walk_options(ByteView front, uint32_t begin, uint32_t end) {
  uint32_t options = 0;
  for (uint32_t at = begin; at < end;) {
    const uint8_t type = front[at];
    const auto pointer = static_cast<uint16_t>(at);
    if (type == kPad1) {
      ++at;
      continue;
    }
    if (at + 2 > end || at + 2u + front[at + 1] > end) return Ipv6ChainError{ChainError::kBadOption, pointer};
    at += 2u + front[at + 1];
    if (type == kPadN) continue;
    if (++options > kExtensionOptionsMax) return Ipv6ChainError{ChainError::kTooManyHeaders, pointer};
    if (type == kRouterAlert) continue;
    // "The Option Type identifiers are internally encoded such that their highest-order 2 bits specify the action
    // that must be taken if the processing IPv6 node does not recognize the Option Type."
    switch (type >> 6) {
      case 0:
        break;
      case 1:
        return Ipv6ChainError{ChainError::kBadOption, pointer};
      case 2:
        return Ipv6ChainError{ChainError::kUnrecognizedOption, pointer, true};
      default:
        return Ipv6ChainError{ChainError::kUnrecognizedOption, pointer, false};
    }
  }
  return std::nullopt;
}

}  // namespace

Result<Ipv6Chain, Ipv6ChainError> walk_ipv6_chain(ByteView front, const Ipv6Header& header) {
  Ipv6Chain chain;
  chain.protocol = header.next_header;
  const uint32_t packet_end = uint32_t{kIpv6Bytes} + header.payload_bytes;
  uint32_t at = kIpv6Bytes;
  for (uint32_t count = 0;; ++count) {
    chain.header_bytes = static_cast<uint16_t>(at);
    const IpProtocol kind = chain.protocol;
    const bool options = kind == IpProtocol::kHopByHop || kind == IpProtocol::kDestinationOptions;
    if (!options && kind != IpProtocol::kRouting && kind != IpProtocol::kFragment) return chain;
    if (kind == IpProtocol::kHopByHop && count > 0) {
      return Ipv6ChainError{ChainError::kHopByHopNotFirst, chain.protocol_offset};
    }
    if (count >= kExtensionHeadersMax) return Ipv6ChainError{ChainError::kTooManyHeaders, chain.protocol_offset};
    if (at + 8 > packet_end) return Ipv6ChainError{ChainError::kTooShort, static_cast<uint16_t>(at)};
    // Fragment headers have a fixed length and a reserved byte where the others have theirs (RFC 8200 4.5).
    const uint32_t bytes = at + 2 > front.size() || kind == IpProtocol::kFragment ? 8 : (front[at + 1] + 1u) * 8;
    if (at + bytes > kIpv6Bytes + kExtensionBytesMax) {
      return Ipv6ChainError{ChainError::kTooManyHeaders, static_cast<uint16_t>(at)};
    }
    if (at + bytes > packet_end || at + bytes > front.size()) {
      return Ipv6ChainError{ChainError::kTooShort, static_cast<uint16_t>(at)};
    }
    chain.protocol = static_cast<IpProtocol>(front[at]);
    chain.protocol_offset = static_cast<uint16_t>(at);
    if (options) {
      if (const auto error = walk_options(front, at + 2, at + bytes)) return *error;
    } else if (kind == IpProtocol::kRouting) {
      // "If Segments Left is zero, the node must ignore the Routing header and proceed."
      if (front[at + 3] != 0) return Ipv6ChainError{ChainError::kRoutingHeader, static_cast<uint16_t>(at + 2)};
    } else if ((load_be16(&front[at + 2]) & 0xfff9) != 0) {
      // Offset zero and no more fragments is an atomic fragment: a whole packet (RFC 6946 4).
      chain.fragment = true;
      chain.header_bytes = static_cast<uint16_t>(at + bytes);
      return chain;
    }
    at += bytes;
  }
}

}  // namespace culvert::wire
