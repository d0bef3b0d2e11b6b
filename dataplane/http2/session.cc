// Making a session, its clocks, the frames of the connection as a whole, and its end.
#include "http2/session.h"

#include <algorithm>

#include "base/endian.h"
#include "http2/session_impl.h"

namespace culvert::http2 {

namespace {

// A retry after a pool was found empty; buffers come back within a few turns.
constexpr Duration kRetry = 1ms;

// nghttp2 ends the whole connection when a peer opens a stream beyond MAX_CONCURRENT_STREAMS; we refuse that stream
// (RFC 9113 5.1.2 allows either; reference 4.3). So nghttp2 is told a multiple, and the number on the wire is ours.
constexpr uint32_t kStreamsSlack = 4;

// "Out of the way" (D7): the frame budget counts resets, by its own rule.
constexpr uint64_t kNoResetLimit = uint64_t{1} << 40;

}  // namespace

Session::Impl::Impl(Role r, const Limits& l, CoreMemory& core, BufferPool& p, Counters& c, uint64_t seed, Instant at)
    : role(r),
      limits(l),
      pool(p),
      counters(c),
      memory(core, l.memory_bytes_max),
      budget(at),
      now(at),
      settings_sent(at),
      settings_due(at + l.settings_timeout),
      ping_opaque(seed & ~uint64_t{1}) {
  hooks.mem_user_data = &memory;
  hooks.malloc = [](size_t bytes, void* m) { return static_cast<SessionMemory*>(m)->allocate(bytes); };
  hooks.free = [](void* block, void* m) { static_cast<SessionMemory*>(m)->release(block); };
  hooks.realloc = [](void* block, size_t bytes, void* m) {
    return static_cast<SessionMemory*>(m)->reallocate(block, bytes);
  };
  hooks.calloc = [](size_t count, size_t bytes, void* m) -> void* {
    if (bytes != 0 && count > SIZE_MAX / bytes) return nullptr;
    void* block = static_cast<SessionMemory*>(m)->allocate(count * bytes);
    if (block) std::memset(block, 0, count * bytes);
    return block;
  };
}

Session::Impl::~Impl() {
  // Closing callbacks must not touch streams any more.
  state = State::kEnded;
  nghttp2_session_del(h2);
}

bool Session::Impl::start() {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) return false;
  if (nghttp2_option_new(&option) != 0) {
    nghttp2_session_callbacks_del(callbacks);
    return false;
  }
  set_receive_callbacks(callbacks);
  set_send_callbacks(callbacks);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);  // D21
  nghttp2_option_set_max_reserved_remote_streams(option, 0);
  nghttp2_option_set_no_closed_streams(option, 1);  // their priority is of no use to us
  nghttp2_option_set_stream_reset_rate_limit(option, kNoResetLimit, kNoResetLimit);
  const int made = role == Role::kClient ? nghttp2_session_client_new3(&h2, callbacks, this, option, &hooks)
                                         : nghttp2_session_server_new3(&h2, callbacks, this, option, &hooks);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  if (made != 0) return false;

  std::vector<nghttp2_settings_entry> entries = {
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0},  // D21
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kRecordBytesMax},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.header_list_bytes_max},
  };
  if (role == Role::kClient) {
    entries.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  } else {
    entries.push_back({NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max * kStreamsSlack});
  }
  if (nghttp2_submit_settings(h2, NGHTTP2_FLAG_NONE, entries.data(), entries.size()) != 0) return false;
  if (nghttp2_session_set_local_window_size(h2, NGHTTP2_FLAG_NONE, 0,
                                            static_cast<int32_t>(limits.connection_window_bytes)) != 0) {
    return false;
  }
  // The preface, SETTINGS and the connection's WINDOW_UPDATE are some hundred bytes: they fit the first record.
  record = pool.take_small();
  if (!record || nghttp2_session_send(h2) != 0) return false;
  if (role == Role::kServer) {
    // SETTINGS is the first frame, MAX_CONCURRENT_STREAMS its last entry; an entry is 2 bytes of name, 4 of value.
    uint8_t* value = record.front_mutable().data() + kFrameHeaderBytes + 6 * (entries.size() - 1) + 2;
    store_be32(value, limits.streams_max);
  }
  return true;
}

void Session::Impl::fail(FailureKind kind, ErrorCode code, std::string text) {
  if (state == State::kEnded) return;
  failure = {kind, code, std::move(text)};
  switch (kind) {
    case FailureKind::kNone:
      break;
    case FailureKind::kPeerFault:
      counters.drop(DropReason::kHttp2PeerFault);
      break;
    case FailureKind::kAbuse:
      break;  // counted where it was found
    case FailureKind::kPingTimeout:
      counters.drop(DropReason::kHttp2PingTimeout);
      break;
    case FailureKind::kSettingsTimeout:
      counters.drop(DropReason::kHttp2SettingsTimeout);
      break;
    case FailureKind::kNoMemory:
      counters.drop(DropReason::kHttp2NoMemory);
      break;
  }
  // Not an error when nghttp2 has queued a GOAWAY of its own already.
  nghttp2_session_terminate_session(h2, static_cast<uint32_t>(code));
  end();
}

void Session::Impl::end() {
  state = State::kEnded;
  settings_due = ping_due = ping_ack_due = kNever;
  segment.reset();
  tail = unplaced = {};
  is_blocked = false;
  turn = nullptr;
  for (Stream& stream : slots) {
    if (!stream.end_received) stream.rx.clear();
    stream.tx.clear();
    stream.headers.clear();
    stream.events = 0;
    stream.closed = true;
    if (stream.number != 0) settle_slot(stream);
  }
  open = 0;
}

