#include "tcp/keyed_hash.h"

#include <array>
#include <bit>

namespace culvert::tcp {

namespace {

uint64_t load_le64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  if constexpr (std::endian::native == std::endian::big) v = __builtin_bswap64(v);
  return v;
}

struct State {
  uint64_t v0, v1, v2, v3;
  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void absorb(uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
};

}  // namespace

uint64_t sip_hash(const HashKey& key, ByteView bytes) {
  State s{key.k0 ^ 0x736f6d6570736575ULL, key.k1 ^ 0x646f72616e646f6dULL, key.k0 ^ 0x6c7967656e657261ULL,
          key.k1 ^ 0x7465646279746573ULL};
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) s.absorb(load_le64(bytes.data() + at));
  uint64_t last = static_cast<uint64_t>(bytes.size()) << 56;
  for (size_t i = 0; at + i < bytes.size(); ++i) last |= static_cast<uint64_t>(bytes[at + i]) << (8 * i);
  s.absorb(last);
  s.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) s.round();
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t sip_hash(const HashKey& key, const IpAddress& a, const IpAddress& b) {
  std::array<uint8_t, 32> bytes;
  std::memcpy(bytes.data(), a.bytes().data(), 16);
  std::memcpy(bytes.data() + 16, b.bytes().data(), 16);
  return sip_hash(key, bytes);
}

uint64_t sip_hash(const HashKey& key, const Endpoint& a, const Endpoint& b, uint16_t tag) {
  std::array<uint8_t, 38> bytes;
  std::memcpy(bytes.data(), a.address.bytes().data(), 16);
  std::memcpy(bytes.data() + 16, b.address.bytes().data(), 16);
  std::memcpy(bytes.data() + 32, &a.port, 2);
  std::memcpy(bytes.data() + 34, &b.port, 2);
  std::memcpy(bytes.data() + 36, &tag, 2);
  return sip_hash(key, bytes);
}

}  // namespace culvert::tcp
