// culvert-perf-micro: the parts by themselves (Google Benchmark). AEAD per record size and backend, TCP segments in and
// out, HTTP/2 DATA in and out, policy and route lookups.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <deque>

#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"
#include "http2/session.h"
#include "policy/decision.h"
#include "routing/outbound.h"
#include "snapshot/mesh_builder.h"
#include "tcp/stack.h"

namespace culvert {
namespace {

std::unique_ptr<tls::AeadBackend> backend(int64_t which) {
  std::string error;
  if (which == 0) {
    if (auto ipsec_mb = crypto::IpsecMbAead::make(error)) return ipsec_mb;
  }
  return std::make_unique<crypto::OpensslAead>();
}

void BM_AeadSeal(benchmark::State& state) {
  const auto aead = backend(state.range(0));
  const auto bytes = static_cast<size_t>(state.range(1));
  const std::vector<uint8_t> key(32, 1);
  const auto k = aead->make_key(tls::CipherSuite::kAes256GcmSha384, key);
  std::vector<uint8_t> plain(bytes, 2);
  std::vector<uint8_t> sealed(bytes);
  uint8_t nonce[tls::kAeadNonceBytes] = {};
  uint8_t tag[tls::kAeadTagBytes];
  const uint8_t aad[5] = {23, 3, 3, 0, 0};
  const ByteView piece(plain);
  for (auto _ : state) {
    ++nonce[0];
    k->seal(nonce, aad, {&piece, 1}, sealed, tag);
    benchmark::DoNotOptimize(tag);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(1));
  state.SetLabel(std::string(aead->name()));
}
BENCHMARK(BM_AeadSeal)->ArgsProduct({{0, 1}, {64, 256, 1024, 4096, 16384}});

void BM_AeadOpen(benchmark::State& state) {
  const auto aead = backend(state.range(0));
  const auto bytes = static_cast<size_t>(state.range(1));
  const std::vector<uint8_t> key(32, 1);
  const auto k = aead->make_key(tls::CipherSuite::kAes256GcmSha384, key);
  std::vector<uint8_t> plain(bytes, 2);
  std::vector<uint8_t> sealed(bytes);
  const uint8_t nonce[tls::kAeadNonceBytes] = {};
  uint8_t tag[tls::kAeadTagBytes];
  const ByteView in(plain);
  k->seal(nonce, {}, {&in, 1}, sealed, tag);
  const ByteView piece(sealed);
  for (auto _ : state) {
    if (!k->open(nonce, {}, {&piece, 1}, tag, plain)) state.SkipWithError("does not open");
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(1));
  state.SetLabel(std::string(aead->name()));
}
BENCHMARK(BM_AeadOpen)->ArgsProduct({{0, 1}, {64, 256, 1024, 4096, 16384}});

// Two stacks on one pool, joined by moving segments over: what a segment costs to build, parse and take in, and its
// ACK.
struct TcpPair {
  static constexpr InterfaceId kInterface{2};
  std::unique_ptr<BufferPool> pool = BufferPool::on_heap({.small = 8192, .large = 4096, .view = 32768});
  Counters counters;
  Instant now{Duration{1s}};
  tcp::Stack a{{}, *pool, counters, 1, now};
  tcp::Stack b{{}, *pool, counters, 2, now};
  tcp::ConnectionId client, server;

  explicit TcpPair(uint32_t tso) {
    const tcp::SynFilter accept{[](void*, InterfaceId, const tcp::Tuple&) { return tcp::SynVerdict::kAccept; },
                                nullptr};
    a.set_interface(kInterface, {.mtu = 1500, .tso_bytes_max = tso}, accept, {});
    b.set_interface(kInterface, {.mtu = 1500, .tso_bytes_max = tso}, accept, {});
    const auto id =
        a.connect(kInterface, {{*IpAddress::parse("10.0.0.1"), 0}, {*IpAddress::parse("10.0.0.2"), 80}}, {}, now);
    client = *id;
    for (int i = 0; i < 10; ++i) exchange();
    std::array<tcp::Event, 16> events;
    for (size_t n = b.take_events(events), e = 0; e < n; ++e) {
      if (events[e].kind == tcp::EventKind::kAccepted) server = events[e].connection;
    }
    a.take_events(events);
  }

