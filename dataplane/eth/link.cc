// Frames in and out of one link. The neighbour machine is neighbour_table.cc; here are the messages that feed it, whom
// we answer, and whom we believe.
#include "eth/link.h"

#include <algorithm>

#include "eth/neighbour_table.h"
#include "eth/packet_ring.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/icmp.h"
#include "wire/ipv6.h"
#include "wire/neighbour_discovery.h"

namespace culvert::eth {

using wire::ArpMessage;
using wire::EthernetHeader;
using wire::EtherType;
using wire::MacAddress;

namespace {

constexpr uint8_t kNdHopLimit = 255;
// Longer neighbour discovery messages than this carry nothing that we read.
constexpr uint32_t kNdBytesMax = 1024;

enum class Ownership : uint8_t { kNotOurs, kOwn, kProxied, kProxiedBlock };

// fe80:: with the modified EUI-64 of the MAC address (RFC 4291 appendix A).
IpAddress link_local_of(const MacAddress& mac) {
  const auto& m = mac.bytes;
  const uint8_t bytes[16] = {0xfe, 0x80, 0,    0,    0,    0,    0,   0, static_cast<uint8_t>(m[0] ^ 2),
                             m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
  return IpAddress::v6(bytes);
}

bool sorted_contains(const std::vector<IpAddress>& sorted, const IpAddress& address) {
  return std::binary_search(sorted.begin(), sorted.end(), address);
}

bool any_contains(const std::vector<Prefix>& prefixes, const IpAddress& address) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const Prefix& p) { return p.contains(address); });
}

}  // namespace

struct Link::Impl final : NeighbourActions {
  Impl(const LinkConfig& c, BufferPool& p, Counters& k, uint64_t seed, Instant start)
      : config(c),
        pool(p),
        counters(k),
        table(c.limits, c.times, k, seed),
        output(c.limits.output_max),
        undeliverable(c.limits.held_max),
        defended_at(start - c.times.defend_interval) {
    own = c.own;
    own.push_back(link_local_of(c.mac));
    std::sort(own.begin(), own.end());
  }

  LinkConfig config;
  BufferPool& pool;
  Counters& counters;
  NeighbourTable table;
  PacketRing output;
  PacketRing undeliverable;
  std::vector<IpAddress> own;      // sorted, with the link-local address of our MAC
  std::vector<IpAddress> proxied;  // sorted
  Instant defended_at;             // the last announcement made in defence

  Received drop(DropReason reason) {
    counters.drop(reason);
    return {};
  }

  Ownership ownership(const IpAddress& address) const {
    if (sorted_contains(own, address)) return Ownership::kOwn;
    if (sorted_contains(proxied, address)) return Ownership::kProxied;
    if (any_contains(config.proxied, address) && !any_contains(config.neighbours, address)) {
      return Ownership::kProxiedBlock;
    }
    return Ownership::kNotOurs;
  }

  bool may_be_neighbour(const IpAddress& address) const {
    if (address.is_multicast() || address.is_broadcast() || address.is_loopback() || address.is_unspecified()) {
      return false;
    }
    return any_contains(config.neighbours, address) || (!address.is_v4() && address.is_link_local());
  }

  // Whether a neighbour may say that it is at `address`; counts why not.
  bool believe(const IpAddress& address, Instant now) {
    const Ownership owner = ownership(address);
    if (owner == Ownership::kOwn || owner == Ownership::kProxied) {
      counters.drop(DropReason::kEthAddressConflict);
      // RFC 5227 2.4 (b): defend by one announcement, and not again within the interval.
      if (now - defended_at >= config.times.defend_interval) {
        defended_at = now;
        announce(address);
      }
      return false;
    }
    if (!may_be_neighbour(address)) {
      counters.drop(DropReason::kEthNeighbourNotAllowed);
      return false;
    }
    return true;
  }

  // --- frames out ------------------------------------------------------------------------------------------------

