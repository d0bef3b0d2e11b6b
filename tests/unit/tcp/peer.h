// A peer played by hand: the test sends segments to a stack as the peer would, and says which ones it expects back.
//
//   Dialogue d;                       // a stack with one interface that accepts everything
//   d.accept();                       // SYN, SYN-ACK, ACK; the peer's and the stack's numbers count from 1 afterwards
//   d.send(data(1, 1000));
//   d.expect(ack(1001));
//   d.expect_nothing();
//
// Sequence numbers in a test are relative: the SYN is 0, the first byte 1, on both sides. A segment or event that was
// not asked for fails the test when the dialogue ends.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "packet/packet.h"
#include "tcp/stack.h"
#include "wire/tcp_header.h"

namespace culvert::tcp::test {

using namespace std::chrono_literals;

inline constexpr InterfaceId kInterface{3};

// The byte at a stream's offset: any slice of a stream can be checked without keeping it.
inline uint8_t pattern(uint64_t offset) {
  return static_cast<uint8_t>(offset * 131 + (offset >> 8) * 17 + (offset >> 16));
}

inline Packet pattern_packet(BufferPool& pool, uint64_t offset, uint32_t bytes) {
  std::vector<uint8_t> content(bytes);
  for (uint32_t i = 0; i < bytes; ++i) content[i] = pattern(offset + i);
  return pool.take_copy(content);
}

// A segment of either side, with relative numbers.
struct Seg {
  uint32_t seq = 0;
  std::optional<uint32_t> ack = std::nullopt;
  uint32_t bytes = 0;
  bool syn = false, fin = false, rst = false, psh = false, urg = false;
  std::optional<uint32_t> window = std::nullopt;  // unscaled field; peers default to theirs
  std::vector<wire::SackBlock> sacks = {};        // relative
  std::optional<std::pair<uint32_t, uint32_t>> timestamps = std::nullopt;
  bool no_timestamps = false;  // leave them out although negotiated
};

struct Received {
  wire::TcpHeader header;
  uint32_t seq = 0, ack = 0, bytes = 0;  // relative
  uint16_t segment_bytes = 0;
  std::vector<wire::SackBlock> sacks;  // relative
  bool payload_right = true;
};

struct PeerOptions {
  uint16_t mss = 1460;
  std::optional<uint8_t> window_scale = 7;
  bool sack = true;
  bool timestamps = false;
  uint16_t window = 65'535;  // field of every segment after the SYN
  Duration rtt = 0ms;        // of the handshake
};

class Dialogue {
 public:
  explicit Dialogue(const StackLimits& limits = {}, const ConnectionOptions& options = {},
                    const InterfaceLimits& interface = {}, const PoolLimits& pool_limits = {})
      : pool(BufferPool::on_heap(pool_limits)), options_(options), now(Instant{} + 1s) {
    stack = std::make_unique<Stack>(limits, *pool, counters, 42, now);
    stack->set_interface(
        kInterface, interface,
        {[](void* self, InterfaceId, const Tuple&) { return static_cast<Dialogue*>(self)->verdict; }, this}, options);
    tuple.local = *Endpoint::parse("10.0.0.1:80");
    tuple.remote = *Endpoint::parse("10.0.0.2:40000");
  }
  ~Dialogue() {
    if (strict && !testing::Test::HasFatalFailure()) {
      expect_nothing();
      expect_no_event();
    }
    outbox_.clear();
    stack.reset();
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
      EXPECT_EQ(pool->held(kind), 0u) << "buffers leaked";
    }
  }

