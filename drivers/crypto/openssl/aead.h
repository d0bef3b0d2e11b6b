// AES-GCM by OpenSSL's EVP: the fallback for CPUs that IPsec-MB does not serve, and the oracle of its tests.
#pragma once

#include <memory>

#include "tls/aead.h"

struct evp_cipher_st;

namespace culvert::crypto {

class OpensslAead final : public tls::AeadBackend {
 public:
  OpensslAead();
  ~OpensslAead() override;
  OpensslAead(const OpensslAead&) = delete;
  OpensslAead& operator=(const OpensslAead&) = delete;

  std::string_view name() const override { return "openssl"; }
  std::unique_ptr<tls::AeadKey> make_key(tls::CipherSuite suite, ByteView key) override;

 private:
  evp_cipher_st* aes128_;
  evp_cipher_st* aes256_;
};

}  // namespace culvert::crypto