  bool push_ethernet(Packet& packet, const MacAddress& to, EtherType type) {
    const EthernetHeader header{to, config.mac, config.vlan, 0, type};
    const uint16_t bytes = wire::ethernet_bytes(header);
    uint8_t* at = packet.prepend(bytes);
    if (!at) {
      counters.drop(DropReason::kEthNoHeadroom);
      packet.reset();
      return false;
    }
    wire::emit_ethernet(header, at);
    packet.mbuf()->l2_len = bytes & 0x7f;  // a bit field of 7
    return true;
  }

  static EtherType type_of(const Packet& packet) {
    const ByteView front = packet.front();
    return !front.empty() && front[0] >> 4 == 6 ? EtherType::kIpv6 : EtherType::kIpv4;
  }

  void push_output(Packet frame) {
    if (!output.push(std::move(frame))) counters.drop(DropReason::kEthOutputFull);
  }

  // Sends a small message of our own; true when it is on its way.
  bool emit(ByteView message, const MacAddress& to, EtherType type) {
    Packet packet = pool.take_small();
    uint8_t* at = packet ? packet.append(static_cast<uint16_t>(message.size())) : nullptr;
    if (!at) {
      counters.drop(DropReason::kEthNoBuffer);
      return false;
    }
    std::memcpy(at, message.data(), message.size());
    if (!push_ethernet(packet, to, type)) return false;
    if (output.push(std::move(packet))) return true;
    counters.drop(DropReason::kEthOutputFull);
    return false;
  }

  bool emit_arp(const ArpMessage& message, const MacAddress& to) {
    uint8_t bytes[wire::kArpBytes];
    wire::emit_arp(message, bytes);
    return emit(bytes, to, EtherType::kArp);
  }

  bool emit_nd(const wire::NeighbourMessage& message, const IpAddress& source, const IpAddress& destination,
               const MacAddress& to) {
    uint8_t bytes[wire::kIpv6Bytes + wire::kNeighbourMessageBytesMax];
    uint8_t* body = bytes + wire::kIpv6Bytes;
    const uint16_t body_bytes = wire::emit_neighbour_message(message, body);
    wire::Ipv6Header ip;
    ip.payload_bytes = body_bytes;
    ip.next_header = wire::IpProtocol::kIcmpv6;
    ip.hop_limit = kNdHopLimit;
    ip.source = source;
    ip.destination = destination;
    wire::emit_ipv6(ip, bytes);
    wire::ChecksumSum sum;
    sum.add_pseudo_header(source, destination, static_cast<uint8_t>(wire::IpProtocol::kIcmpv6), body_bytes);
    sum.add({body, body_bytes});
    store_be16(body + 2, sum.checksum());
    return emit({bytes, size_t{wire::kIpv6Bytes} + body_bytes}, to, EtherType::kIpv6);
  }

  // Our address to speak from; v4 unspecified (an ARP probe, which is answered all the same) when there is none.
  IpAddress own_address(bool v4) const {
    for (const IpAddress& a : config.own) {
      if (a.is_v4() == v4) return a;
    }
    return v4 ? IpAddress::v4(0u) : link_local_of(config.mac);
  }

  void announce(const IpAddress& address) {
    bool sent = false;
    if (address.is_v4()) {
      sent = emit_arp({ArpMessage::Operation::kRequest, config.mac, address, MacAddress{}, address},
                      MacAddress::broadcast());
    } else {
      // RFC 4861 7.2.6, 7.2.8: a proxy's advertisement does not override.
      const bool is_own = sorted_contains(own, address);
      const IpAddress group = wire::all_nodes_group();
      sent = emit_nd(wire::NeighbourAdvertisement{is_own, false, is_own, address, config.mac}, address, group,
                     MacAddress::multicast_for(group));
    }
    if (sent) counters.add(Counter::kEthAddressAnnounced);
  }

  void count_answer(Ownership owner) {
    counters.add(owner == Ownership::kOwn ? Counter::kEthSolicitationAnswered : Counter::kEthProxyAnswered);
  }

  // --- NeighbourActions ------------------------------------------------------------------------------------------

