// Private keys: made, read, and asked to sign a certificate request. Nothing here writes one out (D20).
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <climits>

#include "base/bytes.h"
#include "base/check.h"
#include "identity/credentials.h"

namespace culvert::identity {

namespace {

// An encrypted key has no place here: without this OpenSSL would ask at the terminal.
int no_password(char*, int, int, void*) { return -1; }

}  // namespace

std::shared_ptr<const PrivateKey> PrivateKey::generate_p256() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  DP_CHECK(key);  // no entropy or no memory: no identity can be had
  return std::shared_ptr<const PrivateKey>(new PrivateKey(key));
}

std::shared_ptr<const PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  if (pem.size() > INT_MAX) return nullptr;
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  if (!bio) return nullptr;
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, no_password, nullptr);
  BIO_free(bio);
  ERR_clear_error();
  if (!key) return nullptr;
  return std::shared_ptr<const PrivateKey>(new PrivateKey(key));
}

PrivateKey::~PrivateKey() { EVP_PKEY_free(key_); }

std::string PrivateKey::csr_pem(const SpiffeId& id) const {
  X509_REQ* request = X509_REQ_new();
  GENERAL_NAMES* names = GENERAL_NAMES_new();
  GENERAL_NAME* name = GENERAL_NAME_new();
  ASN1_IA5STRING* uri = ASN1_IA5STRING_new();
  STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
  BIO* bio = BIO_new(BIO_s_mem());
  DP_CHECK(request && names && name && uri && extensions && bio);
  const std::string text = id.uri();
  DP_CHECK(ASN1_STRING_set(uri, text.data(), static_cast<int>(text.size())) == 1);
  GENERAL_NAME_set0_value(name, GEN_URI, uri);
  sk_GENERAL_NAME_push(names, name);
  // Critical, because the subject is empty (RFC 5280 4.2.1.6).
  X509_EXTENSION* san = X509V3_EXT_i2d(NID_subject_alt_name, 1, names);
  DP_CHECK(san && sk_X509_EXTENSION_push(extensions, san) == 1);
  DP_CHECK(X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 && X509_REQ_set_pubkey(request, key_) == 1 &&
           X509_REQ_add_extensions(request, extensions) == 1);
  // EdDSA signs without a separate digest.
  const int type = EVP_PKEY_get_base_id(key_);
  const EVP_MD* digest = type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448 ? nullptr : EVP_sha256();
  DP_CHECK(X509_REQ_sign(request, key_, digest) > 0 && PEM_write_bio_X509_REQ(bio, request) == 1);
  char* at = nullptr;
  const long bytes = BIO_get_mem_data(bio, &at);
  std::string pem(at, static_cast<size_t>(bytes));
  BIO_free(bio);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  GENERAL_NAMES_free(names);
  X509_REQ_free(request);
  return pem;
}

}  // namespace culvert::identity
