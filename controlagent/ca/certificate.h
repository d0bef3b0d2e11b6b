// Making and encoding certificates and keys: the part of the CA that knows X.509 (RFC 5280).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "ca/openssl_types.h"

namespace culvert::ca {

enum class Kind : uint8_t {
  kRoot,          // self-signed, may sign CAs
  kIntermediate,  // path length 0: signs leaves only
  kLeaf,          // serverAuth and clientAuth, both roles of a workload
};

struct Template {
  Kind kind = Kind::kLeaf;
  std::string common_name;  // CA certificates; a leaf's subject is empty
  std::string uri;          // leaf: its only, critical SAN (RFC 5280 4.2.1.6: critical since the subject is empty)
  UnixTime not_before;
  UnixTime not_after;
};

KeyPtr generate_p256_key();

// `issuer` is null for a root. Signs with ECDSA and SHA-256; the serial is 127 random bits (RFC 5280 4.1.2.2).
Result<CertificatePtr, std::string> make_certificate(const Template& what, EVP_PKEY* subject_key, X509* issuer,
                                                     EVP_PKEY* issuer_key);

std::string to_pem(X509* certificate);
std::string to_pem(EVP_PKEY* key);  // PKCS#8, not encrypted

KeyPtr key_from_pem(std::string_view pem);
// Every certificate of a file, in its order; empty when there is none or one cannot be read.
std::vector<CertificatePtr> certificates_from_pem(std::string_view pem);

UnixTime not_after(const X509* certificate);
std::string serial_hex(const X509* certificate);

// Says what is wrong with the request, or nothing. See Authority::sign.
Result<RequestPtr, std::string> checked_request(std::string_view csr_pem, std::string_view expected_id);

}  // namespace culvert::ca
