// A peer's chain judged from texts, without a handshake: verification.h's and revocation.h's own judgement, with the
// sentence that says what is wrong and the facts beside it. For tools.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "identity/spiffe_id.h"
#include "identity/verification.h"

namespace culvert::identity {

struct ChainQuestion {
  std::string_view roots_pem;
  std::string_view chain_pem;                // leaf first, then intermediates in any order, as in TLS 1.3
  std::optional<std::string_view> crl_file;  // PEM or DER, see CrlSet::parse
  SpiffeId expected;  // what a server's leaf has to bear; a client's has to be of its trust domain
  Purpose purpose = Purpose::kServer;
  UnixTime now{};
};

struct CertificateFacts {
  std::string subject;  // in RFC 4514's form; empty: an empty subject, as in the mesh
  std::string issuer;
  std::vector<std::string> uri_sans;
  UnixTime not_before{}, not_after{};
};

struct ChainReport {
  bool good = false;
  std::string sentence;  // what is wrong; empty when good
  std::vector<CertificateFacts> chain;
};

// The error is a sentence: why there is nothing to judge (a text that does not decode, no root, no certificate).
Result<ChainReport, std::string> judge_chain(const ChainQuestion& question);

}  // namespace culvert::identity
