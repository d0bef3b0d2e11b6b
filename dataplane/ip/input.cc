// Validation of received IP packets, in the order of the checks' standards, and ICMP for our own addresses.
#include "ip/input.h"

#include <algorithm>
#include <optional>

#include "ip/icmp_wire.h"
#include "wire/checksum.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace culvert::ip {

using wire::IpProtocol;

namespace {

// Transport bytes that are made contiguous with the IP header: a whole TCP header with options.
constexpr uint32_t kTransportFrontBytes = 60;
constexpr uint16_t kTcpBytesMin = 20;
// An ICMP error's header and what it quotes: two IP headers with their limits, and 8 bytes of transport.
constexpr uint32_t kIcmpFrontBytes = 8 + wire::kIpv6Bytes + wire::kExtensionBytesMax + 8;
constexpr uint8_t kOwnHopLimit = 64;
constexpr uint32_t kErrorBytesMaxV4 = 576;   // RFC 1812 4.3.2.3
constexpr uint32_t kErrorBytesMaxV6 = 1280;  // RFC 4443 2.4 (c)

// Makes the first min(bytes, length) bytes contiguous.
bool front_of(Packet& packet, uint32_t bytes) {
  const uint32_t wanted = std::min(bytes, packet.bytes());
  return packet.front().size() >= wanted || packet.pull_up(static_cast<uint16_t>(wanted));
}

bool in_block(const IpAddress& v4, uint32_t block, unsigned bits) {
  return v4.v4_host_order() >> (32 - bits) == block >> (32 - bits);
}

// RFC 1812 5.3.7: addresses that no packet comes from; 0.0.0.0/8 and 240.0.0.0/4 with them (RFC 6890).
bool martian_source(const IpAddress& a) {
  if (a.is_unspecified() || a.is_multicast() || a.is_loopback()) return true;
  return a.is_v4() && (in_block(a, 0, 8) || in_block(a, 0xf0000000, 4));
}

bool martian_destination(const IpAddress& a) {
  return a.is_unspecified() || a.is_loopback() || (a.is_v4() && in_block(a, 0, 8));
}

bool subnet_broadcast(const Prefix& subnet, const IpAddress& a) {
  if (!a.is_v4() || !subnet.address.is_v4() || subnet.bits >= 31 || !subnet.contains(a)) return false;
  const uint32_t host_mask = 0xffffffffu >> subnet.bits;
  const uint32_t host = a.v4_host_order() & host_mask;
  return host == host_mask || host == 0;
}

void clear_offloads(Packet& packet) {
  rte_mbuf* m = packet.mbuf();
  m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  m->tx_offload = 0;
}

wire::ChecksumSum sum_of(const Packet& packet, uint32_t offset, uint32_t bytes) {
  wire::ChecksumSum sum;
  packet.for_each(offset, bytes, [&sum](ByteView piece) { sum.add(piece); });
  return sum;
}

// RFC 9293 3.1, RFC 4443 2.3: over the pseudo-header and the transport.
bool transport_checksum_right(const Packet& packet, const Datagram& d) {
  wire::ChecksumSum sum = sum_of(packet, d.header_bytes, d.transport_bytes);
  // add() is byte-order and order independent at even offsets; an odd tail was padded already, so this goes apart.
  wire::ChecksumSum pseudo;
  pseudo.add_pseudo_header(d.source, d.destination, static_cast<uint8_t>(d.protocol), d.transport_bytes);
  pseudo.add_be16(sum.folded());
  return pseudo.checksum() == 0;
}

// A token bucket as its theoretical arrival time: full when it lies in the past.
struct Bucket {
  Instant full_at{};

  bool take(const IcmpLimits& limits, Instant now) {
    const Duration interval = Duration(1s) / std::max<uint32_t>(limits.errors_per_second, 1);
    full_at = std::max(full_at, now);
    if (full_at - now > interval * (std::max<uint32_t>(limits.errors_burst, 1) - 1)) return false;
    full_at += interval;
    return true;
  }
};

struct Interface {
  InterfaceConfig config;
  Bucket errors;

