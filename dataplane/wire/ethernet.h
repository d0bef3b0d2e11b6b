// Ethernet II frames with at most one 802.1Q tag, and MAC addresses.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/result.h"

namespace culvert::wire {

struct MacAddress {
  std::array<uint8_t, 6> bytes{};

  bool is_multicast() const { return (bytes[0] & 1) != 0; }  // includes broadcast
  bool is_broadcast() const { return *this == broadcast(); }
  bool is_zero() const { return *this == MacAddress{}; }
  static MacAddress from(const uint8_t* six_bytes);
  static MacAddress broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  // Where a multicast packet goes on the link: RFC 1112 6.4 (01:00:5e) and RFC 2464 7 (33:33).
  static MacAddress multicast_for(const IpAddress& group);
  static std::optional<MacAddress> parse(std::string_view text);  // "02:fc:00:00:00:01"
  std::string to_string() const;
  friend auto operator<=>(const MacAddress&, const MacAddress&) = default;
};

enum class EtherType : uint16_t { kIpv4 = 0x0800, kArp = 0x0806, kVlan = 0x8100, kIpv6 = 0x86dd, kQinQ = 0x88a8 };

struct EthernetHeader {
  MacAddress destination;
  MacAddress source;
  uint16_t vlan = 0;     // VLAN identifier, 1–4094; 0: no tag
  uint8_t priority = 0;  // PCP of the tag
  EtherType type = EtherType::kIpv4;
  friend bool operator==(const EthernetHeader&, const EthernetHeader&) = default;
};

enum class EthernetError : uint8_t {
  kTooShort,  // the header, with its tag, does not fit
  kTwoTags,   // a second tag inside the first, or an 802.1ad tag: not supported
  kLength,    // an 802.3 length field, no EtherType
};

struct ParsedEthernet {
  EthernetHeader header;
  uint16_t header_bytes;  // 14, or 18 with a tag
};

inline constexpr uint16_t kEthernetBytes = 14;
inline constexpr uint16_t kVlanTagBytes = 4;
inline constexpr uint16_t kEthernetBytesMax = kEthernetBytes + kVlanTagBytes;

// A tag with identifier 0 (priority only) counts as no tag; header_bytes covers it all the same.
Result<ParsedEthernet, EthernetError> parse_ethernet(ByteView bytes);
inline uint16_t ethernet_bytes(const EthernetHeader& h) { return h.vlan ? kEthernetBytesMax : kEthernetBytes; }
// `to` holds at least ethernet_bytes(header).
void emit_ethernet(const EthernetHeader& header, uint8_t* to);

}  // namespace culvert::wire