  void solicit(const IpAddress& target, const MacAddress* at) override {
    bool sent = false;
    if (target.is_v4()) {
      sent = emit_arp({ArpMessage::Operation::kRequest, config.mac, own_address(true), MacAddress{}, target},
                      at ? *at : MacAddress::broadcast());
    } else {
      const IpAddress group = wire::solicited_node_group(target);
      sent = emit_nd(wire::NeighbourSolicitation{target, config.mac}, own_address(false), at ? target : group,
                     at ? *at : MacAddress::multicast_for(group));
    }
    if (sent) counters.add(Counter::kEthSolicitationSent);
  }
  void resolved(Packet packet, const MacAddress& mac) override {
    const EtherType type = type_of(packet);
    if (push_ethernet(packet, mac, type)) push_output(std::move(packet));
  }
  void unreachable(Packet packet) override { undeliverable.push(std::move(packet)); }

  // --- messages in -----------------------------------------------------------------------------------------------

  Received receive_arp(Packet frame, Instant now) {
    if (frame.bytes() < wire::kArpBytes) return drop(DropReason::kEthArpMalformed);
    if (!frame.pull_up(wire::kArpBytes)) return drop(DropReason::kEthNoBuffer);
    const auto parsed = wire::parse_arp(frame.front());
    if (!parsed || parsed->sender_mac.is_multicast()) return drop(DropReason::kEthArpMalformed);
    const ArpMessage& m = *parsed;
    if (config.peer_mac && m.sender_mac != *config.peer_mac) return drop(DropReason::kEthSourceMacForeign);
    const bool probe = m.sender.is_unspecified();  // RFC 5227 2.1.1
    if (!probe && !believe(m.sender, now)) return {};

    if (m.operation == ArpMessage::Operation::kReply) {
      if (!probe) {
        // A reply to all is an announcement, not an answer.
        const bool announcement = m.sender == m.target;
        table.on_claim(m.sender, m.sender_mac, announcement ? Claim::kAdvertised : Claim::kAnswered, now, *this);
      }
      return {};
    }
    const Ownership owner = ownership(m.target);
    // A station that probes for an address of its own must not be told that the rest of its subnet is taken.
    if (owner == Ownership::kNotOurs || (probe && owner == Ownership::kProxiedBlock)) {
      counters.add(Counter::kEthSolicitationIgnored);
      // RFC 826: a pair that is known is brought up to date whoever the question was for.
      if (!probe) table.on_claim(m.sender, m.sender_mac, Claim::kAdvertised, now, *this);
      return {};
    }
    if (!probe) table.on_claim(m.sender, m.sender_mac, Claim::kSolicitation, now, *this);
    if (emit_arp({ArpMessage::Operation::kReply, config.mac, m.target, m.sender_mac, m.sender}, m.sender_mac)) {
      count_answer(owner);
    }
    return {};
  }

  static bool is_neighbour_discovery(ByteView front) {
    return front.size() > wire::kIpv6Bytes && front[6] == static_cast<uint8_t>(wire::IpProtocol::kIcmpv6) &&
           front[wire::kIpv6Bytes] >= wire::icmpv6::kRouterSolicitation &&
           front[wire::kIpv6Bytes] <= wire::icmpv6::kRedirect;
  }

  // RFC 4861 6.1, 7.1: the checks that all neighbour discovery messages must pass.
  Received receive_nd(Packet frame, const wire::Ipv6Header& ip, const MacAddress& from, Instant now) {
    if (ip.hop_limit != kNdHopLimit) return drop(DropReason::kEthNdHopLimit);
    if (ip.payload_bytes > kNdBytesMax) return drop(DropReason::kEthNdMalformed);
    if (!frame.pull_up(static_cast<uint16_t>(wire::kIpv6Bytes + ip.payload_bytes))) {
      return drop(DropReason::kEthNoBuffer);
    }
    const ByteView body = frame.front().subspan(wire::kIpv6Bytes, ip.payload_bytes);
    wire::ChecksumSum sum;
    sum.add_pseudo_header(ip.source, ip.destination, static_cast<uint8_t>(ip.next_header), ip.payload_bytes);
    sum.add(body);
    if (sum.checksum() != 0) return drop(DropReason::kEthNdChecksumBad);
    const auto parsed = wire::parse_neighbour_message(body);
    if (!parsed) {
      return drop(parsed.error() == wire::NeighbourMessageError::kUnsupportedType ? DropReason::kEthNdUnsupported
                                                                                  : DropReason::kEthNdMalformed);
    }
    if (const auto* ns = std::get_if<wire::NeighbourSolicitation>(&*parsed)) return on_solicitation(*ns, ip, from, now);
    if (const auto* na = std::get_if<wire::NeighbourAdvertisement>(&*parsed))
      return on_advertisement(*na, ip, from, now);
    return drop(DropReason::kEthNdUnsupported);
  }

