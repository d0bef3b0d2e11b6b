#include "identity/certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <climits>

#include "base/bytes.h"

namespace culvert::identity {

UnixTime unix_time_of(const asn1_string_st* time) {
  std::tm fields{};
  if (!time || ASN1_TIME_to_tm(time, &fields) != 1) return UnixTime{};
  const std::chrono::year_month_day day{std::chrono::year{fields.tm_year + 1900},
                                        std::chrono::month{static_cast<unsigned>(fields.tm_mon + 1)},
                                        std::chrono::day{static_cast<unsigned>(fields.tm_mday)}};
  return UnixTime{std::chrono::sys_days{day}} + std::chrono::hours{fields.tm_hour} +
         std::chrono::minutes{fields.tm_min} + std::chrono::seconds{fields.tm_sec};
}

void CertificateFree::operator()(x509_st* certificate) const { X509_free(certificate); }

Result<std::vector<Certificate>, std::string> parse_pem_certificates(std::string_view pem) {
  std::vector<Certificate> certificates;
  if (pem.size() > INT_MAX) return std::string("certificate text is too long");
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  if (!bio) return std::string("out of memory");
  std::string error;
  for (;;) {
    char* name = nullptr;
    char* header = nullptr;
    unsigned char* der = nullptr;
    long bytes = 0;
    ERR_clear_error();
    if (PEM_read_bio(bio, &name, &header, &der, &bytes) != 1) {
      const unsigned long code = ERR_peek_last_error();
      if (ERR_GET_REASON(code) != PEM_R_NO_START_LINE) {
        error = "PEM block " + std::to_string(certificates.size() + 1) + " is damaged";
      }
      break;
    }
    const std::string_view kind = name;
    if (kind == "CERTIFICATE" || kind == "X509 CERTIFICATE" || kind == "TRUSTED CERTIFICATE") {
      const unsigned char* at = der;
      X509* certificate = d2i_X509(nullptr, &at, bytes);
      if (certificate) {
        certificates.emplace_back(certificate);
      } else {
        error = "certificate " + std::to_string(certificates.size() + 1) + " does not decode";
      }
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    if (!error.empty()) break;
  }
  ERR_clear_error();
  BIO_free(bio);
  if (!error.empty()) return error;
  return certificates;
}

std::vector<std::string> uri_sans(const x509_st* certificate) {
  std::vector<std::string> sans;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  if (!names) return sans;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    sans.emplace_back(text_of(ByteView{ASN1_STRING_get0_data(uri), static_cast<size_t>(ASN1_STRING_length(uri))}));
  }
  GENERAL_NAMES_free(names);
  return sans;
}

std::vector<SpiffeId> spiffe_ids(const x509_st* certificate) {
  std::vector<SpiffeId> ids;
  for (const std::string& san : uri_sans(certificate)) {
    if (auto id = SpiffeId::parse(san)) ids.push_back(std::move(*id));
  }
  return ids;
}

std::string pem_of(const std::vector<const x509_st*>& certificates) {
  BIO* bio = BIO_new(BIO_s_mem());
  if (!bio) return {};
  bool right = true;
  for (const x509_st* certificate : certificates) {
    right = right && PEM_write_bio_X509(bio, const_cast<x509_st*>(certificate)) == 1;
  }
  char* at = nullptr;
  const long bytes = BIO_get_mem_data(bio, &at);
  std::string text = right ? std::string(at, static_cast<size_t>(bytes)) : std::string();
  BIO_free(bio);
  return text;
}

UnixTime not_before(const x509_st* certificate) { return unix_time_of(X509_get0_notBefore(certificate)); }
UnixTime not_after(const x509_st* certificate) { return unix_time_of(X509_get0_notAfter(certificate)); }

std::string quoted_list(const std::vector<std::string>& texts) {
  // Long enough for a few identities of full length, short enough for one log line.
  constexpr size_t kBytesMax = 512;
  std::string out;
  for (const std::string& text : texts) {
    if (!out.empty()) out += ", ";
    for (const char c : text) {
      if (out.size() >= kBytesMax) return out + "…";
      out += c > ' ' && c < 0x7f ? c : '?';
    }
  }
  return out;
}

}  // namespace culvert::identity
