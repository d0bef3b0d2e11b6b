// Chains judged at a given time, and the SPIFFE rules with ztunnel's words.
#include "identity/verification.h"

#include <gmock/gmock.h>

#include "identity/certificate.h"
#include "tests/testkit/test_ca.h"

namespace culvert::identity {
namespace {

using testing::HasSubstr;
using testkit::kTestNow;
using testkit::LeafOptions;
using testkit::TestCa;
using testkit::Usage;

constexpr char kWeb[] = "spiffe://cluster.local/ns/apps/sa/web";

// What a peer that trusts `trusted` says about the leaf; "fine" when nothing.
std::string judge(const TestCa& issuer, const LeafOptions& options, const TestCa& trusted, Purpose purpose,
                  UnixTime now = kTestNow) {
  const auto presented = issuer.credentials(options, issuer);
  return verify_chain(*trusted.roots_only(), presented->leaf(), presented->intermediates(), purpose, now)
      .value_or("fine");
}

TEST(VerifyChain, AcceptsALeafUnderTheRootDirectlyOrNot) {
  const TestCa root;
  EXPECT_EQ(judge(root, {.uri_sans = {kWeb}}, root, Purpose::kServer), "fine");
  EXPECT_EQ(judge(root.intermediate(), {.uri_sans = {kWeb}}, root, Purpose::kClient), "fine");
}

TEST(VerifyChain, JudgesDatesByTheTimeItIsHanded) {
  const TestCa root;
  const LeafOptions options{.uri_sans = {kWeb}, .not_before = kTestNow, .not_after = kTestNow + 1h};
  EXPECT_EQ(judge(root, options, root, Purpose::kServer, kTestNow + 30min), "fine");
  EXPECT_THAT(judge(root, options, root, Purpose::kServer, kTestNow + 61min), HasSubstr("expired"));
  EXPECT_THAT(judge(root, options, root, Purpose::kServer, kTestNow - 1min), HasSubstr("not yet valid"));
}

TEST(VerifyChain, RefusesAnotherRootOfTheSameName) {
  const TestCa root, stranger;
  EXPECT_NE(judge(stranger, {.uri_sans = {kWeb}}, root, Purpose::kServer), "fine");
}

TEST(VerifyChain, FindsTheRootAmongSeveralOfOneName) {
  // A mesh that changes its root has the old one and the new one in its bundle, both of the same name.
  const TestCa old_root, new_root, stranger;
  const std::string both = old_root.root_pem() + new_root.root_pem();
  const auto roots = *Credentials::make(nullptr, "", both);
  const auto judge_by_both = [&](const TestCa& issuer) {
    const auto presented = issuer.credentials(kWeb);
    return verify_chain(*roots, presented->leaf(), presented->intermediates(), Purpose::kServer, kTestNow)
        .value_or("fine");
  };
  EXPECT_EQ(judge_by_both(old_root), "fine");
  EXPECT_EQ(judge_by_both(new_root), "fine");
  EXPECT_EQ(judge_by_both(new_root.intermediate()), "fine");
  EXPECT_NE(judge_by_both(stranger), "fine");
}

TEST(VerifyChain, RefusesALeafThatSignedAnother) {
  const TestCa root;
  const auto leaf = root.credentials(kWeb);
  EXPECT_NE(verify_chain(*TestCa().roots_only(), leaf->leaf(), {leaf->leaf()}, Purpose::kServer, kTestNow),
            std::nullopt);
}

TEST(VerifyChain, WantsThePurposeAmongTheUsagesThatAreNamed) {
  const TestCa root;
  const auto with = [](Usage usage) { return LeafOptions{.uri_sans = {kWeb}, .usage = usage}; };
  EXPECT_EQ(judge(root, with(Usage::kServerOnly), root, Purpose::kServer), "fine");
  EXPECT_EQ(judge(root, with(Usage::kClientOnly), root, Purpose::kClient), "fine");
  EXPECT_EQ(judge(root, with(Usage::kNone), root, Purpose::kServer), "fine");
  EXPECT_EQ(judge(root, with(Usage::kNone), root, Purpose::kClient), "fine");
  EXPECT_THAT(judge(root, with(Usage::kServerOnly), root, Purpose::kClient), HasSubstr("purpose"));
  EXPECT_THAT(judge(root, with(Usage::kClientOnly), root, Purpose::kServer), HasSubstr("purpose"));
}

// ztunnel trusts what it was given as a root, self-signed or not.
TEST(VerifyChain, TakesAnIntermediateAsAnAnchor) {
  const TestCa root;
  const TestCa below = root.intermediate();
  const auto presented = below.credentials(LeafOptions{.uri_sans = {kWeb}}, root);
  const std::string chain = below.issue({.uri_sans = {kWeb}}).chain_pem;
  const std::string issuer_pem = chain.substr(chain.find("-----BEGIN", 1));
  const auto anchored = Credentials::make(nullptr, "", issuer_pem);
  ASSERT_TRUE(anchored) << anchored.error();
  EXPECT_EQ(verify_chain(**anchored, presented->leaf(), {}, Purpose::kServer, kTestNow), std::nullopt);
}

TEST(CheckExpectedPeer, WantsOneOfTheExpectedExactly) {
  const std::vector<SpiffeId> expected = {*SpiffeId::parse("spiffe://td/ns/a/sa/b"),
                                          *SpiffeId::parse("spiffe://td/ns/a/sa/c")};
  EXPECT_EQ(check_expected_peer({"spiffe://td/ns/a/sa/c"}, expected), std::nullopt);
  EXPECT_EQ(check_expected_peer({"https://x", "spiffe://td/ns/a/sa/b"}, expected), std::nullopt);
  EXPECT_EQ(check_expected_peer({"anything"}, {}), std::nullopt);
  EXPECT_EQ(check_expected_peer({"spiffe://other/ns/a/sa/b", "x"}, expected).value_or(""),
            "identity verification error: peer did not present the expected SAN (spiffe://td/ns/a/sa/b, "
            "spiffe://td/ns/a/sa/c), got [spiffe://other/ns/a/sa/b, x]");
  EXPECT_NE(check_expected_peer({}, expected), std::nullopt);
}

TEST(CheckTrustDomain, WantsOneSpiffeIdentityOfTheTrustDomain) {
  EXPECT_EQ(check_trust_domain({"spiffe://td/ns/a/sa/b"}, "td"), std::nullopt);
  EXPECT_EQ(check_trust_domain({"spiffe://other/ns/a/sa/b", "spiffe://td/ns/a/sa/b"}, "td"), std::nullopt);
  EXPECT_EQ(check_trust_domain({}, ""), std::nullopt);
  EXPECT_NE(check_trust_domain({"spiffe://td"}, "td"), std::nullopt);
  EXPECT_NE(check_trust_domain({"spiffe://td.evil/ns/a/sa/b"}, "td"), std::nullopt);
  EXPECT_EQ(check_trust_domain({"spiffe://other/ns/a/sa/b"}, "td").value_or(""),
            "identity verification error: peer did not present the expected trustdomain (td), got "
            "[spiffe://other/ns/a/sa/b]");
}

}  // namespace
}  // namespace culvert::identity
