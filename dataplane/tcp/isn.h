// Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 5.4).
//
// ISN = M + F(connection, secret). M is a clock of 4 µs steps (RFC 9293 3.4.1), F a keyed hash of the tuple: the
// numbers of one connection's successors grow with time, those of another cannot be guessed from them.
//
// TSval counts milliseconds from an offset that is secret per pair of addresses: it says nothing about the node's
// uptime, and the successor of a connection between the same addresses continues the same clock, which PAWS and
// TIME-WAIT reuse (RFC 6191) rely on.
#pragma once

#include "base/time.h"
#include "tcp/keyed_hash.h"
#include "tcp/segment.h"
#include "tcp/seq.h"

namespace culvert::tcp {

class InitialNumbers {
 public:
  explicit InitialNumbers(Random& random) : sequence_key_(HashKey::draw(random)), offset_key_(HashKey::draw(random)) {}

  Seq sequence(const Tuple& tuple, Instant now) const;
  uint32_t timestamp_offset(const Tuple& tuple) const;

 private:
  HashKey sequence_key_;
  HashKey offset_key_;
};

// The timestamp clock: milliseconds, plus the connection's offset.
inline uint32_t timestamp_at(Instant now, uint32_t offset) {
  return static_cast<uint32_t>(to_ms(now.time_since_epoch())) + offset;
}

}  // namespace culvert::tcp
