// What the user does with streams, and the events it gets.
//
// Events are bits of a stream, reported in the order of EventKind: what belongs to a stream's beginning before what
// belongs to its end. A stream stands in the report queue at most once, so events need no memory of their own.
#include <algorithm>
#include <charconv>

#include "hbone/tunnels_impl.h"

namespace culvert::hbone {

namespace {

constexpr uint16_t bit(EventKind kind) { return static_cast<uint16_t>(1u << static_cast<unsigned>(kind)); }

}  // namespace

std::string_view name_of(Loss loss) {
  switch (loss) {
    case Loss::kNone:
      return "none";
    case Loss::kConnectTimeout:
      return "connect timeout";
    case Loss::kConnectRefused:
      return "connect refused";
    case Loss::kHandshake:
      return "handshake failed";
    case Loss::kSetupTimeout:
      return "set-up timeout";
    case Loss::kNoCredentials:
      return "no credentials";
    case Loss::kProtocol:
      return "protocol error";
    case Loss::kAbuse:
      return "frame budget exceeded";
    case Loss::kPingTimeout:
      return "ping timeout";
    case Loss::kTcpReset:
      return "connection reset";
    case Loss::kTcpTimeout:
      return "connection timed out";
    case Loss::kTruncated:
      return "connection truncated";
    case Loss::kGoaway:
      return "refused by GOAWAY";
    case Loss::kClosed:
      return "closed";
    case Loss::kRevoked:
      return "peer certificate revoked";
    case Loss::kNoMemory:
      return "no memory";
  }
  return "unknown";
}

// --- slots
// ------------------------------------------------------------------------------------------------------------

Stream* Tunnels::Impl::find(StreamId id) {
  if (id.index >= streams.size()) return nullptr;
  Stream& stream = streams[id.index];
  return stream.stage != Stream::Stage::kFree && stream.generation == id.generation ? &stream : nullptr;
}

const Stream* Tunnels::Impl::find(StreamId id) const { return const_cast<Impl*>(this)->find(id); }

http2::Session* Tunnels::Impl::session_of(const Stream& stream) const {
  return stream.tunnel == kNoIndex ? nullptr : tunnels[stream.tunnel]->transport->http2();
}

Stream& Tunnels::Impl::take_stream() {
  if (free_streams.empty()) {
    free_streams.push_back(static_cast<uint32_t>(streams.size()));
    streams.emplace_back();
    streams.back().index = free_streams.back();
  }
  Stream& stream = streams[free_streams.back()];
  free_streams.pop_back();
  ++stream.generation;  // begins at 1, so that a cookie of 0 is none
  ++stream_count;
  stream.stage = Stream::Stage::kActive;
  return stream;
}

void Tunnels::Impl::free_stream(Stream& stream) {
  DP_DCHECK(stream.stage != Stream::Stage::kFree);
  detach(stream);
  if (stream.pending) --waiting;
  stream.pending.reset();
  stream.request.reset();
  stream.response.reset();
  stream.failure.clear();
  stream.failure.shrink_to_fit();
  stream.events = 0;
  stream.code = 0;
  stream.cookie = 0;
  stream.loss = Loss::kNone;
  stream.ref = {};
  stream.stage = Stream::Stage::kFree;
  --stream_count;
  // A slot that still stands in the report queue is given back when it leaves it.
  if (!stream.waits_for_report) free_streams.push_back(stream.index);
}

void Tunnels::Impl::attach(Stream& stream, Tunnel& tunnel, http2::StreamRef ref) {
  stream.tunnel = tunnel.index;
  stream.ref = ref;
  stream.next_of_tunnel = nullptr;
  stream.previous_of_tunnel = tunnel.last_stream;
  (tunnel.last_stream ? tunnel.last_stream->next_of_tunnel : tunnel.first_stream) = &stream;
  tunnel.last_stream = &stream;
  ++tunnel.streams;
  ++tunnel.streams_total;
}

void Tunnels::Impl::detach(Stream& stream) {
  if (stream.tunnel == kNoIndex) return;
  Tunnel& tunnel = *tunnels[stream.tunnel];
  (stream.previous_of_tunnel ? stream.previous_of_tunnel->next_of_tunnel : tunnel.first_stream) = stream.next_of_tunnel;
  (stream.next_of_tunnel ? stream.next_of_tunnel->previous_of_tunnel : tunnel.last_stream) = stream.previous_of_tunnel;
  stream.next_of_tunnel = stream.previous_of_tunnel = nullptr;
  stream.tunnel = kNoIndex;
  --tunnel.streams;
  mark(tunnel);  // the last one may have been what it waited for
}

// --- events
// -----------------------------------------------------------------------------------------------------------

void Tunnels::Impl::notify(Stream& stream, EventKind kind) {
  stream.events = static_cast<uint16_t>(stream.events | bit(kind));
  if (stream.waits_for_report) return;
  stream.waits_for_report = true;
  stream.next_report = nullptr;
  (last_report ? last_report->next_report : first_report) = &stream;
  last_report = &stream;
}

void Tunnels::Impl::end(Stream& stream, EventKind kind) {
  if (stream.stage == Stream::Stage::kOver) return;
  if (stream.pending) {
    stream.pending.reset();
    --waiting;
  }
  stream.stage = Stream::Stage::kOver;
  stream.events = static_cast<uint16_t>(stream.events & (bit(EventKind::kRequest) | bit(EventKind::kEstablished)));
  notify(stream, kind);
}

bool Tunnels::Impl::lose(Stream& stream, Loss loss, const std::string& text) {
  if (stream.stage == Stream::Stage::kOver) return false;
  const http2::Session* session = session_of(stream);
  const bool on_purpose = loss == Loss::kClosed || loss == Loss::kRevoked;
  if (session && session->end_received(stream.ref) && !on_purpose) {
    // What the peer had to say came whole. Only if we were not done has something been lost.
    if (session->end_sent(stream.ref)) return false;
    stream.code = static_cast<uint32_t>(http2::ErrorCode::kCancel);
    notify(stream, EventKind::kStopped);
    return true;
  }
  stream.loss = loss;
  stream.failure = text;
  end(stream, EventKind::kLost);
  return true;
}

void Tunnels::Impl::take_session_events(Tunnel& tunnel) {
  http2::Session* session = tunnel.transport->http2();
  if (!session) return;
  // One at a time: a request's first event gives it the cookie that its next ones carry.
  http2::Event event{};
  while (session->take_events({&event, 1}) == 1) {
    const StreamId id{static_cast<uint32_t>(event.cookie), static_cast<uint32_t>(event.cookie >> 32)};
    Stream* stream = event.cookie == 0 ? nullptr : find(id);
    if (!stream) {
      if (tunnel.peer.side == Side::kServer && event.kind == http2::EventKind::kHeaders) {
        on_request(tunnel, event.stream);
      }
      continue;
    }
    if (stream->stage == Stream::Stage::kOver) continue;
    switch (event.kind) {
      case http2::EventKind::kHeaders:
        on_response(*stream, *session);
        break;
      case http2::EventKind::kReadable:
        notify(*stream, EventKind::kReadable);
        break;
      case http2::EventKind::kWritable:
        notify(*stream, EventKind::kWritable);
        break;
      case http2::EventKind::kEndOfStream:
        notify(*stream, EventKind::kEndOfStream);
        break;
      case http2::EventKind::kStopped:
        stream->code = static_cast<uint32_t>(event.code);
        notify(*stream, EventKind::kStopped);
        break;
      case http2::EventKind::kReset:
        stream->code = static_cast<uint32_t>(event.code);
        if (event.code == http2::ErrorCode::kRefusedStream && session->goaway().received &&
            event.stream.number > session->goaway().last_stream) {
          lose(*stream, Loss::kGoaway, "h2 failed: stream refused by GOAWAY");
        } else {
          end(*stream, EventKind::kReset);
        }
        break;
    }
  }
}

size_t Tunnels::take_events(std::span<Event> out) {
  Impl& impl = *impl_;
  size_t count = 0;
  while (Stream* stream = impl.first_report) {
    while (stream->events != 0 && count < out.size()) {
      const auto kind = static_cast<EventKind>(__builtin_ctz(stream->events));
      stream->events = static_cast<uint16_t>(stream->events & (stream->events - 1));
      const bool coded = kind == EventKind::kRefused || kind == EventKind::kStopped || kind == EventKind::kReset;
      out[count++] = {kind, stream->id(), coded ? stream->code : 0,
                      kind == EventKind::kLost ? stream->loss : Loss::kNone};
    }
    if (stream->events != 0) break;
    impl.first_report = stream->next_report;
    if (!impl.first_report) impl.last_report = nullptr;
    stream->waits_for_report = false;
    if (stream->stage == Stream::Stage::kFree) impl.free_streams.push_back(stream->index);
  }
  return count;
}

// --- the door
// ---------------------------------------------------------------------------------------------------------

Result<StreamId, OpenError> Tunnels::open(const TunnelKey& key, const ConnectHeaders& headers, Instant now) {
  return impl_->open(key, headers, now);
}

const ConnectResponse* Tunnels::response(StreamId id) const {
  const Stream* stream = impl_->find(id);
  return stream ? stream->response.get() : nullptr;
}

const ConnectRequest* Tunnels::request(StreamId id) const {
  const Stream* stream = impl_->find(id);
  return stream ? stream->request.get() : nullptr;
}

bool Tunnels::respond(StreamId id, uint16_t status, std::string_view baggage, Instant) {
  Stream* stream = impl_->find(id);
  http2::Session* session = stream && stream->stage == Stream::Stage::kActive ? impl_->session_of(*stream) : nullptr;
  if (!session) return false;
  char text[3] = {'5', '0', '3'};
  if (status >= 100 && status <= 999) std::to_chars(text, text + sizeof text, status);
  const http2::Header fields[] = {{":status", {text, sizeof text}}, {"baggage", baggage}};
  const bool ok = status == kStatusOk;
  const size_t count = ok && !baggage.empty() ? 2 : 1;
  if (!session->respond(stream->ref, {fields, count}, !ok)) return false;
  impl_->mark(*impl_->tunnels[stream->tunnel]);
  return true;
}

const Peer* Tunnels::peer(StreamId id) const {
  const Stream* stream = impl_->find(id);
  return stream && stream->tunnel != kNoIndex ? &impl_->tunnels[stream->tunnel]->peer : nullptr;
}

uint64_t Tunnels::readable_bytes(StreamId id) const {
  const Stream* stream = impl_->find(id);
  const http2::Session* session = stream ? impl_->session_of(*stream) : nullptr;
  return session ? session->readable_bytes(stream->ref) : 0;
}

Packet Tunnels::read(StreamId id, uint32_t bytes_max, Instant now) {
  Stream* stream = impl_->find(id);
  http2::Session* session = stream ? impl_->session_of(*stream) : nullptr;
  if (!session) return {};
  Packet bytes = session->read(stream->ref, bytes_max, now);
  if (bytes) impl_->mark(*impl_->tunnels[stream->tunnel]);
  return bytes;
}

bool Tunnels::peer_finished(StreamId id) const {
  const Stream* stream = impl_->find(id);
  const http2::Session* session = stream ? impl_->session_of(*stream) : nullptr;
  return session && session->ended(stream->ref);
}

uint64_t Tunnels::writable_bytes(StreamId id) const {
  const Stream* stream = impl_->find(id);
  if (!stream) return 0;
  if (stream->pending) {
    const uint64_t queued = stream->pending->written.bytes();
    return stream->pending->finish || queued >= impl_->limits.stream_queue_bytes
               ? 0
               : impl_->limits.stream_queue_bytes - queued;
  }
  const http2::Session* session = stream->stage == Stream::Stage::kActive ? impl_->session_of(*stream) : nullptr;
  return session ? session->writable_bytes(stream->ref) : 0;
}

bool Tunnels::write(StreamId id, Packet bytes, Instant) {
  Stream* stream = impl_->find(id);
  if (!stream) return false;
  if (stream->pending) {
    if (stream->pending->finish) return false;
    stream->pending->written.append(std::move(bytes));
    return true;
  }
  http2::Session* session = stream->stage == Stream::Stage::kActive ? impl_->session_of(*stream) : nullptr;
  if (!session || !session->write(stream->ref, std::move(bytes))) return false;
  impl_->mark(*impl_->tunnels[stream->tunnel]);
  return true;
}

uint64_t Tunnels::unsent_bytes(StreamId id) const {
  const Stream* stream = impl_->find(id);
  if (!stream) return 0;
  if (stream->pending) return stream->pending->written.bytes();
  const http2::Session* session = impl_->session_of(*stream);
  return session ? session->unsent_bytes(stream->ref) : 0;
}

void Tunnels::finish(StreamId id, Instant) {
  Stream* stream = impl_->find(id);
  if (!stream) return;
  if (stream->pending) {
    stream->pending->finish = true;
    return;
  }
  if (http2::Session* session = impl_->session_of(*stream)) {
    session->finish(stream->ref);
    impl_->mark(*impl_->tunnels[stream->tunnel]);
  }
}

void Tunnels::reset(StreamId id, http2::ErrorCode code, Instant) {
  Stream* stream = impl_->find(id);
  if (!stream) return;
  if (stream->pending) {
    stream->pending.reset();
    --impl_->waiting;
  }
  if (http2::Session* session = impl_->session_of(*stream)) {
    session->reset(stream->ref, code);
    impl_->mark(*impl_->tunnels[stream->tunnel]);
  }
  stream->stage = Stream::Stage::kOver;
  stream->events = 0;
}

void Tunnels::release(StreamId id, Instant) {
  Stream* stream = impl_->find(id);
  if (!stream) return;
  if (http2::Session* session = impl_->session_of(*stream)) session->release(stream->ref);
  impl_->free_stream(*stream);
}

std::string_view Tunnels::failure(StreamId id) const {
  const Stream* stream = impl_->find(id);
  return stream ? std::string_view(stream->failure) : std::string_view{};
}

void Tunnels::set_cookie(StreamId id, uint64_t cookie) {
  if (Stream* stream = impl_->find(id)) stream->cookie = cookie;
}

uint64_t Tunnels::cookie(StreamId id) const {
  const Stream* stream = impl_->find(id);
  return stream ? stream->cookie : 0;
}

}  // namespace culvert::hbone
