// Two stacks joined by an in-memory wire on a virtual clock: rate, delay, queue, loss, duplication and reordering from
// a seed. The wire cuts large segments as a port with segmentation offload would, and may join nothing.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "tests/unit/tcp/peer.h"

namespace culvert::tcp::test {

struct WireOptions {
  Duration delay = 5ms;             // one way
  uint64_t bits_per_second = 0;     // 0: no limit
  uint32_t queue_bytes = 1u << 20;  // of the bottleneck
  uint32_t loss_ppm = 0;
  uint32_t duplicate_ppm = 0;
  uint32_t reorder_ppm = 0;
  Duration reorder_by = 3ms;  // extra delay of those
  bool lose_only_data = false;
};

struct WireStats {
  uint64_t segments = 0, lost_segments = 0, lost_payload_bytes = 0, payload_bytes = 0;
};

// One end: a stack, and what its one application does.
struct Host {
  Host(const StackLimits& limits, const PoolLimits& pool_limits, uint64_t seed, const IpAddress& own)
      : pool(BufferPool::on_heap(pool_limits)), stack(limits, *pool, counters, seed, Instant{}), address(own) {}

  std::unique_ptr<BufferPool> pool;
  Counters counters;
  Stack stack;
  IpAddress address;

  // The one connection that the test follows.
  ConnectionId id;
  bool up = false, peer_fin = false, closed = false, broken = false;
  EventKind last = EventKind::kAccepted;
  uint64_t to_send = 0, sent = 0, received = 0;
  uint32_t write_bytes = 8'000;  // per write
  bool close_when_sent = true, shut = false, reads = true;
  bool content_right = true;
  Instant last_progress{};  // of the peer's acknowledgment of everything, or the last byte received
};

class Network {
 public:
  explicit Network(const WireOptions& wire, uint64_t seed = 1, const ConnectionOptions& options = {},
                   const InterfaceLimits& interface = {}, const StackLimits& limits = {},
                   const PoolLimits& pools = {.small = 60'000, .large = 8'000, .view = 60'000})
      : a(limits, pools, seed * 2 + 1, *IpAddress::parse("10.0.0.1")),
        b(limits, pools, seed * 2 + 2, *IpAddress::parse("10.0.0.2")),
        random(seed),
        wire_(wire),
        interface_(interface),
        options_(options) {
    const SynFilter everything{[](void*, InterfaceId, const Tuple&) { return SynVerdict::kAccept; }, nullptr};
    a.stack.set_interface(kInterface, interface, everything, options);
    b.stack.set_interface(kInterface, interface, everything, options);
  }
  ~Network() { in_flight_.clear(); }

  void connect() {
    const auto id = a.stack.connect(kInterface, {{a.address, 0}, {b.address, 80}}, options_, now);
    ASSERT_TRUE(id.ok());
    a.id = *id;
  }

  // Runs until both are closed, nothing more can happen, or `limit` of virtual time has passed.
  void run(Duration limit) {
    const Instant end = now + limit;
    while (now < end) {
      while (step(a, b, 0) || step(b, a, 1)) {
      }
      if (a.closed && b.closed && in_flight_.empty()) return;
      Instant next = std::min(a.stack.next_deadline(), b.stack.next_deadline());
      if (!in_flight_.empty()) next = std::min(next, in_flight_.begin()->first.first);
      if (next == kNever) return;
      now = std::min(std::max(now, next), end);
      while (!in_flight_.empty() && in_flight_.begin()->first.first <= now) {
        auto node = in_flight_.extract(in_flight_.begin());
        deliver(node.mapped());
      }
      a.stack.poll(now);
      b.stack.poll(now);
    }
  }
  // Everything that was asked for arrived, equal, and both ends closed orderly.
  void expect_complete() {
    for (Host* h : {&a, &b}) {
      EXPECT_FALSE(h->broken) << "event " << static_cast<int>(h->last);
      EXPECT_TRUE(h->closed);
      EXPECT_TRUE(h->content_right);
    }
    EXPECT_EQ(b.received, a.to_send);
    EXPECT_EQ(a.received, b.to_send);
    for (Host* h : {&a, &b}) {
      h->stack.release(h->id, now);
      for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
        EXPECT_EQ(h->pool->held(kind), 0u) << "buffers leaked";
      }
    }
  }

  Host a, b;
  Instant now{};
  Random random;
  WireStats stats[2];  // a to b, b to a

  WireOptions& wire() { return wire_; }

 private:
  struct Flying {
    int direction;
    wire::TcpHeader header;
    std::vector<uint8_t> payload;
    Tuple tuple;  // as the receiver sees it
  };

  bool step(Host& h, Host&, int direction) {
    bool busy = false;
    Event events[16];
    while (const size_t n = h.stack.take_events(events)) {
      for (size_t i = 0; i < n; ++i) on_event(h, events[i]);
      busy = true;
    }
    if (h.up && !h.broken) busy = pump(h) || busy;
    OutSegment out[16];
    while (const size_t n = h.stack.take_output(out, now)) {
      for (size_t i = 0; i < n; ++i) transmit(out[i], direction);
      busy = true;
    }
    return busy;
  }

  void on_event(Host& h, const Event& e) {
    h.last = e.kind;
    switch (e.kind) {
      case EventKind::kAccepted:
        h.id = e.connection;
        [[fallthrough]];
      case EventKind::kConnected:
        h.up = true;
        break;
      case EventKind::kPeerFin:
        h.peer_fin = true;
        break;
      case EventKind::kSent:
        h.last_progress = now;
        break;
      case EventKind::kClosed:
        h.closed = true;
        break;
      case EventKind::kReset:
      case EventKind::kRefused:
      case EventKind::kTimedOut:
        h.closed = h.broken = true;
        break;
      default:
        break;
    }
    if (e.kind == EventKind::kClosed) read(h);
  }

  bool read(Host& h) {
    bool busy = false;
    while (Packet p = h.stack.read(h.id, 1u << 16, now)) {
      p.for_each([&](ByteView piece) {
        for (const uint8_t byte : piece) h.content_right = h.content_right && byte == pattern(h.received++);
      });
      busy = true;
    }
    return busy;
  }

  bool pump(Host& h) {
    bool busy = h.reads && read(h);
    while (h.sent < h.to_send && h.stack.writable_bytes(h.id) > 0) {
      const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(h.write_bytes, h.to_send - h.sent));
      Packet p = pattern_packet(*h.pool, h.sent, bytes);
      if (!p || !h.stack.write(h.id, std::move(p), now)) break;
      h.sent += bytes;
      busy = true;
    }
    if (h.sent == h.to_send && h.close_when_sent && !h.shut) {
      h.shut = true;
      h.stack.shutdown_write(h.id, now);
      busy = true;
    }
    return busy;
  }

