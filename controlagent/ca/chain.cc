#include "ca/chain.h"

#include <openssl/err.h>

#include "ca/certificate.h"

namespace culvert::ca {
namespace {

UnixTime time_of(const ASN1_TIME* time) {
  tm parts{};
  ASN1_TIME_to_tm(time, &parts);
  return UnixTime{std::chrono::seconds{timegm(&parts)}};
}

std::vector<std::string> uris_of(const X509* certificate) {
  std::vector<std::string> out;
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); i++) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    const auto* bytes = reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri));
    out.emplace_back(bytes, static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  return out;
}

}  // namespace

std::vector<CertificateFacts> read_certificates(std::string_view pem) {
  std::vector<CertificateFacts> out;
  for (const CertificatePtr& certificate : certificates_from_pem(pem)) {
    out.push_back({.uris = uris_of(certificate.get()),
                   .not_before = time_of(X509_get0_notBefore(certificate.get())),
                   .not_after = time_of(X509_get0_notAfter(certificate.get()))});
  }
  ERR_clear_error();  // of a SAN that does not decode
  return out;
}

}  // namespace culvert::ca
