// Bytes in: what nghttp2 reports while it is fed, and where payload goes.
//
// nghttp2 is fed one buffer at a time and shows DATA as pointers into it. A chunk becomes a view of that buffer; one
// that reaches the buffer's end, as a full DATA frame in a record of its own does, takes the buffer itself. When the
// pool has no view left, nghttp2 is paused behind the chunk, which waits in `unplaced`; nothing more is read until it
// found a view.
#include <algorithm>

#include "http2/session_impl.h"

namespace culvert::http2 {

namespace {

// A receive queue may hold this much memory in sparse buffers, and four times its bytes beyond, before it is copied
// into dense ones: a peer that sends single bytes must not pin a record's buffer with each (D10).
constexpr uint64_t kSparseBytesFree = 64u << 10;
constexpr uint64_t kSparseFactor = 4;

}  // namespace

uint64_t Session::Impl::on_bytes(ByteQueue& in) {
  if (is_blocked && !unblock()) return 0;
  uint64_t taken = 0;
  while (state != State::kEnded && !is_blocked && !in.empty()) {
    segment = in.take_front(static_cast<uint32_t>(in.front().size()));
    segment_base = segment.front().data();
    segment_bytes = segment.bytes();
    taken += segment_bytes;
    feed(0);
  }
  if (state == State::kEnded) {
    taken += in.bytes();
    in.clear();
  }
  return taken;
}

void Session::Impl::feed(uint32_t from) {
  const ssize_t used = nghttp2_session_mem_recv(h2, segment_base + from, segment_bytes - from);
  if (state == State::kEnded) return;
  if (used < 0) {
    tail = {};
    if (used == NGHTTP2_ERR_FLOODED) {
      counters.drop(DropReason::kHttp2ControlFlood);
      return fail(FailureKind::kAbuse, ErrorCode::kEnhanceYourCalm, "too many frames to acknowledge");
    }
    if (used == NGHTTP2_ERR_NOMEM) return fail(FailureKind::kNoMemory, ErrorCode::kInternalError, "out of memory");
    return fail(FailureKind::kPeerFault, ErrorCode::kProtocolError, nghttp2_strerror(static_cast<int>(used)));
  }
  if (is_blocked) {
    resume = from + static_cast<uint32_t>(used);
  } else {
    if (tail.stream) {
      Stream& stream = *tail.stream;
      segment.trim_front(tail.offset);
      deliver(stream, std::move(segment));
      tail = {};
    }
    segment.reset();
  }
  // May also stem from resets sent since the last time.
  switch (std::exchange(verdict, FrameBudget::Verdict::kWithin)) {
    case FrameBudget::Verdict::kWithin:
      return;
    case FrameBudget::Verdict::kControlFlood:
      counters.drop(DropReason::kHttp2ControlFlood);
      break;
    case FrameBudget::Verdict::kEmptyDataFlood:
      counters.drop(DropReason::kHttp2EmptyDataFlood);
      break;
    case FrameBudget::Verdict::kResetFlood:
      counters.drop(DropReason::kHttp2ResetFlood);
      break;
    case FrameBudget::Verdict::kHeaderFlood:
      counters.drop(DropReason::kHttp2HeaderFlood);
      break;
  }
  fail(FailureKind::kAbuse, ErrorCode::kEnhanceYourCalm, "frame budget exceeded");
}

bool Session::Impl::unblock() {
  Stream* stream = unplaced.stream;
  if (stream) {
    Packet bytes = segment.view(unplaced.offset, unplaced.bytes);
    if (!bytes) return false;
    deliver(*stream, std::move(bytes));
  }
  is_blocked = false;
  unplaced = {};
  // Also with nothing left: a frame whose payload is complete is reported by this call.
  feed(resume);
  return !is_blocked;
}

void Session::Impl::deliver(Stream& stream, Packet bytes) {
  const bool was_empty = stream.rx.empty();
  stream.rx.append(std::move(bytes));
  if (was_empty) notify(stream, EventKind::kReadable);
  if (stream.rx.memory_bytes() > kSparseBytesFree + kSparseFactor * stream.rx.bytes()) compact(stream);
}

void Session::Impl::compact(Stream& stream) {
  ByteQueue dense;
  uint64_t offset = 0;
  while (offset < stream.rx.bytes()) {
    const uint64_t left = stream.rx.bytes() - offset;
    Packet buffer = left > kSmallRoom ? pool.take_large() : pool.take_small();
    if (!buffer) return;  // sparse buffers serve too
    const auto bytes = static_cast<uint16_t>(std::min<uint64_t>(left, buffer.tailroom()));
    stream.rx.copy_out(offset, {buffer.append(bytes), bytes});
    dense.append(std::move(buffer));
    offset += bytes;
  }
  pool.count_copied(offset);
  counters.add(Counter::kHttp2QueueCompacted);
  stream.rx = std::move(dense);
}

void Session::Impl::charge(FrameBudget::Verdict found) {
  // The first one found tells why; the session ends when nghttp2 returns, at most one buffer later.
  if (verdict == FrameBudget::Verdict::kWithin) verdict = found;
}

void Session::Impl::set_receive_callbacks(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_on_begin_frame_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame_hd* header, void* self) {
        return impl_of(self).on_begin_frame(*header);
      });
  nghttp2_session_callbacks_set_on_begin_headers_callback(
      callbacks,
      [](nghttp2_session*, const nghttp2_frame* frame, void* self) { return impl_of(self).on_begin_headers(*frame); });
  nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_bytes,
                    const uint8_t* value, size_t value_bytes, uint8_t, void* self) {
        return impl_of(self).on_header(*frame, {name, name_bytes}, {value, value_bytes});
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](nghttp2_session*, uint8_t, int32_t number, const uint8_t* data, size_t bytes, void* self) {
        return impl_of(self).on_data(number, data, static_cast<uint32_t>(bytes));
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks,
      [](nghttp2_session*, const nghttp2_frame* frame, void* self) { return impl_of(self).on_frame(*frame); });
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame*, int error, void* self) {
        Impl& impl = impl_of(self);
        impl.counters.drop(DropReason::kHttp2InvalidFrame);
        impl.fault = nghttp2_strerror(error);
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, int32_t number, uint32_t code, void* self) {
        return impl_of(self).on_stream_close(number, code);
      });
}

