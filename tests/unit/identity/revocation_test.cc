// Revocation lists: what a set accepts, whom it speaks for, and what is remembered of a chain.
#include "identity/revocation.h"

#include <gmock/gmock.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "identity/certificate.h"
#include "tests/testkit/test_ca.h"

namespace culvert::identity {
namespace {

using testing::HasSubstr;
using testkit::CrlOptions;
using testkit::kTestNow;
using testkit::TestCa;

constexpr char kWeb[] = "spiffe://cluster.local/ns/apps/sa/web";

std::shared_ptr<const CrlSet> set_of(const std::vector<std::string>& files) {
  auto set = CrlSet::parse(std::vector<std::string_view>(files.begin(), files.end()));
  EXPECT_TRUE(set.ok()) << (set.ok() ? "" : set.error());
  return set.ok() ? *set : nullptr;
}

std::string refusal_of(const std::string& file) {
  const auto set = CrlSet::parse({file});
  return set.ok() ? "accepted" : set.error();
}

std::string der_of(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509_CRL* crl = PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  unsigned char* bytes = nullptr;
  const int length = i2d_X509_CRL(crl, &bytes);
  std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(length));
  OPENSSL_free(bytes);
  X509_CRL_free(crl);
  return der;
}

// A verified chain as a handshake has it: leaf, intermediates, root.
class Chain {
 public:
  explicit Chain(std::shared_ptr<const Credentials> credentials) : credentials_(std::move(credentials)) {
    stack_ = sk_X509_new_null();
    sk_X509_push(stack_, credentials_->leaf());
    for (x509_st* certificate : credentials_->intermediates()) sk_X509_push(stack_, certificate);
    sk_X509_push(stack_, credentials_->root_certificates().front());
  }
  ~Chain() { sk_X509_free(stack_); }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  const stack_st_X509* get() const { return stack_; }
  std::string serial() const { return credentials_->serial_decimal(); }

 private:
  std::shared_ptr<const Credentials> credentials_;
  STACK_OF(X509) * stack_;
};

std::string serial_of(const x509_st* certificate) {
  ASN1_INTEGER* serial = X509_get_serialNumber(const_cast<x509_st*>(certificate));
  return std::to_string(ASN1_INTEGER_get(serial));
}

// --- sets ------------------------------------------------------------------------------------------------------------

TEST(CrlSet, TakesSeveralListsOfPemAndOneOfDer) {
  const TestCa a, b(testkit::KeyType::kP384), c(testkit::KeyType::kRsa2048);
  const std::string two = "# of two\n" + a.crl_pem({.serials = {"1", "2"}}) + a.root_pem() + b.crl_pem({});
  const auto set = set_of({two, der_of(c.crl_pem({.serials = {"77"}, .next_update = kTestNow + 5min}))});
  EXPECT_EQ(set->lists(), 3u);
  EXPECT_EQ(set->entries(), 3u);
  EXPECT_EQ(set->soonest_next_update(), kTestNow + 5min);
}

TEST(CrlSet, OfNoFileIsEmpty) {
  const auto set = set_of({});
  EXPECT_EQ(set->lists(), 0u);
  EXPECT_EQ(set->soonest_next_update(), std::nullopt);
}

TEST(CrlSet, NamesWhatItCannotRead) {
  const TestCa ca;
  const std::string good = ca.crl_pem({.serials = {"5"}});
  EXPECT_THAT(refusal_of(""), HasSubstr("CRL file 1 holds no CRL"));
  EXPECT_THAT(refusal_of("revoked: everybody"), HasSubstr("CRL file 1 holds no CRL"));
  EXPECT_THAT(refusal_of(ca.root_pem()), HasSubstr("CRL file 1 holds no CRL"));
  EXPECT_THAT(refusal_of(der_of(good) + "x"), HasSubstr("bytes behind"));
  EXPECT_THAT(refusal_of(der_of(good).substr(0, 60)), HasSubstr("CRL file 1"));
  std::string damaged = good + good;
  damaged[good.size() + 60] = '!';
  EXPECT_THAT(refusal_of(damaged), HasSubstr("CRL file 1"));
  const auto second = CrlSet::parse({good, "nonsense"});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error(), HasSubstr("CRL file 2"));
}

