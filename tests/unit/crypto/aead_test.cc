// Both AES-GCM backends: published vectors, each other as oracle over random sizes and splits, and forgery.
//
// The vectors are test cases 1 to 4 and 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)",
// as submitted to NIST.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"

namespace culvert::crypto {
namespace {

using tls::AeadBackend;
using tls::AeadKey;
using tls::CipherSuite;
using Bytes = std::vector<uint8_t>;

Bytes from_hex(std::string_view hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

CipherSuite suite_of(const Bytes& key) {
  return key.size() == 16 ? CipherSuite::kAes128GcmSha256 : CipherSuite::kAes256GcmSha384;
}

struct Sealed {
  Bytes ciphertext;
  Bytes tag = Bytes(tls::kAeadTagBytes);
};

// Cuts `bytes` into pieces at random places, empty ones among them.
std::vector<ByteView> random_pieces(ByteView bytes, Random& random) {
  std::vector<ByteView> pieces;
  while (!bytes.empty()) {
    const size_t take = random.below(std::min<size_t>(bytes.size(), 700) + 1);
    pieces.push_back(bytes.first(take));
    bytes = bytes.subspan(take);
  }
  return pieces;
}

Sealed seal(AeadKey& key, const Bytes& nonce, const Bytes& aad, std::span<const ByteView> pieces) {
  size_t bytes = 0;
  for (const ByteView piece : pieces) bytes += piece.size();
  Sealed sealed{.ciphertext = Bytes(bytes)};
  key.seal(nonce.data(), aad, pieces, sealed.ciphertext, sealed.tag.data());
  return sealed;
}

Sealed seal(AeadKey& key, const Bytes& nonce, const Bytes& aad, const Bytes& plaintext) {
  const ByteView piece{plaintext};
  return seal(key, nonce, aad, {&piece, 1});
}

class Aead : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string_view(GetParam()) == "openssl") {
      backend_ = std::make_unique<OpensslAead>();
      return;
    }
    std::string error;
    backend_ = IpsecMbAead::make(error);
    ASSERT_TRUE(backend_) << error;
  }
  std::unique_ptr<AeadBackend> backend_;
};

struct Vector {
  const char *key, *nonce, *aad, *plaintext, *ciphertext, *tag;
};

constexpr const char* kPlaintext64 =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
    "b16aedf5aa0de657ba637b391aafd255";
constexpr const char* kPlaintext60 =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
    "b16aedf5aa0de657ba637b39";
constexpr const char* kAad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
constexpr const char* kNonce = "cafebabefacedbaddecaf888";
constexpr const char* kZeroNonce = "000000000000000000000000";
constexpr const char* kZeroBlock = "00000000000000000000000000000000";
constexpr const char* kKey128 = "feffe9928665731c6d6a8f9467308308";
constexpr const char* kKey256 = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
constexpr const char* kZeroKey256 = "0000000000000000000000000000000000000000000000000000000000000000";

