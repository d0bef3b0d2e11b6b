// What people are shown of certificates: no OpenSSL type, no judgement.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace culvert::ca {

struct CertificateText {
  std::string pem;     // of this one, encoded anew
  std::string serial;  // decimal
  UnixTime not_before{}, not_after{};
};

// One for each certificate of a PEM text, in its order; empty when one of them cannot be read.
std::vector<CertificateText> certificate_texts(std::string_view pem);

}  // namespace culvert::ca
