// A certificate authority in memory for tests: roots, intermediates, leaves with any SAN, validity, usage and key type.
//
//   TestCa ca;
//   auto client = ca.credentials("spiffe://cluster.local/ns/a/sa/client");
//   TestLeaf expired = ca.issue({.uri_sans = {"spiffe://…"}, .not_after = kTestNow - 1h});
//
// Dates are around kTestNow, which tests hand to the code as the calendar's time. A test against programs that read the
// machine's clock passes real dates.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "identity/credentials.h"

struct evp_pkey_st;
struct x509_st;

namespace culvert::testkit {

// 2026-03-01 12:00:00 UTC.
inline constexpr UnixTime kTestNow{std::chrono::seconds{1'772'366'400}};

enum class KeyType { kP256, kP384, kRsa2048, kEd25519 };

// Which extended key usages a leaf names; none leaves the extension out.
enum class Usage { kBoth, kServerOnly, kClientOnly, kNone };

struct LeafOptions {
  std::vector<std::string> uri_sans = {};
  std::vector<std::string> dns_sans = {};
  std::vector<std::string> ip_sans = {};  // as text
  std::string common_name = {};           // empty: an empty subject and a critical SAN, as in the mesh
  KeyType key = KeyType::kP256;
  Usage usage = Usage::kBoth;
  UnixTime not_before = kTestNow - std::chrono::hours{1};
  UnixTime not_after = kTestNow + std::chrono::hours{24};
};

struct TestLeaf {
  std::string chain_pem;  // leaf, then intermediates
  std::string key_pem;    // PKCS#8
};

struct CrlOptions {
  std::vector<std::string> serials = {};  // decimal, as Credentials::serial_decimal tells them
  UnixTime this_update = kTestNow - std::chrono::hours{1};
  UnixTime next_update = kTestNow + std::chrono::hours{24};
  bool is_delta = false, is_indirect = false, has_unknown_critical = false;
};

class TestCa {
 public:
  explicit TestCa(KeyType key = KeyType::kP256, std::string_view name = "Test root",
                  UnixTime not_before = kTestNow - std::chrono::hours{24},
                  UnixTime not_after = kTestNow + std::chrono::hours{24 * 365});
  ~TestCa();
  TestCa(TestCa&&) noexcept;
  TestCa& operator=(TestCa&&) noexcept;

  // A CA that was made elsewhere: its certificate, then those between it and the root. Null when they do not decode or
  // do not belong together. Serials count from `first_serial`.
  static std::unique_ptr<TestCa> from_pem(std::string_view chain_pem, std::string_view key_pem, std::string root_pem,
                                          uint64_t first_serial = 1);

  // A CA below this one: its leaves carry its certificate behind them, and chain to this root.
  TestCa intermediate(std::string_view name = "Test intermediate",
                      UnixTime not_before = kTestNow - std::chrono::hours{1},
                      UnixTime not_after = kTestNow + std::chrono::hours{24}) const;

  TestLeaf issue(const LeafOptions& options) const;
  // The leaf for a request made by PrivateKey::csr_pem: SANs and key are taken over. Empty when it does not decode.
  std::string sign_csr(std::string_view csr_pem, UnixTime not_before = kTestNow - std::chrono::hours{1},
                       UnixTime not_after = kTestNow + std::chrono::hours{24}) const;
  // The same with everything but the key taken from `options`.
  std::string sign_csr(std::string_view csr_pem, const LeafOptions& options) const;

  // A revocation list of this CA, PEM.
  std::string crl_pem(const CrlOptions& options) const;

  // What peers trust: the root, also of an intermediate.
  const std::string& root_pem() const { return root_pem_; }

  // A workload's credentials under this CA. Aborts when they cannot be made: then the test is wrong.
  std::shared_ptr<const identity::Credentials> credentials(std::string_view spiffe_uri) const;
  std::shared_ptr<const identity::Credentials> credentials(const LeafOptions& options) const;
  // Leaf from this CA, trust in another's root.
  std::shared_ptr<const identity::Credentials> credentials(const LeafOptions& options, const TestCa& trusted) const;
  // No certificate, only the root.
  std::shared_ptr<const identity::Credentials> roots_only() const;
  // Of the certificate made last.
  uint64_t last_serial() const { return next_serial_ - 1; }

 private:
  struct Empty {};
  explicit TestCa(Empty) {}
  x509_st* sign(evp_pkey_st* subject_key, const LeafOptions& options, bool is_ca) const;

  evp_pkey_st* key_ = nullptr;
  x509_st* certificate_ = nullptr;
  std::string issuers_pem_;  // what stands behind a leaf: nothing for a root
  std::string root_pem_;
  mutable uint64_t next_serial_ = 1;  // counts, so that equal tests make equal certificates
};

}  // namespace culvert::testkit
