// The end of TLS 1.3's key schedule (RFC 8446 7): from a traffic secret to its key and IV, and to its successor. What
// comes before, up to the traffic secrets, is OpenSSL's.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "tls/aead.h"

namespace culvert::tls {

// Bytes of key material that wipe themselves, cannot be copied and have no printed form.
template <size_t kBytesMax>
class Secret {
 public:
  Secret() = default;
  explicit Secret(size_t bytes) : bytes_(bytes) {}
  Secret(Secret&& other) noexcept { *this = static_cast<Secret&&>(other); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      wipe();
      data_ = other.data_;
      bytes_ = other.bytes_;
      other.wipe();
    }
    return *this;
  }
  ~Secret() { wipe(); }

  ByteView view() const { return {data_.data(), bytes_}; }
  MutableByteView bytes() { return {data_.data(), bytes_}; }
  bool empty() const { return bytes_ == 0; }
  void wipe();

 private:
  std::array<uint8_t, kBytesMax> data_{};
  size_t bytes_ = 0;
};

using TrafficSecret = Secret<48>;  // as long as the suite's hash: 32 or 48
using TrafficKey = Secret<32>;     // 16 or 32

size_t hash_bytes(CipherSuite suite);
size_t key_bytes(CipherSuite suite);

// RFC 8446 7.1. `out` is at most as long as the hash: one block of HKDF-Expand is all that TLS 1.3 asks for here.
void hkdf_expand_label(CipherSuite suite, ByteView secret, std::string_view label, ByteView context,
                       MutableByteView out);

// RFC 8446 7.3.
TrafficKey traffic_key(CipherSuite suite, const TrafficSecret& secret);
std::array<uint8_t, kAeadNonceBytes> traffic_iv(CipherSuite suite, const TrafficSecret& secret);
// RFC 8446 7.2: application_traffic_secret_N+1.
TrafficSecret next_traffic_secret(CipherSuite suite, const TrafficSecret& secret);

}  // namespace culvert::tls
