// What users do with streams, the events they get, and the slots streams live in.
//
// A slot is free again when the user has released the stream, nghttp2 has closed it, and it stands in no queue. Numbers
// on the wire are never used twice in a session, so index and number together make a handle that cannot be mistaken.
#include <algorithm>
#include <array>

#include "http2/session_impl.h"

namespace culvert::http2 {

namespace {

constexpr uint8_t bit(EventKind kind) { return static_cast<uint8_t>(1u << static_cast<uint8_t>(kind)); }

// More fields than this nobody here sends in one block.
constexpr size_t kFieldsMax = 16;

// nghttp2 does not write through the pointers; its struct is older than const.
nghttp2_nv field_of(const Header& header) {
  return {const_cast<uint8_t*>(bytes_of(header.name).data()), const_cast<uint8_t*>(bytes_of(header.value).data()),
          header.name.size(), header.value.size(), NGHTTP2_NV_FLAG_NONE};
}

// A reader keeps up when it takes half a window within this many round trips; a peer limited by anything else than our
// window needs longer to send so much. Round trips below a millisecond are rounded up to one: they are mostly the
// waiting of batches.
constexpr int kRoundTripsPerHalfWindow = 2;
constexpr Duration kRoundTripMin = 1ms;

ssize_t read_data(nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags, nghttp2_data_source* source,
                  void* self) {
  Session::Impl& impl = impl_of(self);
  if (impl.state == State::kEnded) return NGHTTP2_ERR_DEFERRED;
  return impl.on_read_data(*static_cast<Stream*>(source->ptr), length, flags);
}

}  // namespace

Stream* Session::Impl::find(StreamRef ref) {
  if (ref.index >= slots.size() || ref.number == 0) return nullptr;
  Stream& stream = slots[ref.index];
  return stream.number == ref.number && !stream.released ? &stream : nullptr;
}

const Stream* Session::Impl::find(StreamRef ref) const { return const_cast<Impl*>(this)->find(ref); }

Stream* Session::Impl::by_number(int32_t number) {
  return static_cast<Stream*>(nghttp2_session_get_stream_user_data(h2, number));
}

Stream& Session::Impl::take_slot(int32_t number) {
  if (free_slots.empty()) {
    free_slots.push_back(static_cast<uint32_t>(slots.size()));
    slots.emplace_back();
    slots.back().index = free_slots.back();
  }
  Stream& stream = slots[free_slots.back()];
  free_slots.pop_back();
  stream.number = number;
  stream.window = limits.stream_window_bytes;
  stream.window_mark = now;
  return stream;
}

void Session::Impl::free_slot(Stream& stream) {
  window_growth -= stream.window - limits.stream_window_bytes;
  const uint32_t index = stream.index;
  stream = Stream{};
  stream.index = index;
  free_slots.push_back(index);
}

void Session::Impl::settle_slot(Stream& stream) {
  if (stream.number == 0 || !stream.closed || stream.waits_for_turn || stream.waits_for_report) return;
  // A stream the user never heard of is nobody's.
  if (stream.released || !stream.announced) free_slot(stream);
}

void Session::Impl::notify(Stream& stream, EventKind kind) {
  if (stream.released || stream.reset_by_user) return;
  stream.events |= bit(kind);
  reports.push(stream);
}

int Session::Impl::on_stream_close(int32_t number, uint32_t code) {
  if (state == State::kEnded) return 0;
  DP_DCHECK(open > 0);
  --open;
  Stream* stream = by_number(number);
  if (!stream) return 0;
  nghttp2_session_set_stream_user_data(h2, number, nullptr);
  stream->closed = true;
  const bool orderly = stream->end_sent && stream->end_received && !stream->reset_received;
  if (!orderly && !stream->reset_by_user && stream->announced) {
    stream->tx.clear();
    stream->reset_code = static_cast<ErrorCode>(code);
    if (stream->end_received) {
      notify(*stream, EventKind::kStopped);
    } else {
      if (tail.stream == stream) tail = {};
      stream->rx.clear();
      stream->events &= static_cast<uint8_t>(~(bit(EventKind::kReadable) | bit(EventKind::kWritable)));
      notify(*stream, EventKind::kReset);
    }
  }
  settle_slot(*stream);
  return 0;
}

void Session::Impl::submit_reset(Stream& stream, ErrorCode code) {
  stream.reset_by_user = true;
  stream.rx.clear();
  stream.tx.clear();
  stream.events = 0;
  if (tail.stream == &stream) tail = {};
  if (unplaced.stream == &stream) unplaced.stream = nullptr;
  if (stream.closed || state == State::kEnded) return;
  if (nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, stream.number, static_cast<uint32_t>(code)) != 0) {
    fail(FailureKind::kNoMemory, ErrorCode::kInternalError, "no memory for RST_STREAM");
  }
}

