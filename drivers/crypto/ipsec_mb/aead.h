// AES-GCM by Intel IPsec-MB's direct interface: the backend of every node whose CPU has AES-NI and PCLMULQDQ.
//
// Each backend object has its own MB_MGR, the library's table of functions for this CPU. One per core: the library
// keeps the last error in it.
#pragma once

#include <memory>
#include <string>

#include "tls/aead.h"

struct IMB_MGR;

namespace culvert::crypto {

class IpsecMbAead final : public tls::AeadBackend {
 public:
  // Null when this CPU or this build of the library cannot do it; `error` says why in one sentence. Which backend to
  // use instead is the caller's decision.
  static std::unique_ptr<IpsecMbAead> make(std::string& error);
  ~IpsecMbAead() override;
  IpsecMbAead(const IpsecMbAead&) = delete;
  IpsecMbAead& operator=(const IpsecMbAead&) = delete;

  std::string_view name() const override { return "ipsec_mb"; }
  std::unique_ptr<tls::AeadKey> make_key(tls::CipherSuite suite, ByteView key) override;
  // The instruction set the library chose ("AVX512 with VAES", …), for the line printed at start.
  std::string_view architecture() const { return architecture_; }

 private:
  IpsecMbAead(IMB_MGR* mgr, std::string_view architecture) : mgr_(mgr), architecture_(architecture) {}
  IMB_MGR* mgr_;
  std::string_view architecture_;
};

}  // namespace culvert::crypto
