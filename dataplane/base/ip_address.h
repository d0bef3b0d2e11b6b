// IP addresses, prefixes and endpoints. One 128-bit type for both families (D18): IPv4 is held v4-mapped,
// ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so that every table has one key and every policy one comparison.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace culvert {

class IpAddress {
 public:
  constexpr IpAddress() = default;  // :: (unspecified)

  // Big-endian, as on the wire.
  static IpAddress v4(const uint8_t bytes[4]);
  static IpAddress v4(uint32_t host_order);
  static IpAddress v6(const uint8_t bytes[16]);  // a mapped address becomes v4
  // 4 or 16 bytes; anything else is none.
  static std::optional<IpAddress> from_bytes(ByteView bytes);
  // "10.0.0.1", "fd00::1", "::ffff:10.0.0.1". No brackets, no zone, no port.
  static std::optional<IpAddress> parse(std::string_view text);

  bool is_v4() const;
  bool is_unspecified() const { return high() == 0 && (low() == 0 || low() == 0x0000ffff00000000ULL); }
  bool is_loopback() const;    // 127.0.0.0/8 or ::1
  bool is_multicast() const;   // 224.0.0.0/4 or ff00::/8
  bool is_broadcast() const;   // 255.255.255.255
  bool is_link_local() const;  // 169.254.0.0/16 or fe80::/10

  // All 16 bytes; for v4 the last four are the address.
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  ByteView wire() const { return is_v4() ? ByteView(bytes_).subspan(12) : ByteView(bytes_); }
  uint32_t v4_host_order() const;
  uint64_t high() const;
  uint64_t low() const;

  std::string to_string() const;
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<uint8_t, 16> bytes_{};
};

// An address block in CIDR form. `bits` counts in the family's own length (0–32 or 0–128).
struct Prefix {
  IpAddress address;
  uint8_t bits = 0;

  static std::optional<Prefix> parse(std::string_view text);  // "10.1.0.0/24"; without a length: a host
  static Prefix host(const IpAddress& address);
  bool contains(const IpAddress& other) const;  // never across families
  Prefix masked() const;                        // the same with the bits behind its length cleared
  std::string to_string() const;
  friend auto operator<=>(const Prefix&, const Prefix&) = default;
};

struct Endpoint {
  IpAddress address;
  uint16_t port = 0;

  static std::optional<Endpoint> parse(std::string_view text);  // "10.0.0.1:80", "[fd00::1]:80"
  std::string to_string() const;
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// A well-mixed hash for tables whose iteration order nothing depends on.
uint64_t hash_of(const IpAddress& address, uint64_t seed = 0);

}  // namespace culvert

template <>
struct std::hash<culvert::IpAddress> {
  size_t operator()(const culvert::IpAddress& a) const noexcept { return culvert::hash_of(a); }
};
