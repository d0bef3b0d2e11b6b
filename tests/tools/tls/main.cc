// culvert-tls: Culvert's handshake and record layer over an ordinary socket, for people who test from outside.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"
#include "identity/credentials.h"
#include "tests/tools/tls/options.h"
#include "tests/tools/tls/sockets.h"
#include "tests/tools/tls/tunnel.h"

namespace culvert::tls_tool {

namespace {

// Far above what one connection's queues may hold.
constexpr PoolLimits kPool = {.small = 4096, .large = 1024, .view = 4096};

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
  if (write(*static_cast<int*>(context), whole.data(), whole.size()) < 0) std::perror("culvert-tls: key log");
}

int fail(const std::string& sentence) {
  std::cerr << "culvert-tls: " << sentence << "\n";
  return 2;
}

std::unique_ptr<tls::AeadBackend> make_backend(const std::string& name, std::string& error) {
  if (name == "openssl") return std::make_unique<crypto::OpensslAead>();
  return crypto::IpsecMbAead::make(error);
}

int run(Options options) {
  std::string error;
  const auto backend = make_backend(options.aead, error);
  if (!backend) return fail(error);
  options.session.aead = backend.get();
  Socket keylog;
  int keylog_fd = -1;
  if (!options.keylog.empty()) {
    keylog = Socket(open(options.keylog.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!keylog) return fail("cannot write the key log '" + options.keylog + "'");
    keylog_fd = keylog.fd();
    options.session.keylog = log_key;
    options.session.keylog_context = &keylog_fd;
  }

  const bool server = options.role == tls::Role::kServer;
  Socket listener, inherited;
  if (options.fd >= 0) {
    inherited = Socket(options.fd);
    if (is_listening(inherited)) std::swap(listener, inherited);
  } else if (server) {
    listener = listen_at(options.address, error);
    if (!listener) return fail(error);
    std::cerr << "listening on " << local_address(listener) << std::endl;
  }

  const auto pool = BufferPool::on_heap(kPool);
  Counters counters;
  bool all_clean = true;
  for (uint64_t i = 0; options.count == 0 || i < options.count; ++i) {
    Socket socket;
    if (inherited) {
      socket = std::move(inherited);
    } else if (listener) {
      socket = accept_from(listener, error);
    } else if (options.fd < 0) {
      socket = connect_to(options.address, error);
    } else {
      break;  // the inherited connection has been served
    }
    if (!socket) return fail(error);
    Tunnel tunnel(std::move(socket), *pool, counters, options.echo);
    std::string line;
    if (!tunnel.run(options.session, line, error)) return fail(error);
    all_clean = all_clean && tunnel.clean();
    // Standard output belongs to the relayed bytes.
    (options.echo ? std::cout : std::cerr) << line << std::endl;
  }
  return all_clean || server ? 0 : 1;
}

constexpr char kFooter[] = R"(
One JSON line per connection at its end, on standard output with --echo and on standard error without (standard output
then holds the bytes received): role, version, cipher, group, alpn, peer_identity, aead, hello_retry, bytes_sent,
bytes_received, records_sent, records_received, key_updates_sent, key_updates_received, tickets_ignored,
handshake_cpu_us, alert_sent, alert_received, close_reason (close_notify, handshake_failed, tls_failed, truncated,
reset, handshake_timeout), detail. What does not apply is null. Records are those after the handshake.

A listening server says "listening on ADDR:PORT" on standard error first; port 0 takes a free one.
Exit status: 0; 1 when a client's connection did not end by close_notify of both sides; 2 when it could not start.)";

void add_options(CLI::App& app, Options& options, Files& files, bool server) {
  app.add_option("--fd", options.fd, "inherited descriptor: a connected socket, or a listening one")
      ->check(CLI::NonNegativeNumber);
  app.add_option(server ? "--listen" : "--connect", options.address, "ADDR:PORT, [ADDR6]:PORT")->excludes("--fd");
  app.add_option("--cert", files.cert, "certificate chain, PEM: leaf first, then intermediates");
  app.add_option("--key", files.key, "private key of the leaf, PEM (ECDSA P-256 or P-384, RSA, Ed25519)");
  app.add_option("--ca", files.ca, "roots that the peer's chain must end at, PEM")->required();
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
  app.add_flag("--echo", options.echo, "send back what is read; default: relay standard input and output");
  app.add_option(
      "--count", options.count,
      server ? "end after so many connections (default: never)" : "so many connections, one after another (default 1)");
  app.footer(kFooter);
}

}  // namespace

int main_of(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app("TLS 1.3 as Culvert speaks it between nodes, over an ordinary socket.", "culvert-tls");
  app.require_subcommand(1);
  app.footer("culvert-tls server --help and culvert-tls client --help tell the rest.");
  Options server_options, client_options;
  client_options.role = tls::Role::kClient;
  client_options.count = 1;
  Files server_files, client_files;
  CLI::App* server = app.add_subcommand("server", "accept connections");
  CLI::App* client = app.add_subcommand("client", "connect");
  add_options(*server, server_options, server_files, true);
  add_options(*client, client_options, client_files, false);
  CLI11_PARSE(app, argc, argv);

  const bool is_server = server->parsed();
  Options& options = is_server ? server_options : client_options;
  const Files& files = is_server ? server_files : client_files;
  if (options.fd < 0 && options.address.empty())
    return fail(is_server ? "give --listen or --fd" : "give --connect or --fd");
  if (options.session.alpn.size() > 255) return fail("--alpn: at most 255 bytes");
  std::string error;
  options.session.role = options.role;
  options.session.credentials = read_credentials(files, error);
  if (!options.session.credentials) return fail(error);
  if (is_server && !options.session.credentials->has_certificate()) {
    return fail("a server needs a certificate: give --cert and --key");
  }
  // Reference 3.4: the trust domain of the server's own identity.
  const auto& own = options.session.credentials->identities();
  if (is_server && !own.empty()) options.session.required_trust_domain = own.front().trust_domain;
  return run(std::move(options));
}

}  // namespace culvert::tls_tool

int main(int argc, char** argv) { return culvert::tls_tool::main_of(argc, argv); }
