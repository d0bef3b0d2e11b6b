// What Credentials accept, and the one sentence with which they refuse.
#include "identity/credentials.h"

#include <gmock/gmock.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "identity/certificate.h"
#include "tests/testkit/test_ca.h"

namespace culvert::identity {
namespace {

using testing::HasSubstr;
using testkit::KeyType;
using testkit::kTestNow;
using testkit::TestCa;
using testkit::TestLeaf;

constexpr char kWeb[] = "spiffe://cluster.local/ns/apps/sa/web";

std::string refusal(std::shared_ptr<const PrivateKey> key, std::string_view chain, std::string_view roots) {
  const auto made = Credentials::make(std::move(key), chain, roots);
  return made ? "accepted" : made.error();
}

TEST(Credentials, HoldALeafItsIssuersAndTheRoots) {
  const TestCa root;
  const TestCa below = root.intermediate();
  const TestLeaf leaf = below.issue({.uri_sans = {"https://ignored", kWeb}, .not_after = kTestNow + 2h});
  const auto made = Credentials::make(PrivateKey::from_pem(leaf.key_pem), leaf.chain_pem, root.root_pem());
  ASSERT_TRUE(made) << made.error();
  const Credentials& credentials = **made;
  ASSERT_EQ(credentials.identities().size(), 1u);
  EXPECT_EQ(credentials.identities()[0].uri(), kWeb);
  EXPECT_EQ(credentials.not_before(), kTestNow - 1h);
  EXPECT_EQ(credentials.not_after(), kTestNow + 2h);
  EXPECT_EQ(credentials.serial_decimal(), "1");
  EXPECT_EQ(credentials.intermediates().size(), 1u);
  EXPECT_EQ(credentials.root_certificates().size(), 1u);
}

TEST(Credentials, EndWithTheFirstCertificateThatEnds) {
  const TestCa root;
  const TestCa below = root.intermediate();  // 24 hours, as any leaf
  const TestLeaf leaf = below.issue({.uri_sans = {kWeb}, .not_after = kTestNow + 1000h});
  const auto made = Credentials::make(PrivateKey::from_pem(leaf.key_pem), leaf.chain_pem, root.root_pem());
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->not_after(), kTestNow + 24h);
}

TEST(Credentials, AcceptSeveralRoots) {
  const TestCa one, two;
  const auto made = Credentials::make(nullptr, "", one.root_pem() + "between\n" + two.root_pem());
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ((*made)->root_certificates().size(), 2u);
  EXPECT_FALSE((*made)->has_certificate());
  EXPECT_EQ((*made)->key(), nullptr);
  EXPECT_EQ((*made)->serial_decimal(), "");
}

TEST(Credentials, AcceptEveryKeyTypeOfTheMesh) {
  const TestCa ca(KeyType::kRsa2048);
  for (const KeyType type : {KeyType::kP256, KeyType::kP384, KeyType::kRsa2048, KeyType::kEd25519}) {
    const TestLeaf leaf = ca.issue({.uri_sans = {kWeb}, .key = type});
    EXPECT_EQ(refusal(PrivateKey::from_pem(leaf.key_pem), leaf.chain_pem, ca.root_pem()), "accepted");
  }
}

TEST(Credentials, SayInOneSentenceWhatDoesNotFit) {
  const TestCa ca;
  const TestLeaf leaf = ca.issue({.uri_sans = {kWeb}});
  const auto key = PrivateKey::from_pem(leaf.key_pem);
  ASSERT_TRUE(key);
  EXPECT_THAT(refusal(key, leaf.chain_pem, ""), HasSubstr("there is none, so no peer could be trusted"));
  EXPECT_THAT(refusal(key, "", ca.root_pem()), HasSubstr("there is no certificate for the private key"));
  EXPECT_THAT(refusal(nullptr, leaf.chain_pem, ca.root_pem()), HasSubstr("there is none for the certificate chain"));
  EXPECT_THAT(refusal(PrivateKey::generate_p256(), leaf.chain_pem, ca.root_pem()),
              HasSubstr("does not belong to the first certificate"));
  EXPECT_THAT(refusal(key, leaf.chain_pem.substr(0, leaf.chain_pem.size() / 2), ca.root_pem()),
              HasSubstr("certificate chain: PEM block 1 is damaged"));
  EXPECT_THAT(refusal(key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ca.root_pem()),
              HasSubstr("certificate chain: certificate 1 does not decode"));
  EXPECT_THAT(refusal(key, leaf.chain_pem, ca.root_pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n"),
              HasSubstr("root certificates: PEM block 2 is damaged"));
}

TEST(PrivateKey, ReadsOnlyPrivateKeys) {
  EXPECT_FALSE(PrivateKey::from_pem(""));
  EXPECT_FALSE(PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
  EXPECT_FALSE(PrivateKey::from_pem(TestCa().root_pem()));
}

// The request that istiod is asked to sign (reference 15.1).
TEST(PrivateKey, AsksForExactlyOneUriSan) {
  const auto key = PrivateKey::generate_p256();
  const std::string pem = key->csr_pem(*SpiffeId::parse(kWeb));
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509_REQ* request = PEM_read_bio_X509_REQ(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  ASSERT_TRUE(request);
  EXPECT_EQ(X509_NAME_entry_count(X509_REQ_get_subject_name(request)), 0);
  EXPECT_EQ(X509_REQ_verify(request, X509_REQ_get0_pubkey(request)), 1);
  EXPECT_EQ(X509_REQ_get_signature_nid(request), NID_ecdsa_with_SHA256);
  STACK_OF(X509_EXTENSION)* extensions = X509_REQ_get_extensions(request);
  ASSERT_EQ(sk_X509_EXTENSION_num(extensions), 1);
  X509_EXTENSION* san = sk_X509_EXTENSION_value(extensions, 0);
  EXPECT_EQ(OBJ_obj2nid(X509_EXTENSION_get_object(san)), NID_subject_alt_name);
  EXPECT_EQ(X509_EXTENSION_get_critical(san), 1);
  auto* names = static_cast<GENERAL_NAMES*>(X509V3_EXT_d2i(san));
  ASSERT_EQ(sk_GENERAL_NAME_num(names), 1);
  EXPECT_EQ(sk_GENERAL_NAME_value(names, 0)->type, GEN_URI);
  GENERAL_NAMES_free(names);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  X509_REQ_free(request);
}

TEST(PrivateKey, FitsTheCertificateMadeForItsRequest) {
  const TestCa ca;
  const auto key = PrivateKey::generate_p256();
  const std::string chain = ca.sign_csr(key->csr_pem(*SpiffeId::parse(kWeb)));
  const auto made = Credentials::make(key, chain, ca.root_pem());
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ((*made)->identities().at(0).uri(), kWeb);
}

TEST(Certificate, QuotesWhatPeersSayWithoutTrustingIt) {
  EXPECT_EQ(quoted_list({"spiffe://a", "b\nc\x1b[31m\xff"}), "spiffe://a, b?c?[31m?");
  const std::string shown = quoted_list({std::string(5000, 'x')});
  EXPECT_LT(shown.size(), 600u);
  EXPECT_THAT(shown, HasSubstr("…"));
}

}  // namespace
}  // namespace culvert::identity
