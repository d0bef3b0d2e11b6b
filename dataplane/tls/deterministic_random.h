// OpenSSL's randomness from a seed, for simulation and tests only (D3): two runs with the same seed then put the same
// bytes on the wire, key shares, nonces of signatures and all. Never in a node: whoever knows the seed knows the keys.
#pragma once

#include <cstdint>

namespace culvert::tls {

// While one lives, every draw of OpenSSL in this process comes from the seed, in the order of the calls; so one thread
// at a time may use OpenSSL, and one object may live at a time (checked). OpenSSL's own generator is back afterwards.
class DeterministicRandom {
 public:
  explicit DeterministicRandom(uint64_t seed);
  ~DeterministicRandom();
  DeterministicRandom(const DeterministicRandom&) = delete;
  DeterministicRandom& operator=(const DeterministicRandom&) = delete;
  // Starts over with another seed.
  void reseed(uint64_t seed);
};

}  // namespace culvert::tls
