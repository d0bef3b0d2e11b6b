#include "identity/revocation.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "identity/certificate.h"

namespace culvert::identity {

namespace {

constexpr uint8_t kNegative = 0x40;
constexpr uint8_t kDigested = 0x80;

// What is understood although it may be marked critical. An issuing distribution point narrows what a list is complete
// for; what it names is revoked all the same, and what it does not name passes in any case.
bool is_understood(const X509_EXTENSION* extension) {
  const int nid = OBJ_obj2nid(X509_EXTENSION_get_object(const_cast<X509_EXTENSION*>(extension)));
  return nid == NID_issuing_distribution_point || nid == NID_authority_key_identifier || nid == NID_crl_number ||
         nid == NID_crl_reason || nid == NID_invalidity_date;
}

bool has_foreign_critical(const STACK_OF(X509_EXTENSION) * extensions) {
  for (int i = 0; i < sk_X509_EXTENSION_num(extensions); ++i) {
    const X509_EXTENSION* extension = sk_X509_EXTENSION_value(extensions, i);
    if (X509_EXTENSION_get_critical(extension) && !is_understood(extension)) return true;
  }
  return false;
}

bool is_indirect(const X509_CRL* crl) {
  auto* point =
      static_cast<ISSUING_DIST_POINT*>(X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, nullptr, nullptr));
  const bool indirect = point && point->indirectCRL > 0;
  ISSUING_DIST_POINT_free(point);
  return indirect;
}

}  // namespace

SerialNumber::SerialNumber(const asn1_string_st* integer) {
  const ByteView bytes{ASN1_STRING_get0_data(integer), static_cast<size_t>(ASN1_STRING_length(integer))};
  if (bytes.size() <= bytes_.size()) {
    form_ = static_cast<uint8_t>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  } else {
    form_ = kDigested;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned int digest_bytes = 0;
    DP_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &digest_bytes, EVP_sha256(), nullptr) == 1);
    std::copy(digest, digest + bytes_.size(), bytes_.begin());
  }
  if (ASN1_STRING_type(integer) == V_ASN1_NEG_INTEGER) form_ |= kNegative;
}

// --- a set of lists --------------------------------------------------------------------------------------------------

CrlSet::~CrlSet() {
  for (const List& list : lists_) X509_CRL_free(list.crl);
}

std::optional<std::string> CrlSet::add(X509_crl_st* crl) {
  lists_.push_back({crl, {}});
  if (lists_.size() > kListsMax) return "more than " + std::to_string(kListsMax) + " lists";
  if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0) return std::string("a delta CRL is not accepted");
  if (is_indirect(crl)) return std::string("an indirect CRL is not accepted");
  if (has_foreign_critical(X509_CRL_get0_extensions(crl))) {
    return std::string("it has a critical extension that is not understood");
  }
  const STACK_OF(X509_REVOKED)* entries = X509_CRL_get_REVOKED(crl);
  std::vector<SerialNumber>& revoked = lists_.back().revoked;
  const int count = std::max(sk_X509_REVOKED_num(entries), 0);
  revoked.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const X509_REVOKED* entry = sk_X509_REVOKED_value(entries, i);
    if (has_foreign_critical(X509_REVOKED_get0_extensions(entry))) {
      return std::string("an entry has a critical extension that is not understood");
    }
    revoked.emplace_back(X509_REVOKED_get0_serialNumber(entry));
  }
  std::sort(revoked.begin(), revoked.end());
  return std::nullopt;
}

Result<std::shared_ptr<const CrlSet>, std::string> CrlSet::parse(const std::vector<std::string_view>& files) {
  std::shared_ptr<CrlSet> set(new CrlSet);
  for (size_t f = 0; f < files.size(); ++f) {
    const std::string where = "CRL file " + std::to_string(f + 1);
    const std::string_view text = files[f];
    if (text.size() > INT_MAX) return Failure{where + " is too long"};
    const size_t before = set->lists_.size();
    const auto take = [&](X509_CRL* crl) -> std::optional<std::string> {
      const std::string name = where + ", list " + std::to_string(set->lists_.size() - before + 1);
      if (!crl) return name + " does not decode";
      if (auto refused = set->add(crl)) return name + ": " + *refused;
      return std::nullopt;
    };
    std::optional<std::string> error;
    ERR_clear_error();
    if (text.find("-----BEGIN ") == std::string_view::npos) {
      const auto* at = reinterpret_cast<const unsigned char*>(text.data());
      const auto* end = at + text.size();
      X509_CRL* crl = d2i_X509_CRL(nullptr, &at, static_cast<long>(text.size()));
      if (crl && at == end) {
        error = take(crl);
      } else {
        X509_CRL_free(crl);
        error = where + (crl ? " has bytes behind its list" : " holds no CRL: PEM or DER is accepted");
      }
    } else {
      BIO* bio = BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
      if (!bio) return Failure{std::string("out of memory")};
      while (!error) {
        char* name = nullptr;
        char* header = nullptr;
        unsigned char* der = nullptr;
        long bytes = 0;
        if (PEM_read_bio(bio, &name, &header, &der, &bytes) != 1) {
          if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) error = where + " has a damaged PEM block";
          break;
        }
        if (std::string_view(name) == PEM_STRING_X509_CRL) {
          const unsigned char* at = der;
          error = take(d2i_X509_CRL(nullptr, &at, bytes));
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
      }
      BIO_free(bio);
      if (!error && set->lists_.size() == before) error = where + " holds no CRL";
    }
    ERR_clear_error();
    if (error) return Failure{std::move(*error)};
  }
  return std::shared_ptr<const CrlSet>(std::move(set));
}

