// The mixing step that our hashes are made of.
#pragma once

#include <cstdint>

namespace culvert {

// Multiply and fold (wyhash).
inline uint64_t mix(uint64_t a, uint64_t b) {
  const __uint128_t product = static_cast<__uint128_t>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace culvert
