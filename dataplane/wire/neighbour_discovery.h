// Neighbour discovery messages (RFC 4861 4): the bodies behind the IPv6 header, with their options.
//
// Not checked here, but by eth: hop limit 255, the ICMPv6 checksum, and rules that need the IPv6 addresses.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/result.h"
#include "wire/ethernet.h"

namespace culvert::wire {

struct NeighbourSolicitation {
  IpAddress target;
  std::optional<MacAddress> source_link;
  friend bool operator==(const NeighbourSolicitation&, const NeighbourSolicitation&) = default;
};

struct NeighbourAdvertisement {
  bool router = false;
  bool solicited = false;
  bool override_flag = false;
  IpAddress target;
  std::optional<MacAddress> target_link;
  friend bool operator==(const NeighbourAdvertisement&, const NeighbourAdvertisement&) = default;
};

struct RouterSolicitation {
  std::optional<MacAddress> source_link;
  friend bool operator==(const RouterSolicitation&, const RouterSolicitation&) = default;
};

using NeighbourMessage = std::variant<NeighbourSolicitation, NeighbourAdvertisement, RouterSolicitation>;

enum class NeighbourMessageError : uint8_t {
  kTooShort,
  kBadCode,          // not 0
  kBadTarget,        // a multicast or IPv4-mapped target
  kBadOption,        // length zero, or past the end
  kUnsupportedType,  // router advertisements and redirects: a node takes its routes from its configuration
};

// `bytes` starts with the ICMPv6 type and holds the whole message.
Result<NeighbourMessage, NeighbourMessageError> parse_neighbour_message(ByteView bytes);

inline constexpr uint16_t kNeighbourMessageBytesMax = 32;  // with one link-layer address option

// Writes the message with a zero checksum; returns its length. `to` holds at least kNeighbourMessageBytesMax.
uint16_t emit_neighbour_message(const NeighbourMessage& message, uint8_t* to);

// ff02::1:ffXX:XXXX, where solicitations for an address go (RFC 4291 2.7.1).
IpAddress solicited_node_group(const IpAddress& target);
// ff02::1
IpAddress all_nodes_group();

}  // namespace culvert::wire