  // --- the peer's side ---------------------------------------------------------------------------------------------
  void send(const Seg& s) {
    Segment segment;
    segment.interface = kInterface;
    segment.tuple = tuple;
    wire::TcpHeader& h = segment.header;
    h.source_port = tuple.remote.port;
    h.destination_port = tuple.local.port;
    h.sequence = peer_isn + s.seq;
    h.syn = s.syn;
    h.fin = s.fin;
    h.rst = s.rst;
    h.psh = s.psh;
    h.urg = s.urg;
    if (s.ack) {
      h.ack = true;
      h.acknowledgment = stack_isn + *s.ack;
    }
    h.window = static_cast<uint16_t>(s.window.value_or(peer.window));
    for (const wire::SackBlock& b : s.sacks) {
      h.options.sack[h.options.sack_count++] = {stack_isn + b.left, stack_isn + b.right};
    }
    if (s.syn) {
      h.options.mss = peer.mss;
      h.options.window_scale = peer.window_scale;
      h.options.sack_permitted = peer.sack;
    }
    if (s.timestamps) {
      h.options.timestamps = s.timestamps;
    } else if (peer.timestamps && !s.no_timestamps && !s.rst) {
      h.options.timestamps = {peer_clock(), echo};
    }
    if (s.bytes > 0) segment.payload = pattern_packet(*pool, s.seq - 1, s.bytes);
    stack->on_segment(std::move(segment), now);
  }
  uint32_t peer_clock() const { return 5'000 + static_cast<uint32_t>(to_ms(now.time_since_epoch())); }

  // --- what the stack sends ----------------------------------------------------------------------------------------
  void collect() {
    for (;;) {
      OutSegment out[8];
      const size_t n = stack->take_output(out, now);
      for (size_t i = 0; i < n; ++i) outbox_.push_back(parse(out[i]));
      if (n == 0) return;
    }
  }
  std::optional<Received> next() {
    if (outbox_.empty()) collect();
    if (outbox_.empty()) return std::nullopt;
    Received r = outbox_.front();
    outbox_.erase(outbox_.begin());
    return r;
  }
  // The next segment must be there and look like `s`: number, length, flags, acknowledgment, and, when given, window
  // and SACK blocks.
  Received expect(const Seg& s, const char* what = "") {
    const auto r = next();
    EXPECT_TRUE(r) << "nothing was sent; expected seq " << s.seq << " bytes " << s.bytes << " " << what;
    if (!r) return {};
    EXPECT_EQ(r->seq, s.seq) << what;
    EXPECT_EQ(r->bytes, s.bytes) << what;
    EXPECT_EQ(r->header.syn, s.syn) << what;
    EXPECT_EQ(r->header.fin, s.fin) << what;
    EXPECT_EQ(r->header.rst, s.rst) << what;
    EXPECT_EQ(r->header.ack, s.ack.has_value()) << what;
    if (s.ack) {
      EXPECT_EQ(r->ack, *s.ack) << what;
    }
    if (s.window) {
      EXPECT_EQ(r->header.window, *s.window) << what;
    }
    EXPECT_EQ(r->sacks, s.sacks) << what;
    EXPECT_TRUE(r->payload_right) << what;
    return *r;
  }
  void expect_nothing() {
    const auto r = next();
    EXPECT_FALSE(r) << "unexpected segment: seq " << r->seq << " bytes " << r->bytes << " ack " << r->ack
                    << (r->header.syn ? " SYN" : "") << (r->header.fin ? " FIN" : "") << (r->header.rst ? " RST" : "");
  }
  std::vector<Received> take_all() {
    collect();
    return std::exchange(outbox_, {});
  }

  // --- time --------------------------------------------------------------------------------------------------------
  void advance(Duration d) {
    const Instant until = now + d;
    for (Instant due = stack->next_deadline(); due <= until; due = stack->next_deadline()) {
      now = std::max(now, due);
      stack->poll(now);
      collect();
    }
    now = until;
    stack->poll(now);
  }
  // Goes on to the next deadline, at most `d`.
  Duration advance_to_output(Duration d = 600s) {
    const Instant begin = now;
    while (now < begin + d) {
      collect();
      if (!outbox_.empty()) break;
      const Instant due = std::min(stack->next_deadline(), begin + d);
      now = std::max(now, due);
      stack->poll(now);
    }
    return now - begin;
  }

  // --- events --------------------------------------------------------------------------------------------------------
  std::optional<Event> next_event() {
    Event e[1];
    if (stack->take_events(e) == 0) return std::nullopt;
    return e[0];
  }
  void expect_event(EventKind kind) {
    const auto e = next_event();
    ASSERT_TRUE(e) << "no event; expected kind " << static_cast<int>(kind);
    EXPECT_EQ(static_cast<int>(e->kind), static_cast<int>(kind));
    if (id.index == 0xffffffff) id = e->connection;
    EXPECT_EQ(e->connection, id);
  }
  void expect_no_event() {
    const auto e = next_event();
    EXPECT_FALSE(e) << "unexpected event " << static_cast<int>(e->kind);
  }

  // --- the application -----------------------------------------------------------------------------------------------
  void write(uint32_t bytes) {
    EXPECT_TRUE(stack->write(id, pattern_packet(*pool, written_, bytes), now));
    written_ += bytes;
  }
  // Reads up to `bytes` and checks their content; returns how many came.
  uint32_t read(uint32_t bytes = kPacketBytesMax) {
    const Packet p = stack->read(id, bytes, now);
    uint64_t at = read_;
    bool right = true;
    p.for_each([&](ByteView piece) {
      for (const uint8_t b : piece) right = right && b == pattern(at++);
    });
    EXPECT_TRUE(right) << "bytes differ";
    read_ += p.bytes();
    return p.bytes();
  }
  ConnectionInfo info() const { return *stack->info(id); }
  uint64_t count(Counter c) const { return counters.value(c); }
  uint64_t count(DropReason r) const { return counters.value(r); }

  // --- openings ------------------------------------------------------------------------------------------------------
  void accept(const PeerOptions& peer_options = {}) {
    peer = peer_options;
    send({.seq = 0, .syn = true});
    const auto syn_ack = next();
    ASSERT_TRUE(syn_ack);
    ASSERT_TRUE(syn_ack->header.syn && syn_ack->header.ack);
    stack_isn = syn_ack->header.sequence;
    note(syn_ack->header);
    advance(peer.rtt);
    send({.seq = 1, .ack = 1});
    expect_event(EventKind::kAccepted);
  }
  void start_connect() {
    const auto result = stack->connect(kInterface, tuple, options_, now);
    ASSERT_TRUE(result.ok());
    id = result.value();
    tuple.local.port = stack->tuple(id)->local.port;
    const auto syn = next();
    ASSERT_TRUE(syn);
    ASSERT_TRUE(syn->header.syn && !syn->header.ack);
    stack_isn = syn->header.sequence;
    note(syn->header);
  }
  void connect(const PeerOptions& peer_options = {}) {
    peer = peer_options;
    start_connect();
    send({.seq = 0, .ack = 1, .syn = true});
    expect({.seq = 1, .ack = 1});
    expect_event(EventKind::kConnected);
  }
  void note(const wire::TcpHeader& h) {
    if (h.options.timestamps) echo = h.options.timestamps->first;
  }

  std::unique_ptr<BufferPool> pool;
  Counters counters;
  std::unique_ptr<Stack> stack;
  ConnectionOptions options_;
  Instant now;
  Tuple tuple;
  ConnectionId id;
  PeerOptions peer;
  uint32_t peer_isn = 1'000'000, stack_isn = 0;
  uint32_t echo = 0;  // the stack's latest TSval
  SynVerdict verdict = SynVerdict::kAccept;
  bool strict = true;

 private:
  Received parse(OutSegment& out) {
    Received r;
    std::vector<uint8_t> bytes(out.packet.bytes());
    out.packet.copy_out(0, bytes);
    const auto parsed = wire::parse_tcp(bytes);
    EXPECT_TRUE(parsed.ok());
    r.header = parsed->header;
    EXPECT_EQ(parsed->header_bytes, out.header_bytes);
    if (r.header.syn) stack_isn = r.header.sequence;
    r.seq = r.header.sequence - stack_isn;
    r.ack = r.header.acknowledgment - peer_isn;
    r.bytes = static_cast<uint32_t>(bytes.size()) - out.header_bytes;
    r.segment_bytes = out.segment_bytes;
    for (uint8_t i = 0; i < r.header.options.sack_count; ++i) {
      r.sacks.push_back({r.header.options.sack[i].left - peer_isn, r.header.options.sack[i].right - peer_isn});
    }
    for (uint32_t i = 0; i < r.bytes; ++i) {
      r.payload_right = r.payload_right && bytes[out.header_bytes + i] == pattern(r.seq - 1 + i);
    }
    note(r.header);
    return r;
  }

  std::vector<Received> outbox_;
  uint64_t written_ = 0, read_ = 0;
};

// Words for segments.
inline Seg ack(uint32_t number, uint32_t seq = 1) { return {.seq = seq, .ack = number}; }
inline Seg data(uint32_t seq, uint32_t bytes, uint32_t acknowledges = 1) {
  return {.seq = seq, .ack = acknowledges, .bytes = bytes};
}

}  // namespace culvert::tcp::test