void Session::Impl::grow_window(Stream& stream) {
  if (stream.delivered < stream.window / 2) return;
  const Duration round_trip = std::max(rtt, kRoundTripMin);
  const bool keeps_up = now - stream.window_mark <= kRoundTripsPerHalfWindow * round_trip;
  stream.delivered = 0;
  stream.window_mark = now;
  const uint32_t grown = std::min(stream.window * 2, limits.stream_window_bytes_max);
  if (!keeps_up || grown <= stream.window || window_growth + (grown - stream.window) > limits.window_growth_bytes_max) {
    return;
  }
  if (nghttp2_session_set_local_window_size(h2, NGHTTP2_FLAG_NONE, stream.number, static_cast<int32_t>(grown)) != 0) {
    return;
  }
  counters.add(Counter::kHttp2WindowGrown);
  window_growth += grown - stream.window;
  stream.window = grown;
}

uint32_t Session::Impl::streams_left() const {
  if (role == Role::kServer || state == State::kEnded || goaway.received || draining) return 0;
  const uint32_t most =
      std::min(limits.streams_max, nghttp2_session_get_remote_settings(h2, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS));
  return most > open ? most - open : 0;
}

// --- the door
// ---------------------------------------------------------------------------------------------------------

size_t Session::take_events(std::span<Event> out) {
  Impl& impl = *impl_;
  size_t count = 0;
  while (Stream* stream = impl.reports.front()) {
    while (stream->events != 0 && count < out.size()) {
      const auto kind = static_cast<EventKind>(__builtin_ctz(stream->events));
      stream->events &= static_cast<uint8_t>(stream->events - 1);
      const bool carries_code = kind == EventKind::kReset || kind == EventKind::kStopped;
      out[count++] = {kind,
                      {stream->index, stream->number},
                      stream->cookie,
                      carries_code ? stream->reset_code : ErrorCode::kNoError};
    }
    if (stream->events != 0) break;
    impl.reports.pop();
    impl.settle_slot(*stream);
  }
  return count;
}

Result<StreamRef, RequestError> Session::request(std::span<const Header> headers, uint64_t cookie, Instant now) {
  Impl& impl = *impl_;
  impl.now = now;
  if (impl.state == State::kEnded) return RequestError::kEnded;
  if (impl.goaway.received || impl.draining) return RequestError::kGoaway;
  if (impl.streams_left() == 0) return RequestError::kFull;
  std::array<nghttp2_nv, kFieldsMax> fields;
  if (headers.size() > fields.size()) return RequestError::kTooLarge;
  uint64_t list_bytes = 0;
  for (size_t i = 0; i < headers.size(); ++i) {
    fields[i] = field_of(headers[i]);
    list_bytes += headers[i].name.size() + headers[i].value.size() + 32;
  }
  if (list_bytes > nghttp2_session_get_remote_settings(impl.h2, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE)) {
    return RequestError::kTooLarge;
  }
  Stream& stream = impl.take_slot(0);
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = read_data;
  const int32_t number = nghttp2_submit_request(impl.h2, nullptr, fields.data(), headers.size(), &provider, &stream);
  if (number < 0) {
    impl.free_slot(stream);
    // The other error is that all 2^30 numbers are used: as good as a GOAWAY.
    return number == NGHTTP2_ERR_NOMEM ? RequestError::kNoMemory : RequestError::kGoaway;
  }
  stream.number = number;
  stream.cookie = cookie;
  stream.announced = stream.answered = true;
  ++impl.open;
  ++impl.counts.streams_opened;
  impl.counters.add(Counter::kHttp2StreamOpened);
  impl.budget.on_stream();
  return StreamRef{stream.index, number};
}

bool Session::respond(StreamRef ref, std::span<const Header> headers, bool end_stream) {
  Impl& impl = *impl_;
  Stream* stream = impl.find(ref);
  std::array<nghttp2_nv, kFieldsMax> fields;
  if (!stream || impl.role == Role::kClient || stream->answered || stream->closed || stream->reset_by_user ||
      headers.size() > fields.size()) {
    return false;
  }
  for (size_t i = 0; i < headers.size(); ++i) fields[i] = field_of(headers[i]);
  nghttp2_data_provider provider{};
  provider.source.ptr = stream;
  provider.read_callback = read_data;
  if (nghttp2_submit_response(impl.h2, stream->number, fields.data(), headers.size(),
                              end_stream ? nullptr : &provider) != 0) {
    return false;
  }
  stream->answered = true;
  stream->finishing = end_stream;
  stream->data_allowed = !end_stream;
  return true;
}

