// What one workload proves itself with: a private key that never leaves this process (D20), the chain the CA returned
// for it, and the roots to judge peers by. Immutable once made; a rotation makes a new one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "identity/spiffe_id.h"

struct evp_pkey_st;
struct x509_st;
struct x509_store_st;

namespace culvert::identity {

// Owns an EVP_PKEY; made here, used here, wiped by OpenSSL when the last reference goes. Cannot be printed.
class PrivateKey {
 public:
  static std::shared_ptr<const PrivateKey> generate_p256();
  // PEM, for tools that are given files (culvert-tls --key). Null when it is not a private key.
  static std::shared_ptr<const PrivateKey> from_pem(std::string_view pem);
  ~PrivateKey();
  evp_pkey_st* get() const { return key_; }
  // A certificate request with an empty subject and one URI SAN (reference 15), PEM.
  std::string csr_pem(const SpiffeId& id) const;

 private:
  explicit PrivateKey(evp_pkey_st* key) : key_(key) {}
  evp_pkey_st* key_;
};

class Credentials {
 public:
  // `chain_pem`: leaf first, then intermediates. `roots_pem`: any number of roots. The error is one sentence that says
  // what does not fit (no certificate, key does not match the leaf, no root …). Empty chain and null key: a client
  // without a certificate, which still judges its peer by the roots.
  static Result<std::shared_ptr<const Credentials>, std::string> make(std::shared_ptr<const PrivateKey> key,
                                                                      std::string_view chain_pem,
                                                                      std::string_view roots_pem);
  ~Credentials();

  const std::vector<SpiffeId>& identities() const;  // of the leaf
  UnixTime not_before() const;                      // the latest of the chain
  UnixTime not_after() const;                       // the soonest of the chain
  std::string serial_decimal() const;               // of the leaf; empty without one

  // Public texts for people and tools, made anew of what was read: a key that stood in the text is not in them.
  std::string chain_pem() const;  // leaf first
  std::string roots_pem() const;

  // For tls.
  bool has_certificate() const { return leaf() != nullptr; }
  evp_pkey_st* key() const;  // null without a certificate, as is leaf()
  x509_st* leaf() const;
  const std::vector<x509_st*>& intermediates() const;
  x509_store_st* roots() const;
  const std::vector<x509_st*>& root_certificates() const;
  // What tls derives from these credentials once (its SSL_CTX), kept as long as they are. `derive` runs at most once;
  // from any thread.
  const std::shared_ptr<void>& derived(std::shared_ptr<void> (*derive)(const Credentials&)) const;

 private:
  struct Impl;
  explicit Credentials(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::identity
