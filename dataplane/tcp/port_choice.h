// Ephemeral ports by RFC 6056's algorithm 4, the double-hash: successive connections to one destination get successive
// ports from a secret start, so a port is not reused before the whole range was, and an outsider sees no global
// counter.
#pragma once

#include <array>
#include <cstdint>

#include "tcp/keyed_hash.h"

namespace culvert::tcp {

class PortChoice {
 public:
  static constexpr uint16_t kFirst = 32'768;  // Linux's ip_local_port_range
  static constexpr uint16_t kLast = 60'999;
  static constexpr uint32_t kCount = kLast - kFirst + 1;

  explicit PortChoice(Random& random) : start_key_(HashKey::draw(random)), table_key_(HashKey::draw(random)) {}

  // The first candidate for which free(port) holds, 0 when there is none. Tries at most `tries_max` candidates.
  template <class Free>
  uint16_t choose(const IpAddress& local, const Endpoint& remote, uint32_t tries_max, Free&& free) {
    const Endpoint from{local, 0};
    const auto start = static_cast<uint32_t>(sip_hash(start_key_, from, remote, 0));
    uint32_t& next = table_[sip_hash(table_key_, from, remote, 0) % kTableSize];
    for (uint32_t i = 0; i < tries_max && i < kCount; ++i) {
      const auto port = static_cast<uint16_t>(kFirst + (start + next++) % kCount);
      if (free(port)) return port;
    }
    return 0;
  }

 private:
  static constexpr size_t kTableSize = 256;  // RFC 6056 3.3.4 asks for more than a few; destinations that share a row
                                             // only skip ports
  HashKey start_key_;
  HashKey table_key_;
  std::array<uint32_t, kTableSize> table_{};
};

}  // namespace culvert::tcp
