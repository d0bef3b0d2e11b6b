// Revocation lists of a TestCa.
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/check.h"
#include "tests/testkit/test_ca.h"

namespace culvert::testkit {

namespace {

void add_entry(X509_CRL* crl, const std::string& serial_decimal, UnixTime at) {
  BIGNUM* number = nullptr;
  DP_CHECK(BN_dec2bn(&number, serial_decimal.c_str()) > 0);
  ASN1_INTEGER* serial = BN_to_ASN1_INTEGER(number, nullptr);
  ASN1_TIME* when = ASN1_TIME_set(nullptr, at.time_since_epoch().count());
  X509_REVOKED* entry = X509_REVOKED_new();
  DP_CHECK(serial && when && entry && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
           X509_REVOKED_set_revocationDate(entry, when) == 1 && X509_CRL_add0_revoked(crl, entry) == 1);
  ASN1_INTEGER_free(serial);
  ASN1_TIME_free(when);
  BN_free(number);
}

void add_integer(X509_CRL* crl, int nid, long value, bool critical) {
  ASN1_INTEGER* number = ASN1_INTEGER_new();
  DP_CHECK(number && ASN1_INTEGER_set(number, value) == 1 &&
           X509_CRL_add1_ext_i2d(crl, nid, number, critical ? 1 : 0, 0) == 1);
  ASN1_INTEGER_free(number);
}

void add_indirect_point(X509_CRL* crl) {
  ISSUING_DIST_POINT* point = ISSUING_DIST_POINT_new();
  DP_CHECK(point);
  point->indirectCRL = 0xff;
  DP_CHECK(X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point, point, 1, 0) == 1);
  ISSUING_DIST_POINT_free(point);
}

}  // namespace

std::string TestCa::crl_pem(const CrlOptions& options) const {
  X509_CRL* crl = X509_CRL_new();
  ASN1_TIME* this_update = ASN1_TIME_set(nullptr, options.this_update.time_since_epoch().count());
  ASN1_TIME* next_update = ASN1_TIME_set(nullptr, options.next_update.time_since_epoch().count());
  DP_CHECK(crl && this_update && next_update && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
           X509_CRL_set_issuer_name(crl, X509_get_subject_name(certificate_)) == 1 &&
           X509_CRL_set1_lastUpdate(crl, this_update) == 1 && X509_CRL_set1_nextUpdate(crl, next_update) == 1);
  for (const std::string& serial : options.serials) add_entry(crl, serial, options.this_update);
  add_integer(crl, NID_crl_number, 1, false);
  if (options.is_delta) add_integer(crl, NID_delta_crl, 0, true);
  if (options.is_indirect) add_indirect_point(crl);
  // Inhibit anyPolicy has no place in a list.
  if (options.has_unknown_critical) add_integer(crl, NID_inhibit_any_policy, 0, true);
  X509_CRL_sort(crl);
  const EVP_MD* digest = EVP_PKEY_get_base_id(key_) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  DP_CHECK(X509_CRL_sign(crl, key_, digest) > 0);
  BIO* bio = BIO_new(BIO_s_mem());
  DP_CHECK(bio && PEM_write_bio_X509_CRL(bio, crl) == 1);
  char* at = nullptr;
  const long bytes = BIO_get_mem_data(bio, &at);
  std::string pem(at, static_cast<size_t>(bytes));
  BIO_free(bio);
  ASN1_TIME_free(this_update);
  ASN1_TIME_free(next_update);
  X509_CRL_free(crl);
  return pem;
}

}  // namespace culvert::testkit
