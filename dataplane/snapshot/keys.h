// How the tables of a Mesh find their slots: the hash of each key and the test that a slot is the one meant. Shared by
// readers and the builder; not shown outside the room.
#pragma once

#include <cstring>

#include "snapshot/shard_table.h"

namespace culvert::snapshot {

inline uint64_t hash_address(std::string_view network, const IpAddress& address) {
  return hash_of(address, hash_text(network));
}
inline uint64_t hash_prefix(std::string_view network, const Prefix& prefix) {
  return hash_of(prefix.address, hash_text(network) + prefix.bits);
}
inline uint64_t hash_pair(std::string_view first, std::string_view second) {
  return hash_text(second, hash_text("/", hash_text(first)));
}

// "a/b" == key, without building a string.
inline bool is_pair(std::string_view key, std::string_view first, std::string_view second) {
  return key.size() == first.size() + 1 + second.size() && key.substr(0, first.size()) == first &&
         key[first.size()] == '/' && key.substr(first.size() + 1) == second;
}

// The address with the bits behind the prefix's length set to zero.
inline Prefix masked(const IpAddress& address, uint8_t bits) {
  std::array<uint8_t, 16> bytes = address.bytes();
  const size_t first = address.is_v4() ? 96u + bits : bits;
  for (size_t bit = first; bit < 128; ++bit) bytes[bit / 8] &= static_cast<uint8_t>(~(0x80u >> (bit % 8)));
  return {address.is_v4() ? IpAddress::v4(&bytes[12]) : IpAddress::v6(bytes.data()), bits};
}

}  // namespace culvert::snapshot
