// The Internet checksum (RFC 1071): the one's-complement sum of 16-bit words, over pieces of any length.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"

namespace culvert::wire {

// A running sum. Pieces may end at odd offsets; the sum is the one of their concatenation.
class ChecksumSum {
 public:
  void add(ByteView bytes);
  void add_be16(uint16_t host);  // one field, given in host order; only at an even offset
  // The pseudo-header of RFC 9293 3.1 and RFC 8200 8.1. Both addresses are of one family.
  void add_pseudo_header(const IpAddress& source, const IpAddress& destination, uint8_t protocol, uint32_t bytes);

  // The folded sum in host order: what a device that completes checksums wants in the checksum field.
  uint16_t folded() const;
  // Its complement: what goes into the checksum field (stored big-endian). Over a packet whose checksum field is filled
  // and right, it is 0.
  uint16_t checksum() const { return static_cast<uint16_t>(~folded()); }

 private:
  uint64_t sum_ = 0;  // of words as they lie in memory: the sum is byte-order independent (RFC 1071 2(B))
  bool odd_ = false;
};

// The checksum of one contiguous piece.
uint16_t internet_checksum(ByteView bytes);

// The checksum after one 16-bit word of the covered bytes changed (RFC 1624 equation 3).
uint16_t updated_checksum(uint16_t checksum, uint16_t before, uint16_t after);

}  // namespace culvert::wire