void Session::Impl::poll() {
  if (now >= retry_at) retry_at = kNever;
  if (state == State::kEnded) return;
  if (now >= settings_due) {
    // RFC 9113 6.5.3: "If the sender of a SETTINGS frame does not receive an acknowledgment within a reasonable amount
    // of time, it MAY issue a connection error … of type SETTINGS_TIMEOUT."
    return fail(FailureKind::kSettingsTimeout, ErrorCode::kSettingsTimeout, "no acknowledgement of SETTINGS");
  }
  if (now >= ping_ack_due) {
    return fail(FailureKind::kPingTimeout, ErrorCode::kNoError, "ping timeout");
  }
  if (now >= ping_due) {
    ping_due = kNever;
    ping_ack_due = now + limits.ping_timeout;
    ping_sent = now;
    ping_opaque += 2;
    send_ping(ping_opaque);
  }
}

void Session::Impl::send_ping(uint64_t opaque) {
  uint8_t bytes[8];
  store_be64(bytes, opaque);
  if (nghttp2_submit_ping(h2, NGHTTP2_FLAG_NONE, bytes) != 0) {
    fail(FailureKind::kNoMemory, ErrorCode::kInternalError, "no memory for PING");
  }
}

void Session::Impl::on_ping_ack(const uint8_t bytes[8]) {
  const uint64_t opaque = load_be64(bytes);
  if (opaque == (ping_opaque | 1) && draining && !last_word) {
    // The peer has seen the first GOAWAY: what it sent before is here, and it sends no more.
    last_word = true;
    nghttp2_submit_goaway(h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2), NGHTTP2_NO_ERROR, nullptr,
                          0);
    return;
  }
  if (ping_ack_due == kNever || opaque != ping_opaque) return;
  ++counts.pings_acknowledged;
  ping_ack_due = kNever;
  ping_due = now + limits.ping_interval;
  const Duration sample = now - ping_sent;
  if (rtt == Duration{} || sample < rtt) rtt = sample;
}

void Session::Impl::on_settings_ack() {
  if (settings_acknowledged) return;
  settings_acknowledged = true;
  settings_due = kNever;
  rtt = now - settings_sent;
}

// --- the door
// ---------------------------------------------------------------------------------------------------------

std::unique_ptr<Session> Session::make(Role role, const Limits& limits, CoreMemory& memory, BufferPool& pool,
                                       Counters& counters, uint64_t seed, Instant now) {
  auto impl = std::make_unique<Impl>(role, limits, memory, pool, counters, seed, now);
  if (!impl->start()) {
    counters.drop(DropReason::kHttp2NoMemory);
    return nullptr;
  }
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

uint64_t Session::on_bytes(ByteQueue& in, Instant now) {
  impl_->now = now;
  const uint64_t taken = impl_->on_bytes(in);
  if (impl_->is_blocked) impl_->retry_at = now + kRetry;
  return taken;
}

bool Session::blocked() const { return impl_->is_blocked; }

Packet Session::take_record(Instant now) {
  impl_->now = now;
  Packet bytes = impl_->take_record();
  if (impl_->is_stalled) impl_->retry_at = now + kRetry;
  return bytes;
}

bool Session::stalled() const { return impl_->is_stalled; }

bool Session::wants_write() const {
  return impl_->record || nghttp2_session_want_write(impl_->h2) != 0 ||
         (impl_->state != State::kEnded && impl_->turns.front() && impl_->window_open());
}

void Session::poll(Instant now) {
  impl_->now = now;
  impl_->poll();
}

Instant Session::next_deadline() const {
  return std::min({impl_->settings_due, impl_->ping_due, impl_->ping_ack_due, impl_->retry_at});
}

State Session::state() const { return impl_->state; }
const Failure& Session::failure() const { return impl_->failure; }
const Goaway& Session::goaway() const { return impl_->goaway; }
uint32_t Session::streams_left() const { return impl_->streams_left(); }
uint32_t Session::streams_open() const { return impl_->open; }
uint32_t Session::peer_streams_max() const {
  return nghttp2_session_get_remote_settings(impl_->h2, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}
std::optional<ErrorCode> Session::goaway_sent() const { return impl_->goaway_sent; }

PeerSettings Session::peer_settings() const {
  const auto value = [this](nghttp2_settings_id id) { return nghttp2_session_get_remote_settings(impl_->h2, id); };
  return {value(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE),      value(NGHTTP2_SETTINGS_ENABLE_PUSH),
          value(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), value(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE),
          value(NGHTTP2_SETTINGS_MAX_FRAME_SIZE),         value(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE)};
}

const SessionCounts& Session::counts() const { return impl_->counts; }
Duration Session::rtt() const { return impl_->rtt; }

void Session::drain(Instant now) {
  impl_->now = now;
  if (impl_->draining || impl_->state == State::kEnded) return;
  impl_->draining = true;
  if (impl_->role == Role::kClient) {
    impl_->last_word = true;
    return;
  }
  nghttp2_submit_shutdown_notice(impl_->h2);
  impl_->send_ping(impl_->ping_opaque | 1);
}

bool Session::drained() const { return impl_->last_word && impl_->open == 0; }

void Session::close(ErrorCode code, std::string text, Instant now) {
  impl_->now = now;
  impl_->fail(FailureKind::kNone, code, std::move(text));
}

}  // namespace culvert::http2