  Received on_solicitation(const wire::NeighbourSolicitation& ns, const wire::Ipv6Header& ip, const MacAddress& from,
                           Instant now) {
    const bool probe = ip.source.is_unspecified();  // duplicate address detection, RFC 4862 5.4.2
    if (probe && (ns.source_link || ip.destination != wire::solicited_node_group(ns.target))) {
      return drop(DropReason::kEthNdMalformed);
    }
    if (ns.source_link && ns.source_link->is_multicast()) return drop(DropReason::kEthNdMalformed);
    if (config.peer_mac && ns.source_link && *ns.source_link != *config.peer_mac) {
      return drop(DropReason::kEthSourceMacForeign);
    }
    if (!probe && !believe(ip.source, now)) return {};
    const Ownership owner = ownership(ns.target);
    if (owner == Ownership::kNotOurs || (probe && owner == Ownership::kProxiedBlock)) {
      counters.add(Counter::kEthSolicitationIgnored);
      return {};
    }
    if (ns.source_link) table.on_claim(ip.source, *ns.source_link, Claim::kSolicitation, now, *this);
    const bool is_own = owner == Ownership::kOwn;
    const wire::NeighbourAdvertisement answer{is_own, !probe, is_own, ns.target, config.mac};
    // RFC 4861 7.2.4: to all nodes when the question came from the unspecified address.
    const IpAddress to = probe ? wire::all_nodes_group() : ip.source;
    const MacAddress to_mac = probe ? MacAddress::multicast_for(to) : ns.source_link.value_or(from);
    if (emit_nd(answer, ns.target, to, to_mac)) count_answer(owner);
    return {};
  }

  Received on_advertisement(const wire::NeighbourAdvertisement& na, const wire::Ipv6Header& ip, const MacAddress& from,
                            Instant now) {
    if (na.solicited && ip.destination.is_multicast()) return drop(DropReason::kEthNdMalformed);
    // An answer to a unicast probe may leave the address out: it is where it was asked (RFC 4861 4.4).
    const MacAddress mac = na.target_link.value_or(from);
    if (mac.is_multicast()) return drop(DropReason::kEthNdMalformed);
    if (config.peer_mac && mac != *config.peer_mac) return drop(DropReason::kEthSourceMacForeign);
    if (!believe(na.target, now)) return {};
    const Claim claim = na.solicited ? (na.override_flag ? Claim::kAnswered : Claim::kAnsweredWeakly)
                                     : (na.override_flag ? Claim::kAdvertised : Claim::kAdvertisedWeakly);
    table.on_claim(na.target, mac, claim, now, *this);
    return {};
  }

