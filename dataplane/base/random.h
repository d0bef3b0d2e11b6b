// Random numbers from a seed: xoshiro256** (Blackman and Vigna, public domain algorithm). Not for keys: those come from
// OpenSSL. Deterministic in simulation (D3); seeded from the kernel in a real node.
#pragma once

#include <cstdint>

namespace culvert {

class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t next();
  // Uniform in [0, bound). bound > 0.
  uint64_t below(uint64_t bound);
  // True with the given probability in parts per million.
  bool chance_ppm(uint32_t ppm) { return below(1'000'000) < ppm; }

 private:
  uint64_t state_[4];
};

// 64 bits from the kernel's generator, for the seed of a real node.
uint64_t kernel_seed();

}  // namespace culvert