TEST(CrlSet, RefusesListsThatSpeakOfOthers) {
  const TestCa ca;
  EXPECT_THAT(refusal_of(ca.crl_pem({.is_delta = true})), HasSubstr("delta"));
  EXPECT_THAT(refusal_of(ca.crl_pem({.is_indirect = true})), HasSubstr("indirect"));
  EXPECT_THAT(refusal_of(ca.crl_pem({.has_unknown_critical = true})), HasSubstr("critical extension"));
}

TEST(CrlSet, IsBounded) {
  const TestCa ca;
  std::string many;
  for (size_t i = 0; i <= CrlSet::kListsMax; ++i) many += ca.crl_pem({});
  EXPECT_THAT(refusal_of(many), HasSubstr("more than 256 lists"));
}

// --- chains ----------------------------------------------------------------------------------------------------------

TEST(RevocationList, RevokesWhomItNamesAndNobodyElse) {
  const TestCa ca;
  const Chain web(ca.credentials(kWeb)), other(ca.credentials(kWeb));
  Revocation revocation;
  ChainMark mark;
  EXPECT_EQ(revocation.judge(web.get(), mark), ChainVerdict::kPasses) << "there is no list";
  revocation.install(set_of({ca.crl_pem({.serials = {web.serial()}})}));
  EXPECT_EQ(revocation.judge(web.get(), mark), ChainVerdict::kRevoked);
  EXPECT_EQ(revocation.judge(other.get(), mark), ChainVerdict::kPasses);
  revocation.install(nullptr);
  EXPECT_EQ(revocation.judge(web.get(), mark), ChainVerdict::kPasses);
}

TEST(RevocationList, LooksAtTheWholeChain) {
  const TestCa root;
  const TestCa middle = root.intermediate("Middle");
  const TestCa low = middle.intermediate("Low");
  const auto credentials = low.credentials(kWeb);
  const Chain chain(credentials);
  ASSERT_EQ(credentials->intermediates().size(), 2u);
  ChainMark mark;
  for (const auto& [ca, serial] :
       {std::pair{&low, credentials->serial_decimal()}, std::pair{&middle, serial_of(credentials->intermediates()[0])},
        std::pair{&root, serial_of(credentials->intermediates()[1])}}) {
    Revocation revocation;
    revocation.install(set_of({ca->crl_pem({.serials = {serial}})}));
    EXPECT_EQ(revocation.judge(chain.get(), mark), ChainVerdict::kRevoked);
    // The same list of nobody: it is the entry that counts.
    revocation.install(set_of({ca->crl_pem({.serials = {"999999"}})}));
    EXPECT_EQ(revocation.judge(chain.get(), mark), ChainVerdict::kPasses);
    EXPECT_EQ(mark.certificates(), 3u);
  }
}

TEST(RevocationList, OfAnIssuerThatOnlySharesTheNameSaysNothing) {
  const TestCa ours, theirs;  // both "Test root", as old and new roots of a mesh are
  const Chain chain(ours.credentials(kWeb));
  Revocation revocation;
  ChainMark mark;
  revocation.install(set_of({theirs.crl_pem({.serials = {chain.serial()}})}));
  EXPECT_EQ(revocation.judge(chain.get(), mark), ChainVerdict::kPasses);
  EXPECT_FALSE(revocation.is_revoked(mark));
  revocation.install(
      set_of({theirs.crl_pem({.serials = {chain.serial()}}), ours.crl_pem({.serials = {chain.serial()}})}));
  EXPECT_TRUE(revocation.is_revoked(mark));
}

TEST(RevocationList, CountsPastItsNextUpdate) {
  const TestCa ca;
  const Chain chain(ca.credentials(kWeb));
  Revocation revocation;
  ChainMark mark;
  revocation.install(set_of(
      {ca.crl_pem({.serials = {chain.serial()}, .this_update = kTestNow - 48h, .next_update = kTestNow - 24h})}));
  EXPECT_EQ(revocation.judge(chain.get(), mark), ChainVerdict::kRevoked);
}

