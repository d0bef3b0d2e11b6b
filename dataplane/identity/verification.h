// Judging a peer's chain: signatures up to a root, dates by the time that is handed in, the key's purpose, and then the
// SPIFFE rules of reference 3.3 and 3.4.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "identity/credentials.h"
#include "identity/spiffe_id.h"

struct x509_st;
struct x509_store_ctx_st;

namespace culvert::identity {

// What the peer's certificate is used for: serverAuth or clientAuth must be among its extended key usages, when it
// names any (RFC 5280 4.2.1.12).
enum class Purpose : uint8_t { kServer, kClient };

// Runs OpenSSL's chain verification in a context that is already filled (leaf, presented chain, roots). Returns
// X509_V_OK or the X509_V_ERR_… that also stands in the context. A root that is not self-signed is a trust anchor too,
// as it is for ztunnel.
int verify_chain(x509_store_ctx_st* context, Purpose purpose, UnixTime now);

// The same with the roots of `credentials`, for a chain that arrived otherwise than by TLS (a CA's answer). The
// sentence says what is wrong; nothing when all is well.
std::optional<std::string> verify_chain(const Credentials& credentials, x509_st* leaf,
                                        const std::vector<x509_st*>& intermediates, Purpose purpose, UnixTime now);

// "certificate has expired", for X509_V_ERR_… of the first function.
std::string text_of_verify_error(int error);

// Reference 3.3: one of the URI SANs is exactly one of the expected identities. An empty list expects nothing. The
// sentence is ztunnel's (reference 26.4); nothing when it fits.
std::optional<std::string> check_expected_peer(const std::vector<std::string>& uri_sans,
                                               const std::vector<SpiffeId>& expected);
// Reference 3.4: at least one SPIFFE identity among them has this trust domain, by string equality.
std::optional<std::string> check_trust_domain(const std::vector<std::string>& uri_sans,
                                              const std::string& trust_domain);

}  // namespace culvert::identity
