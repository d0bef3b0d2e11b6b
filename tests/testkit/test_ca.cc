#include "tests/testkit/test_ca.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <utility>

#include "base/check.h"

namespace culvert::testkit {

namespace {

std::string text_and_free(BIO* bio) {
  char* at = nullptr;
  const long bytes = BIO_get_mem_data(bio, &at);
  std::string text(at, static_cast<size_t>(bytes));
  BIO_free(bio);
  return text;
}

std::string pem_of(X509* certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  DP_CHECK(bio && PEM_write_bio_X509(bio, certificate) == 1);
  return text_and_free(bio);
}

std::string pem_of(EVP_PKEY* key) {
  BIO* bio = BIO_new(BIO_s_mem());
  DP_CHECK(bio && PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_and_free(bio);
}

EVP_PKEY* make_key(KeyType type) {
  EVP_PKEY* key = nullptr;
  switch (type) {
    case KeyType::kP256:
      key = EVP_EC_gen("P-256");
      break;
    case KeyType::kP384:
      key = EVP_EC_gen("P-384");
      break;
    case KeyType::kRsa2048:
      key = EVP_RSA_gen(2048);
      break;
    case KeyType::kEd25519:
      key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
      break;
  }
  DP_CHECK(key);
  return key;
}

void add_extension(X509* certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  DP_CHECK(extension && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Built by hand, not from a configuration text: a SAN may hold commas and worse.
void add_sans(X509* certificate, const LeafOptions& options) {
  GENERAL_NAMES* names = GENERAL_NAMES_new();
  const auto add = [names](int type, const std::string& text) {
    GENERAL_NAME* name = GENERAL_NAME_new();
    ASN1_IA5STRING* value = ASN1_IA5STRING_new();
    DP_CHECK(name && value && ASN1_STRING_set(value, text.data(), static_cast<int>(text.size())) == 1);
    GENERAL_NAME_set0_value(name, type, value);
    sk_GENERAL_NAME_push(names, name);
  };
  for (const std::string& uri : options.uri_sans) add(GEN_URI, uri);
  for (const std::string& dns : options.dns_sans) add(GEN_DNS, dns);
  for (const std::string& text : options.ip_sans) {
    ASN1_OCTET_STRING* address = a2i_IPADDRESS(text.c_str());
    GENERAL_NAME* name = GENERAL_NAME_new();
    DP_CHECK(name && address);
    GENERAL_NAME_set0_value(name, GEN_IPADD, address);
    sk_GENERAL_NAME_push(names, name);
  }
  if (sk_GENERAL_NAME_num(names) > 0) {
    DP_CHECK(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, options.common_name.empty() ? 1 : 0, 0) == 1);
  }
  GENERAL_NAMES_free(names);
}

X509* start_certificate(EVP_PKEY* key, uint64_t serial, UnixTime not_before, UnixTime not_after,
                        const std::string& common_name) {
  X509* certificate = X509_new();
  DP_CHECK(certificate && X509_set_version(certificate, X509_VERSION_3) == 1);
  DP_CHECK(ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial) == 1);
  DP_CHECK(ASN1_TIME_set(X509_getm_notBefore(certificate), not_before.time_since_epoch().count()) &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), not_after.time_since_epoch().count()));
  if (!common_name.empty()) {
    DP_CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                        reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0) == 1);
  }
  DP_CHECK(X509_set_pubkey(certificate, key) == 1);
  return certificate;
}

void sign_with(X509* certificate, EVP_PKEY* key) {
  const EVP_MD* digest = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  DP_CHECK(X509_sign(certificate, key, digest) > 0);
}

struct RequestFree {
  void operator()(X509_REQ* request) const { X509_REQ_free(request); }
};

// Null when it does not decode, or was not signed with the key in it.
std::unique_ptr<X509_REQ, RequestFree> verified_request(std::string_view csr_pem) {
  BIO* bio = BIO_new_mem_buf(csr_pem.data(), static_cast<int>(csr_pem.size()));
  std::unique_ptr<X509_REQ, RequestFree> request(PEM_read_bio_X509_REQ(bio, nullptr, nullptr, nullptr));
  BIO_free(bio);
  if (!request) return nullptr;
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  if (!key || X509_REQ_verify(request.get(), key) != 1) return nullptr;
  return request;
}

}  // namespace

TestCa::TestCa(KeyType key, std::string_view name, UnixTime not_before, UnixTime not_after) {
  key_ = make_key(key);
  certificate_ = start_certificate(key_, next_serial_++, not_before, not_after, std::string(name));
  DP_CHECK(X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_)) == 1);
  add_extension(certificate_, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate_, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(certificate_, NID_subject_key_identifier, "hash");
  sign_with(certificate_, key_);
  root_pem_ = pem_of(certificate_);
}

TestCa::~TestCa() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

TestCa::TestCa(TestCa&& other) noexcept { *this = std::move(other); }

