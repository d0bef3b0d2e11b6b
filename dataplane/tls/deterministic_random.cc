// OpenSSL's RAND_METHOD has no room for a context pointer, so the generator behind it is the one static of this room.
// RAND_set_rand_method is marked deprecated since 3.0 in favour of a provider, which would take three hundred lines.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tls/deterministic_random.h"

#include <openssl/rand.h>

#include <optional>

#include "base/check.h"
#include "base/random.h"

namespace culvert::tls {

namespace {

std::optional<Random> generator;

int draw(unsigned char* to, int bytes) {
  uint64_t word = 0;
  for (int i = 0; i < bytes; ++i) {
    if (i % 8 == 0) word = generator->next();
    to[i] = static_cast<unsigned char>(word >> (8 * (i % 8)));
  }
  return 1;
}
int ignore_seed(const void*, int) { return 1; }
int ignore_entropy(const void*, int, double) { return 1; }
int always_ready() { return 1; }

constexpr RAND_METHOD kMethod = {ignore_seed, draw, nullptr, ignore_entropy, draw, always_ready};

}  // namespace

DeterministicRandom::DeterministicRandom(uint64_t seed) {
  DP_CHECK(!generator);
  generator.emplace(seed);
  DP_CHECK(RAND_set_rand_method(&kMethod) == 1);
}

DeterministicRandom::~DeterministicRandom() {
  RAND_set_rand_method(nullptr);
  generator.reset();
}

void DeterministicRandom::reseed(uint64_t seed) { generator.emplace(seed); }

}  // namespace culvert::tls
