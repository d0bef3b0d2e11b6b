// The AEAD interface that drivers/crypto implements: TLS 1.3's two AES-GCM suites (RFC 8446 5.2, RFC 5116), over
// scattered input so that records are sealed from and opened out of packet buffers without a copy before or after.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace culvert::tls {

enum class CipherSuite : uint16_t { kAes128GcmSha256 = 0x1301, kAes256GcmSha384 = 0x1302 };

inline constexpr size_t kAeadTagBytes = 16;
inline constexpr size_t kAeadNonceBytes = 12;

// One direction's key, expanded. Wipes itself. Used by one core.
class AeadKey {
 public:
  virtual ~AeadKey() = default;

  // Encrypts the pieces of `plaintext`, in order, into `ciphertext` (as long as their sum) and writes the tag.
  virtual void seal(const uint8_t nonce[kAeadNonceBytes], ByteView aad, std::span<const ByteView> plaintext,
                    MutableByteView ciphertext, uint8_t tag[kAeadTagBytes]) = 0;
  // Decrypts the pieces into `plaintext` (as long as their sum) and compares the tag in constant time. On false
  // `plaintext` has been wiped.
  [[nodiscard]] virtual bool open(const uint8_t nonce[kAeadNonceBytes], ByteView aad,
                                  std::span<const ByteView> ciphertext, const uint8_t tag[kAeadTagBytes],
                                  MutableByteView plaintext) = 0;
};

class AeadBackend {
 public:
  virtual ~AeadBackend() = default;
  virtual std::string_view name() const = 0;  // "ipsec_mb", "openssl"
  // `key` is 16 or 32 bytes as the suite says. The caller wipes it.
  virtual std::unique_ptr<AeadKey> make_key(CipherSuite suite, ByteView key) = 0;
};

}  // namespace culvert::tls
