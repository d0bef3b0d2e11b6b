// X.509 of the CA: building certificates extension by extension, and judging requests.
#include "ca/certificate.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <array>

namespace culvert::ca {
namespace {

// A request of ours is 400 bytes; RSA-8192 would be 3 KB.
constexpr size_t kRequestBytesMax = 16 * 1024;

BioPtr reader_of(std::string_view text) { return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string text_of_bio(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

bool set_random_serial(X509* certificate) {
  std::array<uint8_t, 16> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return false;
  bytes[0] = static_cast<uint8_t>((bytes[0] & 0x7f) | 0x40);  // positive and always 16 bytes long
  const BigNumberPtr number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  return number != nullptr && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_times(X509* certificate, UnixTime not_before, UnixTime not_after) {
  const time_t from = not_before.time_since_epoch().count();
  const time_t until = not_after.time_since_epoch().count();
  return ASN1_TIME_set(X509_getm_notBefore(certificate), from) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), until) != nullptr;
}

bool add_common_name(X509_NAME* name, const std::string& text) {
  return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("Culvert"), -1, -1,
                                    0) == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.c_str()), -1,
                                    -1, 0) == 1;
}

bool add_extension(X509* certificate, X509V3_CTX* context, int nid, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, context, nid, value);
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

// Built as an object, not from text: OpenSSL's configuration syntax would read commas and colons of a name.
bool add_uri_san(X509* certificate, const std::string& uri) {
  const NamesPtr names(GENERAL_NAMES_new());
  GENERAL_NAME* name = GENERAL_NAME_new();
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  if (names == nullptr || name == nullptr || text == nullptr ||
      ASN1_STRING_set(text, uri.data(), static_cast<int>(uri.size())) != 1) {
    GENERAL_NAME_free(name);
    ASN1_IA5STRING_free(text);
    return false;
  }
  GENERAL_NAME_set0_value(name, GEN_URI, text);
  if (sk_GENERAL_NAME_push(names.get(), name) <= 0) {
    GENERAL_NAME_free(name);
    return false;
  }
  constexpr int kCritical = 1;
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), kCritical, X509V3_ADD_DEFAULT) == 1;
}

bool add_extensions(X509* certificate, X509* issuer, const Template& what) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const auto add = [&](int nid, const char* value) { return add_extension(certificate, &context, nid, value); };
  switch (what.kind) {
    case Kind::kRoot:
      return add(NID_basic_constraints, "critical,CA:TRUE") && add(NID_key_usage, "critical,keyCertSign,cRLSign") &&
             add(NID_subject_key_identifier, "hash");
    case Kind::kIntermediate:
      return add(NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
             add(NID_key_usage, "critical,keyCertSign,cRLSign") && add(NID_subject_key_identifier, "hash") &&
             add(NID_authority_key_identifier, "keyid:always");
    case Kind::kLeaf:
      return add(NID_basic_constraints, "critical,CA:FALSE") && add(NID_key_usage, "critical,digitalSignature") &&
             add(NID_ext_key_usage, "serverAuth,clientAuth") && add(NID_authority_key_identifier, "keyid:always") &&
             add_uri_san(certificate, what.uri);
  }
  return false;
}

// Why the key is not one we sign for, or "".
std::string key_objection(EVP_PKEY* key) {
  if (key == nullptr) return "its public key cannot be read";
  std::array<char, 64> group{};
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key, group.data(), group.size(), nullptr) != 1) {
    return "its key is not an ECDSA key (accepted: P-256, P-384)";
  }
  const std::string_view name(group.data());
  if (name == "prime256v1" || name == "P-256" || name == "secp384r1" || name == "P-384") return "";
  return "its key is on curve " + std::string(name) + " (accepted: P-256, P-384)";
}

// The only name the request asks for, when its extensions are exactly one URI SAN.
Result<std::string, std::string> requested_uri(X509_REQ* request) {
  struct Extensions {
    STACK_OF(X509_EXTENSION) * list;
    ~Extensions() { sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free); }
  };
  const Extensions extensions{X509_REQ_get_extensions(request)};
  const int count = extensions.list == nullptr ? 0 : sk_X509_EXTENSION_num(extensions.list);
  if (count != 1) {
    return Failure{"it asks for " + std::to_string(count) +
                   " extensions; exactly one is accepted, a URI subject alternative name"};
  }
  int critical = 0;
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions.list, NID_subject_alt_name, &critical, nullptr)));
  if (names == nullptr || sk_GENERAL_NAME_num(names.get()) != 1) {
    return Failure{std::string("it does not ask for exactly one subject alternative name")};
  }
  int type = 0;
  const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), 0), &type);
  if (type != GEN_URI) return Failure{std::string("its subject alternative name is not a URI")};
  const auto* uri = static_cast<const ASN1_STRING*>(value);
  return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                     static_cast<size_t>(ASN1_STRING_length(uri)));
}

}  // namespace

