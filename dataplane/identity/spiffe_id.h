// SPIFFE identities in Istio's form (reference 3.2): spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace culvert::identity {

struct SpiffeId {
  std::string trust_domain;
  std::string name_space;
  std::string service_account;

  // Exactly five '/'-separated parts after the scheme with the literals ns and sa; anything else is not an identity.
  static std::optional<SpiffeId> parse(std::string_view uri);
  std::string uri() const;
  friend auto operator<=>(const SpiffeId&, const SpiffeId&) = default;
};

}  // namespace culvert::identity
