#include "base/ip_address.h"

#include <arpa/inet.h>

#include <charconv>

#include "base/endian.h"
#include "base/mix.h"

namespace culvert {

namespace {

constexpr uint64_t kMappedLow = 0x0000ffff00000000ULL;  // bytes 8..15 of ::ffff:0.0.0.0

std::optional<uint32_t> parse_number(std::string_view text, uint32_t max) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

}  // namespace

IpAddress IpAddress::v4(const uint8_t bytes[4]) {
  IpAddress a;
  a.bytes_[10] = a.bytes_[11] = 0xff;
  std::memcpy(&a.bytes_[12], bytes, 4);
  return a;
}

IpAddress IpAddress::v4(uint32_t host_order) {
  uint8_t bytes[4];
  store_be32(bytes, host_order);
  return v4(bytes);
}

IpAddress IpAddress::v6(const uint8_t bytes[16]) {
  IpAddress a;
  std::memcpy(a.bytes_.data(), bytes, 16);
  return a;
}

std::optional<IpAddress> IpAddress::from_bytes(ByteView bytes) {
  if (bytes.size() == 4) return v4(bytes.data());
  if (bytes.size() == 16) return v6(bytes.data());
  return std::nullopt;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof buffer) return std::nullopt;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = 0;
  uint8_t bytes[16];
  if (inet_pton(AF_INET, buffer, bytes) == 1) return v4(bytes);
  if (inet_pton(AF_INET6, buffer, bytes) == 1) return v6(bytes);
  return std::nullopt;
}

bool IpAddress::is_v4() const { return high() == 0 && (low() & 0xffffffff00000000ULL) == kMappedLow; }

bool IpAddress::is_loopback() const { return is_v4() ? bytes_[12] == 127 : high() == 0 && low() == 1; }

bool IpAddress::is_multicast() const { return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff; }

bool IpAddress::is_broadcast() const { return is_v4() && v4_host_order() == 0xffffffffU; }

bool IpAddress::is_link_local() const {
  return is_v4() ? bytes_[12] == 169 && bytes_[13] == 254 : bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

uint32_t IpAddress::v4_host_order() const { return load_be32(&bytes_[12]); }
uint64_t IpAddress::high() const { return load_be64(bytes_.data()); }
uint64_t IpAddress::low() const { return load_be64(&bytes_[8]); }

std::string IpAddress::to_string() const {
  char buffer[INET6_ADDRSTRLEN];
  const char* text = is_v4() ? inet_ntop(AF_INET, &bytes_[12], buffer, sizeof buffer)
                             : inet_ntop(AF_INET6, bytes_.data(), buffer, sizeof buffer);
  return text ? text : "";
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const size_t slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == std::string_view::npos) return host(*address);
  // The length of an IPv4-mapped address in its long form counts in that form, and what is shorter than its mark is no
  // IPv4 block.
  const bool mapped = address->is_v4() && text.substr(0, slash).find(':') != std::string_view::npos;
  const auto bits = parse_number(text.substr(slash + 1), address->is_v4() && !mapped ? 32 : 128);
  if (!bits || (mapped && *bits < 96)) return std::nullopt;
  return Prefix{*address, static_cast<uint8_t>(mapped ? *bits - 96 : *bits)};
}

Prefix Prefix::host(const IpAddress& address) { return {address, static_cast<uint8_t>(address.is_v4() ? 32 : 128)}; }

bool Prefix::contains(const IpAddress& other) const {
  if (address.is_v4() != other.is_v4()) return false;
  const unsigned total = address.is_v4() ? 96u + bits : bits;
  const unsigned whole = total / 8;
  if (std::memcmp(address.bytes().data(), other.bytes().data(), whole) != 0) return false;
  const unsigned rest = total % 8;
  if (rest == 0) return true;
  const uint8_t mask = static_cast<uint8_t>(0xff << (8 - rest));
  return ((address.bytes()[whole] ^ other.bytes()[whole]) & mask) == 0;
}

Prefix Prefix::masked() const {
  std::array<uint8_t, 16> bytes = address.bytes();
  for (size_t bit = address.is_v4() ? 96u + bits : bits; bit < 128; ++bit) {
    bytes[bit / 8] &= static_cast<uint8_t>(~(0x80u >> (bit % 8)));
  }
  return {address.is_v4() ? IpAddress::v4(&bytes[12]) : IpAddress::v6(bytes.data()), bits};
}

std::string Prefix::to_string() const { return address.to_string() + "/" + std::to_string(bits); }

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  const auto port = parse_number(text.substr(colon + 1), 65535);
  // A bare IPv6 address is ambiguous; brackets around IPv4 are not a form anyone writes.
  if (!address || !port || bracketed != (host.find(':') != std::string_view::npos)) return std::nullopt;
  return Endpoint{*address, static_cast<uint16_t>(*port)};
}

std::string Endpoint::to_string() const {
  const std::string host = address.to_string();
  return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

uint64_t hash_of(const IpAddress& address, uint64_t seed) {
  return mix(mix(address.high() ^ 0xa0761d6478bd642fULL, seed ^ 0xe7037ed1a0b428dbULL) ^ address.low(),
             0x8ebc6af09c88c6e3ULL);
}

}  // namespace culvert
