#include "wire/arp.h"

#include "base/endian.h"

namespace culvert::wire {

namespace {
constexpr uint16_t kHardwareEthernet = 1;  // RFC 826, ar$hrd
}

Result<ArpMessage, ArpError> parse_arp(ByteView bytes) {
  if (bytes.size() < kArpBytes) return ArpError::kTooShort;
  const uint8_t* p = bytes.data();
  if (load_be16(p) != kHardwareEthernet || load_be16(p + 2) != static_cast<uint16_t>(EtherType::kIpv4) || p[4] != 6 ||
      p[5] != 4) {
    return ArpError::kNotEthernetIpv4;
  }
  ArpMessage m;
  const uint16_t operation = load_be16(p + 6);
  if (operation != 1 && operation != 2) return ArpError::kUnknownOperation;
  m.operation = static_cast<ArpMessage::Operation>(operation);
  m.sender_mac = MacAddress::from(p + 8);
  m.sender = IpAddress::v4(p + 14);
  m.target_mac = MacAddress::from(p + 18);
  m.target = IpAddress::v4(p + 24);
  return m;
}

void emit_arp(const ArpMessage& message, uint8_t* to) {
  store_be16(to, kHardwareEthernet);
  store_be16(to + 2, static_cast<uint16_t>(EtherType::kIpv4));
  to[4] = 6;
  to[5] = 4;
  store_be16(to + 6, static_cast<uint16_t>(message.operation));
  std::memcpy(to + 8, message.sender_mac.bytes.data(), 6);
  std::memcpy(to + 14, &message.sender.bytes()[12], 4);
  std::memcpy(to + 18, message.target_mac.bytes.data(), 6);
  std::memcpy(to + 24, &message.target.bytes()[12], 4);
}

}  // namespace culvert::wire
