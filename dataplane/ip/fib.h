// The forwarding table: longest prefix match over both families.
//
// A sorted array of prefixes in which each knows the one that encloses it. A lookup is one binary search for the last
// prefix that begins at or before the address, then steps outwards until one contains it; the first that does is the
// longest (of its family). Changes rebuild the array, which a node does when a pod comes or goes. DPDK's rte_fib and
// rte_lpm keep their tables in EAL memory and are not per family; a node on heap buffers runs without EAL, and has
// hundreds of routes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/interface_id.h"
#include "base/ip_address.h"

namespace culvert::ip {

struct FibRoute {
  Prefix to;  // host bits are ignored
  InterfaceId interface = kNoInterface;
  std::optional<IpAddress> via;  // none: on link
  friend bool operator==(const FibRoute&, const FibRoute&) = default;
};

struct NextHop {
  InterfaceId interface;
  IpAddress address;  // whom to resolve on that link
};

class Fib {
 public:
  // Replaces a route to the same prefix.
  void add(const FibRoute& route);
  bool remove(const Prefix& to);
  // Forgets every route through an interface that goes away.
  void remove_interface(InterfaceId interface);
  std::optional<NextHop> lookup(const IpAddress& destination) const;
  std::span<const FibRoute> routes() const { return routes_; }

 private:
  void rebuild();
  static constexpr uint32_t kNoParent = 0xffffffff;
  std::vector<FibRoute> routes_;   // sorted by (address, length), host bits zero
  std::vector<uint32_t> parents_;  // index of the longest other prefix that contains this one
};

}  // namespace culvert::ip
