// The two forms of an inbound :authority (reference 5.1, 11.2): a socket address, or a host name with a port. Not shown
// outside the room: the hbone room has its own type for what it sends and receives, one level beside this one.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/ip_address.h"

namespace culvert::routing {

struct Authority {
  std::optional<IpAddress> address;  // none: `hostname`
  std::string_view hostname;         // a view into the text
  uint16_t port = 0;
};

// None for what is neither: no port, port above 65535, empty or overlong host, bytes that no host name has.
std::optional<Authority> parse_authority(std::string_view text);

}  // namespace culvert::routing
