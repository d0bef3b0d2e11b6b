// A TCP segment as values: what comes out of the wire room's parser and what goes back to ip.
#pragma once

#include <cstdint>
#include <optional>

#include "base/interface_id.h"
#include "base/ip_address.h"
#include "packet/packet.h"
#include "telemetry/drop_reasons.h"
#include "wire/tcp_header.h"

namespace culvert::tcp {

// Both ends, from this node's point of view.
struct Tuple {
  Endpoint local;
  Endpoint remote;
  friend auto operator<=>(const Tuple&, const Tuple&) = default;
};

// Received: header decoded, payload with all headers trimmed off.
struct Segment {
  InterfaceId interface = kNoInterface;
  Tuple tuple;  // local = the packet's destination
  wire::TcpHeader header;
  Packet payload;  // empty for a bare ACK
  bool ecn_ce = false;
};

// To send: the packet starts with the TCP header (checksum field not filled); ip puts its header in front.
struct OutSegment {
  InterfaceId interface = kNoInterface;
  IpAddress source;
  IpAddress destination;
  Packet packet;
  uint16_t header_bytes = 0;   // TCP header with options
  uint16_t segment_bytes = 0;  // payload bytes per wire segment when the port has to cut (tso_segsz); 0: one segment
};

// Under which reason a header that did not parse is counted.
inline DropReason reason_of(wire::TcpParseError error) {
  switch (error) {
    case wire::TcpParseError::kTooShort:
      return DropReason::kTcpTooShort;
    case wire::TcpParseError::kBadOffset:
      return DropReason::kTcpBadOffset;
    case wire::TcpParseError::kBadOption:
      return DropReason::kTcpBadOption;
  }
  return DropReason::kTcpBadOption;
}

enum class IcmpErrorKind : uint8_t { kUnreachable, kPortUnreachable, kProhibited, kTooBig, kTimeExceeded, kOther };

}  // namespace culvert::tcp
