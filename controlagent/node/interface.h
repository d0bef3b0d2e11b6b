// Settings of one interface through rtnetlink, in the namespace of the calling thread. Idempotent: what already is as
// asked is left alone, what differs is changed, other interfaces are not looked at.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "base/result.h"

namespace culvert::node {

using MacAddress = std::array<uint8_t, 6>;

// The same for the same text in every process; unicast and locally administered.
MacAddress stable_mac(std::string_view text);

struct InterfaceSettings {
  std::string name;
  MacAddress mac{};
  uint16_t mtu = 1500;
  // Each as a host (/32, /128), usable at once (no duplicate address detection). Other global addresses are taken away.
  std::vector<IpAddress> addresses;
  // At most one per family: the default route, on link through this interface. A default route through this interface
  // of a family without a gateway is taken away.
  std::vector<IpAddress> gateways;
};

// Sets all of it and the interface up. The error is one sentence that names the interface and what failed.
Result<void, std::string> configure(const InterfaceSettings& settings);

// Sets MAC, MTU and up; addresses and routes are somebody else's (a bridge's port).
Result<void, std::string> configure_link(const InterfaceSettings& settings);

// True when it was there.
Result<bool, std::string> remove_interface(const std::string& name);

}  // namespace culvert::node
