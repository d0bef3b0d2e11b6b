#include "tls/key_schedule.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/check.h"

namespace culvert::tls {

template <size_t kBytesMax>
void Secret<kBytesMax>::wipe() {
  OPENSSL_cleanse(data_.data(), data_.size());
  bytes_ = 0;
}
template class Secret<48>;
template class Secret<32>;

size_t hash_bytes(CipherSuite suite) { return suite == CipherSuite::kAes128GcmSha256 ? 32 : 48; }
size_t key_bytes(CipherSuite suite) { return suite == CipherSuite::kAes128GcmSha256 ? 16 : 32; }

void hkdf_expand_label(CipherSuite suite, ByteView secret, std::string_view label, ByteView context,
                       MutableByteView out) {
  // struct HkdfLabel { uint16 length; opaque label<7..255> = "tls13 " + Label; opaque context<0..255>; }
  constexpr std::string_view kPrefix = "tls13 ";
  std::array<uint8_t, 2 + 1 + 255 + 1 + 255 + 1> info;
  DP_CHECK(out.size() <= hash_bytes(suite) && kPrefix.size() + label.size() <= 255 && context.size() <= 255);
  size_t at = 0;
  info[at++] = 0;
  info[at++] = static_cast<uint8_t>(out.size());
  info[at++] = static_cast<uint8_t>(kPrefix.size() + label.size());
  const auto put = [&](ByteView bytes) {
    if (!bytes.empty()) std::memcpy(info.data() + at, bytes.data(), bytes.size());
    at += bytes.size();
  };
  put(bytes_of(kPrefix));
  put(bytes_of(label));
  info[at++] = static_cast<uint8_t>(context.size());
  put(context);
  info[at++] = 1;  // RFC 5869 2.3: T(1) = HMAC-Hash(PRK, T(0) | info | 0x01)

  std::array<uint8_t, EVP_MAX_MD_SIZE> block;
  unsigned int written = 0;
  const EVP_MD* digest = suite == CipherSuite::kAes128GcmSha256 ? EVP_sha256() : EVP_sha384();
  DP_CHECK(HMAC(digest, secret.data(), static_cast<int>(secret.size()), info.data(), at, block.data(), &written));
  std::memcpy(out.data(), block.data(), out.size());
  OPENSSL_cleanse(block.data(), block.size());
}

TrafficKey traffic_key(CipherSuite suite, const TrafficSecret& secret) {
  TrafficKey key(key_bytes(suite));
  hkdf_expand_label(suite, secret.view(), "key", {}, key.bytes());
  return key;
}

std::array<uint8_t, kAeadNonceBytes> traffic_iv(CipherSuite suite, const TrafficSecret& secret) {
  std::array<uint8_t, kAeadNonceBytes> iv;
  hkdf_expand_label(suite, secret.view(), "iv", {}, iv);
  return iv;
}

TrafficSecret next_traffic_secret(CipherSuite suite, const TrafficSecret& secret) {
  TrafficSecret next(hash_bytes(suite));
  hkdf_expand_label(suite, secret.view(), "traffic upd", {}, next.bytes());
  return next;
}

}  // namespace culvert::tls
