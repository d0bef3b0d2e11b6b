#include "tests/sim/traffic.h"

#include <algorithm>
#include <array>

#include "base/endian.h"

namespace culvert::sim {

namespace {

constexpr uint64_t kNameBytes = 8;
constexpr uint32_t kNameMagic = 0x43756c76;  // "Culv"
constexpr uint32_t kChunkBytes = 16'000;

}  // namespace

uint8_t content(uint32_t flow, bool up, uint64_t offset) {
  // Eight bytes come from one mixed word: cheap, and no two positions of a run agree by accident for long.
  uint64_t x = (static_cast<uint64_t>(flow) << 33) ^ (static_cast<uint64_t>(up) << 32) ^ (offset >> 3);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<uint8_t>(x >> (8 * (offset & 7)));
}

Instant Traffic::next_start() const {
  Instant soonest = kNever;
  for (const Flow& flow : flows_) {
    if (!flow.started) soonest = std::min(soonest, flow.plan.start);
    for (const SideState* s : {&flow.client, &flow.server}) {
      if (s->open && s->ending == Ending::kPending && s->pause_until != Instant{}) {
        soonest = std::min(soonest, s->pause_until);
      }
    }
  }
  return soonest;
}

bool Traffic::all_over() const {
  return std::all_of(flows_.begin(), flows_.end(), [](const Flow& flow) {
    if (!flow.started) return false;
    if (flow.client.ending == Ending::kPending) return false;
    return !flow.server.open || flow.server.ending != Ending::kPending;
  });
}

void Traffic::start(Flow& flow, size_t index, testkit::Host& host, Instant now) {
  flow.started = true;
  const auto id = host.connect(flow.plan.to, now);
  if (!id) {
    flow.client.ending = Ending::kError;
    flow.client.error = "connect refused locally";
    return;
  }
  flow.client.connection = *id;
  flow.client.open = true;
  flow.client.next_pause_at = flow.plan.reader_pause > Duration{} ? flow.plan.down / 4 : UINT64_MAX;
  owners_[{flow.plan.client, id->index, id->generation}] = {index, false};
}

bool Traffic::turn(std::vector<std::unique_ptr<testkit::Host>>& hosts, Instant now) {
  bool busy = false;
  for (size_t i = 0; i < flows_.size(); ++i) {
    Flow& flow = flows_[i];
    if (!flow.started && flow.plan.start <= now && hosts[flow.plan.client]) {
      start(flow, i, *hosts[flow.plan.client], now);
      busy = true;
    }
    for (SideState* s : {&flow.client, &flow.server}) {
      if (!s->open || s->pause_until == Instant{} || s->pause_until > now) continue;
      s->pause_until = Instant{};
      const size_t host = s == &flow.client ? flow.plan.client : flow.plan.server;
      if (hosts[host]) read(host, *hosts[host], s->connection, now);
      busy = true;
    }
  }
  std::array<tcp::Event, 64> events;
  for (size_t h = 0; h < hosts.size(); ++h) {
    if (!hosts[h]) continue;
    while (const size_t n = hosts[h]->tcp().take_events(events)) {
      busy = true;
      for (size_t i = 0; i < n; ++i) on_event(h, *hosts[h], events[i], now);
    }
  }
  return busy;
}

void Traffic::on_event(size_t h, testkit::Host& host, const tcp::Event& event, Instant now) {
  const Key key{h, event.connection.index, event.connection.generation};
  const auto found = owners_.find(key);
  const bool known = found != owners_.end() && found->second.flow != SIZE_MAX;
  switch (event.kind) {
    case tcp::EventKind::kAccepted:
      owners_[key] = {SIZE_MAX, true};
      if (host.tcp().readable_bytes(event.connection) > 0) read(h, host, event.connection, now);
      return;
    case tcp::EventKind::kConnected:
      if (!known) return;
      side(found->second).up = true;
      write(flows_[found->second.flow], false, host, now);
      return;
    case tcp::EventKind::kReadable:
    case tcp::EventKind::kPeerFin:
      read(h, host, event.connection, now);
      return;
    case tcp::EventKind::kWritable:
      if (known) write(flows_[found->second.flow], found->second.server, host, now);
      return;
    case tcp::EventKind::kSent:
    case tcp::EventKind::kClosed:
      if (known) finish_if_done(flows_[found->second.flow], found->second.server, host, now);
      return;
    case tcp::EventKind::kReset:
      return fail(h, event.connection, "reset");
    case tcp::EventKind::kRefused:
      return fail(h, event.connection, "refused");
    case tcp::EventKind::kTimedOut:
      return fail(h, event.connection, "timed out");
  }
}

void Traffic::identify(size_t h, testkit::Host& host, tcp::ConnectionId id, Instant now) {
  ByteQueue* queue = host.tcp().receive_queue(id);
  if (!queue || queue->bytes() < kNameBytes) return;
  std::array<uint8_t, kNameBytes> name;
  queue->copy_out(0, name);
  const uint32_t number = load_be32(&name[4]);
  if (load_be32(name.data()) != kNameMagic || number >= flows_.size()) {
    violation_(context_, "a server received bytes that no client sent");
    host.tcp().abort(id, now);
    return;
  }
  Flow& flow = flows_[number];
  if (flow.server_seen || flow.plan.server != h) {
    violation_(context_, "flow " + std::to_string(number) + " was accepted twice or by the wrong pod");
    host.tcp().abort(id, now);
    return;
  }
  flow.server_seen = true;
  flow.server.open = flow.server.up = true;
  flow.server.connection = id;
  flow.server.next_pause_at = flow.plan.reader_pause > Duration{} ? flow.plan.up / 4 : UINT64_MAX;
  owners_[{h, id.index, id.generation}] = {number, true};
}

void Traffic::read(size_t h, testkit::Host& host, tcp::ConnectionId id, Instant now) {
  const Key key{h, id.index, id.generation};
  auto found = owners_.find(key);
  if (found == owners_.end()) return;
  if (found->second.flow == SIZE_MAX) {
    identify(h, host, id, now);
    found = owners_.find(key);
    if (found->second.flow == SIZE_MAX) {
      // A FIN before the name: a client that was reset in time, or lost bytes; the flow's own record judges.
      if (host.tcp().peer_finished(id)) host.tcp().release(id, now);
      return;
    }
  }
  const Owner owner = found->second;
  Flow& flow = flows_[owner.flow];
  SideState& s = side(owner);
  if (s.ending != Ending::kPending) return;
  const bool up = owner.server;  // a server reads the upward direction
  const uint64_t expected = up ? flow.plan.up : flow.plan.down;
  while (s.pause_until == Instant{}) {
    const Packet packet = host.tcp().read(id, kChunkBytes, now);
    if (!packet) break;
    bool good = true;
    packet.for_each([&](ByteView piece) {
      for (const uint8_t byte : piece) {
        // The name stands in for the first bytes of the content.
        const bool in_name = up && s.read < kNameBytes;
        good = good && (in_name || byte == content(static_cast<uint32_t>(owner.flow), up, s.read)) && s.read < expected;
        ++s.read;
      }
    });
    bytes_delivered_ += packet.bytes();
    if (!good) {
      violation_(context_, "flow " + std::to_string(owner.flow) + (up ? " up" : " down") +
                               ": wrong byte before offset " + std::to_string(s.read));
      host.tcp().abort(id, now);
      s.ending = Ending::kError;
      s.error = "wrong content";
      return;
    }
    if (s.read >= s.next_pause_at && s.read < expected) {
      s.pause_until = now + flow.plan.reader_pause;
      s.next_pause_at = s.read + expected / 4;
    }
  }
  if (host.tcp().peer_finished(id) && !s.fin_received) {
    s.fin_received = true;
    if (s.read != expected) {
      violation_(context_, "flow " + std::to_string(owner.flow) + (up ? " up" : " down") + ": clean end after " +
                               std::to_string(s.read) + " of " + std::to_string(expected) + " bytes");
    }
  }
  write(flow, owner.server, host, now);
  finish_if_done(flow, owner.server, host, now);
}

void Traffic::write(Flow& flow, bool server, testkit::Host& host, Instant now) {
  SideState& s = server ? flow.server : flow.client;
  if (!s.up || s.fin_sent || s.ending != Ending::kPending) return;
  if (server && flow.plan.answer_after_fin && !s.fin_received) return;
  const bool up = !server;
  const uint64_t total = up ? flow.plan.up : flow.plan.down;
  BufferPool& pool = host.pool();
  while (s.written < total && host.tcp().writable_bytes(s.connection) > 0) {
    Packet packet = pool.take_large();
    if (!packet) return;  // the next event or turn tries again
    const auto n = static_cast<uint16_t>(std::min<uint64_t>({kChunkBytes, total - s.written, packet.tailroom()}));
    uint8_t* to = packet.append(n);
    for (uint16_t i = 0; i < n; ++i) to[i] = content(flow.plan.number, up, s.written + i);
    if (up && s.written < kNameBytes) {
      DP_CHECK(s.written == 0 && n >= kNameBytes);
      store_be32(to, kNameMagic);
      store_be32(to + 4, flow.plan.number);
    }
    if (!host.tcp().write(s.connection, std::move(packet), now)) return;
    s.written += n;
  }
  if (s.written == total) {
    s.fin_sent = true;
    host.tcp().shutdown_write(s.connection, now);
  }
}

void Traffic::finish_if_done(Flow& flow, bool server, testkit::Host& host, Instant now) {
  SideState& s = server ? flow.server : flow.client;
  if (s.ending != Ending::kPending || !s.fin_sent || !s.fin_received) return;
  if (host.tcp().unacknowledged_bytes(s.connection) > 0) return;
  s.ending = Ending::kComplete;
  host.tcp().release(s.connection, now);
}

void Traffic::fail(size_t h, tcp::ConnectionId id, const char* why) {
  const auto found = owners_.find({h, id.index, id.generation});
  if (found == owners_.end() || found->second.flow == SIZE_MAX) return;
  SideState& s = side(found->second);
  if (s.ending != Ending::kPending) return;
  s.ending = Ending::kError;
  s.error = why;
}

bool Traffic::abort_one(bool server, std::vector<std::unique_ptr<testkit::Host>>& hosts, Random& random, Instant now) {
  std::vector<size_t> live;
  for (size_t i = 0; i < flows_.size(); ++i) {
    const SideState& s = server ? flows_[i].server : flows_[i].client;
    if (s.open && s.up && s.ending == Ending::kPending) live.push_back(i);
  }
  if (live.empty()) return false;
  Flow& flow = flows_[live[random.below(live.size())]];
  SideState& s = server ? flow.server : flow.client;
  testkit::Host* host = hosts[server ? flow.plan.server : flow.plan.client].get();
  if (!host) return false;
  host->tcp().abort(s.connection, now);
  s.ending = Ending::kError;
  s.error = "aborted by its application";
  return true;
}

void Traffic::pod_gone(size_t pod, const std::string& why) {
  for (Flow& flow : flows_) {
    if (flow.plan.client == pod && (!flow.started || flow.client.ending == Ending::kPending)) {
      flow.started = true;
      flow.client.ending = Ending::kError;
      flow.client.error = why;
    }
    if (flow.plan.server == pod && flow.server.open && flow.server.ending == Ending::kPending) {
      flow.server.ending = Ending::kError;
      flow.server.error = why;
    }
  }
}

}  // namespace culvert::sim
