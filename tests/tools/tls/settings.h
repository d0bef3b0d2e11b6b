// The TLS options that culvert-tls and culvert-hbone share, and what they make of a session's configuration.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "tls/session.h"

namespace CLI {
class App;
}

namespace culvert::tls_tool {

struct TlsSettings {
  std::string cert, key, ca;  // files, PEM
  std::string aead = "ipsec_mb";
  std::string keylog;          // file, empty for none
  tls::SessionConfig session;  // complete after apply()
};

// --cert, --key, --ca, --client-cert (servers), --expect, --alpn, --aead, --key-update-every, --keylog. `out` outlives
// the parsing.
void add_tls_options(CLI::App& app, TlsSettings& out, bool server, bool ca_required);

// What a session's configuration points to: outlives every session made with it.
class TlsParts {
 public:
  // Reads the files, opens the key log, makes the AEAD backend, and completes `settings.session` for this role. The
  // error is one sentence.
  static Result<std::unique_ptr<TlsParts>, std::string> apply(TlsSettings& settings, tls::Role role);

 private:
  std::unique_ptr<tls::AeadBackend> backend_;
  UniqueFd keylog_;
  int keylog_fd_ = -1;
};

}  // namespace culvert::tls_tool
