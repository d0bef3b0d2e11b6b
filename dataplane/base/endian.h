// Big-endian integers as types. They do not convert silently: a header field read as a number without get() would
// compile on every machine and be wrong on most. Alignment 1, so that a header struct may lie anywhere in a packet.
#pragma once

#include <cstdint>
#include <cstring>

namespace culvert {

namespace endian_detail {
constexpr uint16_t swap(uint16_t v) { return __builtin_bswap16(v); }
constexpr uint32_t swap(uint32_t v) { return __builtin_bswap32(v); }
constexpr uint64_t swap(uint64_t v) { return __builtin_bswap64(v); }
}  // namespace endian_detail

template <class T>
class BigEndian {
 public:
  BigEndian() = default;
  explicit BigEndian(T host) { set(host); }
  T get() const {
    T wire;
    std::memcpy(&wire, bytes_, sizeof wire);
    return endian_detail::swap(wire);
  }
  void set(T host) {
    const T wire = endian_detail::swap(host);
    std::memcpy(bytes_, &wire, sizeof wire);
  }
  friend bool operator==(const BigEndian&, const BigEndian&) = default;

 private:
  uint8_t bytes_[sizeof(T)] = {};
};

using Be16 = BigEndian<uint16_t>;
using Be32 = BigEndian<uint32_t>;
using Be64 = BigEndian<uint64_t>;

static_assert(sizeof(Be16) == 2 && alignof(Be16) == 1);
static_assert(sizeof(Be32) == 4 && alignof(Be32) == 1);

// The same for a field at an address: the caller has checked the length.
inline uint16_t load_be16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return endian_detail::swap(v);
}
inline uint32_t load_be32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return endian_detail::swap(v);
}
inline uint64_t load_be64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  return endian_detail::swap(v);
}
inline void store_be16(uint8_t* p, uint16_t host) {
  const uint16_t v = endian_detail::swap(host);
  std::memcpy(p, &v, sizeof v);
}
inline void store_be32(uint8_t* p, uint32_t host) {
  const uint32_t v = endian_detail::swap(host);
  std::memcpy(p, &v, sizeof v);
}
inline void store_be64(uint8_t* p, uint64_t host) {
  const uint64_t v = endian_detail::swap(host);
  std::memcpy(p, &v, sizeof v);
}

}  // namespace culvert
