#include "wire/ethernet.h"

#include <cstdio>

#include "base/endian.h"

namespace culvert::wire {

namespace {

constexpr uint16_t kLengthMax = 1500;  // smaller values of the type field are 802.3 lengths (IEEE 802.3 3.2.6)

std::optional<uint8_t> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint8_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<uint8_t>(c - 'A' + 10);
  return std::nullopt;
}

}  // namespace

MacAddress MacAddress::from(const uint8_t* six_bytes) {
  MacAddress mac;
  std::memcpy(mac.bytes.data(), six_bytes, mac.bytes.size());
  return mac;
}

MacAddress MacAddress::multicast_for(const IpAddress& group) {
  const auto& b = group.bytes();
  if (group.is_v4()) return {{0x01, 0x00, 0x5e, static_cast<uint8_t>(b[13] & 0x7f), b[14], b[15]}};
  return {{0x33, 0x33, b[12], b[13], b[14], b[15]}};
}

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  MacAddress mac;
  for (size_t i = 0; i < mac.bytes.size(); ++i) {
    const auto high = hex_digit(text[i * 3]);
    const auto low = hex_digit(text[i * 3 + 1]);
    if (!high || !low || (i < 5 && text[i * 3 + 2] != ':')) return std::nullopt;
    mac.bytes[i] = static_cast<uint8_t>(*high << 4 | *low);
  }
  return mac;
}

std::string MacAddress::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
                bytes[5]);
  return text;
}

Result<ParsedEthernet, EthernetError> parse_ethernet(ByteView bytes) {
  if (bytes.size() < kEthernetBytes) return EthernetError::kTooShort;
  ParsedEthernet parsed{};
  EthernetHeader& h = parsed.header;
  h.destination = MacAddress::from(bytes.data());
  h.source = MacAddress::from(bytes.data() + 6);
  uint16_t type = load_be16(bytes.data() + 12);
  parsed.header_bytes = kEthernetBytes;
  if (type == static_cast<uint16_t>(EtherType::kVlan)) {
    if (bytes.size() < kEthernetBytesMax) return EthernetError::kTooShort;
    const uint16_t tag = load_be16(bytes.data() + 14);
    h.vlan = tag & 0x0fff;
    h.priority = static_cast<uint8_t>(tag >> 13);
    type = load_be16(bytes.data() + 16);
    parsed.header_bytes = kEthernetBytesMax;
    if (type == static_cast<uint16_t>(EtherType::kVlan)) return EthernetError::kTwoTags;
  }
  if (type == static_cast<uint16_t>(EtherType::kQinQ)) return EthernetError::kTwoTags;
  if (type <= kLengthMax) return EthernetError::kLength;
  h.type = static_cast<EtherType>(type);
  return parsed;
}

void emit_ethernet(const EthernetHeader& header, uint8_t* to) {
  std::memcpy(to, header.destination.bytes.data(), 6);
  std::memcpy(to + 6, header.source.bytes.data(), 6);
  to += 12;
  if (header.vlan) {
    store_be16(to, static_cast<uint16_t>(EtherType::kVlan));
    store_be16(to + 2, static_cast<uint16_t>(header.priority << 13 | (header.vlan & 0x0fff)));
    to += kVlanTagBytes;
  }
  store_be16(to, static_cast<uint16_t>(header.type));
}

}  // namespace culvert::wire
