#include "routing/authority.h"

#include <algorithm>
#include <charconv>

namespace culvert::routing {

namespace {

constexpr size_t kHostnameBytesMax = 253;  // RFC 1035 2.3.4, without the length octets

bool is_hostname_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

}  // namespace

std::optional<Authority> parse_authority(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  Authority out;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    out.address = IpAddress::parse(host);
    // Brackets hold IPv6 only; a mapped address becomes IPv4 (reference 1).
    if (!out.address || host.find(':') == std::string_view::npos) return std::nullopt;
    return out;
  }
  if (host.empty() || host.size() > kHostnameBytesMax || !std::all_of(host.begin(), host.end(), is_hostname_byte)) {
    return std::nullopt;
  }
  out.address = IpAddress::parse(host);
  if (!out.address) out.hostname = host;
  return out;
}

}  // namespace culvert::routing
