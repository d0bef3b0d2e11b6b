// What the IP header of a valid packet said.
#pragma once

#include <cstdint>

#include "base/ip_address.h"
#include "wire/ip_protocol.h"

namespace culvert::ip {

struct Datagram {
  IpAddress source;
  IpAddress destination;
  wire::IpProtocol protocol = wire::IpProtocol::kTcp;  // of the transport, behind all extension headers
  uint8_t hop_limit = 0;                               // TTL or hop limit as received
  uint8_t traffic_class = 0;                           // TOS or traffic class; ECN in the low two bits (RFC 3168 5)
  uint16_t header_bytes = 0;                           // IP header with options or extension headers
  uint32_t transport_bytes = 0;                        // what follows it, padding already cut off

  bool is_v4() const { return destination.is_v4(); }
  bool ecn_ce() const { return (traffic_class & 3) == 3; }
};

}  // namespace culvert::ip