  Received receive(Packet frame, Instant now) {
    const uint32_t bytes = frame.bytes();
    if (bytes < wire::kEthernetBytes) return drop(DropReason::kEthTooShort);
    if (!frame.pull_up(static_cast<uint16_t>(std::min<uint32_t>(bytes, wire::kEthernetBytesMax)))) {
      return drop(DropReason::kEthNoBuffer);
    }
    const auto parsed = wire::parse_ethernet(frame.front());
    if (!parsed) {
      return drop(parsed.error() == wire::EthernetError::kTooShort ? DropReason::kEthTooShort
                                                                   : DropReason::kEthUnsupportedFraming);
    }
    const EthernetHeader& h = parsed->header;
    if (h.vlan != config.vlan) return drop(DropReason::kEthVlanForeign);
    if (h.source.is_multicast() || h.source.is_zero() || h.source == config.mac) {
      return drop(DropReason::kEthSourceMacInvalid);
    }
    if (config.peer_mac && h.source != *config.peer_mac) return drop(DropReason::kEthSourceMacForeign);
    if (!h.destination.is_multicast() && h.destination != config.mac) return drop(DropReason::kEthNotForUs);
    frame.trim_front(parsed->header_bytes);
    switch (h.type) {
      case EtherType::kArp:
        return receive_arp(std::move(frame), now);
      case EtherType::kIpv4:
        return {ReceivedKind::kIpv4, std::move(frame), h.destination.is_multicast()};
      case EtherType::kIpv6:
        break;
      default:
        return drop(DropReason::kEthUnknownType);
    }
    if (frame.front().size() <= wire::kIpv6Bytes &&
        !frame.pull_up(static_cast<uint16_t>(std::min<uint32_t>(frame.bytes(), wire::kIpv6Bytes + 1)))) {
      return drop(DropReason::kEthNoBuffer);
    }
    if (is_neighbour_discovery(frame.front())) {
      // A header that does not parse is ip's to count.
      const auto ip = wire::parse_ipv6(frame.front(), frame.bytes());
      if (ip) return receive_nd(std::move(frame), *ip, h.source, now);
    }
    return {ReceivedKind::kIpv6, std::move(frame), h.destination.is_multicast()};
  }

  Encapsulated encapsulate(Packet& packet, const IpAddress& next_hop, Instant now) {
    const EtherType type = next_hop.is_v4() ? EtherType::kIpv4 : EtherType::kIpv6;
    MacAddress group;
    const MacAddress* mac = nullptr;
    if (next_hop.is_multicast() || next_hop.is_broadcast()) {
      group = next_hop.is_multicast() ? MacAddress::multicast_for(next_hop) : MacAddress::broadcast();
      mac = &group;
    } else {
      mac = table.use(next_hop, now);
    }
    if (mac) return push_ethernet(packet, *mac, type) ? Encapsulated::kReady : Encapsulated::kDropped;
    return table.hold(next_hop, std::move(packet), now, *this) ? Encapsulated::kHeld : Encapsulated::kDropped;
  }
};

Link::Link(const LinkConfig& config, BufferPool& pool, Counters& counters, uint64_t seed, Instant start)
    : impl_(std::make_unique<Impl>(config, pool, counters, seed, start)) {}
Link::~Link() = default;

Received Link::receive(Packet frame, Instant now) { return impl_->receive(std::move(frame), now); }
Encapsulated Link::encapsulate(Packet& packet, const IpAddress& next_hop, Instant now) {
  return impl_->encapsulate(packet, next_hop, now);
}
bool Link::has_output() const { return !impl_->output.empty(); }
size_t Link::take_output(std::span<Packet> frames) { return impl_->output.take(frames); }
size_t Link::take_undeliverable(std::span<Packet> packets) { return impl_->undeliverable.take(packets); }

void Link::poll(Instant now) { impl_->table.poll(now, *impl_); }
Instant Link::next_deadline() const { return impl_->table.next_deadline(); }

void Link::confirm(const IpAddress& next_hop, Instant now) { impl_->table.confirm(next_hop, now); }
void Link::add_proxied(const IpAddress& address) {
  auto& p = impl_->proxied;
  const auto at = std::lower_bound(p.begin(), p.end(), address);
  if (at == p.end() || *at != address) p.insert(at, address);
}
void Link::remove_proxied(const IpAddress& address) {
  auto& p = impl_->proxied;
  const auto at = std::lower_bound(p.begin(), p.end(), address);
  if (at != p.end() && *at == address) p.erase(at);
}
void Link::announce(const IpAddress& address, Instant now) {
  impl_->defended_at = now;
  impl_->announce(address);
}
std::optional<Neighbour> Link::find(const IpAddress& address, Instant now) const {
  return impl_->table.find(address, now);
}
std::vector<Neighbour> Link::neighbours(Instant now) const { return impl_->table.all(now); }
const MacAddress& Link::mac() const { return impl_->config.mac; }

}  // namespace culvert::eth
