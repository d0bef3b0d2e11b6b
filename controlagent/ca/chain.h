// Reading certificates that another CA made: what its answer has to be judged by.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace culvert::ca {

struct CertificateFacts {
  std::vector<std::string> uris;  // URI SANs, in their order
  UnixTime not_before, not_after;
};

// Every certificate of a PEM text, in its order; empty when there is none or one of them cannot be read.
std::vector<CertificateFacts> read_certificates(std::string_view pem);

}  // namespace culvert::ca
