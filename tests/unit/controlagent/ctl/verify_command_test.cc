// `culvertctl verify`: chains good and bad, each with its sentence and exit status.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testkit/test_ca.h"
#include "tests/unit/control/fake_node.h"
#include "tests/unit/controlagent/ctl/mesh_example.h"
#include "tests/unit/controlagent/ctl/ran.h"

namespace culvert::ctl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using testkit::TestCa;

constexpr const char* kWeb = "spiffe://cluster.local/ns/shop/sa/web";

// The certificates of a PEM text, one text each.
std::vector<std::string> blocks(const std::string& pem) {
  constexpr std::string_view kEnd = "-----END CERTIFICATE-----\n";
  std::vector<std::string> out;
  for (size_t start = 0, end; (end = pem.find(kEnd, start)) != std::string::npos; start = end + kEnd.size()) {
    out.push_back(pem.substr(start, end + kEnd.size() - start));
  }
  return out;
}

class Verify : public testing::Test {
 protected:
  Ran judge(const std::string& chain, std::vector<std::string> more = {}, const std::string& expect = kWeb) {
    std::vector<std::string> words = {"verify",
                                      "--roots",
                                      written(folder, "roots.pem", roots),
                                      "--chain",
                                      written(folder, "chain.pem", chain),
                                      "--expect",
                                      expect,
                                      "--at",
                                      "2026-03-01T12:00:00Z"};
    words.insert(words.end(), more.begin(), more.end());
    return ran(words);
  }
  // The first line of what is said of a chain that is not good.
  std::string wrong(const std::string& chain, std::vector<std::string> more = {}, const std::string& expect = kWeb) {
    const Ran result = judge(chain, std::move(more), expect);
    EXPECT_EQ(result.status, kFailed) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out.substr(0, result.out.find('\n'));
  }

  const control::TemporaryFolder folder;
  const TestCa ca;
  const TestCa issuing = ca.intermediate(), second = issuing.intermediate("Second intermediate");
  std::string roots = ca.root_pem();
  const std::string leaf = issuing.issue({.uri_sans = {kWeb}}).chain_pem;
};

TEST_F(Verify, AGoodChainIsGood) {
  const Ran result = judge(leaf);
  EXPECT_EQ(result.status, kDone) << result.out << result.err;
  EXPECT_EQ(result.out,
            "good: spiffe://cluster.local/ns/shop/sa/web\n"
            "  1  spiffe://cluster.local/ns/shop/sa/web\n"
            "     issued by CN=Test intermediate, valid from 2026-03-01T11:00:00Z until 2026-03-02T12:00:00Z\n"
            "  2  CN=Test intermediate\n"
            "     issued by CN=Test root, valid from 2026-03-01T11:00:00Z until 2026-03-02T12:00:00Z\n");
  const std::string json = judge(leaf, {"-o", "json"}).out;
  EXPECT_THAT(json, StartsWith("{\n  \"good\": true,\n  \"error\": \"\",\n  \"chain\": [\n    {\n"
                               "      \"subject\": \"\",\n      \"issuer\": \"CN=Test intermediate\",\n"
                               "      \"uri_sans\": [\n        \"spiffe://cluster.local/ns/shop/sa/web\"\n      ],\n"
                               "      \"not_before_ms\": 1772362800000,\n"));
}

TEST_F(Verify, DatesCount) {
  const std::string expired =
      issuing.issue({.uri_sans = {kWeb}, .not_after = testkit::kTestNow - std::chrono::seconds{1}}).chain_pem;
  EXPECT_EQ(wrong(expired), "not good: certificate has expired: the leaf was valid until 2026-03-01 11:59:59 UTC");
  EXPECT_EQ(judge(expired, {"--at", "2026-03-01T11:30:00Z"}).status, kUsage) << "--at is given once";
  const std::string early =
      issuing.issue({.uri_sans = {kWeb}, .not_before = testkit::kTestNow + std::chrono::hours{1}}).chain_pem;
  EXPECT_EQ(wrong(early), "not good: certificate is not yet valid: the leaf is valid from 2026-03-01 13:00:00 UTC");
  // Without --at it is now, which is long before or after a test's dates.
  const Ran now =
      ran({"verify", "--roots", folder / "roots.pem", "--chain", written(folder, "c", leaf), "--expect", kWeb});
  EXPECT_EQ(now.status, kFailed);
}

