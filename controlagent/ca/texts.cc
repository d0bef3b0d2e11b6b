#include "ca/texts.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>

#include <ctime>

#include "ca/certificate.h"

namespace culvert::ca {
namespace {

UnixTime time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return UnixTime(std::chrono::seconds(timegm(&parts)));
}

std::string serial_decimal(const X509* certificate) {
  const BigNumberPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  if (number == nullptr) return {};
  char* digits = BN_bn2dec(number.get());
  const std::string out = digits == nullptr ? "" : digits;
  OPENSSL_free(digits);
  return out;
}

}  // namespace

std::vector<CertificateText> certificate_texts(std::string_view pem) {
  std::vector<CertificateText> out;
  for (const CertificatePtr& certificate : certificates_from_pem(pem)) {
    out.push_back({.pem = to_pem(certificate.get()),
                   .serial = serial_decimal(certificate.get()),
                   .not_before = time_of(X509_get0_notBefore(certificate.get())),
                   .not_after = time_of(X509_get0_notAfter(certificate.get()))});
  }
  return out;
}

}  // namespace culvert::ca
