// Which worker owns a flow (D4). Every packet of a TCP connection, and both connections of a proxied one, are handled
// by one worker: packets that arrive elsewhere are handed to the owner, and the source port of a connection that a
// worker opens is chosen so that the replies hash to it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/interface_id.h"
#include "tcp/segment.h"

namespace culvert::worker {

// Symmetric: both directions of a flow give the same owner, whoever is called local.
inline uint32_t owner_of(const tcp::Tuple& tuple, uint64_t seed, uint32_t workers) {
  if (workers <= 1) return 0;
  const uint64_t a = hash_of(tuple.local.address, seed ^ tuple.local.port);
  const uint64_t b = hash_of(tuple.remote.address, seed ^ tuple.remote.port);
  // The sum is symmetric; one more round spreads it over the high bits that the multiplication below looks at.
  const uint64_t mixed = (a + b) * 0x9e3779b97f4a7c15ULL;
  return static_cast<uint32_t>((static_cast<__uint128_t>(mixed ^ (mixed >> 29)) * workers) >> 64);
}

}  // namespace culvert::worker