  bool owns(const IpAddress& a) const {
    return std::any_of(config.own.begin(), config.own.end(), [&](const Prefix& p) { return p.address == a; });
  }
  bool broadcasts_to(const IpAddress& a) const {
    return std::any_of(config.own.begin(), config.own.end(), [&](const Prefix& p) { return subnet_broadcast(p, a); });
  }
  bool attached(const IpAddress& a) const {
    return std::find(config.sources.begin(), config.sources.end(), a) != config.sources.end();
  }
  const IpAddress* own_of_family(bool v4) const {
    for (const Prefix& p : config.own) {
      if (p.address.is_v4() == v4) return &p.address;
    }
    return nullptr;
  }
};

}  // namespace

struct Input::Impl {
  Impl(BufferPool& p, Counters& c, const IcmpLimits& l, Instant s) : pool(p), counters(c), limits(l), start(s) {}

  BufferPool& pool;
  Counters& counters;
  const IcmpLimits limits;
  const Instant start;
  std::vector<std::optional<Interface>> interfaces;

  Interface* find(InterfaceId id) {
    const auto i = static_cast<size_t>(id);
    return i < interfaces.size() && interfaces[i] ? &*interfaces[i] : nullptr;
  }

  Verdict drop(DropReason reason) {
    counters.drop(reason);
    Verdict v;
    v.reason = reason;
    return v;
  }

  // --- headers -----------------------------------------------------------------------------------------------------