TEST(RevocationList, KnowsSerialNumbersOfAnyLength) {
  const TestCa ca;
  const Chain chain(ca.credentials(kWeb));
  Revocation revocation;
  ChainMark mark;
  // 2^160 + serial and its negative have the same last octets; both are other numbers.
  const std::string longer = "1461501637330902918203684832716283019655932542976";
  revocation.install(set_of({ca.crl_pem({.serials = {longer, "-" + chain.serial()}})}));
  EXPECT_EQ(revocation.judge(chain.get(), mark), ChainVerdict::kPasses);
}

TEST(ChainMark, IsComparedWithEverySetThatComes) {
  const TestCa root;
  const TestCa middle = root.intermediate();
  const Chain chain(middle.credentials(kWeb));
  Revocation revocation;
  ChainMark mark;
  ASSERT_EQ(revocation.judge(chain.get(), mark), ChainVerdict::kPasses);
  EXPECT_FALSE(revocation.is_revoked(mark));
  revocation.install(set_of({middle.crl_pem({.serials = {"4711"}}), root.crl_pem({})}));
  EXPECT_FALSE(revocation.is_revoked(mark));
  revocation.install(set_of({middle.crl_pem({.serials = {chain.serial()}}), root.crl_pem({})}));
  EXPECT_TRUE(revocation.is_revoked(mark));
  revocation.install(set_of({root.crl_pem({})}));
  EXPECT_FALSE(revocation.is_revoked(mark)) << "a set replaces the one before it";
  revocation.install(set_of({}));
  EXPECT_FALSE(revocation.is_revoked(mark));
}

TEST(ChainMark, SharesTheIssuersOfAllChains) {
  const TestCa root;
  const TestCa middle = root.intermediate();
  Revocation revocation;
  std::vector<ChainMark> marks(100);
  for (ChainMark& mark : marks) {
    const Chain chain(middle.credentials(kWeb));
    ASSERT_EQ(revocation.judge(chain.get(), mark), ChainVerdict::kPasses);
  }
  EXPECT_EQ(revocation.issuers(), 2u);
}

TEST(ChainMark, IsEmptyWhenThereAreTooManyIssuersAndTheChainIsJudgedAllTheSame) {
  const TestCa first, second(testkit::KeyType::kP384), third;
  Revocation revocation(1);
  ChainMark kept, not_kept;
  const Chain a(first.credentials(kWeb)), b(second.credentials(kWeb)), c(third.credentials(kWeb));
  ASSERT_EQ(revocation.judge(a.get(), kept), ChainVerdict::kPasses);
  EXPECT_EQ(revocation.judge(b.get(), not_kept), ChainVerdict::kUntracked);
  EXPECT_EQ(not_kept.certificates(), 0u);
  revocation.install(set_of({second.crl_pem({.serials = {b.serial()}})}));
  EXPECT_FALSE(revocation.is_revoked(not_kept));
  EXPECT_EQ(revocation.judge(b.get(), not_kept), ChainVerdict::kRevoked);
  // When the only chain of the first issuer goes, there is room again.
  kept = {};
  EXPECT_EQ(revocation.judge(c.get(), not_kept), ChainVerdict::kPasses);
}

TEST(PemOf, GivesBackTheCertificatesAndNothingElse) {
  const TestCa root;
  const TestCa middle = root.intermediate();
  const testkit::TestLeaf leaf = middle.issue({.uri_sans = {kWeb}});
  const auto made = Credentials::make(PrivateKey::from_pem(leaf.key_pem), leaf.key_pem + leaf.chain_pem + leaf.key_pem,
                                      root.root_pem() + leaf.key_pem);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->chain_pem(), leaf.chain_pem);
  EXPECT_EQ((*made)->roots_pem(), root.root_pem());
}

}  // namespace
}  // namespace culvert::identity
