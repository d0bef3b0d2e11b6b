// Sequence numbers: 32 bits that wrap (RFC 9293 3.4). Comparison says which of two numbers less than 2^31 apart is
// earlier; it is not an order over all numbers, so Seq has no operator<=> and cannot be a key of a sorted container.
#pragma once

#include <cstdint>

namespace culvert::tcp {

class Seq {
 public:
  constexpr Seq() = default;
  explicit constexpr Seq(uint32_t value) : value_(value) {}
  constexpr uint32_t value() const { return value_; }

  friend constexpr Seq operator+(Seq a, uint32_t n) { return Seq(a.value_ + n); }
  friend constexpr Seq operator-(Seq a, uint32_t n) { return Seq(a.value_ - n); }
  Seq& operator+=(uint32_t n) {
    value_ += n;
    return *this;
  }
  // Signed distance from b to a.
  friend constexpr int32_t operator-(Seq a, Seq b) { return static_cast<int32_t>(a.value_ - b.value_); }
  friend constexpr bool operator==(Seq, Seq) = default;
  friend constexpr bool operator<(Seq a, Seq b) { return a - b < 0; }
  friend constexpr bool operator<=(Seq a, Seq b) { return a - b <= 0; }
  friend constexpr bool operator>(Seq a, Seq b) { return a - b > 0; }
  friend constexpr bool operator>=(Seq a, Seq b) { return a - b >= 0; }

 private:
  uint32_t value_ = 0;
};

constexpr Seq later(Seq a, Seq b) { return a < b ? b : a; }
constexpr Seq earlier(Seq a, Seq b) { return a < b ? a : b; }
// Bytes from a to b, where a <= b is known.
constexpr uint32_t bytes_between(Seq a, Seq b) { return b.value() - a.value(); }

}  // namespace culvert::tcp
