#include "ip/fib.h"

#include <algorithm>

namespace culvert::ip {

namespace {

// Whether the block of 128-bit numbers that `outer` stands for has `address` in it: unlike Prefix::contains also across
// families, since ::/0 lies around the IPv4-mapped block. Host bits of `outer` are zero.
bool encloses(const Prefix& outer, const IpAddress& address) {
  const unsigned bits = outer.address.is_v4() ? 96u + outer.bits : outer.bits;
  auto head = [](uint64_t word, unsigned n) { return n == 0 ? 0 : word >> (64 - n); };
  if (bits <= 64) return head(address.high(), bits) == head(outer.address.high(), bits);
  return address.high() == outer.address.high() &&
         head(address.low(), bits - 64) == head(outer.address.low(), bits - 64);
}

bool before(const FibRoute& a, const FibRoute& b) { return a.to < b.to; }

}  // namespace

void Fib::add(const FibRoute& route) {
  FibRoute added = route;
  added.to = route.to.masked();
  const auto at = std::lower_bound(routes_.begin(), routes_.end(), added, before);
  if (at != routes_.end() && at->to == added.to) {
    *at = added;
    return;
  }
  routes_.insert(at, added);
  rebuild();
}

bool Fib::remove(const Prefix& to) {
  const Prefix wanted = to.masked();
  const auto gone = std::remove_if(routes_.begin(), routes_.end(), [&](const FibRoute& r) { return r.to == wanted; });
  const bool found = gone != routes_.end();
  routes_.erase(gone, routes_.end());
  rebuild();
  return found;
}

void Fib::remove_interface(InterfaceId interface) {
  std::erase_if(routes_, [&](const FibRoute& r) { return r.interface == interface; });
  rebuild();
}

void Fib::rebuild() {
  parents_.assign(routes_.size(), kNoParent);
  // In sorted order an enclosing prefix stands before what it encloses; walk outwards from the previous one.
  for (uint32_t i = 1; i < routes_.size(); ++i) {
    uint32_t candidate = i - 1;
    while (candidate != kNoParent && !encloses(routes_[candidate].to, routes_[i].to.address)) {
      candidate = parents_[candidate];
    }
    parents_[i] = candidate;
  }
}

std::optional<NextHop> Fib::lookup(const IpAddress& destination) const {
  const auto after = std::upper_bound(routes_.begin(), routes_.end(), destination,
                                      [](const IpAddress& a, const FibRoute& r) { return a < r.to.address; });
  uint32_t i = after == routes_.begin() ? kNoParent : static_cast<uint32_t>(after - routes_.begin() - 1);
  while (i != kNoParent && !routes_[i].to.contains(destination)) i = parents_[i];
  if (i == kNoParent) return std::nullopt;
  return NextHop{routes_[i].interface, routes_[i].via.value_or(destination)};
}

}  // namespace culvert::ip
