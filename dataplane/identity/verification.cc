#include "identity/verification.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "identity/certificate.h"

namespace culvert::identity {

namespace {

// Leaf, three intermediates and a root are more than any mesh CA uses; each costs the verifier a signature.
constexpr int kChainDepthMax = 6;

}  // namespace

int verify_chain(x509_store_ctx_st* context, Purpose purpose, UnixTime now) {
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_time(param, static_cast<time_t>(now.time_since_epoch().count()));
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_depth(param, kChainDepthMax);
  X509_VERIFY_PARAM_set_purpose(param, purpose == Purpose::kServer ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  if (X509_verify_cert(context) == 1) return X509_V_OK;
  // Some internal failures leave the error at "ok"; that must not pass for success.
  if (X509_STORE_CTX_get_error(context) == X509_V_OK) X509_STORE_CTX_set_error(context, X509_V_ERR_UNSPECIFIED);
  return X509_STORE_CTX_get_error(context);
}

std::optional<std::string> verify_chain(const Credentials& credentials, x509_st* leaf,
                                        const std::vector<x509_st*>& intermediates, Purpose purpose, UnixTime now) {
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  STACK_OF(X509)* untrusted = sk_X509_new_null();
  int error = X509_V_ERR_OUT_OF_MEM;
  if (context && untrusted) {
    for (x509_st* certificate : intermediates) sk_X509_push(untrusted, certificate);
    if (X509_STORE_CTX_init(context, credentials.roots(), leaf, untrusted) == 1) {
      error = verify_chain(context, purpose, now);
    }
  }
  X509_STORE_CTX_free(context);
  sk_X509_free(untrusted);
  ERR_clear_error();
  if (error == X509_V_OK) return std::nullopt;
  return text_of_verify_error(error);
}

std::string text_of_verify_error(int error) { return X509_verify_cert_error_string(error); }

std::optional<std::string> check_expected_peer(const std::vector<std::string>& uri_sans,
                                               const std::vector<SpiffeId>& expected) {
  if (expected.empty()) return std::nullopt;
  for (const std::string& san : uri_sans) {
    const auto id = SpiffeId::parse(san);
    if (id && std::find(expected.begin(), expected.end(), *id) != expected.end()) return std::nullopt;
  }
  std::vector<std::string> wanted;
  for (const SpiffeId& id : expected) wanted.push_back(id.uri());
  return "identity verification error: peer did not present the expected SAN (" + quoted_list(wanted) + "), got [" +
         quoted_list(uri_sans) + "]";
}

std::optional<std::string> check_trust_domain(const std::vector<std::string>& uri_sans,
                                              const std::string& trust_domain) {
  if (trust_domain.empty()) return std::nullopt;
  for (const std::string& san : uri_sans) {
    const auto id = SpiffeId::parse(san);
    if (id && id->trust_domain == trust_domain) return std::nullopt;
  }
  return "identity verification error: peer did not present the expected trustdomain (" + quoted_list({trust_domain}) +
         "), got [" + quoted_list(uri_sans) + "]";
}

}  // namespace culvert::identity