TestCa& TestCa::operator=(TestCa&& other) noexcept {
  std::swap(key_, other.key_);
  std::swap(certificate_, other.certificate_);
  std::swap(issuers_pem_, other.issuers_pem_);
  std::swap(root_pem_, other.root_pem_);
  std::swap(next_serial_, other.next_serial_);
  return *this;
}

X509* TestCa::sign(EVP_PKEY* subject_key, const LeafOptions& options, bool is_ca) const {
  X509* certificate =
      start_certificate(subject_key, next_serial_++, options.not_before, options.not_after, options.common_name);
  DP_CHECK(X509_set_issuer_name(certificate, X509_get_subject_name(certificate_)) == 1);
  if (is_ca) {
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(certificate, NID_subject_key_identifier, "hash");
  } else {
    add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(certificate, NID_key_usage, "critical,digitalSignature");
    switch (options.usage) {
      case Usage::kBoth:
        add_extension(certificate, NID_ext_key_usage, "serverAuth,clientAuth");
        break;
      case Usage::kServerOnly:
        add_extension(certificate, NID_ext_key_usage, "serverAuth");
        break;
      case Usage::kClientOnly:
        add_extension(certificate, NID_ext_key_usage, "clientAuth");
        break;
      case Usage::kNone:
        break;
    }
  }
  add_sans(certificate, options);
  sign_with(certificate, key_);
  return certificate;
}

std::unique_ptr<TestCa> TestCa::from_pem(std::string_view chain_pem, std::string_view key_pem, std::string root_pem,
                                         uint64_t first_serial) {
  std::unique_ptr<TestCa> out(new TestCa(Empty{}));
  BIO* bio = BIO_new_mem_buf(chain_pem.data(), static_cast<int>(chain_pem.size()));
  out->certificate_ = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  bio = BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size()));
  out->key_ = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  if (!out->certificate_ || !out->key_ || X509_check_private_key(out->certificate_, out->key_) != 1) return nullptr;
  // A root that signs leaves itself does not stand behind them.
  if (X509_self_signed(out->certificate_, 0) != 1) out->issuers_pem_ = chain_pem;
  out->root_pem_ = std::move(root_pem);
  out->next_serial_ = first_serial;
  return out;
}

TestCa TestCa::intermediate(std::string_view name, UnixTime not_before, UnixTime not_after) const {
  TestCa below{Empty{}};
  below.key_ = make_key(KeyType::kP256);
  below.certificate_ =
      sign(below.key_, {.common_name = std::string(name), .not_before = not_before, .not_after = not_after}, true);
  below.issuers_pem_ = pem_of(below.certificate_) + issuers_pem_;
  below.root_pem_ = root_pem_;
  return below;
}

TestLeaf TestCa::issue(const LeafOptions& options) const {
  EVP_PKEY* key = make_key(options.key);
  X509* certificate = sign(key, options, false);
  TestLeaf leaf{pem_of(certificate) + issuers_pem_, pem_of(key)};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return leaf;
}

std::string TestCa::sign_csr(std::string_view csr_pem, UnixTime not_before, UnixTime not_after) const {
  const std::unique_ptr<X509_REQ, RequestFree> request = verified_request(csr_pem);
  if (!request) return {};
  LeafOptions options{.not_before = not_before, .not_after = not_after};
  STACK_OF(X509_EXTENSION)* extensions = X509_REQ_get_extensions(request.get());
  auto* names = static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    options.uri_sans.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                                  static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  GENERAL_NAMES_free(names);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  return sign_csr(csr_pem, options);
}

std::string TestCa::sign_csr(std::string_view csr_pem, const LeafOptions& options) const {
  const std::unique_ptr<X509_REQ, RequestFree> request = verified_request(csr_pem);
  if (!request) return {};
  X509* certificate = sign(X509_REQ_get0_pubkey(request.get()), options, false);
  std::string pem = pem_of(certificate) + issuers_pem_;
  X509_free(certificate);
  return pem;
}

std::shared_ptr<const identity::Credentials> TestCa::credentials(std::string_view spiffe_uri) const {
  return credentials(LeafOptions{.uri_sans = {std::string(spiffe_uri)}});
}

std::shared_ptr<const identity::Credentials> TestCa::credentials(const LeafOptions& options) const {
  return credentials(options, *this);
}

std::shared_ptr<const identity::Credentials> TestCa::credentials(const LeafOptions& options,
                                                                 const TestCa& trusted) const {
  const TestLeaf leaf = issue(options);
  auto made =
      identity::Credentials::make(identity::PrivateKey::from_pem(leaf.key_pem), leaf.chain_pem, trusted.root_pem());
  DP_CHECK(made.ok());
  return *made;
}

std::shared_ptr<const identity::Credentials> TestCa::roots_only() const {
  auto made = identity::Credentials::make(nullptr, "", root_pem_);
  DP_CHECK(made.ok());
  return *made;
}

}  // namespace culvert::testkit