constexpr Vector kVectors[] = {
    {kZeroBlock, kZeroNonce, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
    {kZeroBlock, kZeroNonce, "", kZeroBlock, "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"},
    {kKey128, kNonce, "", kPlaintext64,
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05"
     "1ba30b396a0aac973d58e091473f5985",
     "4d5c2af327cd64a62cf35abd2ba6fab4"},
    {kKey128, kNonce, kAad, kPlaintext60,
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05"
     "1ba30b396a0aac973d58e091",
     "5bc94fbc3221a5db94fae95ae7121a47"},
    {kZeroKey256, kZeroNonce, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {kZeroKey256, kZeroNonce, "", kZeroBlock, "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {kKey256, kNonce, "", kPlaintext64,
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
     "c5f61e6393ba7a0abcc9f662898015ad",
     "b094dac5d93471bdec1a502270e3cc6c"},
    {kKey256, kNonce, kAad, kPlaintext60,
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
     "c5f61e6393ba7a0abcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

TEST_P(Aead, AgreesWithThePublishedVectors) {
  for (const Vector& vector : kVectors) {
    SCOPED_TRACE(vector.tag);
    const Bytes key = from_hex(vector.key), nonce = from_hex(vector.nonce), aad = from_hex(vector.aad);
    const Bytes plaintext = from_hex(vector.plaintext);
    const auto expanded = backend_->make_key(suite_of(key), key);
    const Sealed sealed = seal(*expanded, nonce, aad, plaintext);
    EXPECT_EQ(sealed.ciphertext, from_hex(vector.ciphertext));
    EXPECT_EQ(sealed.tag, from_hex(vector.tag));
    Bytes opened(plaintext.size());
    const ByteView piece{sealed.ciphertext};
    EXPECT_TRUE(expanded->open(nonce.data(), aad, {&piece, 1}, sealed.tag.data(), opened));
    EXPECT_EQ(opened, plaintext);
  }
}

TEST_P(Aead, SealsAndOpensPiecesAsIfTheyWereOne) {
  Random random(1);
  OpensslAead oracle;
  for (int round = 0; round < 300; ++round) {
    Bytes key(round % 2 ? 16 : 32), nonce(tls::kAeadNonceBytes), aad(5), plaintext(random.below(17'000));
    for (Bytes* bytes : {&key, &nonce, &aad, &plaintext}) {
      for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>(random.next());
    }
    const auto expanded = backend_->make_key(suite_of(key), key);
    const auto expected_key = oracle.make_key(suite_of(key), key);
    const Sealed expected = seal(*expected_key, nonce, aad, plaintext);
    const Sealed sealed = seal(*expanded, nonce, aad, random_pieces(plaintext, random));
    ASSERT_EQ(sealed.ciphertext, expected.ciphertext) << "round " << round;
    ASSERT_EQ(sealed.tag, expected.tag) << "round " << round;
    Bytes opened(plaintext.size());
    ASSERT_TRUE(
        expanded->open(nonce.data(), aad, random_pieces(expected.ciphertext, random), expected.tag.data(), opened));
    ASSERT_EQ(opened, plaintext) << "round " << round;
  }
}

TEST_P(Aead, OpensInPlace) {
  const Bytes key(32, 7), nonce(12, 1), aad(5, 2), plaintext(5000, 0x61);
  const auto expanded = backend_->make_key(CipherSuite::kAes256GcmSha384, key);
  Sealed sealed = seal(*expanded, nonce, aad, plaintext);
  const ByteView piece{sealed.ciphertext};
  ASSERT_TRUE(expanded->open(nonce.data(), aad, {&piece, 1}, sealed.tag.data(), sealed.ciphertext));
  EXPECT_EQ(sealed.ciphertext, plaintext);
}

// Every flipped bit of nonce, AAD, ciphertext and tag is noticed, and no plaintext is left behind.
TEST_P(Aead, RefusesWhatWasTamperedWithAndWipesIt) {
  const Bytes key(16, 9), nonce(12, 3), aad(5, 4), plaintext(40, 0x62);
  const auto expanded = backend_->make_key(CipherSuite::kAes128GcmSha256, key);
  const Sealed sealed = seal(*expanded, nonce, aad, plaintext);
  Bytes parts[] = {nonce, aad, sealed.ciphertext, sealed.tag};
  for (Bytes& part : parts) {
    for (size_t bit = 0; bit < part.size() * 8; ++bit) {
      part[bit / 8] = static_cast<uint8_t>(part[bit / 8] ^ (1u << bit % 8));
      Bytes opened(plaintext.size(), 0xff);
      const ByteView whole{parts[2]};
      const std::vector<ByteView> pieces = {whole.first(13), whole.subspan(13)};
      ASSERT_FALSE(expanded->open(parts[0].data(), parts[1], pieces, parts[3].data(), opened));
      ASSERT_EQ(opened, Bytes(plaintext.size(), 0));
      part[bit / 8] = static_cast<uint8_t>(part[bit / 8] ^ (1u << bit % 8));
    }
  }
  Bytes opened(plaintext.size());
  const ByteView whole{parts[2]};
  EXPECT_TRUE(expanded->open(nonce.data(), aad, {&whole, 1}, sealed.tag.data(), opened));
}

TEST_P(Aead, KeysOfOneBackendDoNotDisturbEachOther) {
  const Bytes nonce(12, 3), aad(5, 4), plaintext(3000, 0x63);
  const auto one = backend_->make_key(CipherSuite::kAes128GcmSha256, Bytes(16, 1));
  const auto two = backend_->make_key(CipherSuite::kAes256GcmSha384, Bytes(32, 2));
  const Sealed by_one = seal(*one, nonce, aad, plaintext);
  const Sealed by_two = seal(*two, nonce, aad, plaintext);
  EXPECT_NE(by_one.ciphertext, by_two.ciphertext);
  EXPECT_EQ(seal(*one, nonce, aad, plaintext).tag, by_one.tag);
  EXPECT_EQ(seal(*two, nonce, aad, plaintext).tag, by_two.tag);
}

INSTANTIATE_TEST_SUITE_P(Backends, Aead, testing::Values("ipsec_mb", "openssl"),
                         [](const testing::TestParamInfo<const char*>& backend) { return std::string(backend.param); });

TEST(IpsecMbAead, NamesTheInstructionSetItChose) {
  std::string error;
  const auto backend = IpsecMbAead::make(error);
  ASSERT_TRUE(backend) << error;
  EXPECT_EQ(backend->name(), "ipsec_mb");
  EXPECT_FALSE(backend->architecture().empty());
}

}  // namespace
}  // namespace culvert::crypto