std::string take_openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "no reason given";
  std::array<char, 256> text{};
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

KeyPtr generate_p256_key() { return KeyPtr(EVP_EC_gen("P-256")); }

Result<CertificatePtr, std::string> make_certificate(const Template& what, EVP_PKEY* subject_key, X509* issuer,
                                                     EVP_PKEY* issuer_key) {
  CertificatePtr certificate(X509_new());
  constexpr long kVersion3 = 2;
  bool ok = certificate != nullptr && X509_set_version(certificate.get(), kVersion3) == 1 &&
            set_random_serial(certificate.get()) && set_times(certificate.get(), what.not_before, what.not_after) &&
            X509_set_pubkey(certificate.get(), subject_key) == 1;
  if (ok && what.kind != Kind::kLeaf) {
    ok = add_common_name(X509_get_subject_name(certificate.get()), what.common_name);
  }
  X509* const signer = issuer == nullptr ? certificate.get() : issuer;
  ok = ok && X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer)) == 1 &&
       add_extensions(certificate.get(), signer, what) && X509_sign(certificate.get(), issuer_key, EVP_sha256()) > 0;
  if (!ok) return "could not make a certificate: " + take_openssl_error();
  return certificate;
}

std::string to_pem(X509* certificate) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), certificate);
  return text_of_bio(out.get());
}

std::string to_pem(EVP_PKEY* key) {
  const BioPtr out(BIO_new(BIO_s_secmem()));
  PEM_write_bio_PKCS8PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return text_of_bio(out.get());
}

KeyPtr key_from_pem(std::string_view pem) {
  // An encrypted key gets an empty pass phrase instead of a question on the terminal.
  constexpr auto no_pass_phrase = [](char*, int, int, void*) { return 0; };
  KeyPtr key(PEM_read_bio_PrivateKey(reader_of(pem).get(), nullptr, no_pass_phrase, nullptr));
  ERR_clear_error();
  return key;
}

std::vector<CertificatePtr> certificates_from_pem(std::string_view pem) {
  std::vector<CertificatePtr> all;
  const BioPtr in = reader_of(pem);
  while (CertificatePtr one{PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)}) all.push_back(std::move(one));
  const unsigned long error = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) all.clear();
  return all;
}

UnixTime not_after(const X509* certificate) {
  tm parts{};
  ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts);
  return UnixTime{std::chrono::seconds{timegm(&parts)}};
}

std::string serial_hex(const X509* certificate) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  std::string text;
  for (int i = 0; i < ASN1_STRING_length(serial); i++) {
    constexpr char kDigits[] = "0123456789abcdef";
    const uint8_t byte = ASN1_STRING_get0_data(serial)[i];
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Result<RequestPtr, std::string> checked_request(std::string_view csr_pem, std::string_view expected_id) {
  if (csr_pem.size() > kRequestBytesMax) return std::string("it is longer than 16 KiB");
  const BioPtr in = reader_of(csr_pem);
  RequestPtr request(PEM_read_bio_X509_REQ(in.get(), nullptr, nullptr, nullptr));
  if (request == nullptr) {
    ERR_clear_error();
    return std::string("it is not a PEM certificate request");
  }
  EVP_PKEY* const key = X509_REQ_get0_pubkey(request.get());
  if (std::string objection = key_objection(key); !objection.empty()) {
    ERR_clear_error();
    return objection;
  }
  if (X509_REQ_verify(request.get(), key) != 1) {
    ERR_clear_error();
    return std::string("its signature is wrong");
  }
  if (X509_NAME_entry_count(X509_REQ_get_subject_name(request.get())) != 0) {
    return std::string("its subject is not empty");
  }
  auto uri = requested_uri(request.get());
  ERR_clear_error();
  if (!uri) return uri.error();
  if (*uri != expected_id) return "it asks for \"" + *uri + "\", not for " + std::string(expected_id);
  return request;
}

}  // namespace culvert::ca
