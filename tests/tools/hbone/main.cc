// culvert-hbone: the HBONE machines over ordinary sockets, for people who test from outside.
#include <CLI/CLI.hpp>
#include <iostream>

#include "tests/tools/hbone/options.h"
#include "tests/tools/hbone/program.h"

namespace culvert::hbone_tool {

namespace {

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

void add_options(CLI::App& app, Options& options, bool server) {
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
  tls_tool::add_tls_options(app, options.tls, server, false);
  app.add_option("--count", options.count,
                 server ? "end after so many connections (default: never)"
                        : "end after so many streams (default: never with --listen, otherwise 1)");
  app.footer(kFooter);
}

int run(Options& options) {
  std::string error;
  if (!options.serve && options.listen.empty()) options.count = 1;
  if (!hbone::Authority::parse(options.authority) && !options.serve) {
    std::cerr << "culvert-hbone: note: '" << options.authority << "' is no HOST:PORT; it is sent as it is\n";
  }
  std::unique_ptr<tls_tool::TlsParts> parts;
  if (!options.plain) {
    if (options.tls.ca.empty()) return fail("give --ca, or --plain for HTTP/2 without TLS");
    auto made = tls_tool::TlsParts::apply(options.tls, options.serve ? tls::Role::kServer : tls::Role::kClient);
    if (!made) return fail(made.error());
    parts = std::move(*made);
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
  CLI::App* serve = app.add_subcommand("serve", "end tunnels");
  CLI::App* connect = app.add_subcommand("connect", "carry local connections through a tunnel");
  add_options(*serve, serve_options, true);
  add_options(*connect, connect_options, false);
  CLI11_PARSE(app, argc, argv);
  return serve->parsed() ? run(serve_options) : run(connect_options);
}

}  // namespace culvert::hbone_tool

int main(int argc, char** argv) { return culvert::hbone_tool::main_of(argc, argv); }