  void transmit(OutSegment& out, int direction) {
    std::vector<uint8_t> bytes(out.packet.bytes());
    out.packet.copy_out(0, bytes);
    out.packet.reset();
    const auto parsed = wire::parse_tcp(bytes);
    ASSERT_TRUE(parsed.ok());
    const size_t total = bytes.size() - out.header_bytes;
    size_t at = 0;
    do {
      const size_t take = out.segment_bytes ? std::min<size_t>(out.segment_bytes, total - at) : total;
      Flying f;
      f.direction = direction;
      f.header = parsed->header;
      f.header.sequence += static_cast<uint32_t>(at);
      f.header.fin = parsed->header.fin && at + take == total;
      f.payload.assign(bytes.begin() + out.header_bytes + static_cast<long>(at),
                       bytes.begin() + out.header_bytes + static_cast<long>(at + take));
      f.tuple = {{out.destination, parsed->header.destination_port}, {out.source, parsed->header.source_port}};
      EXPECT_LE(take + out.header_bytes + 20, interface_.mtu);
      launch(std::move(f));
      at += take;
    } while (at < total);
  }

  void launch(Flying f) {
    WireStats& s = stats[f.direction];
    ++s.segments;
    s.payload_bytes += f.payload.size();
    const bool exempt = wire_.lose_only_data && f.payload.empty();
    Instant leaves = now;
    bool lost = !exempt && random.chance_ppm(wire_.loss_ppm);
    if (wire_.bits_per_second > 0) {
      Instant& free_at = free_at_[f.direction];
      leaves = std::max(now, free_at);
      const auto wire_bytes = static_cast<int64_t>(f.payload.size() + 60);
      const auto rate = static_cast<int64_t>(wire_.bits_per_second);
      const int64_t queued = to_us(leaves - now) * rate / 8'000'000;
      if (queued > wire_.queue_bytes) {
        lost = true;
      } else {
        free_at = leaves + Duration{wire_bytes * 8 * 1'000'000'000 / rate};
        leaves = free_at;
      }
    }
    if (lost) {
      ++s.lost_segments;
      s.lost_payload_bytes += f.payload.size();
      return;
    }
    Instant arrives = leaves + wire_.delay;
    if (random.chance_ppm(wire_.reorder_ppm)) arrives += wire_.reorder_by;
    if (random.chance_ppm(wire_.duplicate_ppm)) in_flight_.emplace(std::pair{arrives + 100us, order_++}, f);
    in_flight_.emplace(std::pair{arrives, order_++}, std::move(f));
  }

  void deliver(Flying& f) {
    Host& h = f.direction == 0 ? b : a;
    Segment segment;
    segment.interface = kInterface;
    segment.tuple = f.tuple;
    segment.header = f.header;
    if (!f.payload.empty()) {
      segment.payload = h.pool->take_copy(f.payload);
      if (!segment.payload) return;  // the receiver has no buffer: lost like any other
    }
    h.stack.on_segment(std::move(segment), now);
  }

  WireOptions wire_;
  InterfaceLimits interface_;
  ConnectionOptions options_;
  std::map<std::pair<Instant, uint64_t>, Flying> in_flight_;
  uint64_t order_ = 0;
  Instant free_at_[2] = {};
};

}  // namespace culvert::tcp::test
