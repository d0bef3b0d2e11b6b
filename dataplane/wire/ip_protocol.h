// Protocol numbers of IPv4's protocol field and IPv6's next header (IANA "Assigned Internet Protocol Numbers").
#pragma once

#include <cstdint>

namespace culvert::wire {

enum class IpProtocol : uint8_t {
  kHopByHop = 0,
  kIcmp = 1,
  kTcp = 6,
  kUdp = 17,
  kRouting = 43,
  kFragment = 44,
  kEsp = 50,
  kAuthentication = 51,
  kIcmpv6 = 58,
  kNoNextHeader = 59,
  kDestinationOptions = 60,
};

}  // namespace culvert::wire
