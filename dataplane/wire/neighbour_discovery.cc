#include "wire/neighbour_discovery.h"

#include "base/endian.h"
#include "wire/icmp.h"

namespace culvert::wire {

namespace {

constexpr uint8_t kSourceLinkLayerAddress = 1;
constexpr uint8_t kTargetLinkLayerAddress = 2;
constexpr uint16_t kOptionBytes = 8;

constexpr uint8_t kRouterFlag = 0x80;
constexpr uint8_t kSolicitedFlag = 0x40;
constexpr uint8_t kOverrideFlag = 0x20;

// Finds one link-layer address option; others are skipped (RFC 4861 4.6: "Receivers MUST silently ignore any options
// they do not recognize"). False when an option's length is wrong.
bool walk_options(ByteView options, uint8_t wanted, std::optional<MacAddress>& found) {
  while (!options.empty()) {
    if (options.size() < 2) return false;
    const size_t bytes = options[1] * 8u;  // "Nodes MUST silently discard an ND packet that contains an option with
    if (bytes == 0 || bytes > options.size()) return false;  // length zero."
    if (options[0] == wanted && bytes == kOptionBytes && !found) found = MacAddress::from(&options[2]);
    options = options.subspan(bytes);
  }
  return true;
}

void emit_option(uint8_t type, const MacAddress& mac, uint8_t* to) {
  to[0] = type;
  to[1] = 1;
  std::memcpy(to + 2, mac.bytes.data(), 6);
}

}  // namespace

Result<NeighbourMessage, NeighbourMessageError> parse_neighbour_message(ByteView bytes) {
  using Error = NeighbourMessageError;
  if (bytes.size() < kIcmpBytes) return Error::kTooShort;
  const uint8_t type = bytes[0];
  if (type != icmpv6::kRouterSolicitation && type != icmpv6::kNeighbourSolicitation &&
      type != icmpv6::kNeighbourAdvertisement) {
    return Error::kUnsupportedType;
  }
  if (bytes[1] != 0) return Error::kBadCode;
  if (type == icmpv6::kRouterSolicitation) {
    RouterSolicitation m;
    if (!walk_options(bytes.subspan(8), kSourceLinkLayerAddress, m.source_link)) return Error::kBadOption;
    return NeighbourMessage(m);
  }
  if (bytes.size() < 24) return Error::kTooShort;
  const IpAddress target = IpAddress::v6(&bytes[8]);
  if (target.is_multicast() || target.is_v4()) return Error::kBadTarget;
  const ByteView options = bytes.subspan(24);
  if (type == icmpv6::kNeighbourSolicitation) {
    NeighbourSolicitation m;
    m.target = target;
    if (!walk_options(options, kSourceLinkLayerAddress, m.source_link)) return Error::kBadOption;
    return NeighbourMessage(m);
  }
  NeighbourAdvertisement m;
  m.router = (bytes[4] & kRouterFlag) != 0;
  m.solicited = (bytes[4] & kSolicitedFlag) != 0;
  m.override_flag = (bytes[4] & kOverrideFlag) != 0;
  m.target = target;
  if (!walk_options(options, kTargetLinkLayerAddress, m.target_link)) return Error::kBadOption;
  return NeighbourMessage(m);
}

uint16_t emit_neighbour_message(const NeighbourMessage& message, uint8_t* to) {
  std::memset(to, 0, 8);
  std::optional<MacAddress> link;
  uint8_t option = kSourceLinkLayerAddress;
  uint16_t bytes = 24;
  if (const auto* ns = std::get_if<NeighbourSolicitation>(&message)) {
    to[0] = icmpv6::kNeighbourSolicitation;
    std::memcpy(to + 8, ns->target.bytes().data(), 16);
    link = ns->source_link;
  } else if (const auto* na = std::get_if<NeighbourAdvertisement>(&message)) {
    to[0] = icmpv6::kNeighbourAdvertisement;
    to[4] = static_cast<uint8_t>((na->router ? kRouterFlag : 0) | (na->solicited ? kSolicitedFlag : 0) |
                                 (na->override_flag ? kOverrideFlag : 0));
    std::memcpy(to + 8, na->target.bytes().data(), 16);
    link = na->target_link;
    option = kTargetLinkLayerAddress;
  } else {
    to[0] = icmpv6::kRouterSolicitation;
    link = std::get<RouterSolicitation>(message).source_link;
    bytes = 8;
  }
  if (link) {
    emit_option(option, *link, to + bytes);
    bytes = static_cast<uint16_t>(bytes + kOptionBytes);
  }
  return bytes;
}

IpAddress solicited_node_group(const IpAddress& target) {
  const auto& t = target.bytes();
  const uint8_t bytes[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, t[13], t[14], t[15]};
  return IpAddress::v6(bytes);
}

IpAddress all_nodes_group() {
  const uint8_t bytes[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01};
  return IpAddress::v6(bytes);
}

}  // namespace culvert::wire
