// ARP for IPv4 over Ethernet (RFC 826). Other hardware and protocol types are not spoken.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/result.h"
#include "wire/ethernet.h"

namespace culvert::wire {

struct ArpMessage {
  enum class Operation : uint16_t { kRequest = 1, kReply = 2 };
  Operation operation = Operation::kRequest;
  MacAddress sender_mac;
  IpAddress sender;
  MacAddress target_mac;  // zero in a request
  IpAddress target;
  friend bool operator==(const ArpMessage&, const ArpMessage&) = default;
};

enum class ArpError : uint8_t {
  kTooShort,
  kNotEthernetIpv4,   // hardware or protocol type or address lengths other than Ethernet's and IPv4's
  kUnknownOperation,  // neither request nor reply
};

inline constexpr uint16_t kArpBytes = 28;

Result<ArpMessage, ArpError> parse_arp(ByteView bytes);
// `to` holds at least kArpBytes.
void emit_arp(const ArpMessage& message, uint8_t* to);

}  // namespace culvert::wire
