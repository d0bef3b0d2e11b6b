// ICMP and ICMPv6 errors as values: those that we send and those that we understand.
#pragma once

#include <cstdint>

#include "base/ip_address.h"

namespace culvert::ip {

// What went wrong, in the words that tcp::Stack::on_icmp_error takes.
enum class IcmpErrorKind : uint8_t { kUnreachable, kPortUnreachable, kProhibited, kTooBig, kTimeExceeded, kOther };

// An error to send.
struct IcmpError {
  enum class Kind : uint8_t {
    kNetUnreachable,       // no route
    kHostUnreachable,      // the next hop does not answer
    kProtocolUnreachable,  // ICMPv6: parameter problem, unrecognized next header
    kPortUnreachable,
    kProhibited,          // communication administratively prohibited
    kTooBig,              // fragmentation needed; ICMPv6 packet too big
    kTimeExceeded,        // hop limit exceeded in transit
    kParameterProblem,    // erroneous header field
    kUnrecognizedOption,  // ICMPv6 only (RFC 8200 4.2)
  };
  Kind kind = Kind::kHostUnreachable;
  uint32_t mtu = 0;      // kTooBig: of the next hop's link
  uint32_t pointer = 0;  // parameter problems, kProtocolUnreachable on IPv6: offset of the field in the packet
};

// An error that was received about a TCP segment. The tuple is the quoted segment's: local = its source.
struct IcmpErrorReport {
  Endpoint local;
  Endpoint remote;
  uint32_t sequence = 0;  // of the quoted TCP header
  IcmpErrorKind kind = IcmpErrorKind::kOther;
  uint16_t mtu = 0;  // kTooBig: what the path takes; 0 when an old router did not say (RFC 1191 4)
};

}  // namespace culvert::ip
