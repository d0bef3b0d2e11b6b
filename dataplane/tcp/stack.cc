// The stack: finds the connection, or what a segment without one means (LISTEN and CLOSED of RFC 9293 3.10.7.1 and
// 3.10.7.2), and takes turns at sending and telling.
#include "tcp/stack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "tcp/connection.h"
#include "tcp/core.h"
#include "tcp/port_choice.h"

namespace culvert::tcp {

namespace {

constexpr uint32_t kChunk = 64;  // connections per allocation; never freed before the stack
// With the pool empty there is nothing to do but to come again.
constexpr Duration kRetryAfterNoBuffer = 1ms;

constexpr bool is_terminal(EventKind kind) {
  return kind == EventKind::kClosed || kind == EventKind::kReset || kind == EventKind::kRefused ||
         kind == EventKind::kTimedOut;
}

}  // namespace

struct Stack::Impl {
  Impl(const StackLimits& limits, BufferPool& pool, Counters& counters, uint64_t seed, Instant start)
      : core(limits, pool, counters, seed, start), ports(core.random) {}

  using Reference = ConnectionTable::Reference;

  Connection* slot(uint32_t index) const { return &chunks[index / kChunk][index % kChunk]; }
  Connection* get(ConnectionId id) const {
    if (id.index >= slots) return nullptr;
    Connection* c = slot(id.index);
    return c->generation == id.generation && c->state() != State::kFree && c->owned() ? c : nullptr;
  }
  static ConnectionId id_of(const Connection& c) { return {c.index, c.generation}; }

  Interface* interface(InterfaceId id) const {
    const auto i = static_cast<size_t>(id);
    return i < interfaces.size() ? interfaces[i].get() : nullptr;
  }

  Reference find(InterfaceId interface_id, const Tuple& tuple, uint32_t hash) const {
    return core.table.find(hash, [&](Reference r) {
      if (r.time_wait) {
        const TimeWaitEntry& e = core.time_wait[r.index];
        return e.interface == interface_id && e.tuple == tuple;
      }
      return slot(r.index)->same_as(interface_id, tuple);
    });
  }

  Connection* take_slot() {
    if (used >= core.limits.connections_max) return nullptr;
    if (free_slots.empty()) {
      chunks.push_back(std::make_unique<Connection[]>(kChunk));
      free_slots.reserve(slots + kChunk);
      for (uint32_t i = kChunk; i-- > 0;) {
        slot(slots + i)->index = slots + i;
        free_slots.push_back(slots + i);
      }
      slots += kChunk;
    }
    Connection* c = slot(free_slots.back());
    free_slots.pop_back();
    ++used;
    return c;
  }

  // Frees what nobody holds any more. Called when a turn ends, never while a connection's code runs.
  void reap() {
    while (Connection* c = core.doomed.pop_front()) {
      core.ready.remove(*c);
      core.telling.remove(*c);
      c->settle();
      c->reset_slot();
      free_slots.push_back(c->index);
      --used;
    }
  }

  void remove_time_wait(uint32_t index) {
    core.table.erase(core.time_wait[index].hash, {index, true});
    core.time_wait.remove(index);
  }

  void insert(Connection& c) {
    core.table.insert(c.hash(), {c.index, false});
    c.in_table = true;
  }

  void on_segment_time_wait(uint32_t index, Segment& segment, Instant now);
  void on_segment_without_connection(Segment& segment, uint32_t hash, std::optional<Seq> isn_above, Instant now);
  void refuse(const Segment& segment);
  bool build_reply(const Reply& reply, OutSegment& out);

