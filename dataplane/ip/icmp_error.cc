// ICMP errors between their wire form and values: types and codes of RFC 792, RFC 1812 5.2.7, RFC 4443 3.
#include "ip/icmp_error.h"

#include <algorithm>

#include "ip/icmp_wire.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace culvert::ip {

namespace {

// RFC 8201 4: "a node MUST NOT reduce its estimate of the Path MTU below the IPv6 minimum link MTU".
constexpr uint32_t kIpv6MtuMin = 1280;
constexpr uint32_t kQuotedTransportBytes = 8;  // RFC 792: "64 bits of Original Data Datagram"
// A quotation is cut short: its length fields may point behind its end.
constexpr uint32_t kAnyLength = 0xffffffff;

std::optional<IcmpErrorKind> kind_of_v4(const wire::IcmpHeader& h) {
  switch (h.type) {
    case wire::icmp::kUnreachable:
      break;
    case wire::icmp::kTimeExceeded:
      return IcmpErrorKind::kTimeExceeded;
    case wire::icmp::kParameterProblem:
      return IcmpErrorKind::kOther;
    default:
      return std::nullopt;  // source quench is obsolete (RFC 6633), redirects are not followed
  }
  switch (h.code) {
    case wire::icmp::kProtocol:
    case wire::icmp::kPort:
      return IcmpErrorKind::kPortUnreachable;
    case wire::icmp::kFragmentationNeeded:
      return IcmpErrorKind::kTooBig;
    case wire::icmp::kNetProhibited:
    case wire::icmp::kHostProhibited:
    case wire::icmp::kProhibited:
      return IcmpErrorKind::kProhibited;
    default:
      return IcmpErrorKind::kUnreachable;
  }
}

std::optional<IcmpErrorKind> kind_of_v6(const wire::IcmpHeader& h) {
  switch (h.type) {
    case wire::icmpv6::kUnreachable:
      break;
    case wire::icmpv6::kTooBig:
      return IcmpErrorKind::kTooBig;
    case wire::icmpv6::kTimeExceeded:
      return IcmpErrorKind::kTimeExceeded;
    case wire::icmpv6::kParameterProblem:
      return IcmpErrorKind::kOther;
    default:
      return std::nullopt;
  }
  switch (h.code) {
    case wire::icmpv6::kPort:
      return IcmpErrorKind::kPortUnreachable;
    case wire::icmpv6::kProhibited:
    case 5:  // source address failed ingress or egress policy
    case 6:  // reject route
      return IcmpErrorKind::kProhibited;
    default:
      return IcmpErrorKind::kUnreachable;
  }
}

Quotation quotation(IpAddress source, IpAddress destination, ByteView transport) {
  if (transport.size() < kQuotedTransportBytes) return {QuotationKind::kMalformed, {}};
  Quotation q{QuotationKind::kTcp, {}};
  q.report.local = {source, load_be16(&transport[0])};
  q.report.remote = {destination, load_be16(&transport[2])};
  q.report.sequence = load_be32(&transport[4]);
  return q;
}

Quotation parse_quoted_v4(ByteView quoted) {
  const auto ip = wire::parse_ipv4(quoted, kAnyLength);
  if (!ip) return {QuotationKind::kMalformed, {}};
  if (ip->protocol != wire::IpProtocol::kTcp || ip->fragment_offset != 0) return {QuotationKind::kOtherProtocol, {}};
  return quotation(ip->source, ip->destination, quoted.subspan(ip->header_bytes));
}

Quotation parse_quoted_v6(ByteView quoted) {
  const auto ip = wire::parse_ipv6(quoted, kAnyLength);
  if (!ip) return {QuotationKind::kMalformed, {}};
  const auto chain = wire::walk_ipv6_chain(quoted, *ip);
  if (!chain) return {QuotationKind::kMalformed, {}};
  if (chain->protocol != wire::IpProtocol::kTcp || chain->fragment) return {QuotationKind::kOtherProtocol, {}};
  return quotation(ip->source, ip->destination, quoted.subspan(std::min<size_t>(chain->header_bytes, quoted.size())));
}

}  // namespace

