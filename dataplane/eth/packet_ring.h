// A bounded first-in first-out of packets that wait to be taken.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "packet/packet.h"

namespace culvert::eth {

class PacketRing {
 public:
  explicit PacketRing(size_t size) : slots_(std::max<size_t>(size, 1)) {}
  bool empty() const { return count_ == 0; }
  // False, and the packet is freed, when full.
  bool push(Packet packet) {
    if (count_ == slots_.size()) return false;
    slots_[(first_ + count_++) % slots_.size()] = std::move(packet);
    return true;
  }
  size_t take(std::span<Packet> out) {
    const size_t n = std::min(out.size(), count_);
    for (size_t i = 0; i < n; ++i) {
      out[i] = std::move(slots_[first_]);
      first_ = (first_ + 1) % slots_.size();
    }
    count_ -= n;
    return n;
  }

 private:
  std::vector<Packet> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
};

}  // namespace culvert::eth
