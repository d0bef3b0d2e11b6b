// One piece goes through the single call; scattered input through init, update and finalize. The library reads the
// expanded key with aligned loads of 64 bytes; its header says so only to those who define LINUX, so we say it here.
#include "drivers/crypto/ipsec_mb/aead.h"

#include <intel-ipsec-mb.h>

#include "base/check.h"

namespace culvert::crypto {

namespace {

using tls::CipherSuite;
using tls::kAeadNonceBytes;
using tls::kAeadTagBytes;

// The functions of one key size.
struct Gcm {
  aes_gcm_enc_dec_t seal_all, open_all;
  aes_gcm_init_t init;
  aes_gcm_enc_dec_update_t seal_update, open_update;
  aes_gcm_enc_dec_finalize_t seal_finalize, open_finalize;
};

Gcm functions_of(const IMB_MGR& mgr, CipherSuite suite) {
  if (suite == CipherSuite::kAes128GcmSha256) {
    return {mgr.gcm128_enc,        mgr.gcm128_dec,          mgr.gcm128_init,        mgr.gcm128_enc_update,
            mgr.gcm128_dec_update, mgr.gcm128_enc_finalize, mgr.gcm128_dec_finalize};
  }
  return {mgr.gcm256_enc,        mgr.gcm256_dec,          mgr.gcm256_init,        mgr.gcm256_enc_update,
          mgr.gcm256_dec_update, mgr.gcm256_enc_finalize, mgr.gcm256_dec_finalize};
}

class Key final : public tls::AeadKey {
 public:
  Key(const IMB_MGR& mgr, CipherSuite suite, ByteView key) : gcm_(functions_of(mgr, suite)) {
    (suite == CipherSuite::kAes128GcmSha256 ? mgr.gcm128_pre : mgr.gcm256_pre)(key.data(), &expanded_);
  }
  ~Key() override {
    imb_clear_mem(&expanded_, sizeof expanded_);
    imb_clear_mem(&context_, sizeof context_);
  }

  void seal(const uint8_t nonce[kAeadNonceBytes], ByteView aad, std::span<const ByteView> plaintext,
            MutableByteView ciphertext, uint8_t tag[kAeadTagBytes]) override {
    run(gcm_.seal_all, gcm_.seal_update, gcm_.seal_finalize, nonce, aad, plaintext, ciphertext, tag);
  }

  bool open(const uint8_t nonce[kAeadNonceBytes], ByteView aad, std::span<const ByteView> ciphertext,
            const uint8_t tag[kAeadTagBytes], MutableByteView plaintext) override {
    uint8_t computed[kAeadTagBytes];
    run(gcm_.open_all, gcm_.open_update, gcm_.open_finalize, nonce, aad, ciphertext, plaintext, computed);
    uint8_t difference = 0;
    for (size_t i = 0; i < kAeadTagBytes; ++i) difference |= static_cast<uint8_t>(computed[i] ^ tag[i]);
    if (difference == 0) return true;
    // RFC 5116 2.2: no plaintext of a forged record may be seen.
    if (!plaintext.empty()) imb_clear_mem(plaintext.data(), plaintext.size());
    return false;
  }

 private:
  void run(aes_gcm_enc_dec_t all, aes_gcm_enc_dec_update_t update, aes_gcm_enc_dec_finalize_t finalize,
           const uint8_t* nonce, ByteView aad, std::span<const ByteView> pieces, MutableByteView out, uint8_t* tag) {
    if (pieces.size() == 1) {
      DP_DCHECK(pieces[0].size() == out.size());
      all(&expanded_, &context_, out.data(), pieces[0].data(), out.size(), nonce, aad.data(), aad.size(), tag,
          kAeadTagBytes);
      return;
    }
    gcm_.init(&expanded_, &context_, nonce, aad.data(), aad.size());
    uint8_t* to = out.data();
    for (const ByteView piece : pieces) {
      if (piece.empty()) continue;
      update(&expanded_, &context_, to, piece.data(), piece.size());
      to += piece.size();
    }
    DP_DCHECK(to == out.data() + out.size());
    finalize(&expanded_, &context_, tag, kAeadTagBytes);
  }

  alignas(64) gcm_key_data expanded_{};
  gcm_context_data context_{};
  Gcm gcm_;
};

}  // namespace

std::unique_ptr<IpsecMbAead> IpsecMbAead::make(std::string& error) {
  IMB_MGR* mgr = alloc_mb_mgr(0);
  if (!mgr) {
    error = "IPsec-MB could not allocate its manager: out of memory";
    return nullptr;
  }
  constexpr uint64_t kNeeded = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_SSE4_2;
  if ((mgr->features & kNeeded) != kNeeded) {
    free_mb_mgr(mgr);
    error = "this CPU has no AES-NI, PCLMULQDQ or SSE4.2, which the ipsec_mb backend needs: use the openssl backend";
    return nullptr;
  }
  IMB_ARCH arch = IMB_ARCH_NONE;
  init_mb_mgr_auto(mgr, &arch);
  if (imb_get_errno(mgr) != 0 || arch == IMB_ARCH_NONE || arch == IMB_ARCH_NOAESNI) {
    error = std::string("IPsec-MB refused to start on this CPU: ") + imb_get_strerror(imb_get_errno(mgr));
    free_mb_mgr(mgr);
    return nullptr;
  }
  std::string_view architecture = "SSE";
  const bool vaes = (mgr->features & IMB_FEATURE_VAES) != 0;
  if (arch == IMB_ARCH_AVX) architecture = "AVX";
  if (arch == IMB_ARCH_AVX2) architecture = vaes ? "AVX2 with VAES" : "AVX2";
  if (arch == IMB_ARCH_AVX512) architecture = vaes ? "AVX512 with VAES" : "AVX512";
  return std::unique_ptr<IpsecMbAead>(new IpsecMbAead(mgr, architecture));
}

IpsecMbAead::~IpsecMbAead() { free_mb_mgr(mgr_); }

std::unique_ptr<tls::AeadKey> IpsecMbAead::make_key(CipherSuite suite, ByteView key) {
  DP_CHECK(key.size() == (suite == CipherSuite::kAes128GcmSha256 ? 16u : 32u));
  return std::make_unique<Key>(*mgr_, suite, key);
}

}  // namespace culvert::crypto