Quotation parse_icmp_error(ByteView message, bool v4) {
  const auto header = wire::parse_icmp(message);
  if (!header) return {QuotationKind::kMalformed, {}};
  const auto kind = v4 ? kind_of_v4(*header) : kind_of_v6(*header);
  if (!kind) return {QuotationKind::kNotAnError, {}};
  const ByteView quoted = message.subspan(wire::kIcmpBytes);
  Quotation q = v4 ? parse_quoted_v4(quoted) : parse_quoted_v6(quoted);
  if (q.kind != QuotationKind::kTcp) return q;
  q.report.kind = *kind;
  if (*kind == IcmpErrorKind::kTooBig) {
    const uint32_t mtu = v4 ? header->rest & 0xffff : header->rest;
    if (!v4 && mtu < kIpv6MtuMin) return {QuotationKind::kMalformed, {}};
    q.report.mtu = static_cast<uint16_t>(std::min<uint32_t>(mtu, 0xffff));
  }
  return q;
}

wire::IcmpHeader header_of_v4(const IcmpError& error) {
  using Kind = IcmpError::Kind;
  switch (error.kind) {
    case Kind::kNetUnreachable:
      return {wire::icmp::kUnreachable, wire::icmp::kNet, 0, 0};
    case Kind::kHostUnreachable:
      return {wire::icmp::kUnreachable, wire::icmp::kHost, 0, 0};
    case Kind::kProtocolUnreachable:
      return {wire::icmp::kUnreachable, wire::icmp::kProtocol, 0, 0};
    case Kind::kPortUnreachable:
      return {wire::icmp::kUnreachable, wire::icmp::kPort, 0, 0};
    case Kind::kProhibited:
      return {wire::icmp::kUnreachable, wire::icmp::kProhibited, 0, 0};
    case Kind::kTooBig:
      return {wire::icmp::kUnreachable, wire::icmp::kFragmentationNeeded, 0, std::min<uint32_t>(error.mtu, 0xffff)};
    case Kind::kTimeExceeded:
      return {wire::icmp::kTimeExceeded, 0, 0, 0};
    case Kind::kParameterProblem:
    case Kind::kUnrecognizedOption:
      break;
  }
  return {wire::icmp::kParameterProblem, 0, 0, std::min<uint32_t>(error.pointer, 0xff) << 24};
}

wire::IcmpHeader header_of_v6(const IcmpError& error) {
  using Kind = IcmpError::Kind;
  switch (error.kind) {
    case Kind::kNetUnreachable:
      return {wire::icmpv6::kUnreachable, wire::icmpv6::kNoRoute, 0, 0};
    case Kind::kHostUnreachable:
      return {wire::icmpv6::kUnreachable, wire::icmpv6::kAddress, 0, 0};
    case Kind::kPortUnreachable:
      return {wire::icmpv6::kUnreachable, wire::icmpv6::kPort, 0, 0};
    case Kind::kProhibited:
      return {wire::icmpv6::kUnreachable, wire::icmpv6::kProhibited, 0, 0};
    case Kind::kTooBig:
      return {wire::icmpv6::kTooBig, 0, 0, error.mtu};
    case Kind::kTimeExceeded:
      return {wire::icmpv6::kTimeExceeded, 0, 0, 0};
    case Kind::kProtocolUnreachable:
      return {wire::icmpv6::kParameterProblem, wire::icmpv6::kUnrecognizedNextHeader, 0, error.pointer};
    case Kind::kUnrecognizedOption:
      return {wire::icmpv6::kParameterProblem, wire::icmpv6::kUnrecognizedOption, 0, error.pointer};
    case Kind::kParameterProblem:
      break;
  }
  return {wire::icmpv6::kParameterProblem, wire::icmpv6::kErroneousField, 0, error.pointer};
}

}  // namespace culvert::ip