std::vector<Header> Session::headers(StreamRef ref) const {
  std::vector<Header> out;
  const Stream* stream = impl_->find(ref);
  if (!stream) return out;
  out.reserve(stream->headers.lengths.size());
  std::string_view rest = stream->headers.bytes;
  for (const auto& [name, value] : stream->headers.lengths) {
    out.push_back({rest.substr(0, name), rest.substr(name, value)});
    rest.remove_prefix(name + value);
  }
  return out;
}

void Session::drop_headers(StreamRef ref) {
  if (Stream* stream = impl_->find(ref)) stream->headers.clear();
}

uint64_t Session::readable_bytes(StreamRef ref) const {
  const Stream* stream = impl_->find(ref);
  return stream ? stream->rx.bytes() : 0;
}

Packet Session::read(StreamRef ref, uint32_t bytes_max, Instant now) {
  Impl& impl = *impl_;
  impl.now = now;
  Stream* stream = impl.find(ref);
  if (!stream || stream->rx.empty()) return {};
  const auto bytes = static_cast<uint32_t>(std::min<uint64_t>({stream->rx.bytes(), bytes_max, kPacketBytesMax}));
  Packet out = stream->rx.take_front(bytes);
  if (!out || stream->closed) return out;
  stream->delivered += bytes;
  // Growing first lets one WINDOW_UPDATE more be large; both are queued, neither is lost.
  if (!stream->end_received) impl.grow_window(*stream);
  if (nghttp2_session_consume_stream(impl.h2, stream->number, bytes) == NGHTTP2_ERR_NOMEM) {
    impl.fail(FailureKind::kNoMemory, ErrorCode::kInternalError, "no memory for WINDOW_UPDATE");
  }
  return out;
}

bool Session::ended(StreamRef ref) const {
  const Stream* stream = impl_->find(ref);
  return stream && stream->end_received && stream->rx.empty();
}

bool Session::end_received(StreamRef ref) const {
  const Stream* stream = impl_->find(ref);
  return stream && stream->end_received;
}

bool Session::end_sent(StreamRef ref) const {
  const Stream* stream = impl_->find(ref);
  return stream && stream->end_sent;
}

uint64_t Session::writable_bytes(StreamRef ref) const {
  const Stream* stream = impl_->find(ref);
  if (!stream || stream->finishing || stream->reset_by_user || stream->closed) return 0;
  const uint64_t queued = stream->tx.bytes();
  return queued < impl_->limits.stream_queue_bytes ? impl_->limits.stream_queue_bytes - queued : 0;
}

bool Session::write(StreamRef ref, Packet bytes) {
  Impl& impl = *impl_;
  Stream* stream = impl.find(ref);
  if (!stream || stream->finishing || stream->reset_by_user || stream->closed) return false;
  stream->tx.append(std::move(bytes));
  if (stream->tx.bytes() >= impl.limits.stream_queue_bytes) stream->writable_owed = true;
  impl.wake(*stream);
  return true;
}

uint64_t Session::unsent_bytes(StreamRef ref) const {
  const Stream* stream = impl_->find(ref);
  return stream ? stream->tx.bytes() : 0;
}

void Session::finish(StreamRef ref) {
  Stream* stream = impl_->find(ref);
  if (!stream || stream->finishing || stream->reset_by_user || stream->closed) return;
  stream->finishing = true;
  impl_->wake(*stream);
}

void Session::reset(StreamRef ref, ErrorCode code) {
  Stream* stream = impl_->find(ref);
  if (stream && !stream->reset_by_user) impl_->submit_reset(*stream, code);
}

void Session::release(StreamRef ref) {
  Impl& impl = *impl_;
  Stream* stream = impl.find(ref);
  if (!stream) return;
  stream->headers.clear();
  if (!stream->closed && !stream->reset_by_user) {
    if (stream->finishing && !(stream->end_sent && !stream->end_received)) {
      // END_STREAM is still to be sent, or both ends are said: on_frame_sent does what remains.
      const uint64_t unread = stream->rx.bytes();
      stream->rx.clear();
      if (unread > 0) nghttp2_session_consume_stream(impl.h2, stream->number, unread);
    } else if (stream->end_sent && impl.role == Role::kServer) {
      impl.submit_reset(*stream, ErrorCode::kNoError);
    } else {
      impl.submit_reset(*stream, ErrorCode::kCancel);
    }
  }
  stream->rx.clear();
  if (impl.tail.stream == stream) impl.tail = {};
  if (impl.unplaced.stream == stream) impl.unplaced.stream = nullptr;
  stream->events = 0;
  stream->released = true;
  impl.settle_slot(*stream);
}

void Session::set_cookie(StreamRef ref, uint64_t cookie) {
  if (Stream* stream = impl_->find(ref)) stream->cookie = cookie;
}

}  // namespace culvert::http2
