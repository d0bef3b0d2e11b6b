// Certificate revocation lists (reference 16): the set in force, and the question whether a peer's chain is named in
// it, at its handshake and again when a newer set comes.
//
//   Result<std::shared_ptr<const CrlSet>, std::string> set = CrlSet::parse(files);     // control thread
//   revocation.install(*set);                                                          // each core
//   ChainMark mark;
//   if (revocation.judge(chain, mark) == ChainVerdict::kRevoked) …                      // handshake
//   if (revocation.is_revoked(mark)) …                                                  // later, for what lives
//
// A list speaks for the certificates of an issuer when its name is the issuer's subject and the issuer's key made its
// signature: two roots of one mesh often have one name (RFC 5280 6.3.3 (b), (g)). Both are found out once per list and
// issuer. A certificate whose issuer has no list passes, and lists count past their nextUpdate (reference 16). The
// trust anchor itself is judged by nobody: who distrusts it takes it out of the roots.
//
// What is kept of a chain is a pair per certificate: its issuer, shared by all chains that have it, and its serial
// number. The issuers of a core are bounded by kIssuersMax.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

struct x509_st;
struct X509_crl_st;
struct asn1_string_st;
struct stack_st_X509;

namespace culvert::identity {

// A certificate's serial number in a fixed size. Longer than the 20 octets of RFC 5280 4.1.2.2: a digest of it.
class SerialNumber {
 public:
  SerialNumber() = default;
  explicit SerialNumber(const asn1_string_st* integer);
  friend auto operator<=>(const SerialNumber&, const SerialNumber&) = default;

 private:
  uint8_t form_ = 0;  // length and sign, or that it is a digest
  std::array<uint8_t, 20> bytes_{};
};

// Immutable; shared by all cores.
class CrlSet {
 public:
  // Lists in one set; a mesh has one per CA certificate.
  static constexpr size_t kListsMax = 256;

  // Each file is PEM with any number of "X509 CRL" blocks (other blocks are skipped, a file without one is refused), or
  // one list in DER. No file: the empty set. The error names file and list. Refused are delta and indirect lists, whose
  // entries speak of other lists or of other issuers, and critical extensions that are not understood (RFC 5280 5.2).
  static Result<std::shared_ptr<const CrlSet>, std::string> parse(const std::vector<std::string_view>& files);
  ~CrlSet();
  CrlSet(const CrlSet&) = delete;
  CrlSet& operator=(const CrlSet&) = delete;

  size_t lists() const { return lists_.size(); }
  size_t entries() const;                               // of all lists
  std::optional<UnixTime> soonest_next_update() const;  // none: no list says one

 private:
  friend class Revocation;
  struct List {
    X509_crl_st* crl;
    std::vector<SerialNumber> revoked;  // sorted
  };
  CrlSet() = default;
  std::optional<std::string> add(X509_crl_st* crl);  // takes it; the sentence says why not

  std::vector<List> lists_;
};

// A CA certificate that has issued some peer's, and the lists that speak for it.
class Issuer;

// What is kept of a verified chain. Empty: nothing of it is ever revoked.
class ChainMark {
 public:
  size_t certificates() const { return entries_.size(); }

 private:
  friend class Revocation;
  struct Entry {
    std::shared_ptr<Issuer> issuer;
    SerialNumber serial;
  };
  std::vector<Entry> entries_;
};

enum class ChainVerdict : uint8_t {
  kPasses,
  kRevoked,
  kUntracked,  // passes now; the mark is empty, since there are too many issuers: later sets do not see it
};

// One core's view. Not shared.
class Revocation {
 public:
  // Distinct issuers of living tunnels. A mesh has a handful; each costs some 3 KB.
  static constexpr size_t kIssuersMax = 1'024;

  explicit Revocation(size_t issuers_max = kIssuersMax) : issuers_max_(issuers_max) {}

  // The set from now on; null: none.
  void install(std::shared_ptr<const CrlSet> set);
  // `chain`: a chain that was verified, leaf first, trust anchor last. `mark` replaces what was in it.
  ChainVerdict judge(const stack_st_X509* chain, ChainMark& mark);
  bool is_revoked(const ChainMark& mark);
  size_t issuers() const { return issuers_.size(); }

 private:
  using Digest = std::array<uint8_t, 32>;
  std::shared_ptr<Issuer> issuer_of(x509_st* certificate);
  bool is_revoked(Issuer& issuer, const SerialNumber& serial);

  const size_t issuers_max_;
  std::shared_ptr<const CrlSet> set_;
  uint64_t generation_ = 0;  // of the set
  std::map<Digest, std::weak_ptr<Issuer>> issuers_;
};

}  // namespace culvert::identity