  // Each returns the reason to drop, or none with `d` filled and padding cut off.
  std::optional<DropReason> parse_v4(Packet& packet, Datagram& d) {
    if (!front_of(packet, wire::kIpv4BytesMax + kTransportFrontBytes)) return DropReason::kIpNoBuffer;
    const auto parsed = wire::parse_ipv4(packet.front(), packet.bytes());
    if (!parsed) {
      switch (parsed.error()) {
        case wire::Ipv4Error::kTooShort:
          return DropReason::kIpTooShort;
        case wire::Ipv4Error::kBadVersion:
          return DropReason::kIpBadVersion;
        case wire::Ipv4Error::kBadLength:
          return DropReason::kIpBadLength;
        case wire::Ipv4Error::kBadOption:
          return DropReason::kIpBadOption;
      }
    }
    const wire::Ipv4Header& h = *parsed;
    const bool verified = (packet.mbuf()->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD ||
                          wire::verify_ipv4_checksum(packet.front(), h.header_bytes);
    if (!verified) return DropReason::kIpHeaderChecksumBad;
    packet.trim_back(packet.bytes() - h.total_bytes);
    d.source = h.source;
    d.destination = h.destination;
    d.protocol = h.protocol;
    d.hop_limit = h.ttl;
    d.traffic_class = h.tos;
    d.header_bytes = h.header_bytes;
    d.transport_bytes = static_cast<uint32_t>(h.total_bytes - h.header_bytes);
    if (h.source_routed) return DropReason::kIpSourceRouted;
    if (h.is_fragment()) return DropReason::kIpFragment;
    return std::nullopt;
  }

  std::optional<DropReason> parse_v6(Packet& packet, Datagram& d, std::optional<wire::Ipv6ChainError>& chain_error,
                                     uint16_t& protocol_offset) {
    if (!front_of(packet, wire::kIpv6Bytes + kTransportFrontBytes)) return DropReason::kIpNoBuffer;
    const auto parsed = wire::parse_ipv6(packet.front(), packet.bytes());
    if (!parsed) {
      switch (parsed.error()) {
        case wire::Ipv6Error::kTooShort:
          return DropReason::kIpTooShort;
        case wire::Ipv6Error::kBadVersion:
          return DropReason::kIpBadVersion;
        case wire::Ipv6Error::kBadLength:
          return DropReason::kIpBadLength;
        case wire::Ipv6Error::kMappedAddress:
          return DropReason::kIpSourceMartian;
      }
    }
    const wire::Ipv6Header& h = *parsed;
    packet.trim_back(packet.bytes() - wire::kIpv6Bytes - h.payload_bytes);
    d.source = h.source;
    d.destination = h.destination;
    d.protocol = h.next_header;
    d.hop_limit = h.hop_limit;
    d.traffic_class = h.traffic_class;
    d.header_bytes = wire::kIpv6Bytes;
    d.transport_bytes = h.payload_bytes;
    protocol_offset = 6;
    // The usual packet has no extension header.
    if (h.next_header == IpProtocol::kTcp) return std::nullopt;
    if (!front_of(packet, wire::kIpv6Bytes + wire::kExtensionBytesMax + kTransportFrontBytes)) {
      return DropReason::kIpNoBuffer;
    }
    const auto chain = wire::walk_ipv6_chain(packet.front(), h);
    if (!chain) {
      chain_error = chain.error();
      return DropReason::kIpExtensionHeaderBad;
    }
    d.protocol = chain->protocol;
    d.header_bytes = chain->header_bytes;
    d.transport_bytes = uint32_t{wire::kIpv6Bytes} + h.payload_bytes - chain->header_bytes;
    protocol_offset = chain->protocol_offset;
    if (chain->fragment) return DropReason::kIpFragment;
    return std::nullopt;
  }

  std::optional<DropReason> check_addresses(const Interface& interface, const Datagram& d) const {
    if (martian_source(d.source) || interface.broadcasts_to(d.source) || interface.owns(d.source)) {
      return DropReason::kIpSourceMartian;
    }
    if (martian_destination(d.destination)) return DropReason::kIpDestinationMartian;
    if (d.destination.is_multicast() || d.destination.is_broadcast() || interface.broadcasts_to(d.destination)) {
      return DropReason::kIpMulticast;
    }
    if (interface.config.check_source && !interface.attached(d.source)) return DropReason::kIpSourceForeign;
    return std::nullopt;
  }

  // --- transports --------------------------------------------------------------------------------------------------

  Verdict pass(VerdictKind kind, Packet packet, const Datagram& d) {
    Verdict v;
    v.kind = kind;
    v.packet = std::move(packet);
    v.datagram = d;
    return v;
  }

  Verdict take_tcp(Packet packet, const Datagram& d) {
    if (d.transport_bytes < kTcpBytesMin) return drop(DropReason::kIpTransportTooShort);
    switch (packet.mbuf()->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
      case RTE_MBUF_F_RX_L4_CKSUM_BAD:
        return drop(DropReason::kIpTransportChecksumBad);
      case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
      case RTE_MBUF_F_RX_L4_CKSUM_NONE:  // not filled, but the data was never on a wire
        counters.add(Counter::kIpChecksumVerifiedHardware);
        break;
      default:
        counters.add(Counter::kIpChecksumVerifiedSoftware);
        if (!transport_checksum_right(packet, d)) return drop(DropReason::kIpTransportChecksumBad);
    }
    if (!front_of(packet, d.header_bytes + kTransportFrontBytes)) return drop(DropReason::kIpNoBuffer);
    counters.add(Counter::kIpTcpReceived);
    return pass(VerdictKind::kTcp, std::move(packet), d);
  }

  // Answers in the request's own buffers (RFC 1122 3.2.2.6, RFC 4443 4.2). Received options are not returned.
  Verdict answer_echo(Packet packet, const Datagram& d) {
    const bool v4 = d.is_v4();
    uint8_t* icmp = packet.front_mutable().data() + d.header_bytes;
    const uint8_t reply = v4 ? wire::icmp::kEchoReply : wire::icmpv6::kEchoReply;
    const uint16_t checksum =
        wire::updated_checksum(load_be16(icmp + 2), load_be16(icmp), static_cast<uint16_t>(reply << 8 | icmp[1]));
    icmp[0] = reply;
    store_be16(icmp + 2, checksum);
    packet.trim_front(d.header_bytes);
    clear_offloads(packet);
    Verdict v = finish_own(std::move(packet), d.destination, d.source, d.traffic_class);
    if (v.kind == VerdictKind::kReply) counters.add(Counter::kIpEchoAnswered);
    return v;
  }

  // Puts an IP header in front of an ICMP message of ours.
  Verdict finish_own(Packet packet, const IpAddress& source, const IpAddress& destination, uint8_t traffic_class) {
    const bool v4 = destination.is_v4();
    Datagram d;
    d.source = source;
    d.destination = destination;
    d.protocol = v4 ? IpProtocol::kIcmp : IpProtocol::kIcmpv6;
    d.hop_limit = kOwnHopLimit;
    d.traffic_class = traffic_class;
    d.header_bytes = v4 ? wire::kIpv4Bytes : wire::kIpv6Bytes;
    d.transport_bytes = packet.bytes();
    uint8_t* at = packet.prepend(d.header_bytes);
    if (!at) return drop(DropReason::kIpNoBuffer);
    if (v4) {
      wire::Ipv4Header h;
      h.tos = traffic_class;
      h.total_bytes = static_cast<uint16_t>(packet.bytes());
      h.dont_fragment = true;
      h.ttl = kOwnHopLimit;
      h.protocol = d.protocol;
      h.source = source;
      h.destination = destination;
      wire::emit_ipv4(h, at);
    } else {
      wire::Ipv6Header h;
      h.traffic_class = traffic_class;
      h.payload_bytes = static_cast<uint16_t>(d.transport_bytes);
      h.next_header = d.protocol;
      h.hop_limit = kOwnHopLimit;
      h.source = source;
      h.destination = destination;
      wire::emit_ipv6(h, at);
    }
    packet.mbuf()->l3_len = d.header_bytes & 0x1ff;
    return pass(VerdictKind::kReply, std::move(packet), d);
  }

  bool icmp_checksum_right(const Packet& packet, const Datagram& d) const {
    if (!d.is_v4()) return transport_checksum_right(packet, d);
    return sum_of(packet, d.header_bytes, d.transport_bytes).checksum() == 0;
  }

  Verdict take_icmp(Packet packet, const Datagram& d, bool own) {
    const bool v4 = d.is_v4();
    if (d.transport_bytes < wire::kIcmpBytes) return drop(DropReason::kIpIcmpMalformed);
    if (!front_of(packet, d.header_bytes + kIcmpFrontBytes)) return drop(DropReason::kIpNoBuffer);
    const ByteView message = packet.front().subspan(d.header_bytes);
    const uint8_t type = message[0];
    if (type == (v4 ? wire::icmp::kEcho : wire::icmpv6::kEcho) && own) {
      if (!icmp_checksum_right(packet, d)) return drop(DropReason::kIpIcmpChecksumBad);
      return answer_echo(std::move(packet), d);
    }
    if (!(v4 ? wire::icmp::is_error(type) : wire::icmpv6::is_error(type))) {
      return own ? drop(DropReason::kIpIcmpUnsupported) : pass(VerdictKind::kForward, std::move(packet), d);
    }
    if (!icmp_checksum_right(packet, d)) return drop(DropReason::kIpIcmpChecksumBad);
    const Quotation q = parse_icmp_error(message, v4);
    switch (q.kind) {
      case QuotationKind::kMalformed:
        return drop(DropReason::kIpIcmpMalformed);
      case QuotationKind::kTcp:
        break;
      case QuotationKind::kOtherProtocol:
      case QuotationKind::kNotAnError:
        return own ? drop(DropReason::kIpIcmpUnsupported) : pass(VerdictKind::kForward, std::move(packet), d);
    }
    // An error goes to the sender of what it quotes.
    if (q.report.local.address != d.destination) return drop(DropReason::kIpIcmpMalformed);
    counters.add(Counter::kIpErrorReceived);
    Verdict v = pass(VerdictKind::kIcmpError, std::move(packet), d);
    v.error = q.report;
    return v;
  }

  Verdict refuse(Interface& interface, DropReason reason, const Packet& about, const Datagram& d,
                 const IcmpError& error, bool link_multicast, Instant now) {
    counters.drop(reason);
    if (link_multicast) {
      Verdict v = drop(DropReason::kIpErrorForbidden);
      v.reason = reason;
      return v;
    }
    Verdict v = make_error(interface, about, d, error, now);
    if (v.kind == VerdictKind::kDrop) v.reason = reason;
    return v;
  }

  // --- errors out --------------------------------------------------------------------------------------------------

  // RFC 1122 3.2.2, RFC 4443 2.4 (e): what no error is ever sent about.
  static bool error_forbidden(const Packet& about, const Datagram& d, const IcmpError& error) {
    if (martian_source(d.source)) return true;
    const bool group = d.destination.is_multicast() || d.destination.is_broadcast();
    if (group && !(error.kind == IcmpError::Kind::kUnrecognizedOption ||
                   (error.kind == IcmpError::Kind::kTooBig && !d.is_v4()))) {
      return true;
    }
    if (d.protocol != IpProtocol::kIcmp && d.protocol != IpProtocol::kIcmpv6) return false;
    if (d.transport_bytes == 0 || about.bytes() <= d.header_bytes) return true;
    uint8_t type = 0;
    about.copy_out(d.header_bytes, {&type, 1});
    if (d.protocol == IpProtocol::kIcmp) return wire::icmp::is_error(type);
    return wire::icmpv6::is_error(type) || type == wire::icmpv6::kRedirect;
  }

  Verdict make_error(Interface& interface, const Packet& about, const Datagram& d, const IcmpError& error,
                     Instant now) {
    if (error_forbidden(about, d, error)) return drop(DropReason::kIpErrorForbidden);
    const bool v4 = d.is_v4();
    const IpAddress* source = interface.owns(d.destination) ? &d.destination : interface.own_of_family(v4);
    if (!source) return drop(DropReason::kIpErrorNoSource);
    if (!interface.errors.take(limits, now)) return drop(DropReason::kIpErrorRateLimited);
    const uint32_t header_bytes = (v4 ? wire::kIpv4Bytes : wire::kIpv6Bytes) + wire::kIcmpBytes;
    const auto quoted =
        static_cast<uint16_t>(std::min(about.bytes(), (v4 ? kErrorBytesMaxV4 : kErrorBytesMaxV6) - header_bytes));
    Packet packet = pool.take_small();
    uint8_t* at = packet ? packet.append(static_cast<uint16_t>(wire::kIcmpBytes + quoted)) : nullptr;
    if (!at) return drop(DropReason::kIpNoBuffer);
    wire::emit_icmp(v4 ? header_of_v4(error) : header_of_v6(error), at);
    about.copy_out(0, {at + wire::kIcmpBytes, quoted});
    wire::ChecksumSum sum;
    if (!v4) {
      sum.add_pseudo_header(*source, d.source, static_cast<uint8_t>(IpProtocol::kIcmpv6), packet.bytes());
    }
    sum.add(packet.front());
    store_be16(at + 2, sum.checksum());
    // RFC 1812 4.3.2.5: errors about routine traffic carry its TOS; precedence 6 is left to control traffic.
    Verdict v = finish_own(std::move(packet), *source, d.source, v4 ? d.traffic_class & 0xfc : 0);
    if (v.kind == VerdictKind::kReply) counters.add(Counter::kIpErrorSent);
    return v;
  }

  Verdict refuse_chain(Interface& interface, const Packet& packet, const Datagram& d, const wire::Ipv6ChainError& e,
                       bool link_multicast, Instant now) {
    using Kind = wire::Ipv6ChainError::Kind;
    const bool unrecognized = e.kind == Kind::kUnrecognizedOption;
    const bool answered = unrecognized || e.kind == Kind::kRoutingHeader || e.kind == Kind::kHopByHopNotFirst;
    const bool group = d.destination.is_multicast() || link_multicast;
    if (!answered || (group && !(unrecognized && e.answer_multicast))) return drop(DropReason::kIpExtensionHeaderBad);
    // The routing and option rules bind the packet's destination; a router only passes such packets on, or drops them.
    if (!group && !interface.owns(d.destination)) return drop(DropReason::kIpExtensionHeaderBad);
    IcmpError error;
    error.kind = unrecognized                        ? IcmpError::Kind::kUnrecognizedOption
                 : e.kind == Kind::kHopByHopNotFirst ? IcmpError::Kind::kProtocolUnreachable
                                                     : IcmpError::Kind::kParameterProblem;
    error.pointer = e.pointer;
    return refuse(interface, DropReason::kIpExtensionHeaderBad, packet, d, error, false, now);
  }

  Verdict classify(InterfaceId id, Packet packet, bool link_multicast, Instant now) {
    Interface* interface = find(id);
    if (!interface) return drop(DropReason::kIpInterfaceUnknown);
    if (packet.bytes() == 0) return drop(DropReason::kIpTooShort);
    if (!front_of(packet, 1)) return drop(DropReason::kIpNoBuffer);
    const uint8_t version = packet.front()[0] >> 4;
    if (version != 4 && version != 6) return drop(DropReason::kIpBadVersion);
    Datagram d;
    std::optional<wire::Ipv6ChainError> chain_error;
    uint16_t protocol_offset = 9;  // of IPv4's field
    const auto bad = version == 4 ? parse_v4(packet, d) : parse_v6(packet, d, chain_error, protocol_offset);
    // The addresses are judged before an extension header, so that only a plausible sender is answered.
    const bool whole = !bad || chain_error;
    if (whole) {
      if (const auto reason = check_addresses(*interface, d)) return drop(*reason);
    }
    if (chain_error) return refuse_chain(*interface, packet, d, *chain_error, link_multicast, now);
    if (bad) return drop(*bad);

    const bool own = interface->owns(d.destination);
    switch (d.protocol) {
      case IpProtocol::kTcp:
        return take_tcp(std::move(packet), d);
      case IpProtocol::kIcmp:
        if (d.is_v4()) return take_icmp(std::move(packet), d, own);
        break;
      case IpProtocol::kIcmpv6:
        if (!d.is_v4()) return take_icmp(std::move(packet), d, own);
        break;
      case IpProtocol::kUdp:
        if (own) {
          return refuse(*interface, DropReason::kIpPortClosed, packet, d, {IcmpError::Kind::kPortUnreachable},
                        link_multicast, now);
        }
        break;
      case IpProtocol::kNoNextHeader:
        if (own) return drop(DropReason::kIpProtocolUnknown);
        break;
      default:
        break;
    }
    if (!own) return pass(VerdictKind::kForward, std::move(packet), d);
    return refuse(*interface, DropReason::kIpProtocolUnknown, packet, d,
                  {IcmpError::Kind::kProtocolUnreachable, 0, protocol_offset}, link_multicast, now);
  }
};

Input::Input(BufferPool& pool, Counters& counters, const IcmpLimits& limits, Instant start)
    : impl_(std::make_unique<Impl>(pool, counters, limits, start)) {}
Input::~Input() = default;

void Input::set_interface(InterfaceId interface, const InterfaceConfig& config) {
  const auto i = static_cast<size_t>(interface);
  if (i >= impl_->interfaces.size()) impl_->interfaces.resize(i + 1);
  impl_->interfaces[i] = Interface{config, {impl_->start}};
}

void Input::remove_interface(InterfaceId interface) {
  const auto i = static_cast<size_t>(interface);
  if (i < impl_->interfaces.size()) impl_->interfaces[i].reset();
}

Verdict Input::classify(InterfaceId interface, Packet packet, bool link_multicast, Instant now) {
  return impl_->classify(interface, std::move(packet), link_multicast, now);
}

Verdict Input::make_error(InterfaceId interface, const Packet& about, const Datagram& datagram, IcmpError error,
                          Instant now) {
  Interface* known = impl_->find(interface);
  if (!known) return impl_->drop(DropReason::kIpInterfaceUnknown);
  return impl_->make_error(*known, about, datagram, error, now);
}

}  // namespace culvert::ip
