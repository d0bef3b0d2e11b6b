// Reading certificates: PEM bundles, URI SANs, dates. For tls and for those who judge what a CA sent.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "identity/spiffe_id.h"

struct x509_st;
struct asn1_string_st;

namespace culvert::identity {

struct CertificateFree {
  void operator()(x509_st* certificate) const;
};
using Certificate = std::unique_ptr<x509_st, CertificateFree>;

// Every certificate of a PEM text, in its order; text between blocks is skipped. The error names the block that does
// not decode. An empty text is an empty list.
Result<std::vector<Certificate>, std::string> parse_pem_certificates(std::string_view pem);

// All URI SANs as they stand in the certificate, SPIFFE or not. DNS and IP SANs and the CN are not looked at
// (reference 3.2).
std::vector<std::string> uri_sans(const x509_st* certificate);
// Those of them that are SPIFFE identities.
std::vector<SpiffeId> spiffe_ids(const x509_st* certificate);

// The same certificates as one PEM text, in their order: what was in between is gone.
std::string pem_of(const std::vector<const x509_st*>& certificates);

UnixTime unix_time_of(const asn1_string_st* asn1_time);  // 1970 when it is none
UnixTime not_before(const x509_st* certificate);
UnixTime not_after(const x509_st* certificate);

// "a, b" for error texts, with anything but visible ASCII replaced and the length bounded: SANs are the peer's words.
std::string quoted_list(const std::vector<std::string>& texts);

}  // namespace culvert::identity
