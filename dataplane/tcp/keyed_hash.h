// SipHash-2-4 (Aumasson and Bernstein 2012): a keyed function whose outputs say nothing about the key. Feeds initial
// sequence numbers, timestamp offsets, source ports and the connection table, so that nobody who sees some of them can
// guess others or aim collisions at the table.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/random.h"

namespace culvert::tcp {

struct HashKey {
  uint64_t k0 = 0, k1 = 0;
  static HashKey draw(Random& random) {
    const uint64_t k0 = random.next();
    return {k0, random.next()};
  }
};

uint64_t sip_hash(const HashKey& key, ByteView bytes);

// Of two addresses, and of two endpoints with a tag (an interface, or 0).
uint64_t sip_hash(const HashKey& key, const IpAddress& a, const IpAddress& b);
uint64_t sip_hash(const HashKey& key, const Endpoint& a, const Endpoint& b, uint16_t tag);

}  // namespace culvert::tcp
