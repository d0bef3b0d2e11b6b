// What every handshake with the same credentials shares: an SSL_CTX with the mesh's parameters (reference 3.1), and the
// BIO method of the memory transport. Made once per Credentials and kept by them; used from any thread after that.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "identity/credentials.h"

namespace culvert::tls {

struct Context {
  SSL_CTX* ssl = nullptr;
  BIO_METHOD* transport = nullptr;
  std::string error;  // why `ssl` is null, one sentence

  Context() = default;
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

// Parameters and credentials only; callbacks are Handshake's.
std::unique_ptr<Context> make_context(const identity::Credentials& credentials);

// The last error OpenSSL left on this thread, in its words; the queue is empty afterwards.
std::string take_openssl_error();

}  // namespace culvert::tls