TEST_F(Verify, TheIdentityIsTheOneExpected) {
  EXPECT_EQ(wrong(leaf, {}, "spiffe://cluster.local/ns/shop/sa/api"),
            "not good: identity verification error: peer did not present the expected SAN "
            "(spiffe://cluster.local/ns/shop/sa/api), got [spiffe://cluster.local/ns/shop/sa/web]");
  EXPECT_EQ(wrong(leaf, {}, "spiffe://other/ns/shop/sa/web"),
            "not good: identity verification error: peer did not present the expected SAN "
            "(spiffe://other/ns/shop/sa/web), got [spiffe://cluster.local/ns/shop/sa/web]");
  // Of a client its trust domain is asked, by whoever it calls.
  EXPECT_EQ(judge(leaf, {"--as", "client"}, "spiffe://cluster.local/ns/x/sa/y").status, kDone);
  EXPECT_EQ(wrong(leaf, {"--as", "client"}, "spiffe://other/ns/shop/sa/web"),
            "not good: identity verification error: peer did not present the expected trustdomain (other), got "
            "[spiffe://cluster.local/ns/shop/sa/web]");
}

TEST_F(Verify, TheRootIsOneOfThose) {
  roots = TestCa(testkit::KeyType::kP256, "Another root").root_pem();
  EXPECT_EQ(wrong(leaf),
            "not good: unable to get local issuer certificate: CN=Test intermediate was issued by CN=Test root, and "
            "neither the chain nor the roots hold the certificate that did it");
  roots += ca.root_pem();
  EXPECT_EQ(judge(leaf).status, kDone) << "any of them";
  roots = TestCa().root_pem();
  EXPECT_THAT(wrong(leaf), StartsWith("not good: ")) << "another key under the same name";
}

TEST_F(Verify, AMissingIntermediateIsNamed) {
  EXPECT_EQ(
      wrong(blocks(leaf)[0]),
      "not good: unable to get local issuer certificate: the leaf was issued by CN=Test intermediate, and neither "
      "the chain nor the roots hold the certificate that did it");
}

TEST_F(Verify, OrderCountsForTheLeafOnly) {
  const std::vector<std::string> b = blocks(second.issue({.uri_sans = {kWeb}}).chain_pem);
  ASSERT_EQ(b.size(), 3u);
  EXPECT_EQ(judge(b[0] + b[2] + b[1]).status, kDone) << "TLS 1.3 takes intermediates in any order";
  EXPECT_EQ(wrong(b[1] + b[0] + b[2]),
            "not good: unsuitable certificate purpose: the leaf; certificate 2 of the file bears "
            "spiffe://cluster.local/ns/shop/sa/web: the leaf has to come first");
}

TEST_F(Verify, RevocationListsCount) {
  // The third certificate of this issuer: after the second intermediate and the good leaf.
  const std::string two = issuing.issue({.uri_sans = {kWeb}}).chain_pem;
  const std::string lists = written(folder, "crl.pem", issuing.crl_pem({.serials = {"3"}}));
  EXPECT_EQ(wrong(two, {"--crl", lists}), "not good: certificate revoked: a list names a certificate of the chain");
  EXPECT_EQ(judge(leaf, {"--crl", lists}).status, kDone) << "the other is not named";
}

TEST_F(Verify, TheKeysPurposeCounts) {
  const std::string client = issuing.issue({.uri_sans = {kWeb}, .usage = testkit::Usage::kClientOnly}).chain_pem;
  EXPECT_THAT(wrong(client), HasSubstr("purpose"));
  EXPECT_EQ(judge(client, {"--as", "client"}).status, kDone);
}

TEST_F(Verify, WhatCannotBeJudgedIsNotCalledBad) {
  EXPECT_EQ(judge("").status, kUsage);
  EXPECT_EQ(judge("").err, "culvertctl: certificate chain: there is no certificate in it\n");
  EXPECT_EQ(judge(leaf, {}, "web").err,
            "culvertctl: --expect: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT is accepted, not `web`\n");
  EXPECT_EQ(judge(leaf, {"--crl", "/nowhere"}).err, "culvertctl: /nowhere: cannot be read\n");
  EXPECT_THAT(judge(leaf, {"--crl", written(folder, "crl", "no list")}).err, HasSubstr("revocation lists: "));
  EXPECT_EQ(judge(leaf, {"--as", "proxy"}).status, kUsage);
  roots = "-----BEGIN CERTIFICATE-----\n!\n";
  EXPECT_EQ(judge(leaf).err, "culvertctl: root certificates: PEM block 1 is damaged\n");
  for (const char* at : {"2026-02-30T00:00:00Z", "2026-03-01 12:00:00Z", "2026-03-01T24:00:00Z", "now", ""}) {
    const Ran result = ran({"verify", "--roots", "r", "--chain", "c", "--expect", kWeb, "--at", at});
    EXPECT_EQ(result.status, kUsage) << at;
  }
}

}  // namespace
}  // namespace culvert::ctl