size_t CrlSet::entries() const {
  size_t sum = 0;
  for (const List& list : lists_) sum += list.revoked.size();
  return sum;
}

std::optional<UnixTime> CrlSet::soonest_next_update() const {
  std::optional<UnixTime> soonest;
  for (const List& list : lists_) {
    const ASN1_TIME* next = X509_CRL_get0_nextUpdate(list.crl);
    if (!next) continue;
    const UnixTime at = unix_time_of(next);
    if (!soonest || at < *soonest) soonest = at;
  }
  return soonest;
}

// --- one core's view -------------------------------------------------------------------------------------------------

class Issuer {
 public:
  explicit Issuer(X509* certificate) : certificate_(certificate) { X509_up_ref(certificate); }
  ~Issuer() { X509_free(certificate_); }
  Issuer(const Issuer&) = delete;
  Issuer& operator=(const Issuer&) = delete;

  // cRLSign is not asked for: a list that the issuer's key has signed and that names a certificate is reason enough to
  // refuse it.
  bool signed_list(X509_CRL* crl) const {
    if (X509_NAME_cmp(X509_get_subject_name(certificate_), X509_CRL_get_issuer(crl)) != 0) return false;
    EVP_PKEY* key = X509_get0_pubkey(certificate_);
    const bool right = key && X509_CRL_verify(crl, key) == 1;
    ERR_clear_error();
    return right;
  }

  uint64_t generation = 0;      // of the set that `lists` is about
  std::vector<uint32_t> lists;  // of the set: those that speak for this issuer

 private:
  X509* certificate_;
};

void Revocation::install(std::shared_ptr<const CrlSet> set) {
  set_ = std::move(set);
  ++generation_;
}

std::shared_ptr<Issuer> Revocation::issuer_of(X509* certificate) {
  // Name and key make an issuer: renewed certificates of one CA are the same, roots that share a name are not.
  uint8_t parts[2 * EVP_MAX_MD_SIZE];
  unsigned int name_bytes = 0;
  unsigned int key_bytes = 0;
  if (X509_NAME_digest(X509_get_subject_name(certificate), EVP_sha256(), parts, &name_bytes) != 1 ||
      X509_pubkey_digest(certificate, EVP_sha256(), parts + name_bytes, &key_bytes) != 1) {
    ERR_clear_error();
    return nullptr;
  }
  Digest digest{};
  if (EVP_Digest(parts, name_bytes + key_bytes, digest.data(), nullptr, EVP_sha256(), nullptr) != 1) return nullptr;
  const auto known = issuers_.find(digest);
  if (known != issuers_.end()) {
    if (auto issuer = known->second.lock()) return issuer;
  } else if (issuers_.size() >= issuers_max_) {
    std::erase_if(issuers_, [](const auto& entry) { return entry.second.expired(); });
    if (issuers_.size() >= issuers_max_) return nullptr;
  }
  auto issuer = std::make_shared<Issuer>(certificate);
  issuers_[digest] = issuer;
  return issuer;
}

ChainVerdict Revocation::judge(const stack_st_X509* chain, ChainMark& mark) {
  mark.entries_.clear();
  bool tracked = true;
  const int certificates = sk_X509_num(chain);
  mark.entries_.reserve(static_cast<size_t>(std::max(certificates - 1, 0)));
  for (int i = 0; i + 1 < certificates; ++i) {
    std::shared_ptr<Issuer> issuer = issuer_of(sk_X509_value(chain, i + 1));
    tracked = tracked && issuer;
    // Not kept, but judged all the same.
    if (!issuer) issuer = std::make_shared<Issuer>(sk_X509_value(chain, i + 1));
    const SerialNumber serial(X509_get0_serialNumber(sk_X509_value(chain, i)));
    if (is_revoked(*issuer, serial)) {
      mark.entries_.clear();
      return ChainVerdict::kRevoked;
    }
    mark.entries_.push_back({std::move(issuer), serial});
  }
  if (tracked) return ChainVerdict::kPasses;
  mark.entries_.clear();
  return ChainVerdict::kUntracked;
}

bool Revocation::is_revoked(const ChainMark& mark) {
  return std::any_of(mark.entries_.begin(), mark.entries_.end(),
                     [this](const ChainMark::Entry& entry) { return is_revoked(*entry.issuer, entry.serial); });
}

bool Revocation::is_revoked(Issuer& issuer, const SerialNumber& serial) {
  if (!set_ || set_->lists_.empty()) return false;
  if (issuer.generation != generation_) {
    issuer.generation = generation_;
    issuer.lists.clear();
    for (uint32_t i = 0; i < set_->lists_.size(); ++i) {
      if (issuer.signed_list(set_->lists_[i].crl)) issuer.lists.push_back(i);
    }
  }
  return std::any_of(issuer.lists.begin(), issuer.lists.end(), [&](uint32_t list) {
    const std::vector<SerialNumber>& revoked = set_->lists_[list].revoked;
    return std::binary_search(revoked.begin(), revoked.end(), serial);
  });
}

}  // namespace culvert::identity
