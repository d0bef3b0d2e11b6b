#include "tcp/isn.h"

namespace culvert::tcp {

Seq InitialNumbers::sequence(const Tuple& tuple, Instant now) const {
  const auto clock = static_cast<uint32_t>(to_us(now.time_since_epoch()) / 4);
  return Seq(clock + static_cast<uint32_t>(sip_hash(sequence_key_, tuple.local, tuple.remote, 0)));
}

uint32_t InitialNumbers::timestamp_offset(const Tuple& tuple) const {
  return static_cast<uint32_t>(sip_hash(offset_key_, tuple.local.address, tuple.remote.address));
}

}  // namespace culvert::tcp
