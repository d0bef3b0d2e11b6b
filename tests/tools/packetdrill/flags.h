// The text that the test program hands through to the library.
#pragma once

#include <cstdint>

#include "base/ip_address.h"
#include "base/time.h"

namespace culvert::packetdrill {

struct Flags {
  uint16_t mtu = 1500;
  bool cubic = true;
  Duration delayed_ack = 40ms;
  uint64_t seed = 1;
  // Limits of socket buffers until SO_RCVBUF and SO_SNDBUF say otherwise (net.ipv4.tcp_rmem and tcp_wmem).
  uint32_t rmem = 4u << 20, wmem = 4u << 20;
  // packetdrill's own defaults for the machine under test.
  IpAddress local_v4 = *IpAddress::parse("192.168.0.1");
  IpAddress local_v6 = *IpAddress::parse("fd3d:fa7b:d17d::1");
};

// Never fails: what is not understood is told on standard error and left out.
Flags parse_flags(const char* text);

}  // namespace culvert::packetdrill
