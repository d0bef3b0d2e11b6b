// The other end of a session, in two forms: a second session (Pair), and frames written and read by hand (RawPeer).
#pragma once

#include <nghttp2/nghttp2.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/endian.h"
#include "http2/session.h"
#include "packet/packet.h"

namespace culvert::http2::test {

using Fields = std::vector<std::pair<std::string, std::string>>;

inline std::vector<Header> view(const Fields& fields) {
  std::vector<Header> out;
  for (const auto& [name, value] : fields) out.push_back({name, value});
  return out;
}

inline Fields copy(const std::vector<Header>& headers) {
  Fields out;
  for (const Header& h : headers) out.emplace_back(h.name, h.value);
  return out;
}

inline const Fields kConnect = {{":method", "CONNECT"}, {":authority", "10.0.0.2:8080"}};
inline const Fields kOk = {{":status", "200"}};

inline std::string text(const Packet& packet) {
  std::string out(packet.bytes(), '\0');
  packet.copy_out(0, {reinterpret_cast<uint8_t*>(out.data()), out.size()});
  return out;
}

// Bytes that tell where they belong, so that a lost, doubled or swapped byte shows.
inline std::string pattern(size_t bytes, uint64_t offset = 0) {
  std::string out(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) {
    const uint64_t at = offset + i;
    out[i] = static_cast<char>((at * 131 + (at >> 8) * 17 + (at >> 16)) & 0xff);
  }
  return out;
}

inline PoolLimits roomy() { return {.small = 60'000, .large = 20'000, .view = 200'000}; }

// One session with everything it needs.
struct End {
  End(Role role, BufferPool& p, Limits limits, CoreMemory& memory, Instant now) : pool(p) {
    session = Session::make(role, limits, memory, pool, counters, 42, now);
  }
  Session* operator->() { return session.get(); }

  // Events as text, "headers", "readable", "end", "stopped CANCEL", "reset CANCEL", "writable", each behind its stream.
  std::vector<std::string> events() {
    std::vector<std::string> out;
    Event list[16];
    while (const size_t count = session->take_events(list)) {
      for (size_t i = 0; i < count; ++i) {
        static constexpr const char* kNames[] = {"headers", "readable", "end", "stopped", "reset", "writable"};
        std::string line = std::to_string(list[i].stream.number) + " " + kNames[static_cast<int>(list[i].kind)];
        if (list[i].kind == EventKind::kStopped || list[i].kind == EventKind::kReset) {
          line += " " + std::string(name_of(list[i].code));
        }
        if (list[i].kind == EventKind::kHeaders) refs.push_back(list[i].stream);
        out.push_back(line);
      }
    }
    return out;
  }
  std::string read_all(StreamRef ref, Instant now) {
    std::string out;
    while (Packet bytes = session->read(ref, 1 << 20, now)) out += text(bytes);
    return out;
  }
  bool write(StreamRef ref, const std::string& bytes) { return session->write(ref, pool.take_copy(bytes_of(bytes))); }

  BufferPool& pool;
  Counters counters;
  std::unique_ptr<Session> session;
  std::vector<StreamRef> refs;  // of kHeaders events, in order
};

inline Limits client_limits() {
  Limits limits;
  limits.header_list_bytes_max = 16'384;
  limits.streams_max = 100;
  return limits;
}

// A client and a server joined by two byte queues, on a virtual clock.
class Pair {
 public:
  explicit Pair(Limits client_side = client_limits(), Limits server_side = {}, PoolLimits pools = roomy())
      : pool(BufferPool::on_heap(pools)),
        client(Role::kClient, *pool, client_side, memory, now),
        server(Role::kServer, *pool, server_side, memory, now) {}

  // Moves bytes both ways until neither side has any left to send. Each way can be shut.
  void run() {
    for (bool moved = true; moved;) {
      moved = move(client, to_server, server);
      moved = move(server, to_client, client) || moved;
    }
  }
  void advance(Duration by) {
    now += by;
    client->poll(now);
    server->poll(now);
    run();
  }
  // An open stream, seen from both sides.
  std::pair<StreamRef, StreamRef> open() {
    const auto ref = client->request(view(kConnect), 0, now);
    run();
    server.events();
    const StreamRef there = server.refs.back();
    server->respond(there, view(kOk), false);
    run();
    client.events();
    return {*ref, there};
  }

  Instant now{};
  CoreMemory memory{64u << 20};
  std::unique_ptr<BufferPool> pool;
  End client, server;
  ByteQueue to_server, to_client;
  bool client_may_send = true, server_may_send = true;
  std::vector<uint32_t> record_sizes;  // of everything sent, both ways

 private:
  bool move(End& from, ByteQueue& wire, End& to) {
    bool moved = false;
    const bool may = &from == &client ? client_may_send : server_may_send;
    while (may) {
      Packet record = from->take_record(now);
      if (!record) break;
      record_sizes.push_back(record.bytes());
      // As TLS leaves it: one buffer per record.
      Packet opened = pool->take_copy(bytes_of(text(record)));
      if (!opened) break;
      wire.append(std::move(opened));
      moved = true;
    }
    return to->on_bytes(wire, now) > 0 || moved;
  }
};

struct Frame {
  uint8_t type = 0, flags = 0;
  int32_t stream = 0;
  std::string payload;
};

inline std::string be(uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
  return out;
}

inline std::string frame(uint8_t type, uint8_t flags, int32_t stream, const std::string& payload) {
  return be(payload.size(), 3) + be(type, 1) + be(flags, 1) + be(static_cast<uint32_t>(stream), 4) + payload;
}

// Literal fields without indexing and without Huffman code (RFC 7541 6.2.2), behind the announcement that the dynamic
// table has size 0 (6.3), which the session's SETTINGS demand at least once (4.2).
inline std::string hpack(const Fields& fields) {
  auto integer = [](size_t n) {  // 7-bit prefix, first bit 0
    std::string out;
    if (n < 127) return std::string(1, static_cast<char>(n));
    out += '\x7f';
    for (n -= 127; n >= 128; n >>= 7) out += static_cast<char>(0x80 | (n & 0x7f));
    return out + static_cast<char>(n);
  };
  std::string out = "\x20";
  for (const auto& [name, value] : fields) out += '\0' + integer(name.size()) + name + integer(value.size()) + value;
  return out;
}

inline constexpr uint8_t kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4, kPadded = 0x8;
inline const std::string kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// A peer that writes frames by hand and lists those it receives.
class RawPeer {
 public:
  // The role is the session's.
  explicit RawPeer(Role role, Limits limits = {}) : end(role, *pool, limits, memory, now), role_(role) {
    nghttp2_hd_inflate_new(&inflater_);
    nghttp2_hd_inflate_change_table_size(inflater_, 0);
  }
  ~RawPeer() { nghttp2_hd_inflate_del(inflater_); }

  // Sends bytes in one buffer, then reads what the session answers.
  void send(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size(); at += 16'384) {
      in_.append(pool->take_copy(bytes_of(std::string_view(bytes).substr(at, 16'384))));
    }
    end->on_bytes(in_, now);
    collect();
  }
  void collect() {
    while (Packet record = end->take_record(now)) unparsed_ += text(record);
    if (role_ == Role::kClient && !magic_seen_ && unparsed_.size() >= kMagic.size()) {
      magic_seen_ = unparsed_.starts_with(kMagic);
      unparsed_.erase(0, kMagic.size());
    }
    while (unparsed_.size() >= 9) {
      const auto* p = reinterpret_cast<const uint8_t*>(unparsed_.data());
      const size_t length = load_be32(p) >> 8;
      if (unparsed_.size() < 9 + length) break;
      frames.push_back({p[3], p[4], static_cast<int32_t>(load_be32(p + 5) & 0x7fffffff), unparsed_.substr(9, length)});
      unparsed_.erase(0, 9 + length);
    }
  }
  // Preface (for a server), SETTINGS, and the ACK of theirs.
  void settle(const std::string& settings = "") {
    send((role_ == Role::kServer ? kMagic : "") + frame(4, 0, 0, settings) + frame(4, kAck, 0, ""));
    frames.clear();
  }
  // The first frame of that type since the last call that took it; none: empty optional.
  std::optional<Frame> take(uint8_t type) {
    for (auto it = frames.begin(); it != frames.end(); ++it) {
      if (it->type != type) continue;
      Frame found = *it;
      frames.erase(it);
      return found;
    }
    return std::nullopt;
  }
  // RST_STREAM or GOAWAY as "3 CANCEL", "GOAWAY 5 PROTOCOL_ERROR"; empty when there was none.
  std::string take_reset() {
    const auto rst = take(3);
    if (!rst) return "";
    const auto code = static_cast<ErrorCode>(load_be32(reinterpret_cast<const uint8_t*>(rst->payload.data())));
    return std::to_string(rst->stream) + " " + std::string(name_of(code));
  }
  std::string take_goaway() {
    const auto goaway = take(7);
    if (!goaway) return "";
    const auto* p = reinterpret_cast<const uint8_t*>(goaway->payload.data());
    return std::to_string(load_be32(p)) + " " + std::string(name_of(static_cast<ErrorCode>(load_be32(p + 4))));
  }
  Fields decode(const std::string& block) {
    Fields out;
    const auto* at = reinterpret_cast<const uint8_t*>(block.data());
    size_t left = block.size();
    for (;;) {
      nghttp2_nv field;
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at, left, 1);
      if (used < 0) return {{"bad", "block"}};
      at += used;
      left -= static_cast<size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        out.emplace_back(std::string(reinterpret_cast<char*>(field.name), field.namelen),
                         std::string(reinterpret_cast<char*>(field.value), field.valuelen));
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    return out;
  }
  bool magic_seen() const { return magic_seen_; }

  Instant now{};
  CoreMemory memory{64u << 20};
  std::unique_ptr<BufferPool> pool = BufferPool::on_heap(roomy());
  End end;
  std::deque<Frame> frames;

 private:
  Role role_;
  ByteQueue in_;
  std::string unparsed_;
  bool magic_seen_ = false;
  nghttp2_hd_inflater* inflater_ = nullptr;
};

}  // namespace culvert::http2::test
