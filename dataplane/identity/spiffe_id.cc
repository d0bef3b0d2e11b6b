#include "identity/spiffe_id.h"

namespace culvert::identity {

namespace {

constexpr std::string_view kScheme = "spiffe://";

}  // namespace

std::optional<SpiffeId> SpiffeId::parse(std::string_view uri) {
  if (!uri.starts_with(kScheme)) return std::nullopt;
  uri.remove_prefix(kScheme.size());
  // A NUL or a blank in a name would be shown as one thing and compared as another.
  for (const char c : uri) {
    if (c <= ' ' || c >= 0x7f) return std::nullopt;
  }
  std::string_view parts[5];
  for (size_t i = 0; i < 5; ++i) {
    const size_t slash = uri.find('/');
    const bool last = i == 4;
    if (last != (slash == std::string_view::npos)) return std::nullopt;
    parts[i] = uri.substr(0, slash);
    if (parts[i].empty()) return std::nullopt;
    if (!last) uri.remove_prefix(slash + 1);
  }
  if (parts[1] != "ns" || parts[3] != "sa") return std::nullopt;
  return SpiffeId{std::string(parts[0]), std::string(parts[2]), std::string(parts[4])};
}

std::string SpiffeId::uri() const {
  std::string out;
  out.reserve(kScheme.size() + trust_domain.size() + name_space.size() + service_account.size() + 8);
  out.append(kScheme).append(trust_domain).append("/ns/").append(name_space).append("/sa/").append(service_account);
  return out;
}

}  // namespace culvert::identity
