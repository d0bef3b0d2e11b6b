// culvert-tls: Culvert's handshake and record layer over an ordinary socket, for people who test from outside.
#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

#include "tests/tools/tls/options.h"
#include "tests/tools/tls/sockets.h"
#include "tests/tools/tls/tunnel.h"

namespace culvert::tls_tool {

namespace {

// Far above what one connection's queues may hold.
constexpr PoolLimits kPool = {.small = 4096, .large = 1024, .view = 4096};

int fail(const std::string& sentence) {
  std::cerr << "culvert-tls: " << sentence << "\n";
  return 2;
}

int run(const Options& options) {
  std::string error;
  const bool server = options.tls.session.role == tls::Role::kServer;
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
    if (!tunnel.run(options.tls.session, line, error)) return fail(error);
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

void add_options(CLI::App& app, Options& options, bool server) {
  app.add_option("--fd", options.fd, "inherited descriptor: a connected socket, or a listening one")
      ->check(CLI::NonNegativeNumber);
  app.add_option(server ? "--listen" : "--connect", options.address, "ADDR:PORT, [ADDR6]:PORT")->excludes("--fd");
  add_tls_options(app, options.tls, server, true);
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
  client_options.count = 1;
  CLI::App* server = app.add_subcommand("server", "accept connections");
  CLI::App* client = app.add_subcommand("client", "connect");
  add_options(*server, server_options, true);
  add_options(*client, client_options, false);
  CLI11_PARSE(app, argc, argv);

  const bool is_server = server->parsed();
  Options& options = is_server ? server_options : client_options;
  if (options.fd < 0 && options.address.empty())
    return fail(is_server ? "give --listen or --fd" : "give --connect or --fd");
  const auto parts = TlsParts::apply(options.tls, is_server ? tls::Role::kServer : tls::Role::kClient);
  return parts ? run(options) : fail(parts.error());
}

}  // namespace culvert::tls_tool

int main(int argc, char** argv) { return culvert::tls_tool::main_of(argc, argv); }
