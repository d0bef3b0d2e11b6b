// The file-based certificate authority of a mesh without istiod: a root and an issuing certificate in one directory,
// and short-lived workload certificates signed from requests (D20: keys of workloads never pass here).
//
// Directory (names as in Istio's `cacerts` secret), every file mode 0600:
//   root-cert.pem  self-signed ECDSA P-256, ten years; what every workload trusts
//   root-key.pem   needed only to make another issuing certificate; may be moved away
//   ca-cert.pem    issuing certificate, signed by the root, path length 0; further intermediates may follow it
//   ca-key.pem     its key, the one that signs
//
// A private key exists in this room only for the CA itself, and in issue(), which serves peers outside Culvert.
// Errors are one sentence that names the file or the field and what to do.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace culvert::ca {

// Longest life of a leaf. Short lives are what replaces revocation here.
inline constexpr std::chrono::seconds kLeafLifetimeMax{24 * 3600};
inline constexpr std::chrono::seconds kLeafLifetimeDefault{600};

// A leaf is valid a little earlier than it was asked for, since clocks of nodes differ: a fifth of its life, at most
// two minutes (what istiod does), so that half of a very short life still lies ahead.
std::chrono::seconds backdating(std::chrono::seconds lifetime);

// Makes root and issuing certificate in `dir` (made when missing, mode 0700). Refuses when one of the files exists.
Result<void, std::string> init(const std::string& dir);

// For peers that Culvert does not run (tests, gateways): makes a key and a certificate for `spiffe_id` and writes
// `<out_prefix>-key.pem` and `<out_prefix>-chain.pem` (leaf, then intermediates), both mode 0600, replacing older ones.
Result<void, std::string> issue(const std::string& dir, const std::string& spiffe_id, std::chrono::seconds lifetime,
                                const std::string& out_prefix);

struct IssuedChain {
  std::string chain_pem;  // leaf first, then intermediates, no root
  std::string roots_pem;
  UnixTime not_before;
  UnixTime not_after;
  std::string serial;  // lower-case hexadecimal
};

// True for spiffe://<trust-domain>/ns/<namespace>/sa/<service-account> with no part empty and only characters that
// SPIFFE allows in a path segment (SPIFFE-ID 2.1, 2.2); reference 3.2.
bool is_workload_identity(std::string_view uri);

// A CA directory, read once. Not thread-safe.
class Authority {
 public:
  // Checks that keys are readable by their owner only, that key and certificate belong together, and that the chain
  // leads to the root at `now`.
  static Result<std::unique_ptr<Authority>, std::string> open(const std::string& dir, UnixTime now);
  ~Authority();

  // Signs a request: PEM, one, at most 16 KiB, ECDSA P-256 or P-384, its own signature correct, empty subject, and as
  // its only extension one URI SAN, which must be `expected_id` (the requester does not choose its name).
  Result<IssuedChain, std::string> sign(std::string_view csr_pem, std::string_view expected_id,
                                        std::chrono::seconds lifetime, UnixTime now) const;

  // What ca::issue does, for one identity that is_workload_identity.
  Result<void, std::string> issue_to_files(const std::string& spiffe_id, std::chrono::seconds lifetime, UnixTime now,
                                           const std::string& out_prefix) const;

  UnixTime not_after() const;  // of the issuing certificate
  const std::string& roots_pem() const;

 private:
  struct Impl;
  explicit Authority(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::ca
