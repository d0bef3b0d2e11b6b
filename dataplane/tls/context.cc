#include "tls/context.h"

#include <openssl/err.h>
#include <openssl/x509.h>

namespace culvert::tls {

namespace {

constexpr const char* kCipherSuites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
// A client sends a key share for the first one only; a server that wants another asks by HelloRetryRequest.
constexpr const char* kGroups = "X25519:P-256:P-384";
constexpr const char* kSignatures =
    "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:ed25519:"
    "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"
    "rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512";
// Bytes of the peer's chain; a leaf and a few intermediates of a mesh are 1 to 6 KB.
constexpr long kPeerChainBytesMax = 32 * 1024;
// RSA from 2048 bits, no SHA-1 in signatures (reference 3.1).
constexpr int kSecurityLevel = 2;

bool set_parameters(SSL_CTX* ssl) {
  SSL_CTX_set_security_level(ssl, kSecurityLevel);
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION);
  // The chain goes out as the CA gave it, never completed from the roots.
  SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_read_ahead(ssl, 0);
  SSL_CTX_set_max_cert_list(ssl, kPeerChainBytesMax);
  return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 && SSL_CTX_set_ciphersuites(ssl, kCipherSuites) == 1 &&
         SSL_CTX_set1_groups_list(ssl, kGroups) == 1 && SSL_CTX_set1_sigalgs_list(ssl, kSignatures) == 1 &&
         SSL_CTX_set_num_tickets(ssl, 0) == 1;
}

bool set_credentials(SSL_CTX* ssl, const identity::Credentials& credentials) {
  X509_STORE_up_ref(credentials.roots());
  SSL_CTX_set_cert_store(ssl, credentials.roots());  // takes the reference
  STACK_OF(X509_NAME)* hints = sk_X509_NAME_new_null();
  if (!hints) return false;
  for (x509_st* root : credentials.root_certificates()) {
    X509_NAME* name = X509_NAME_dup(X509_get_subject_name(root));
    if (!name || sk_X509_NAME_push(hints, name) == 0) {
      X509_NAME_free(name);
      sk_X509_NAME_pop_free(hints, X509_NAME_free);
      return false;
    }
  }
  SSL_CTX_set_client_CA_list(ssl, hints);  // takes the list
  if (!credentials.has_certificate()) return true;
  if (SSL_CTX_use_certificate(ssl, credentials.leaf()) != 1) return false;
  for (x509_st* certificate : credentials.intermediates()) {
    if (SSL_CTX_add1_chain_cert(ssl, certificate) != 1) return false;
  }
  return SSL_CTX_use_PrivateKey(ssl, credentials.key()) == 1;
}

}  // namespace

Context::~Context() {
  SSL_CTX_free(ssl);
  BIO_meth_free(transport);
}

std::unique_ptr<Context> make_context(const identity::Credentials& credentials) {
  auto context = std::make_unique<Context>();
  ERR_clear_error();
  context->transport = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "packet buffers");
  context->ssl = SSL_CTX_new(TLS_method());
  if (context->transport && context->ssl && set_parameters(context->ssl) &&
      set_credentials(context->ssl, credentials)) {
    return context;
  }
  context->error = "OpenSSL refuses the credentials: " + take_openssl_error();
  SSL_CTX_free(context->ssl);
  context->ssl = nullptr;
  return context;
}

std::string take_openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  std::string text = reason ? reason : code ? "error " + std::to_string(code) : "no reason given";
  ERR_clear_error();
  return text;
}

}  // namespace culvert::tls
