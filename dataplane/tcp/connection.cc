// Opens, closes, the application's calls, and time.
#include "tcp/connection.h"

#include <algorithm>

#include "tcp/compaction.h"
#include "tcp/core.h"

namespace culvert::tcp {

namespace {

// Linux's tcp_synack_retries and tcp_retries2; orphans are given up earlier (tcp_orphan_retries).
constexpr uint8_t kSynAckRetries = 5;
constexpr uint8_t kRetries = 15;
constexpr uint8_t kOrphanRetries = 8;
// How long a connection without an owner waits for the peer's FIN (Linux's tcp_fin_timeout).
constexpr Duration kFinWait2Orphan = 60s;

}  // namespace

const char* name_of(State state) {
  switch (state) {
    case State::kFree:
      return "FREE";
    case State::kSynSent:
      return "SYN-SENT";
    case State::kSynReceived:
      return "SYN-RECEIVED";
    case State::kEstablished:
      return "ESTABLISHED";
    case State::kFinWait1:
      return "FIN-WAIT-1";
    case State::kFinWait2:
      return "FIN-WAIT-2";
    case State::kCloseWait:
      return "CLOSE-WAIT";
    case State::kClosing:
      return "CLOSING";
    case State::kLastAck:
      return "LAST-ACK";
    case State::kTimeWait:
      return "TIME-WAIT";
    case State::kClosed:
      return "CLOSED";
  }
  return "?";
}

void Connection::reset_slot() {
  const uint32_t kept_index = index;
  const uint32_t next_generation = generation + 1;
  this->~Connection();
  new (this) Connection();
  index = kept_index;
  generation = next_generation;
}

bool Connection::same_as(InterfaceId interface, const Tuple& tuple) const {
  return interface_id_ == interface && tuple_ == tuple;
}

// --- opening
// ----------------------------------------------------------------------------------------------------------

void Connection::open_active(Core& core, Interface& interface, const Tuple& tuple, uint32_t hash,
                             const ConnectionOptions& options, Instant now) {
  core_ = &core;
  interface_ = &interface;
  interface_id_ = interface.id;
  tuple_ = tuple;
  hash_ = hash;
  options_ = options;
  state_ = State::kSynSent;
  owned_ = true;
  mtu_ = interface.limits.mtu;
  ts_offset_ = core.numbers.timestamp_offset(tuple);
  snd_.start(core.numbers.sequence(tuple, now), core.counters);
  rcv_.start(options.rcv_buffer_bytes_max, options.delayed_ack, core.pool, core.counters);
  rcv_scale_ = Receiver::scale_for(options.rcv_buffer_bytes_max);
  heard_at_ = now;
  syn_due_ = true;
  give_up_at_ = now + options.syn_timeout;
  ready();
  schedule(now);
}

void Connection::open_passive(Core& core, Interface& interface, const Segment& syn, uint32_t hash,
                              std::optional<Seq> isn_above, Instant now) {
  core_ = &core;
  interface_ = &interface;
  interface_id_ = interface.id;
  tuple_ = syn.tuple;
  hash_ = hash;
  options_ = interface.accepted;
  state_ = State::kSynReceived;
  passive_ = true;
  mtu_ = interface.limits.mtu;
  ts_offset_ = core.numbers.timestamp_offset(tuple_);
  Seq iss = core.numbers.sequence(tuple_, now);
  // RFC 1122 4.2.2.13: "larger than the largest sequence number it used on the previous connection incarnation".
  if (isn_above && iss <= *isn_above + 0xffff) iss = *isn_above + 0x10001;
  snd_.start(iss, core.counters);
  rcv_.start(options_.rcv_buffer_bytes_max, options_.delayed_ack, core.pool, core.counters);
  rcv_scale_ = Receiver::scale_for(options_.rcv_buffer_bytes_max);
  take_syn_options(syn.header.options);
  if (timestamps_) {
    ts_recent_ = syn.header.options.timestamps->first;
    ts_recent_at_ = now;
  }
  rcv_.open(Seq(syn.header.sequence), std::min(rcv_.buffer_bytes(), 0xffffu), scaling_ ? rcv_scale_ : uint8_t{0}, sack_,
            mss_for(mtu_), now);
  heard_at_ = now;
  syn_due_ = true;
  ++core.half_open;
  ready();
  schedule(now);
}

// What both SYNs carry is in use (RFC 7323 2.2, 3.2; RFC 2018 2).
void Connection::take_syn_options(const wire::TcpOptions& options) {
  timestamps_ = timestamps_ && options.timestamps.has_value();
  sack_ = sack_ && options.sack_permitted;
  scaling_ = scaling_ && options.window_scale.has_value();
  // "If a Window Scale option is received with a shift.cnt value larger than 14, the TCP MUST ... use 14".
  snd_scale_ = scaling_ ? std::min<uint8_t>(*options.window_scale, 14) : uint8_t{0};
  if (!scaling_) rcv_scale_ = 0;
  // RFC 9293 3.7.1: 536 or 1220 unless told; below 64 a peer would make us send nothing but headers.
  const uint16_t unsaid = tuple_.remote.address.is_v4() ? 536 : 1220;
  peer_mss_ = std::max<uint16_t>(options.mss.value_or(unsaid), 64);
}

void Connection::establish(uint32_t window, Seq seq, Seq ack, Instant now) {
  Sender::Negotiated negotiated{};
  negotiated.window = window;
  negotiated.window_scale = snd_scale_;
  negotiated.mss = payload_mss();
  negotiated.sack = sack_;
  negotiated.timestamps = timestamps_;
  negotiated.nodelay = options_.nodelay;
  negotiated.congestion = options_.cubic ? CongestionAlgorithm::kCubic : CongestionAlgorithm::kNewReno;
  if (syn_sent_count_ > 1) snd_.rtt().syn_was_retransmitted();
  snd_.open(negotiated, seq, ack);
  if (snd_.rtt().has_sample()) rcv_.set_rtt(snd_.rtt().srtt());
  syn_due_ = false;
  syn_again_at_ = give_up_at_ = kNever;
  heard_at_ = now;
  if (state_ == State::kSynReceived) --core_->half_open;
  state_ = State::kEstablished;
  if (passive_) {
    owned_ = true;
    core_->counters.add(Counter::kTcpConnectionAccepted);
    emit(EventKind::kAccepted);
  } else {
    core_->counters.add(Counter::kTcpConnectionOpened);
    emit(EventKind::kConnected);
  }
  if (snd_.fin_queued()) state_ = State::kFinWait1;
}

// Karn's rule holds for the SYN as well: with several sent, only a timestamp says which one was answered.
void Connection::sample_handshake(const wire::TcpOptions& options, Instant now) {
  if (syn_sent_count_ == 1) {
    snd_.sample_rtt(now - syn_sent_at_, now);
  } else if (timestamps_ && options.timestamps) {
    const uint32_t ms = timestamp_at(now, ts_offset_) - options.timestamps->second;
    if (ms < 1u << 20) snd_.sample_rtt(std::chrono::milliseconds{ms}, now);
  }
}

// --- the application's calls
// -------------------------------------------------------------------------------------------

uint64_t Connection::writable_bytes() {
  const uint64_t room = room_to_write();
  if (room < options_.snd_buffer_bytes / 3) writable_wanted_ = true;
  return room;
}

uint64_t Connection::room_to_write() const {
  if (over() || snd_.fin_queued() || released_) return 0;
  // Buffers held count, not bytes in them (D10); a queue of ordinary packets holds up to twice its payload.
  const uint64_t held =
      std::max(snd_.queue.bytes(), accounted_bytes(snd_.queue.bytes(), snd_.queue.memory_bytes()) / 2);
  return held < options_.snd_buffer_bytes ? options_.snd_buffer_bytes - held : 0;
}

bool Connection::write(Packet bytes, Instant now) {
  if (over() || snd_.fin_queued() || released_) return false;
  snd_.queue.append(std::move(bytes));
  if (snd_guard_.check(snd_.queue.bytes(), snd_.queue.memory_bytes(),
                       [this] { return snd_.queue.memory_share_bytes(); })) {
    const uint64_t copied = compact_queue(snd_.queue, core_->pool);
    if (copied > 0) core_->counters.add(Counter::kTcpCompactedByte, copied);
  }
  if (room_to_write() == 0) writable_wanted_ = true;
  snd_.note_waiting(now);
  settle();
  ready();
  return true;
}

Packet Connection::read(uint32_t bytes_max, Instant now) {
  readable_told_ = false;
  const auto bytes = static_cast<uint32_t>(std::min<uint64_t>({rcv_.queue.bytes(), bytes_max, kPacketBytesMax}));
  Packet packet = rcv_.queue.take_front(bytes);
  if (packet) consumed(0, now);
  return packet;
}

ByteQueue* Connection::receive_queue() {
  readable_told_ = false;
  return &rcv_.queue;
}

// `bytes` are dropped here unless the caller has taken them out of the queue already.
void Connection::consumed(uint64_t bytes, Instant now) {
  readable_told_ = false;
  const uint64_t left = bytes < queued_seen_ ? queued_seen_ - bytes : 0;
  if (rcv_.queue.bytes() > left) rcv_.queue.drop_front(std::min(bytes, rcv_.queue.bytes() - left));
  const uint64_t taken = queued_seen_ - std::min(queued_seen_, rcv_.queue.bytes());
  queued_seen_ = rcv_.queue.bytes();
  settle();
  if (over() || taken == 0 || state_ == State::kSynSent || state_ == State::kSynReceived) return;
  if (rcv_.consumed(taken, core_->pressed(), now)) {
    window_update_due_ = true;
    ready();
  }
}

void Connection::shutdown_write(Instant now) {
  if (over() || snd_.fin_queued()) return;
  snd_.queue_fin();
  snd_.note_waiting(now);
  // RFC 9293 3.10.4. Before ESTABLISHED the FIN waits for it.
  if (state_ == State::kEstablished) state_ = State::kFinWait1;
  if (state_ == State::kCloseWait) state_ = State::kLastAck;
  ready();
}

void Connection::abort(Instant now) {
  if (!over()) send_reset(now);
  owned_ = false;
  finish(std::nullopt);
}

void Connection::release(Instant now) {
  if (released_) return;
  if (over()) {
    owned_ = false;
    finish(std::nullopt);
    return;
  }
  if (state_ == State::kSynSent) {
    owned_ = false;
    finish(std::nullopt);
    return;
  }
  // RFC 2525 2.17, RFC 9293 3.10.4: unread data will never be read, and the peer must learn that.
  if (!rcv_.queue.empty()) {
    abort(now);
    return;
  }
  owned_ = false;
  released_ = true;
  core_->telling.remove(*this);
  pending_events_ = 0;
  shutdown_write(now);
  if (state_ == State::kFinWait2) give_up_at_ = now + kFinWait2Orphan;
  schedule(now);
}

void Connection::set_options(const ConnectionOptions& options, Instant now) {
  options_ = options;
  if (over()) return;
  rcv_.set_limits(options.rcv_buffer_bytes_max, options.delayed_ack);
  snd_.set_nodelay(options.nodelay);
  note_writable();
  ready();
  schedule(now);
}

void Connection::set_quick_ack(bool on) {
  rcv_.quick_ack(on);
  ready();
}

ConnectionInfo Connection::info() const {
  ConnectionInfo info{};
  info.tuple = tuple_;
  info.state = name_of(state_);
  info.srtt = snd_.rtt().srtt();
  info.rto = snd_.rtt().rto();
  info.cwnd = snd_.congestion().cwnd();
  info.ssthresh = snd_.congestion().ssthresh();
  info.snd_wnd = snd_.window();
  info.rcv_wnd = rcv_.window();
  info.mss = snd_.mss();
  info.bytes_in = rcv_.bytes_delivered();
  info.bytes_out = snd_.bytes_acked();
  info.bytes_retransmitted = snd_.bytes_retransmitted();
  info.rcv_queue_bytes = rcv_.queue.bytes();
  info.snd_queue_bytes = snd_.queue.bytes();
  return info;
}

void Connection::note_writable() {
  if (!writable_wanted_ || !owned_) return;
  if (room_to_write() < std::max<uint64_t>(options_.snd_buffer_bytes / 3, 1)) return;
  writable_wanted_ = false;
  emit(EventKind::kWritable);
}

// --- ends
// -------------------------------------------------------------------------------------------------------------

void Connection::send_reset(Instant now) {
  // A SYN that was never answered needs no reset (RFC 9293 3.10.5).
  if (state_ == State::kSynSent) return;
  wire::TcpHeader header;
  header.rst = header.ack = true;
  header.sequence = snd_.nxt().value();
  header.acknowledgment = rcv_.nxt().value();
  if (timestamps_) header.options.timestamps = {timestamp_at(now, ts_offset_), ts_recent_};
  core_->reply(interface_id_, tuple_, header);
}

// Everything of the connection but what the owner may still ask: its handle, its cookie, and what it has not read.
void Connection::finish(std::optional<EventKind> event) {
  if (state_ == State::kSynReceived && !over()) --core_->half_open;
  if (state_ != State::kTimeWait || !owned_) state_ = State::kClosed;
  if (in_table) {
    core_->table.erase(hash_, {index, false});
    in_table = false;
  }
  ended_orderly_ = event == EventKind::kClosed;
  core_->wheel.cancel(timer);
  core_->ready.remove(*this);
  snd_.queue.clear();
  if (!owned_) {
    rcv_.clear();
    core_->telling.remove(*this);
    pending_events_ = 0;
    if (!core_->doomed.contains(*this)) core_->doomed.push_back(*this);
  } else if (event) {
    emit(*event);
  }
  settle();
}

void Connection::give_up(Counter cause, bool with_reset, Instant now) {
  core_->counters.add(cause);
  if (with_reset) send_reset(now);
  finish(EventKind::kTimedOut);
}

void Connection::on_interface_gone() { finish(EventKind::kReset); }

void Connection::after_fin_acknowledged(Instant now) {
  if (owned_) emit(EventKind::kSent);
  switch (state_) {
    case State::kFinWait1:
      state_ = State::kFinWait2;
      if (released_) give_up_at_ = now + kFinWait2Orphan;
      return;
    case State::kClosing:
      enter_time_wait(now);
      return;
    case State::kLastAck:
      finish(EventKind::kClosed);
      return;
    default:
      return;
  }
}

void Connection::enter_time_wait(Instant now) {
  Core& core = *core_;
  if (core.time_wait.full()) {
    const uint32_t oldest = core.time_wait.oldest();
    if (oldest != TimeWait::kNone) {
      core.counters.add(Counter::kTcpTimeWaitRecycled);
      core.table.erase(core.time_wait[oldest].hash, {oldest, true});
      core.time_wait.remove(oldest);
    }
  }
  TimeWaitEntry entry;
  entry.interface = interface_id_;
  entry.tuple = tuple_;
  entry.hash = hash_;
  entry.snd_nxt = snd_.nxt();
  entry.rcv_nxt = rcv_.nxt();
  entry.window = rcv_.window_field(core.pressed());
  entry.timestamps = timestamps_;
  entry.ts_recent = ts_recent_;
  entry.ts_offset = ts_offset_;
  // The ACK of the peer's FIN leaves from the table's side: nothing else is left to send.
  wire::TcpHeader ack;
  ack.ack = true;
  ack.sequence = entry.snd_nxt.value();
  ack.acknowledgment = entry.rcv_nxt.value();
  ack.window = entry.window;
  if (timestamps_) ack.options.timestamps = {timestamp_at(now, ts_offset_), ts_recent_};
  core.reply(interface_id_, tuple_, ack);
  core.counters.add(Counter::kTcpTimeWait);
  if (!core.time_wait.full()) {
    const uint32_t place = core.time_wait.add(entry, now);
    core.table.replace(hash_, {index, false}, {place, true});
    in_table = false;
  }
  state_ = State::kTimeWait;
  finish(EventKind::kClosed);
}

// --- time
// -------------------------------------------------------------------------------------------------------------

Instant Connection::keepalive_deadline() const {
  const bool watched = state_ == State::kEstablished || state_ == State::kCloseWait || state_ == State::kFinWait2;
  // With data outstanding or a window being probed, their timers find out.
  if (!options_.keepalive || !watched || snd_.outstanding() || snd_.unsent_bytes() > 0) return kNever;
  return heard_at_ + options_.keepalive_idle + keepalive_unanswered_ * options_.keepalive_interval;
}

Instant Connection::user_deadline() const {
  if (!options_.user_timeout || snd_.waiting_since() == kNever) return kNever;
  return snd_.waiting_since() + *options_.user_timeout;
}

Instant Connection::deadline() const {
  if (over()) return kNever;
  return std::min({snd_.deadline(), rcv_.ack_due(), syn_again_at_, give_up_at_, keepalive_deadline(), user_deadline()});
}

// A deadline that moved later does not touch the wheel: the entry comes up early once and is placed again.
void Connection::schedule(Instant) {
  const Instant due = deadline();
  if (due == kNever) {
    core_->wheel.cancel(timer);
  } else if (!timer.scheduled() || due < timer.deadline()) {
    core_->wheel.schedule(timer, due);
  }
}

void Connection::on_timer(Instant now) {
  if (over()) return;
  if (state_ == State::kSynSent || state_ == State::kSynReceived) {
    if (!on_syn_timer(now)) return;
  } else {
    if (user_deadline() <= now) {
      give_up(Counter::kTcpTimedOutUser, false, now);
      return;
    }
    if (give_up_at_ <= now) {
      // FIN-WAIT-2 without an owner. The peer learns by RST if it ever speaks again.
      core_->counters.add(Counter::kTcpTimedOutOrphan);
      finish(std::nullopt);
      return;
    }
    switch (snd_.on_time(released_ ? kOrphanRetries : kRetries, now)) {
      case Sender::Due::kGiveUpRetransmit:
        give_up(Counter::kTcpTimedOutRetransmit, false, now);
        return;
      case Sender::Due::kGiveUpPersist:
        give_up(Counter::kTcpTimedOutPersist, false, now);
        return;
      case Sender::Due::kNothing:
        break;
    }
    if (rcv_.ack_due() <= now) {
      rcv_.on_ack_due();
      delayed_ack_due_ = true;
    }
    if (!on_keepalive_timer(now)) return;
    if (!snd_.outstanding() && snd_.queue.empty()) snd_.release_memory();
    ready();
  }
  schedule(now);
}

// False: the connection is over.
bool Connection::on_syn_timer(Instant now) {
  if (give_up_at_ <= now ||
      (state_ == State::kSynReceived && syn_again_at_ <= now && syn_sent_count_ > kSynAckRetries)) {
    give_up(Counter::kTcpTimedOutSyn, false, now);
    return false;
  }
  if (syn_again_at_ <= now) {
    syn_again_at_ = kNever;
    snd_.rtt().back_off();
    syn_due_ = true;
    ready();
  }
  return true;
}

bool Connection::on_keepalive_timer(Instant now) {
  if (keepalive_deadline() > now) return true;
  if (keepalive_unanswered_ >= options_.keepalive_probes) {
    give_up(Counter::kTcpTimedOutKeepalive, true, now);
    return false;
  }
  ++keepalive_unanswered_;
  keepalive_due_ = true;
  return true;
}

// --- small things
// -------------------------------------------------------------------------------------------------------

void Connection::emit(EventKind kind) {
  if (!owned_) return;
  pending_events_ = static_cast<uint16_t>(pending_events_ | 1u << static_cast<unsigned>(kind));
  if (!core_->telling.contains(*this)) core_->telling.push_back(*this);
}

void Connection::settle() {
  const uint64_t held = accounted_bytes(snd_.queue.bytes(), snd_.queue.memory_bytes()) + rcv_.memory_bytes();
  core_->account(static_cast<int64_t>(held) - static_cast<int64_t>(memory_settled_));
  memory_settled_ = held;
}

void Connection::ready() {
  if (!over() && !core_->ready.contains(*this)) core_->ready.push_back(*this);
}

void Connection::drop(DropReason reason) { core_->counters.drop(reason); }

}  // namespace culvert::tcp