int Session::Impl::on_begin_frame(const nghttp2_frame_hd& header) {
  switch (header.type) {
    case NGHTTP2_DATA:
      ++counts.data_frames_received;
      if (header.length == 0 && (header.flags & NGHTTP2_FLAG_END_STREAM) == 0) charge(budget.on_empty_data(now));
      break;
    case NGHTTP2_HEADERS:
      charge(budget.on_headers(header.length, now));
      break;
    case NGHTTP2_CONTINUATION:
      charge(budget.on_continuation(header.length, now));
      break;
    case NGHTTP2_RST_STREAM:
      charge(budget.on_reset(now));
      break;
    default:
      charge(budget.on_control_frame(now));
      break;
  }
  return 0;
}

int Session::Impl::on_begin_headers(const nghttp2_frame& frame) {
  if (role == Role::kClient || frame.headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  budget.on_stream();
  ++open;
  // Streams that come between drain()'s two GOAWAYs were sent before the peer saw the first: they are served.
  if (open > limits.streams_max) {
    counters.drop(DropReason::kHttp2StreamRefused);
    nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_REFUSED_STREAM);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  ++counts.streams_opened;
  counters.add(Counter::kHttp2StreamOpened);
  Stream& stream = take_slot(frame.hd.stream_id);
  nghttp2_session_set_stream_user_data(h2, frame.hd.stream_id, &stream);
  return 0;
}

int Session::Impl::on_header(const nghttp2_frame& frame, ByteView name, ByteView value) {
  Stream* stream = by_number(frame.hd.stream_id);
  if (!stream || stream->headers_done || stream->headers_too_large || stream->released) return 0;  // trailers: ignored
  const size_t bytes = name.size() + value.size();
  stream->header_list_bytes += static_cast<uint32_t>(bytes + 32);
  if (stream->header_list_bytes > limits.header_list_bytes_max) {
    counters.drop(DropReason::kHttp2HeaderListTooLarge);
    stream->headers_too_large = true;
    stream->headers.clear();
    if (role == Role::kServer) return 0;  // answered with 431 when the block is complete
    nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, stream->number, NGHTTP2_REFUSED_STREAM);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  stream->headers.bytes.append(text_of(name)).append(text_of(value));
  stream->headers.lengths.emplace_back(static_cast<uint32_t>(name.size()), static_cast<uint32_t>(value.size()));
  return 0;
}

int Session::Impl::on_data(int32_t number, const uint8_t* data, uint32_t bytes) {
  budget.on_payload(bytes);
  counts.data_bytes_received += bytes;
  counters.add(Counter::kHttp2DataByteReceived, bytes);
  if (nghttp2_session_consume_connection(h2, bytes) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
  Stream* stream = by_number(number);
  if (!stream || stream->released || stream->reset_by_user) {
    nghttp2_session_consume_stream(h2, number, bytes);
    return 0;
  }
  const auto offset = static_cast<uint32_t>(data - segment_base);
  if (offset + bytes == segment_bytes) {
    tail = {stream, offset, bytes};
    return 0;
  }
  Packet view = segment.view(offset, bytes);
  if (!view) {
    unplaced = {stream, offset, bytes};
    is_blocked = true;
    return NGHTTP2_ERR_PAUSE;
  }
  deliver(*stream, std::move(view));
  return 0;
}

int Session::Impl::on_frame(const nghttp2_frame& frame) {
  Stream* stream = frame.hd.stream_id != 0 ? by_number(frame.hd.stream_id) : nullptr;
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      if (!stream) return 0;
      on_headers_end(*stream);
      if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) on_end_stream(*stream);
      return 0;
    case NGHTTP2_DATA:
      if (stream && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) on_end_stream(*stream);
      return 0;
    case NGHTTP2_RST_STREAM:
      ++counts.resets_received;
      counters.add(Counter::kHttp2ResetReceived);
      if (stream) stream->reset_received = true;
      return 0;
    case NGHTTP2_SETTINGS:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        on_settings_ack();
      } else if (state == State::kSettling) {
        state = State::kOpen;
        ping_due = now + limits.ping_interval;
      }
      return 0;
    case NGHTTP2_PING:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) on_ping_ack(frame.ping.opaque_data);
      return 0;
    case NGHTTP2_GOAWAY:
      counters.add(Counter::kHttp2GoawayReceived);
      goaway = {true, static_cast<ErrorCode>(frame.goaway.error_code), frame.goaway.last_stream_id};
      return 0;
    default:
      return 0;
  }
}

