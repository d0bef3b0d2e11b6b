// Nodes that speak HBONE over real TCP stacks and real TLS, joined by a wire in memory on a virtual clock. The wire
// moves packets, it does not copy them: all nodes share one pool, as two ends in one process do.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/crypto/openssl/aead.h"
#include "hbone/tunnels.h"
#include "tests/testkit/test_ca.h"
#include "wire/tcp_header.h"

namespace culvert::hbone::test {

using testkit::kTestNow;
using testkit::TestCa;

inline constexpr InterfaceId kInterface{1};

inline IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }
inline identity::SpiffeId spiffe(std::string_view account, std::string_view name_space = "shop") {
  return {"cluster.local", std::string(name_space), std::string(account)};
}

inline uint8_t pattern(uint64_t at) { return static_cast<uint8_t>(at * 131 + (at >> 8) * 17 + (at >> 16) * 7); }

// A packet of pattern bytes, written in place: nothing is counted as copied.
inline Packet pattern_packet(BufferPool& pool, uint64_t from, uint32_t bytes) {
  Packet out;
  while (bytes > 0) {
    Packet piece = pool.take_large();
    if (!piece) return {};
    const auto take = static_cast<uint16_t>(std::min<uint32_t>(bytes, 16'000));
    uint8_t* to = piece.append(take);
    for (uint16_t i = 0; i < take; ++i) to[i] = pattern(from + i);
    out.join(std::move(piece));
    from += take;
    bytes -= take;
  }
  return out;
}

// What an application does with one stream: sends so many bytes, ends or not, reads or not.
struct Flow {
  StreamId id = {};
  uint64_t to_send = 0, sent = 0, received = 0;
  bool finish = true, finished = false;
  bool reads = true, may_send = true;
  bool content_right = true, ended = false;
  bool established = false, over = false;
};

class Network;

// A node with one address: a workload's proxy. As a server it answers every CONNECT through `serve`.
class Node : public CredentialSource {
 public:
  Node(Network& network, std::string_view address, const Limits& limits);
  ~Node() override { flows.clear(); }

  std::shared_ptr<const identity::Credentials> client(const identity::SpiffeId& id) override {
    const auto it = own.find(id.service_account);
    return it == own.end() ? nullptr : it->second;
  }
  std::shared_ptr<const identity::Credentials> server(InterfaceId, const IpAddress&) override { return pod; }

  // True when something happened.
  bool turn(Instant now);
  void pump(Flow& flow, Instant now);
  void on_event(const Event& event, Instant now);
  Flow* flow(StreamId id) {
    const auto it = flows.find(tunnels->cookie(id));
    return it == flows.end() ? nullptr : &it->second;
  }
  Flow& add(StreamId id, Flow flow) {
    const uint64_t key = next_flow++;
    flow.id = id;
    tunnels->set_cookie(id, key);
    return flows[key] = flow;
  }
  // Opens a stream to `to` port 15008, from this node's address.
  Flow* open(const TunnelKey& key, std::string_view authority, Flow flow, Instant now);
  // Events since the last call: "established", "refused 401", "lost handshake failed" …, each behind its flow's number.
  std::vector<std::string> events() { return std::exchange(log, {}); }

  Network& network;
  IpAddress address;
  Counters counters;
  crypto::OpensslAead aead;
  std::map<std::string, std::shared_ptr<const identity::Credentials>> own;  // by service account
  std::shared_ptr<const identity::Credentials> pod;
  std::unique_ptr<tcp::Stack> tcp;
  std::unique_ptr<Tunnels> tunnels;
  std::map<uint64_t, Flow> flows;
  uint64_t next_flow = 1;
  std::vector<std::string> log;
  std::vector<TunnelFailure> failures;
  std::function<void(StreamId, Instant)> serve;
  bool deaf = false;  // its packets are lost
  tcp::SynVerdict syn_verdict = tcp::SynVerdict::kAccept;
};

class Network {
 public:
  explicit Network(const Limits& limits = {}, PoolLimits pools = {.small = 60'000, .large = 30'000, .view = 200'000})
      : pool(BufferPool::on_heap(pools)), client(*this, "10.0.0.1", limits), server(*this, "10.0.0.2", limits) {
    client.own["a"] = ca.credentials("spiffe://cluster.local/ns/shop/sa/a");
    client.own["c"] = ca.credentials("spiffe://cluster.local/ns/shop/sa/c");
    server.pod = ca.credentials("spiffe://cluster.local/ns/shop/sa/b");
  }
  ~Network() {
    // Streams and tunnels go first, then what flies, then the pool must be whole.
    for (Node* node : {&client, &server}) {
      node->tunnels.reset();
      node->tcp.reset();
    }
    flying.clear();
    EXPECT_EQ(pool->held(BufferKind::kSmall), 0u);
    EXPECT_EQ(pool->held(BufferKind::kLarge), 0u);
    EXPECT_EQ(pool->held(BufferKind::kView), 0u);
  }

  TunnelKey key(std::string_view account = "a", std::string_view expected = "b") const {
    return {spiffe(account), client.address, {spiffe(expected)}, {server.address, kHbonePort}, kInterface};
  }

  // Until nothing is left to do before `limit` of virtual time, or the condition holds.
  bool run(Duration limit, const std::function<bool()>& until = {}) {
    const Instant end = now + limit;
    for (;;) {
      for (bool busy = true; busy;) {
        busy = client.turn(now);
        busy = server.turn(now) || busy;
        if (until && until()) return true;
      }
      Instant next = std::min({client.tcp->next_deadline(), server.tcp->next_deadline(),
                               client.tunnels->next_deadline(), server.tunnels->next_deadline()});
      if (!flying.empty()) next = std::min(next, flying.front().arrives);
      if (next > end) {
        now = end;
        return !until;
      }
      now = std::max(now, next);
      while (!flying.empty() && flying.front().arrives <= now) {
        Flying f = std::move(flying.front());
        flying.pop_front();
        Node& to = f.to_server ? server : client;
        if (!to.deaf) to.tcp->on_segment(std::move(f.segment), now);
      }
    }
  }

  void launch(const Node& from, tcp::OutSegment& out) {
    if (from.deaf) return;
    Flying f;
    f.to_server = &from == &client;
    f.arrives = now + delay;
    ASSERT_TRUE(out.packet.pull_up(out.header_bytes));
    const auto parsed = wire::parse_tcp(out.packet.front());
    ASSERT_TRUE(parsed.ok());
    f.segment.interface = kInterface;
    f.segment.header = parsed->header;
    f.segment.tuple = {{out.destination, parsed->header.destination_port}, {out.source, parsed->header.source_port}};
    out.packet.trim_front(out.header_bytes);
    if (out.packet.bytes() > 0) f.segment.payload = std::move(out.packet);
    if (tamper) tamper(f.segment, f.to_server);
    flying.push_back(std::move(f));
  }

  Instant now{};
  UnixTime calendar = kTestNow;
  Duration delay = 100us;
  TestCa ca;
  std::unique_ptr<BufferPool> pool;
  Node client, server;
  std::function<void(tcp::Segment&, bool to_server)> tamper;

 private:
  struct Flying {
    Instant arrives;
    bool to_server;
    tcp::Segment segment;
  };
  std::deque<Flying> flying;
};

inline Node::Node(Network& n, std::string_view a, const Limits& limits) : network(n), address(ip(a)) {
  tcp = std::make_unique<tcp::Stack>(tcp::StackLimits{}, *n.pool, counters, 7, n.now);
  const tcp::SynFilter filter{
      [](void* self, InterfaceId, const tcp::Tuple&) { return static_cast<Node*>(self)->syn_verdict; }, this};
  tcp->set_interface(kInterface, {.mtu = 1500, .tso_bytes_max = 65'535}, filter, {});
  tunnels = std::make_unique<Tunnels>(limits, *tcp, *n.pool, counters, *this, aead, 11);
}

inline Flow* Node::open(const TunnelKey& key, std::string_view authority, Flow flow, Instant now) {
  ConnectHeaders headers;
  headers.authority = authority;
  headers.baggage = emit_baggage({.cluster = "Kubernetes", .name_space = "shop", .workload = "a"});
  headers.traceparent = emit_traceparent(1, 2, 3);
  const auto id = tunnels->open(key, headers, now);
  if (!id) return nullptr;
  return &add(*id, flow);
}

inline void Node::on_event(const Event& event, Instant now) {
  if (event.kind == EventKind::kRequest) {
    if (serve) serve(event.stream, now);
    return;
  }
  const uint64_t number = tunnels->cookie(event.stream);
  Flow* f = flow(event.stream);
  const std::string name = std::to_string(number) + " ";
  switch (event.kind) {
    case EventKind::kRequest:
      break;
    case EventKind::kEstablished:
      log.push_back(name + "established");
      if (f) f->established = true;
      break;
    case EventKind::kRefused:
      log.push_back(name + "refused " + std::to_string(event.code));
      break;
    case EventKind::kReadable:
    case EventKind::kWritable:
      break;
    case EventKind::kEndOfStream:
      log.push_back(name + "end");
      break;
    case EventKind::kStopped:
      log.push_back(name + "stopped " + std::string(http2::name_of(http2::ErrorCode{event.code})));
      break;
    case EventKind::kReset:
      log.push_back(name + "reset " + std::string(http2::name_of(http2::ErrorCode{event.code})));
      break;
    case EventKind::kLost:
      log.push_back(name + "lost " + std::string(name_of(event.loss)));
      break;
  }
  const bool terminal =
      event.kind == EventKind::kRefused || event.kind == EventKind::kReset || event.kind == EventKind::kLost;
  if (f && terminal) f->over = true;
}

inline void Node::pump(Flow& f, Instant now) {
  if (f.reads) {
    while (Packet bytes = tunnels->read(f.id, 1 << 20, now)) {
      bytes.for_each([&](ByteView piece) {
        for (const uint8_t byte : piece) f.content_right = f.content_right && byte == pattern(f.received++);
      });
    }
    if (tunnels->peer_finished(f.id)) f.ended = true;
  }
  if (f.over || !f.may_send) return;
  while (f.sent < f.to_send && tunnels->writable_bytes(f.id) > 0) {
    const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(64'000, f.to_send - f.sent));
    Packet packet = pattern_packet(*network.pool, f.sent, bytes);
    if (!packet || !tunnels->write(f.id, std::move(packet), now)) break;
    f.sent += bytes;
  }
  if (f.sent == f.to_send && f.finish && !f.finished) {
    f.finished = true;
    tunnels->finish(f.id, now);
  }
}

inline bool Node::turn(Instant now) {
  bool busy = false;
  tunnels->set_calendar(network.calendar);
  tcp->poll(now);
  tcp::Event tcp_events[16];
  while (const size_t n = tcp->take_events(tcp_events)) {
    for (size_t i = 0; i < n; ++i) tunnels->on_tcp_event(tcp_events[i], now);
    busy = true;
  }
  tunnels->poll(now);
  Event events[16];
  while (const size_t n = tunnels->take_events(events)) {
    for (size_t i = 0; i < n; ++i) on_event(events[i], now);
    busy = true;
  }
  for (auto& [key, flow] : flows) pump(flow, now);
  tunnels->flush(now);
  TunnelFailure failure[4];
  while (const size_t n = tunnels->take_failures(failure)) {
    for (size_t i = 0; i < n; ++i) failures.push_back(failure[i]);
  }
  tcp::OutSegment out[16];
  while (const size_t n = tcp->take_output(out, now)) {
    for (size_t i = 0; i < n; ++i) network.launch(*this, out[i]);
    busy = true;
  }
  return busy;
}

// Answers 200 and sends `to_send` bytes back.
inline void accept_all(Node& node, Flow flow) {
  node.serve = [&node, flow](StreamId id, Instant now) {
    node.tunnels->respond(id, kStatusOk, "service.name=b", now);
    node.add(id, flow);
  };
}

}  // namespace culvert::hbone::test
