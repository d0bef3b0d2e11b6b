// One EVP context per key and direction, made at the first use of that direction; the schedule stays in it, so that a
// record costs a nonce, its updates and a tag. The ciphers are fetched once: a fetch takes a lock and a search.
#include "drivers/crypto/openssl/aead.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace culvert::crypto {

namespace {

using tls::CipherSuite;
using tls::kAeadNonceBytes;
using tls::kAeadTagBytes;

class Key final : public tls::AeadKey {
 public:
  Key(const EVP_CIPHER* cipher, ByteView key) : cipher_(cipher) { std::memcpy(key_.data(), key.data(), key.size()); }
  ~Key() override {
    EVP_CIPHER_CTX_free(seal_);  // wipes the schedule
    EVP_CIPHER_CTX_free(open_);
    OPENSSL_cleanse(key_.data(), key_.size());
  }

  void seal(const uint8_t nonce[kAeadNonceBytes], ByteView aad, std::span<const ByteView> plaintext,
            MutableByteView ciphertext, uint8_t tag[kAeadTagBytes]) override {
    EVP_CIPHER_CTX* context = start(seal_, 1, nonce, aad);
    int written = 0;
    uint8_t* to = ciphertext.data();
    for (const ByteView piece : plaintext) to += update(context, to, piece);
    DP_DCHECK(to == ciphertext.data() + ciphertext.size());
    DP_CHECK(EVP_EncryptFinal_ex(context, to, &written) == 1 && written == 0);
    DP_CHECK(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kAeadTagBytes, tag) == 1);
  }

  bool open(const uint8_t nonce[kAeadNonceBytes], ByteView aad, std::span<const ByteView> ciphertext,
            const uint8_t tag[kAeadTagBytes], MutableByteView plaintext) override {
    EVP_CIPHER_CTX* context = start(open_, 0, nonce, aad);
    uint8_t* to = plaintext.data();
    for (const ByteView piece : ciphertext) to += update(context, to, piece);
    DP_DCHECK(to == plaintext.data() + plaintext.size());
    std::array<uint8_t, kAeadTagBytes> expected;
    std::memcpy(expected.data(), tag, expected.size());
    DP_CHECK(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kAeadTagBytes, expected.data()) == 1);
    int written = 0;
    if (EVP_DecryptFinal_ex(context, to, &written) == 1) return true;
    // RFC 5116 2.2: no plaintext of a forged record may be seen.
    OPENSSL_cleanse(plaintext.data(), plaintext.size());
    return false;
  }

 private:
  EVP_CIPHER_CTX* start(EVP_CIPHER_CTX*& context, int encrypt, const uint8_t* nonce, ByteView aad) {
    if (!context) {
      context = EVP_CIPHER_CTX_new();
      DP_CHECK(context && EVP_CipherInit_ex(context, cipher_, nullptr, key_.data(), nonce, encrypt) == 1);
    } else {
      DP_CHECK(EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, nonce, -1) == 1);
    }
    int written = 0;
    DP_CHECK(aad.empty() ||
             EVP_CipherUpdate(context, nullptr, &written, aad.data(), static_cast<int>(aad.size())) == 1);
    return context;
  }

  static size_t update(EVP_CIPHER_CTX* context, uint8_t* to, ByteView piece) {
    if (piece.empty()) return 0;
    int written = 0;
    DP_CHECK(EVP_CipherUpdate(context, to, &written, piece.data(), static_cast<int>(piece.size())) == 1);
    return static_cast<size_t>(written);
  }

  const EVP_CIPHER* cipher_;
  std::array<uint8_t, 32> key_{};
  EVP_CIPHER_CTX* seal_ = nullptr;
  EVP_CIPHER_CTX* open_ = nullptr;
};

}  // namespace

OpensslAead::OpensslAead()
    : aes128_(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr)),
      aes256_(EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr)) {
  DP_CHECK(aes128_ && aes256_);  // libcrypto without its default provider
}

OpensslAead::~OpensslAead() {
  EVP_CIPHER_free(aes128_);
  EVP_CIPHER_free(aes256_);
}

std::unique_ptr<tls::AeadKey> OpensslAead::make_key(CipherSuite suite, ByteView key) {
  const bool small = suite == CipherSuite::kAes128GcmSha256;
  DP_CHECK(key.size() == (small ? 16u : 32u));
  return std::make_unique<Key>(small ? aes128_ : aes256_, key);
}

}  // namespace culvert::crypto