  Core core;
  PortChoice ports;
  PortFilter port_filter;
  std::vector<std::unique_ptr<Interface>> interfaces;
  std::vector<std::unique_ptr<Connection[]>> chunks;
  std::vector<uint32_t> free_slots;
  uint32_t slots = 0;
  uint32_t used = 0;
  size_t replies_sent = 0;         // of core.replies, from the front
  std::vector<ConnectionId> told;  // the owner has taken their last event
  bool no_buffer = false;
  Instant retry_at = kNever;
};

Stack::Stack(const StackLimits& limits, BufferPool& pool, Counters& counters, uint64_t seed, Instant start)
    : impl_(std::make_unique<Impl>(limits, pool, counters, seed, start)) {}

Stack::~Stack() = default;

void Stack::set_interface(InterfaceId interface, const InterfaceLimits& limits, SynFilter filter,
                          const ConnectionOptions& accepted) {
  const auto i = static_cast<size_t>(interface);
  if (interface == kNoInterface) return;
  if (i >= impl_->interfaces.size()) impl_->interfaces.resize(i + 1);
  if (!impl_->interfaces[i]) impl_->interfaces[i] = std::make_unique<Interface>();
  *impl_->interfaces[i] = {interface, limits, filter, accepted};
}

void Stack::set_port_filter(PortFilter filter) { impl_->port_filter = filter; }

void Stack::remove_interface(InterfaceId interface, Instant now) {
  static_cast<void>(now);
  if (!impl_->interface(interface)) return;
  for (uint32_t i = 0; i < impl_->slots; ++i) {
    Connection* c = impl_->slot(i);
    if (c->state() != State::kFree && !c->over() && c->interface_id() == interface) c->on_interface_gone();
  }
  for (uint32_t i = impl_->core.time_wait.oldest(); i != TimeWait::kNone;) {
    const uint32_t next = impl_->core.time_wait.following(i);
    if (impl_->core.time_wait[i].interface == interface) impl_->remove_time_wait(i);
    i = next;
  }
  auto& replies = impl_->core.replies;
  replies.erase(replies.begin(), replies.begin() + static_cast<std::ptrdiff_t>(std::exchange(impl_->replies_sent, 0)));
  std::erase_if(replies, [&](const Reply& r) { return r.interface == interface; });
  impl_->interfaces[static_cast<size_t>(interface)].reset();
  impl_->reap();
}

// --- packets
// ------------------------------------------------------------------------------------------------------------

void Stack::on_segment(Segment segment, Instant now) {
  Core& core = impl_->core;
  core.counters.add(Counter::kTcpSegmentIn);
  core.review_memory(now);
  if (!impl_->interface(segment.interface)) {
    core.counters.drop(DropReason::kTcpNoInterface);
    return;
  }
  const wire::TcpHeader& h = segment.header;
  if ((h.syn && (h.fin || h.rst)) || (!h.syn && !h.rst && !h.ack)) {
    core.counters.drop(DropReason::kTcpBadFlags);
    return;
  }
  const uint32_t hash = core.table.hash(segment.interface, segment.tuple);
  const ConnectionTable::Reference reference = impl_->find(segment.interface, segment.tuple, hash);
  if (!reference) {
    impl_->on_segment_without_connection(segment, hash, std::nullopt, now);
  } else if (reference.time_wait) {
    impl_->on_segment_time_wait(reference.index, segment, now);
  } else {
    impl_->slot(reference.index)->on_segment(segment, now);
  }
  impl_->reap();
}

void Stack::Impl::on_segment_time_wait(uint32_t index, Segment& segment, Instant now) {
  const TimeWaitEntry entry = core.time_wait[index];
  switch (core.time_wait.on_segment(index, segment.header, segment.payload.bytes(), now)) {
    case TimeWait::Verdict::kDrop:
      core.counters.drop(DropReason::kTcpTimeWaitSegment);
      return;
    case TimeWait::Verdict::kAck: {
      core.counters.drop(DropReason::kTcpTimeWaitSegment);
      wire::TcpHeader ack;
      ack.ack = true;
      ack.sequence = entry.snd_nxt.value();
      ack.acknowledgment = entry.rcv_nxt.value();
      ack.window = entry.window;
      if (entry.timestamps) ack.options.timestamps = {timestamp_at(now, entry.ts_offset), entry.ts_recent};
      core.reply(entry.interface, entry.tuple, ack);
      return;
    }
    case TimeWait::Verdict::kReuse:
      core.counters.add(Counter::kTcpTimeWaitReused);
      remove_time_wait(index);
      on_segment_without_connection(segment, entry.hash, entry.snd_nxt, now);
      return;
  }
}

void Stack::Impl::refuse(const Segment& segment) {
  // RFC 9293 3.10.7.1.
  const wire::TcpHeader& h = segment.header;
  wire::TcpHeader reset;
  reset.rst = true;
  if (h.ack) {
    reset.sequence = h.acknowledgment;
  } else {
    reset.ack = true;
    reset.acknowledgment = h.sequence + segment.payload.bytes() + (h.syn ? 1u : 0u) + (h.fin ? 1u : 0u);
  }
  core.reply(segment.interface, segment.tuple, reset);
}

void Stack::Impl::on_segment_without_connection(Segment& segment, uint32_t hash, std::optional<Seq> isn_above,
                                                Instant now) {
  const wire::TcpHeader& h = segment.header;
  if (h.rst) {
    core.counters.drop(DropReason::kTcpStrayReset);
    return;
  }
  if (h.ack || !h.syn) {
    core.counters.drop(DropReason::kTcpNoConnection);
    refuse(segment);
    return;
  }
  Interface& at = *interface(segment.interface);
  const SynVerdict verdict =
      at.filter.decide ? at.filter.decide(at.filter.context, segment.interface, segment.tuple) : SynVerdict::kRefuse;
  switch (verdict) {
    case SynVerdict::kRefuse:
      core.counters.drop(DropReason::kTcpSynRefused);
      refuse(segment);
      return;
    case SynVerdict::kDrop:
      core.counters.drop(DropReason::kTcpSynFiltered);
      return;
    case SynVerdict::kAccept:
      break;
  }
  if (core.half_open >= core.limits.half_open_max) {
    core.counters.drop(DropReason::kTcpHalfOpenFull);
    return;
  }
  Connection* c = core.memory_full() ? nullptr : take_slot();
  if (!c) {
    core.counters.drop(DropReason::kTcpConnectionsFull);
    return;
  }
  c->open_passive(core, at, segment, hash, isn_above, now);
  insert(*c);
}

void Stack::on_icmp_error(InterfaceId interface, const Tuple& tuple, uint32_t quoted_sequence, IcmpErrorKind kind,
                          uint16_t mtu, Instant now) {
  const auto reference = impl_->find(interface, tuple, impl_->core.table.hash(interface, tuple));
  if (!reference || reference.time_wait) {
    impl_->core.counters.drop(DropReason::kTcpIcmpUnmatched);
    return;
  }
  impl_->slot(reference.index)->on_icmp_error(kind, Seq(quoted_sequence), mtu, now);
  impl_->reap();
}

void Stack::poll(Instant now) {
  Core& core = impl_->core;
  core.review_memory(now);
  if (impl_->retry_at <= now) {
    impl_->no_buffer = false;
    impl_->retry_at = kNever;
  }
  core.wheel.expire(now, [&](TimerEntry& entry) { static_cast<Connection::Timer&>(entry).connection->on_timer(now); });
  while (core.time_wait.next_deadline() <= now) impl_->remove_time_wait(core.time_wait.oldest());
  impl_->reap();
}

Instant Stack::next_deadline() const {
  return std::min({impl_->core.wheel.next_deadline(), impl_->core.time_wait.next_deadline(), impl_->retry_at});
}

bool Stack::has_output() const {
  return !impl_->no_buffer && (!impl_->core.ready.empty() || impl_->replies_sent < impl_->core.replies.size());
}

bool Stack::Impl::build_reply(const Reply& reply, OutSegment& out) {
  wire::TcpHeader h = reply.header;
  h.source_port = reply.tuple.local.port;
  h.destination_port = reply.tuple.remote.port;
  const uint16_t header_bytes = wire::tcp_header_bytes(h);
  Packet packet = core.pool.take_small();
  if (!packet) return false;
  wire::emit_tcp(h, {packet.append(header_bytes), header_bytes});
  out = OutSegment{};
  out.interface = reply.interface;
  out.source = reply.tuple.local.address;
  out.destination = reply.tuple.remote.address;
  out.packet = std::move(packet);
  out.header_bytes = header_bytes;
  core.counters.add(Counter::kTcpSegmentOut);
  return true;
}

size_t Stack::take_output(std::span<OutSegment> out, Instant now) {
  Core& core = impl_->core;
  core.review_memory(now);
  size_t count = 0;
  bool no_buffer = false;
  while (count < out.size() && impl_->replies_sent < core.replies.size()) {
    if (!impl_->build_reply(core.replies[impl_->replies_sent], out[count])) {
      no_buffer = true;
      break;
    }
    ++impl_->replies_sent;
    ++count;
  }
  if (impl_->replies_sent == core.replies.size()) {
    core.replies.clear();
    impl_->replies_sent = 0;
  }
  while (count < out.size() && !no_buffer) {
    Connection* c = core.ready.pop_front();
    if (!c) break;
    switch (c->build(out[count], now)) {
      case Connection::Built::kSent:
        ++count;
        core.ready.push_back(*c);
        break;
      case Connection::Built::kNothing:
        break;
      case Connection::Built::kNoBuffer:
        core.ready.push_back(*c);
        no_buffer = true;
        break;
    }
  }
  if (no_buffer) {
    core.counters.add(Counter::kTcpNoBuffer);
    impl_->no_buffer = true;
    impl_->retry_at = now + kRetryAfterNoBuffer;
  } else {
    impl_->no_buffer = false;
    impl_->retry_at = kNever;
  }
  impl_->reap();
  return count;
}

// --- application
// --------------------------------------------------------------------------------------------------------

size_t Stack::take_events(std::span<Event> out) {
  Core& core = impl_->core;
  // Handles whose last event was taken before, with nothing left to read, end here.
  for (size_t i = 0; i < impl_->told.size();) {
    Connection* c = impl_->get(impl_->told[i]);
    if (c && !(c->ended_orderly() && c->readable_bytes() > 0) && !core.telling.contains(*c)) {
      c->release({});
      c = nullptr;
    }
    if (c) {
      ++i;
    } else {
      impl_->told[i] = impl_->told.back();
      impl_->told.pop_back();
    }
  }
  impl_->reap();

  size_t count = 0;
  while (count < out.size()) {
    Connection* c = core.telling.front();
    if (!c) break;
    uint16_t pending = c->take_pending_events();
    const ConnectionId id = Impl::id_of(*c);
    while (pending != 0 && count < out.size()) {
      const auto kind = static_cast<EventKind>(std::countr_zero(pending));
      pending = static_cast<uint16_t>(pending & (pending - 1));
      out[count++] = {kind, id};
      if (is_terminal(kind)) impl_->told.push_back(id);
    }
    if (pending != 0) {
      c->restore_pending_events(pending);  // no room for the rest: it stays first in line
      break;
    }
    core.telling.remove(*c);
  }
  return count;
}

Result<ConnectionId, Stack::ConnectError> Stack::connect(InterfaceId interface, Tuple tuple,
                                                         const ConnectionOptions& options, Instant now) {
  Core& core = impl_->core;
  Interface* at = impl_->interface(interface);
  if (!at) return ConnectError::kNoInterface;
  if (impl_->used >= core.limits.connections_max || core.memory_full()) return ConnectError::kFull;

  // Free: nobody has the tuple, or a TIME-WAIT entry that may give it up (second pass only, for a port we choose).
  const auto usable = [&](uint16_t port, bool reopen) {
    tuple.local.port = port;
    const PortFilter& filter = impl_->port_filter;
    if (filter.usable && !filter.usable(filter.context, interface, tuple)) return false;
    const auto reference = impl_->find(interface, tuple, core.table.hash(interface, tuple));
    return !reference || (reopen && reference.time_wait && core.time_wait.may_reopen(reference.index, now));
  };
  if (tuple.local.port == 0) {
    const IpAddress local = tuple.local.address;
    uint16_t port = impl_->ports.choose(local, tuple.remote, PortChoice::kCount,
                                        [&](uint16_t candidate) { return usable(candidate, false); });
    if (port == 0) {
      port = impl_->ports.choose(local, tuple.remote, PortChoice::kCount,
                                 [&](uint16_t candidate) { return usable(candidate, true); });
    }
    if (port == 0) return ConnectError::kNoPort;
    tuple.local.port = port;
  } else if (!usable(tuple.local.port, true)) {
    return ConnectError::kInUse;
  }
  const uint32_t hash = core.table.hash(interface, tuple);
  if (const auto reference = impl_->find(interface, tuple, hash)) {
    core.counters.add(Counter::kTcpTimeWaitReused);
    impl_->remove_time_wait(reference.index);
  }
  Connection* c = impl_->take_slot();
  if (!c) return ConnectError::kFull;
  c->open_active(core, *at, tuple, hash, options, now);
  impl_->insert(*c);
  return Impl::id_of(*c);
}

const Tuple* Stack::tuple(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  return c ? &c->tuple() : nullptr;
}

InterfaceId Stack::interface_of(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  return c ? c->interface_id() : kNoInterface;
}

uint64_t Stack::readable_bytes(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  return c ? c->readable_bytes() : 0;
}

Packet Stack::read(ConnectionId id, uint32_t bytes_max, Instant now) {
  Connection* c = impl_->get(id);
  return c ? c->read(bytes_max, now) : Packet{};
}

ByteQueue* Stack::receive_queue(ConnectionId id) {
  Connection* c = impl_->get(id);
  return c ? c->receive_queue() : nullptr;
}

void Stack::consumed(ConnectionId id, uint64_t bytes, Instant now) {
  if (Connection* c = impl_->get(id)) c->consumed(bytes, now);
}

bool Stack::peer_finished(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  return c && c->peer_finished();
}

uint64_t Stack::writable_bytes(ConnectionId id) const {
  Connection* c = impl_->get(id);
  return c ? c->writable_bytes() : 0;
}

bool Stack::write(ConnectionId id, Packet bytes, Instant now) {
  Connection* c = impl_->get(id);
  return c && c->write(std::move(bytes), now);
}

uint64_t Stack::unacknowledged_bytes(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  return c ? c->unacknowledged_bytes() : 0;
}

void Stack::shutdown_write(ConnectionId id, Instant now) {
  if (Connection* c = impl_->get(id)) c->shutdown_write(now);
}

void Stack::abort(ConnectionId id, Instant now) {
  if (Connection* c = impl_->get(id)) c->abort(now);
  impl_->reap();
}

void Stack::release(ConnectionId id, Instant now) {
  if (Connection* c = impl_->get(id)) c->release(now);
  impl_->reap();
}

void Stack::set_cookie(ConnectionId id, uint64_t cookie) {
  if (Connection* c = impl_->get(id)) c->cookie = cookie;
}

uint64_t Stack::cookie(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  return c ? c->cookie : 0;
}

std::optional<ConnectionOptions> Stack::options(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  if (!c) return std::nullopt;
  return c->options();
}

void Stack::set_options(ConnectionId id, const ConnectionOptions& options, Instant now) {
  if (Connection* c = impl_->get(id)) c->set_options(options, now);
}

void Stack::set_quick_ack(ConnectionId id, bool on) {
  if (Connection* c = impl_->get(id)) c->set_quick_ack(on);
}

std::optional<ConnectionInfo> Stack::info(ConnectionId id) const {
  const Connection* c = impl_->get(id);
  if (!c) return std::nullopt;
  return c->info();
}

void Stack::for_each(void (*visit)(void* context, ConnectionId id), void* context) const {
  for (uint32_t i = 0; i < impl_->slots; ++i) {
    const Connection* c = impl_->slot(i);
    if (c->state() != State::kFree && c->owned()) visit(context, Impl::id_of(*c));
  }
}

void Stack::for_each_released(void (*visit)(void* context, InterfaceId interface, uint64_t unacknowledged_bytes),
                              void* context) const {
  for (uint32_t i = 0; i < impl_->slots; ++i) {
    const Connection* c = impl_->slot(i);
    if (c->state() != State::kFree && !c->owned() && !c->over()) {
      visit(context, c->interface_id(), c->unacknowledged_bytes());
    }
  }
}

void Stack::abort_all(Instant now) {
  for (uint32_t i = 0; i < impl_->slots; ++i) {
    Connection* c = impl_->slot(i);
    if (c->state() != State::kFree && !c->over()) c->abort(now);
  }
  impl_->reap();
}

uint32_t Stack::connections() const {
  return static_cast<uint32_t>(impl_->core.table.size() - impl_->core.time_wait.count());
}

}  // namespace culvert::tcp
