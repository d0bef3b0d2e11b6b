#include "wire/ipv4.h"

#include "base/endian.h"
#include "wire/checksum.h"

namespace culvert::wire {

namespace {

constexpr uint16_t kDontFragment = 0x4000;
constexpr uint16_t kMoreFragments = 0x2000;
constexpr uint16_t kOffsetMask = 0x1fff;

constexpr uint8_t kEndOfOptions = 0;
constexpr uint8_t kNoOperation = 1;
constexpr uint8_t kLooseSourceRoute = 131;
constexpr uint8_t kStrictSourceRoute = 137;

}  // namespace

Result<Ipv4Header, Ipv4Error> parse_ipv4(ByteView front, uint32_t packet_bytes) {
  if (front.size() < kIpv4Bytes) return Ipv4Error::kTooShort;
  const uint8_t* p = front.data();
  if (p[0] >> 4 != 4) return Ipv4Error::kBadVersion;
  Ipv4Header h;
  h.header_bytes = static_cast<uint8_t>((p[0] & 0x0f) * 4);
  h.total_bytes = load_be16(p + 2);
  if (h.header_bytes < kIpv4Bytes || h.total_bytes < h.header_bytes || h.total_bytes > packet_bytes) {
    return Ipv4Error::kBadLength;
  }
  if (front.size() < h.header_bytes) return Ipv4Error::kTooShort;
  h.tos = p[1];
  h.identification = load_be16(p + 4);
  const uint16_t fragment = load_be16(p + 6);
  h.dont_fragment = (fragment & kDontFragment) != 0;
  h.more_fragments = (fragment & kMoreFragments) != 0;
  h.fragment_offset = static_cast<uint16_t>((fragment & kOffsetMask) * 8);
  h.ttl = p[8];
  h.protocol = static_cast<IpProtocol>(p[9]);
  h.checksum = load_be16(p + 10);
  h.source = IpAddress::v4(p + 12);
  h.destination = IpAddress::v4(p + 16);
  for (uint32_t at = kIpv4Bytes; at < h.header_bytes;) {
    const uint8_t type = p[at];
    if (type == kEndOfOptions) break;
    if (type == kNoOperation) {
      ++at;
      continue;
    }
    if (at + 2 > h.header_bytes || p[at + 1] < 2 || at + p[at + 1] > h.header_bytes) return Ipv4Error::kBadOption;
    if (type == kLooseSourceRoute || type == kStrictSourceRoute) h.source_routed = true;
    at += p[at + 1];
  }
  return h;
}

bool verify_ipv4_checksum(ByteView front, uint8_t header_bytes) {
  return internet_checksum(front.first(header_bytes)) == 0;
}

void emit_ipv4(const Ipv4Header& header, uint8_t* to) {
  to[0] = 0x45;
  to[1] = header.tos;
  store_be16(to + 2, header.total_bytes);
  store_be16(to + 4, header.identification);
  store_be16(to + 6, static_cast<uint16_t>((header.dont_fragment ? kDontFragment : 0) |
                                           (header.more_fragments ? kMoreFragments : 0) | header.fragment_offset / 8));
  to[8] = header.ttl;
  to[9] = static_cast<uint8_t>(header.protocol);
  store_be16(to + 10, 0);
  std::memcpy(to + 12, &header.source.bytes()[12], 4);
  std::memcpy(to + 16, &header.destination.bytes()[12], 4);
  store_be16(to + 10, internet_checksum({to, kIpv4Bytes}));
}

}  // namespace culvert::wire