void Session::Impl::on_headers_end(Stream& stream) {
  if (stream.headers_done) return;  // trailers
  if (role == Role::kServer) {
    stream.headers_done = true;
    if (stream.headers_too_large) {
      // RFC 6585 5; the stream is refused once the answer is on the wire (on_frame_sent).
      static constexpr uint8_t kStatus[] = {':', 's', 't', 'a', 't', 'u', 's'};
      static constexpr uint8_t k431[] = {'4', '3', '1'};
      const nghttp2_nv field{const_cast<uint8_t*>(kStatus), const_cast<uint8_t*>(k431), sizeof kStatus, sizeof k431,
                             NGHTTP2_NV_FLAG_NONE};
      stream.refusing = stream.released = stream.answered = true;
      if (nghttp2_submit_response(h2, stream.number, &field, 1, nullptr) != 0)
        submit_reset(stream, ErrorCode::kRefusedStream);
      return;
    }
    stream.announced = true;
    notify(stream, EventKind::kHeaders);
    return;
  }
  if (stream.released) {
    stream.headers_done = true;
    return;
  }
  // nghttp2 has seen to it that :status is there, first, and three digits.
  const char status_class = stream.headers.bytes.size() >= 10 ? stream.headers.bytes[7] : '0';
  if (status_class == '1') {  // an interim response (RFC 9113 8.1)
    stream.headers.clear();
    stream.header_list_bytes = 0;
    return;
  }
  stream.headers_done = true;
  notify(stream, EventKind::kHeaders);
  if (status_class == '2') {
    stream.data_allowed = true;
    wake(stream);
  }
}

void Session::Impl::on_end_stream(Stream& stream) {
  if (stream.end_received) return;
  stream.end_received = true;
  if (stream.announced && !stream.released && !stream.reset_by_user) notify(stream, EventKind::kEndOfStream);
}

}  // namespace culvert::http2