  size_t move(tcp::Stack& from, tcp::Stack& to) {
    std::array<tcp::OutSegment, 32> out;
    const size_t n = from.take_output(out, now);
    for (size_t i = 0; i < n; ++i) {
      const auto parsed = wire::parse_tcp(out[i].packet.front());
      tcp::Segment segment;
      segment.interface = kInterface;
      segment.header = parsed->header;
      segment.tuple = {{out[i].destination, parsed->header.destination_port},
                       {out[i].source, parsed->header.source_port}};
      segment.payload = std::move(out[i].packet);
      segment.payload.trim_front(parsed->header_bytes);
      to.on_segment(std::move(segment), now);
    }
    return n;
  }
  size_t exchange() {
    now += 10us;
    a.poll(now);
    b.poll(now);
    const size_t n = move(a, b);
    move(b, a);
    return n;
  }
};

void BM_TcpSegment(benchmark::State& state) {
  TcpPair pair(static_cast<uint32_t>(state.range(0)));
  int64_t segments = 0;
  int64_t bytes = 0;
  std::array<tcp::Event, 64> events;
  for (auto _ : state) {
    while (pair.a.writable_bytes(pair.client) > 0) {
      Packet packet = pair.pool->take_large();
      if (!packet || !packet.append(16'000)) break;
      pair.a.write(pair.client, std::move(packet), pair.now);
    }
    segments += static_cast<int64_t>(pair.exchange());
    while (const Packet packet = pair.b.read(pair.server, 1 << 20, pair.now)) bytes += packet.bytes();
    pair.a.take_events(events);
    pair.b.take_events(events);
  }
  state.SetItemsProcessed(segments);
  state.SetBytesProcessed(bytes);
}
BENCHMARK(BM_TcpSegment)->Arg(0)->Arg(65'535);

// Client and server session, records handed over as they are: DATA out and in, window updates back.
void BM_Http2Data(benchmark::State& state) {
  const auto pool = BufferPool::on_heap({.small = 8192, .large = 4096, .view = 32768});
  Counters counters;
  http2::CoreMemory memory(64 << 20);
  Instant now{Duration{1s}};
  const auto client = http2::Session::make(http2::Role::kClient, {}, memory, *pool, counters, 1, now);
  const auto server = http2::Session::make(http2::Role::kServer, {}, memory, *pool, counters, 2, now);
  ByteQueue to_server;
  ByteQueue to_client;
  std::array<http2::Event, 64> events;
  http2::StreamRef accepted{};
  const auto exchange = [&] {
    now += 10us;
    while (Packet record = client->take_record(now)) to_server.append(std::move(record));
    server->on_bytes(to_server, now);
    while (Packet record = server->take_record(now)) to_client.append(std::move(record));
    client->on_bytes(to_client, now);
    for (size_t n = server->take_events(events), e = 0; e < n; ++e) {
      if (events[e].kind == http2::EventKind::kHeaders) accepted = events[e].stream;
    }
    client->take_events(events);
  };
  exchange();
  const std::array<http2::Header, 2> request{{{":method", "CONNECT"}, {":authority", "10.0.0.1:80"}}};
  const auto stream = client->request(request, 0, now);
  exchange();
  const std::array<http2::Header, 1> response{{{":status", "200"}}};
  server->respond(accepted, response, false);
  exchange();
  int64_t bytes = 0;
  for (auto _ : state) {
    while (client->writable_bytes(*stream) > 0) {
      Packet packet = pool->take_large();
      if (!packet || !packet.append(16'375)) break;
      client->write(*stream, std::move(packet));
    }
    exchange();
    while (const Packet packet = server->read(accepted, 1 << 20, now)) bytes += packet.bytes();
  }
  if (bytes == 0) state.SkipWithError("no DATA came through");
  state.SetBytesProcessed(bytes);
}
BENCHMARK(BM_Http2Data);

std::shared_ptr<const snapshot::Mesh> mesh_of(int64_t workloads, int64_t policies) {
  snapshot::MeshBuilder builder;
  for (int64_t i = 0; i < workloads; ++i) {
    snapshot::Workload w;
    w.uid = "perf//Pod/ns/w" + std::to_string(i);
    w.name = w.service_account = "w" + std::to_string(i);
    w.name_space = "ns" + std::to_string(i % 100);
    w.addresses = {IpAddress::v4(0x0a000000u + static_cast<uint32_t>(i))};
    w.tunnel_protocol = snapshot::TunnelProtocol::kHbone;
    w.trust_domain = "cluster.local";
    w.node = "n" + std::to_string(i % 50);
    builder.upsert(std::move(w));
  }
  for (int64_t i = 0; i < policies; ++i) {
    snapshot::Policy p;
    p.name = "p" + std::to_string(i);
    p.name_space = "ns" + std::to_string(i % 100);
    p.scope = snapshot::PolicyScope::kNamespace;
    p.action = snapshot::PolicyAction::kDeny;
    snapshot::Match match;
    match.principals.any_of.push_back({snapshot::StringMatch::Kind::kExact, "cluster.local/ns/nobody/sa/" + p.name});
    p.rules.push_back({{{{match}}}});
    builder.upsert(std::move(p));
  }
  return builder.publish();
}

void BM_PolicyDecide(benchmark::State& state) {
  const auto mesh = mesh_of(1000, state.range(0));
  const snapshot::Workload* workload = mesh->workload_at("", IpAddress::v4(0x0a000007u));
  const identity::SpiffeId peer{"cluster.local", "ns3", "w3"};
  policy::Connection connection;
  connection.peer = &peer;
  connection.source = IpAddress::v4(0x0a000003u);
  connection.destination = IpAddress::v4(0x0a000007u);
  connection.port = 8080;
  for (auto _ : state) {
    const auto decision = policy::decide(*mesh, *workload, connection);
    if (!decision.allowed()) state.SkipWithError("denied");
    benchmark::DoNotOptimize(decision);
  }
}
BENCHMARK(BM_PolicyDecide)->Arg(0)->Arg(1000)->Arg(10'000);

void BM_RouteOutbound(benchmark::State& state) {
  const auto mesh = mesh_of(state.range(0), 0);
  routing::OutboundRequest request;
  request.workload = mesh->workload_at("", IpAddress::v4(0x0a000003u));
  request.source = IpAddress::v4(0x0a000003u);
  request.destination = {IpAddress::v4(0x0a000007u), 8080};
  Random random(1);
  for (auto _ : state) {
    const auto decision = routing::decide_outbound(*mesh, request, random);
    if (!decision.carried()) state.SkipWithError("refused");
    benchmark::DoNotOptimize(decision);
  }
}
BENCHMARK(BM_RouteOutbound)->Arg(1000)->Arg(100'000);

}  // namespace
}  // namespace culvert

int main(int argc, char** argv) {
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
