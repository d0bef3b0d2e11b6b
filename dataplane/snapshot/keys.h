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

}  // namespace culvert::snapshot
