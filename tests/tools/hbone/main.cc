// culvert-hbone: the HBONE machines over ordinary sockets, for people who test from outside.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"
#include "identity/credentials.h"
#include "tests/tools/hbone/options.h"
#include "tests/tools/hbone/program.h"

namespace culvert::hbone_tool {

namespace {

struct Files {
  std::string cert, key, ca;
};

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

std::shared_ptr<const identity::Credentials> read_credentials(const Files& files, std::string& error) {
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
  if (write(*static_cast<int*>(context), whole.data(), whole.size()) < 0) std::perror("culvert-hbone: key log");
}

int fail(const std::string& sentence) {
  std::cerr << "culvert-hbone: " << sentence << "\n";
  return 2;
}

constexpr char kFooter[] = R"(
JSON lines, one per stream and one per connection, each at its end; on standard output with --listen, on standard error
without (standard output then holds the bytes received).
  stream:      kind, role, connection, stream, authority, status, end (clean, refused, reset, lost), rst_sent,
               rst_received, bytes_sent, bytes_received, peer_identity, baggage, forwarded_host, traceparent, detail
  connection:  kind, role, connection, peer, plain, peer_identity, cipher, group, aead, hello_retry, records_sent,
               records_received, key_updates_sent, key_updates_received, alert_sent, alert_received, settings_received,
               peer_settings, streams, resets_sent, resets_received, data_bytes_sent, data_bytes_received,
               data_frames_sent, data_frames_received, pings_acknowledged, goaway_sent, goaway_received, end, detail
What does not apply is null. A listener says "listening on ADDR:PORT" on standard error first; port 0 takes a free one.
A local connection that is reset resets its stream with CANCEL, and a stream that is reset or lost resets its local
connection. SIGTERM and SIGINT close the tunnels in order (GOAWAY, close_notify).
Exit status: 0; 1 when connect's streams did not all end clean; 2 when it could not start or go on.)";

void add_options(CLI::App& app, Options& options, Files& files, bool server) {
  if (server) {
    app.add_option("--listen", options.listen, "where tunnels are accepted")->required()->option_text("ADDR:PORT");
    app.add_option("--to", options.to, "where streams go: an address, or echo")
        ->required()
        ->option_text("ADDR:PORT|echo");
  } else {
    app.add_option("--via", options.via, "the tunnel's server")->required()->option_text("ADDR:PORT");
    app.add_option("--authority", options.authority, "what the CONNECT names")->required()->option_text("HOST:PORT");
    app.add_option("--listen", options.listen,
                   "accept local connections, each a stream; default: one stream for standard input and output")
        ->option_text("ADDR:PORT");
    app.add_option("--forwarded", options.forwarded, "value of the forwarded header");
  }
  app.add_option("--baggage", options.baggage,
                 server ? "baggage of the 200 response" : "baggage header of the requests");
  app.add_flag("--plain", options.plain, "HTTP/2 with prior knowledge, without TLS");
  app.add_option("--cert", files.cert, "certificate chain, PEM: leaf first, then intermediates");
  app.add_option("--key", files.key, "private key of the leaf, PEM (ECDSA P-256 or P-384, RSA, Ed25519)");
  app.add_option("--ca", files.ca, "roots that the peer's chain must end at, PEM");
  if (server) {
    static const std::map<std::string, tls::ClientCertificate> kModes = {
        {"none", tls::ClientCertificate::kNone},
        {"optional", tls::ClientCertificate::kOptional},
        {"required", tls::ClientCertificate::kRequired}};
    app.add_option("--client-cert", options.session.client_certificate,
                   "none, optional or required (the default). The client's trust domain must be the server's own")
        ->transform(CLI::CheckedTransformer(kModes).description(""))
        ->option_text("MODE");
  }
  app.add_option_function<std::vector<std::string>>(
         "--expect",
         [&options](const std::vector<std::string>& ids) {
           for (const std::string& text : ids) {
             const auto id = identity::SpiffeId::parse(text);
             if (!id) throw CLI::ValidationError("--expect", "'" + text + "' is not spiffe://TRUST-DOMAIN/ns/NS/sa/SA");
             options.session.expected_peers.push_back(*id);
           }
         },
         "SPIFFE identity that the peer must have; several: one of them. Default: any under the roots")
      ->option_text("SPIFFE-ID");
  app.add_option("--alpn", options.session.alpn, "protocol to offer and accept; empty for none")->capture_default_str();
  app.add_option("--aead", options.aead, "who seals and opens records")
      ->check(CLI::IsMember({"ipsec_mb", "openssl"}))
      ->capture_default_str();
  app.add_option("--key-update-every", options.session.key_update_every_bytes, "send a KeyUpdate after so many bytes")
      ->option_text("BYTES");
  app.add_option("--keylog", options.keylog, "append the secrets to this file (NSS key log format)");
  app.add_option("--count", options.count,
                 server ? "end after so many connections (default: never)"
                        : "end after so many streams (default: never with --listen, otherwise 1)");
  app.footer(kFooter);
}

int run(Options& options, const Files& files) {
  std::string error;
  if (!options.serve && options.listen.empty()) options.count = 1;
  if (!hbone::Authority::parse(options.authority) && !options.serve) {
    std::cerr << "culvert-hbone: note: '" << options.authority << "' is no HOST:PORT; it is sent as it is\n";
  }
  std::unique_ptr<tls::AeadBackend> backend;
  Socket keylog;
  int keylog_fd = -1;
  if (!options.plain) {
    if (files.ca.empty()) return fail("give --ca, or --plain for HTTP/2 without TLS");
    options.session.role = options.serve ? tls::Role::kServer : tls::Role::kClient;
    options.session.credentials = read_credentials(files, error);
    if (!options.session.credentials) return fail(error);
    if (options.serve && !options.session.credentials->has_certificate()) {
      return fail("a server needs a certificate: give --cert and --key");
    }
    // Reference 3.4: the trust domain of the server's own identity.
    const auto& own = options.session.credentials->identities();
    if (options.serve && !own.empty()) options.session.required_trust_domain = own.front().trust_domain;
    if (options.aead == "openssl") {
      backend = std::make_unique<crypto::OpensslAead>();
    } else {
      backend = crypto::IpsecMbAead::make(error);
    }
    if (!backend) return fail(error);
    options.session.aead = backend.get();
    if (!options.keylog.empty()) {
      keylog = Socket(open(options.keylog.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
      if (!keylog) return fail("cannot write the key log '" + options.keylog + "'");
      keylog_fd = keylog.fd();
      options.session.keylog = log_key;
      options.session.keylog_context = &keylog_fd;
    }
  }
  Program program(options);
  if (!program.run(error)) return fail(error);
  return options.serve || program.clean() ? 0 : 1;
}

}  // namespace

int main_of(int argc, char** argv) {
  CLI::App app("HBONE as Culvert speaks it between nodes, over ordinary sockets.", "culvert-hbone");
  app.require_subcommand(1);
  app.footer("culvert-hbone serve --help and culvert-hbone connect --help tell the rest.");
  Options serve_options, connect_options;
  serve_options.serve = true;
  Files serve_files, connect_files;
  CLI::App* serve = app.add_subcommand("serve", "end tunnels");
  CLI::App* connect = app.add_subcommand("connect", "carry local connections through a tunnel");
  add_options(*serve, serve_options, serve_files, true);
  add_options(*connect, connect_options, connect_files, false);
  CLI11_PARSE(app, argc, argv);
  return serve->parsed() ? run(serve_options, serve_files) : run(connect_options, connect_files);
}

}  // namespace culvert::hbone_tool

int main(int argc, char** argv) { return culvert::hbone_tool::main_of(argc, argv); }
