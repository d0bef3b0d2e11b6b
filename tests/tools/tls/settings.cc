#include "tests/tools/tls/settings.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"
#include "identity/credentials.h"

namespace culvert::tls_tool {
namespace {

bool read_file(const std::string& path, std::string& text, std::string& error) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (file && content << file.rdbuf()) {
    text = content.str();
    return true;
  }
  error = "cannot read '" + path + "'";
  return false;
}

std::shared_ptr<const identity::Credentials> read_credentials(const TlsSettings& files, std::string& error) {
  std::string chain, key, roots;
  if (!read_file(files.ca, roots, error)) return nullptr;
  if (!files.cert.empty() && !read_file(files.cert, chain, error)) return nullptr;
  if (!files.key.empty() && !read_file(files.key, key, error)) return nullptr;
  std::shared_ptr<const identity::PrivateKey> private_key;
  if (!files.key.empty()) {
    private_key = identity::PrivateKey::from_pem(key);
    if (!private_key) {
      error = "'" + files.key + "' holds no private key in PEM without a password";
      return nullptr;
    }
  }
  auto made = identity::Credentials::make(private_key, chain, roots);
  if (made) return *made;
  error = made.error();
  return nullptr;
}

// Appends a line; one write, so that several processes may share the file.
void log_key(void* context, std::string_view line) {
  const std::string whole = std::string(line) + "\n";
  if (write(*static_cast<int*>(context), whole.data(), whole.size()) < 0) std::perror("key log");
}

}  // namespace

void add_tls_options(CLI::App& app, TlsSettings& out, bool server, bool ca_required) {
  app.add_option("--cert", out.cert, "certificate chain, PEM: leaf first, then intermediates");
  app.add_option("--key", out.key, "private key of the leaf, PEM (ECDSA P-256 or P-384, RSA, Ed25519)");
  app.add_option("--ca", out.ca, "roots that the peer's chain must end at, PEM")->required(ca_required);
  if (server) {
    static const std::map<std::string, tls::ClientCertificate> kModes = {
        {"none", tls::ClientCertificate::kNone},
        {"optional", tls::ClientCertificate::kOptional},
        {"required", tls::ClientCertificate::kRequired}};
    app.add_option("--client-cert", out.session.client_certificate,
                   "none, optional or required (the default). The client's trust domain must be the server's own")
        ->transform(CLI::CheckedTransformer(kModes).description(""))
        ->option_text("MODE");
  }
  app.add_option_function<std::vector<std::string>>(
         "--expect",
         [&out](const std::vector<std::string>& ids) {
           for (const std::string& text : ids) {
             const auto id = identity::SpiffeId::parse(text);
             if (!id) throw CLI::ValidationError("--expect", "'" + text + "' is not spiffe://TRUST-DOMAIN/ns/NS/sa/SA");
             out.session.expected_peers.push_back(*id);
           }
         },
         "SPIFFE identity that the peer must have; several: one of them. Default: any under the roots")
      ->option_text("SPIFFE-ID");
  app.add_option("--alpn", out.session.alpn, "protocol to offer and accept; empty for none")->capture_default_str();
  app.add_option("--aead", out.aead, "who seals and opens records")
      ->check(CLI::IsMember({"ipsec_mb", "openssl"}))
      ->capture_default_str();
  app.add_option("--key-update-every", out.session.key_update_every_bytes, "send a KeyUpdate after so many bytes")
      ->option_text("BYTES");
  app.add_option("--keylog", out.keylog, "append the secrets to this file (NSS key log format)");
}

Result<std::unique_ptr<TlsParts>, std::string> TlsParts::apply(TlsSettings& settings, tls::Role role) {
  auto parts = std::make_unique<TlsParts>();
  std::string error;
  tls::SessionConfig& session = settings.session;
  if (session.alpn.size() > 255) return std::string("--alpn: at most 255 bytes");
  session.role = role;
  session.credentials = read_credentials(settings, error);
  if (!session.credentials) return error;
  if (role == tls::Role::kServer) {
    if (!session.credentials->has_certificate()) {
      return std::string("a server needs a certificate: give --cert and --key");
    }
    // Reference 3.4: the trust domain of the server's own identity.
    const auto& own = session.credentials->identities();
    if (!own.empty()) session.required_trust_domain = own.front().trust_domain;
  }
  if (settings.aead == "openssl") {
    parts->backend_ = std::make_unique<crypto::OpensslAead>();
  } else {
    parts->backend_ = crypto::IpsecMbAead::make(error);
  }
  if (!parts->backend_) return error;
  session.aead = parts->backend_.get();
  if (!settings.keylog.empty()) {
    parts->keylog_ = UniqueFd(open(settings.keylog.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!parts->keylog_) return "cannot write the key log '" + settings.keylog + "'";
    parts->keylog_fd_ = parts->keylog_.get();
    session.keylog = log_key;
    session.keylog_context = &parts->keylog_fd_;
  }
  return parts;
}

}  // namespace culvert::tls_tool
