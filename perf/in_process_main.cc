// culvert-perf-in-process: what the data plane itself costs, two nodes in one thread (in_process.h).
//
// Prints one JSON document of measures: bulk with large and with MTU-sized segments, 1 KB request and response, a new
// stream on a warm tunnel. Each is repeated; median, lowest and highest are given. The bare AEAD speed of the same run
// is the yardstick for bulk.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "drivers/ethdev/eal.h"
#include "tests/testkit/in_process_lab.h"

namespace culvert::perf {
namespace {

using testkit::InProcessLab;
using testkit::Tsc;

using Json = nlohmann::ordered_json;

struct Spread {
  double median, low, high;
};

Spread repeat(int times, const std::function<double()>& measure) {
  std::vector<double> values;
  for (int i = 0; i < times; ++i) values.push_back(measure());
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

Json row(const char* name, Json params, const char* unit, const Spread& s, int repeats) {
  return {
      {"suite", "inprocess"}, {"name", name},   {"params", std::move(params)}, {"unit", unit},     {"value", s.median},
      {"low", s.low},         {"high", s.high}, {"repeats", repeats},          {"rival", nullptr}, {"ratio", nullptr},
      {"target", nullptr},    {"met", nullptr}, {"limited_by", nullptr}};
}

// Gbit per second of sealing 16 KB records, nothing else.
double bare_aead_gbit(tls::AeadBackend& aead) {
  const std::vector<uint8_t> key(32, 7);
  std::vector<uint8_t> plain(16'384);
  std::vector<uint8_t> sealed(16'384);
  const auto k = aead.make_key(tls::CipherSuite::kAes256GcmSha384, key);
  uint8_t nonce[tls::kAeadNonceBytes] = {};
  uint8_t tag[tls::kAeadTagBytes];
  const ByteView piece(plain);
  constexpr int kRecords = 20'000;
  const uint64_t from = Tsc::now();
  for (int i = 0; i < kRecords; ++i) {
    nonce[0] = static_cast<uint8_t>(i);
    k->seal(nonce, {}, {&piece, 1}, sealed, tag);
  }
  const double seconds = static_cast<double>(Tsc::now() - from) / Tsc::per_second();
  return kRecords * 16'384.0 * 8 / seconds / 1e9;
}

// Opens a connection through the tunnel; returns both ends.
struct Pair {
  tcp::ConnectionId client, server;
};

Pair connect(InProcessLab& lab) {
  Pair pair;
  const auto id = lab.client().connect(lab.server_endpoint(), lab.now());
  DP_CHECK(id.ok());
  pair.client = *id;
  bool connected = false;
  bool accepted = false;
  std::array<tcp::Event, 16> events;
  for (int i = 0; i < 20'000'000 && !(connected && accepted); ++i) {
    lab.turn();
    size_t n = lab.client().tcp().take_events(events);
    for (size_t e = 0; e < n; ++e) connected |= events[e].kind == tcp::EventKind::kConnected;
    n = lab.server().tcp().take_events(events);
    for (size_t e = 0; e < n; ++e) {
      if (events[e].kind != tcp::EventKind::kAccepted) continue;
      accepted = true;
      pair.server = events[e].connection;
    }
  }
  DP_CHECK(connected && accepted);
  return pair;
}

void drain_events(InProcessLab& lab) {
  std::array<tcp::Event, 64> events;
  while (lab.client().tcp().take_events(events) > 0) {
  }
  while (lab.server().tcp().take_events(events) > 0) {
  }
}

struct Bulk {
  double gbit_client, gbit_server, copied_per_byte;
};

// Sends `bytes` from client to server; CPU of each node per byte.
Bulk bulk(InProcessLab& lab, const Pair& pair, uint64_t bytes) {
  uint64_t sent = 0;
  uint64_t received = 0;
  lab.reset_clocks();
  const uint64_t copied = lab.node(0).pool(0).bytes_copied() + lab.node(1).pool(0).bytes_copied();
  while (received < bytes) {
    while (sent < bytes && lab.client().tcp().writable_bytes(pair.client) > 0) {
      Packet packet = lab.client().pool().take_large();
      if (!packet) break;
      const auto n = static_cast<uint16_t>(std::min<uint64_t>(16'000, bytes - sent));
      DP_CHECK(packet.append(n) != nullptr);
      lab.client().tcp().write(pair.client, std::move(packet), lab.now());
      sent += n;
    }
    lab.turn();
    while (const Packet packet = lab.server().tcp().read(pair.server, 1 << 20, lab.now())) received += packet.bytes();
    drain_events(lab);
  }
  const double bits = static_cast<double>(bytes) * 8 / 1e9;
  const uint64_t copied_now = lab.node(0).pool(0).bytes_copied() + lab.node(1).pool(0).bytes_copied();
  return {bits / lab.node_seconds(0), bits / lab.node_seconds(1),
          static_cast<double>(copied_now - copied) / static_cast<double>(bytes)};
}

// CPU microseconds of both nodes per 1 KB request and 1 KB response on one connection.
double request_response_us(InProcessLab& lab, const Pair& pair, int rounds) {
  const std::vector<uint8_t> message(1024, 'r');
  lab.reset_clocks();
  const auto transfer = [&](testkit::Host& from, tcp::ConnectionId out, testkit::Host& to, tcp::ConnectionId in) {
    from.tcp().write(out, from.pool().take_copy(message), lab.now());
    size_t got = 0;
    while (got < message.size()) {
      lab.turn();
      while (const Packet packet = to.tcp().read(in, 4096, lab.now())) got += packet.bytes();
      drain_events(lab);
    }
  };
  for (int i = 0; i < rounds; ++i) {
    transfer(lab.client(), pair.client, lab.server(), pair.server);
    transfer(lab.server(), pair.server, lab.client(), pair.client);
  }
  return (lab.node_seconds(0) + lab.node_seconds(1)) / rounds * 1e6;
}

// CPU microseconds of both nodes for a connection that opens, carries nothing and is closed by both, tunnel warm.
double new_stream_us(InProcessLab& lab, int rounds) {
  lab.reset_clocks();
  for (int i = 0; i < rounds; ++i) {
    const Pair pair = connect(lab);
    lab.client().tcp().shutdown_write(pair.client, lab.now());
    lab.server().tcp().shutdown_write(pair.server, lab.now());
    for (int t = 0;
         t < 1000 && !(lab.client().tcp().peer_finished(pair.client) && lab.server().tcp().peer_finished(pair.server));
         ++t) {
      lab.turn();
    }
    lab.client().tcp().release(pair.client, lab.now());
    lab.server().tcp().release(pair.server, lab.now());
    drain_events(lab);
  }
  return (lab.node_seconds(0) + lab.node_seconds(1)) / rounds * 1e6;
}

int run(bool quick) {
  // Buffers come from mempools, as in a real node.
  ethdev::EalSettings settings;
  settings.huge_pages = ethdev::HugePages::kNever;
  settings.limits = testkit::kInProcessBuffers;
  settings.pools = 6;
  settings.file_prefix = "culvert-perf";
  const auto eal = ethdev::Eal::start(settings);
  if (!eal) {
    std::fprintf(stderr, "culvert-perf-in-process: %s\n", eal.error().c_str());
    return 1;
  }
  ethdev::register_thread();
  const int repeats = quick ? 3 : 7;
  const uint64_t bytes = quick ? 128u << 20 : 512u << 20;
  Json measures = Json::array();
  std::string aead_name;
  for (const bool large : {true, false}) {
    InProcessLab lab({.large_segments = large, .mempools = true});
    aead_name = lab.aead_name();
    const Pair pair = connect(lab);
    bulk(lab, pair, 32 << 20);  // windows grow
    const Spread bare = repeat(repeats, [&] { return bare_aead_gbit(lab.aead()); });
    std::vector<double> client;
    std::vector<double> server;
    double copied = 0;
    for (int i = 0; i < repeats; ++i) {
      const Bulk result = bulk(lab, pair, bytes);
      client.push_back(result.gbit_client);
      server.push_back(result.gbit_server);
      copied = std::max(copied, result.copied_per_byte);
    }
    const auto spread = [](std::vector<double> v) {
      std::sort(v.begin(), v.end());
      return Spread{v[v.size() / 2], v.front(), v.back()};
    };
    const Json segments = {{"segments", large ? "64 KB" : "1448"}};
    const auto add = [&](const char* name, const char* end, const char* unit, const Spread& s) {
      Json params = segments;
      params["end"] = end;
      measures.push_back(row(name, params, unit, s, repeats));
    };
    add("bulk", "client node", "Gbit per CPU-second", spread(client));
    add("bulk", "server node", "Gbit per CPU-second", spread(server));
    add("aead", "bare", "Gbit per CPU-second", bare);
    const double share_client = spread(client).median / bare.median;
    const double share_server = spread(server).median / bare.median;
    add("bulk_share_of_aead", "client node", "ratio", {share_client, share_client, share_client});
    add("bulk_share_of_aead", "server node", "ratio", {share_server, share_server, share_server});
    add("bytes_copied_per_byte", "both nodes", "ratio", {copied, copied, copied});
  }
  {
    InProcessLab lab({.mempools = true});
    const Pair pair = connect(lab);
    request_response_us(lab, pair, 1000);
    measures.push_back(row("request_response_1k", {{"end", "both nodes"}}, "CPU us",
                           repeat(repeats, [&] { return request_response_us(lab, pair, quick ? 5'000 : 20'000); }),
                           repeats));
  }
  for (const uint32_t policies : {0u, 10'000u}) {
    InProcessLab lab({.mempools = true, .policies = policies});
    new_stream_us(lab, 200);
    measures.push_back(row("new_stream", {{"end", "both nodes"}, {"policies", policies}}, "CPU us",
                           repeat(repeats, [&] { return new_stream_us(lab, quick ? 1'000 : 4'000); }), repeats));
  }
  std::printf("%s\n", Json{{"schema", 1}, {"aead", aead_name}, {"measures", measures}}.dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace culvert::perf

int main(int argc, char** argv) { return culvert::perf::run(argc > 1 && std::string(argv[1]) == "--quick"); }
