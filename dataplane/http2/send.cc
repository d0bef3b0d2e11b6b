// Bytes out: filling records, whose turn it is, DATA without copies.
//
// nghttp2 decides what may be sent and writes every frame header; this file decides which stream goes next. nghttp2's
// own order follows priorities that peers set, so at most one stream's DATA is ever awake: the one whose turn it is.
// Each turn is one DATA frame; then the stream rests (NGHTTP2_ERR_DEFERRED) and stands at the end of the queue again.
//
// A record is filled with whole DATA frames and with what nghttp2 has to say besides, up to 16,384 bytes. Other frames
// may straddle two records, DATA never does.
#include <algorithm>

#include "http2/session_impl.h"

namespace culvert::http2 {

namespace {

// Room at a record's end that is not worth a DATA frame of its own: the frame takes the next record whole instead.
constexpr uint32_t kDataBytesWorthwhile = 2'048;

}  // namespace

Packet Session::Impl::take_record() {
  is_stalled = record_full = false;
  for (;;) {
    const int sent = nghttp2_session_send(h2);
    turn = nullptr;  // not taken: the stream's own window is closed, and nghttp2 wakes it when it opens
    if (sent == NGHTTP2_ERR_NOMEM) fail(FailureKind::kNoMemory, ErrorCode::kInternalError, "out of memory");
    if (sent != 0 || record_full || is_stalled || state == State::kEnded) break;
    Stream* next = window_open() ? turns.front() : nullptr;
    if (!next) break;
    turns.pop();
    if (next->number == 0 || !next->sendable()) {
      settle_slot(*next);
      continue;
    }
    turn = next;
    next->deferred = false;
    if (nghttp2_session_resume_data(h2, next->number) != 0) turn = nullptr;
  }
  if (!turns.front()) spare.reset();
  return std::move(record);
}

void Session::Impl::wake(Stream& stream) {
  // A stream that is not deferred is either standing in nghttp2's queue already or waits for its window or HEADERS
  // there.
  if (stream.deferred && stream.sendable()) turns.push(stream);
}

void Session::Impl::set_send_callbacks(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_send_callback(
      callbacks, [](nghttp2_session*, const uint8_t* data, size_t bytes, int, void* self) -> ssize_t {
        const uint32_t taken = impl_of(self).append_copy({data, bytes});
        return taken > 0 ? static_cast<ssize_t>(taken) : ssize_t{NGHTTP2_ERR_WOULDBLOCK};
      });
  nghttp2_session_callbacks_set_data_source_read_length_callback(
      callbacks, [](nghttp2_session*, uint8_t, int32_t, int32_t, int32_t, uint32_t, void* self) -> ssize_t {
        return impl_of(self).data_length_max();
      });
  nghttp2_session_callbacks_set_send_data_callback(
      callbacks, [](nghttp2_session*, nghttp2_frame*, const uint8_t* header, size_t bytes, nghttp2_data_source* source,
                    void* self) {
        Impl& impl = impl_of(self);
        if (impl.state == State::kEnded) return static_cast<int>(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
        return impl.on_send_data(*static_cast<Stream*>(source->ptr), header, static_cast<uint32_t>(bytes));
      });
  nghttp2_session_callbacks_set_on_frame_send_callback(
      callbacks,
      [](nghttp2_session*, const nghttp2_frame* frame, void* self) { return impl_of(self).on_frame_sent(*frame); });
}

// Headers and control frames: the only bytes that are copied here. Returns how many found room.
uint32_t Session::Impl::append_copy(ByteView bytes) {
  const uint32_t room = kRecordBytesMax - record.bytes();
  uint32_t left = std::min<uint32_t>(room, static_cast<uint32_t>(bytes.size()));
  record_full = left < bytes.size();
  uint32_t taken = 0;
  while (left > 0) {
    auto piece = static_cast<uint16_t>(std::min<uint32_t>(left, record.tailroom()));
    uint8_t* to = piece > 0 ? record.append(piece) : nullptr;
    if (!to) {
      Packet buffer = pool.take_small();
      if (!buffer) {
        is_stalled = true;
        break;
      }
      piece = static_cast<uint16_t>(std::min<uint32_t>(left, buffer.tailroom()));
      to = buffer.append(piece);
      record.join(std::move(buffer));
    }
    std::memcpy(to, bytes.data() + taken, piece);
    taken += piece;
    left -= piece;
  }
  return taken;
}

// Not more than the record has room for, unless that is so little that the frame had better open the next record.
ssize_t Session::Impl::data_length_max() const {
  const uint32_t used = record.bytes() + kFrameHeaderBytes;
  const uint32_t room = used < kRecordBytesMax ? kRecordBytesMax - used : 0;
  return room >= kDataBytesWorthwhile ? room : kDataBytesMax;
}

ssize_t Session::Impl::on_read_data(Stream& stream, size_t length, uint32_t* flags) {
  if (&stream != turn || !stream.sendable()) {
    if (&stream == turn) turn = nullptr;
    stream.deferred = true;
    wake(stream);
    return NGHTTP2_ERR_DEFERRED;
  }
  turn = nullptr;
  const uint64_t bytes = std::min<uint64_t>(length, stream.tx.bytes());
  *flags = NGHTTP2_DATA_FLAG_NO_COPY;
  if (stream.finishing && bytes == stream.tx.bytes()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(bytes);
}

int Session::Impl::on_send_data(Stream& stream, const uint8_t header[kFrameHeaderBytes], uint32_t bytes) {
  // Reset after nghttp2 took the length: the frame must not leave. RST_STREAM is queued already.
  if (stream.reset_by_user || bytes > stream.tx.bytes()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (kFrameHeaderBytes + bytes > kRecordBytesMax - record.bytes()) {
    record_full = true;
    return NGHTTP2_ERR_WOULDBLOCK;
  }
  // A buffer for the header is made sure of before payload moves, for payload cannot be put back.
  if (!spare) spare = pool.take_small();
  if (!spare) {
    is_stalled = true;
    return NGHTTP2_ERR_WOULDBLOCK;
  }
  Packet payload;
  if (bytes > 0) {
    payload = stream.tx.take_front(bytes);
    if (!payload) {
      is_stalled = true;
      return NGHTTP2_ERR_WOULDBLOCK;
    }
  }
  if (uint8_t* before = payload ? payload.prepend(kFrameHeaderBytes) : nullptr) {
    std::memcpy(before, header, kFrameHeaderBytes);
  } else if (uint8_t* behind = record ? record.append(kFrameHeaderBytes) : nullptr) {
    std::memcpy(behind, header, kFrameHeaderBytes);
  } else {
    std::memcpy(spare.append(kFrameHeaderBytes), header, kFrameHeaderBytes);
    record.join(std::move(spare));
  }
  record.join(std::move(payload));

  budget.on_payload(bytes);
  ++counts.data_frames_sent;
  counts.data_bytes_sent += bytes;
  counters.add(Counter::kHttp2DataByteSent, bytes);
  if (stream.writable_owed && stream.tx.bytes() <= limits.stream_queue_bytes / 2) {
    stream.writable_owed = false;
    notify(stream, EventKind::kWritable);
  }
  return 0;
}

int Session::Impl::on_frame_sent(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_RST_STREAM: {
      ++counts.resets_sent;
      counters.add(Counter::kHttp2ResetSent);
      const Stream* stream = by_number(frame.hd.stream_id);
      // Not the user's doing: the peer's fault, which it may repeat as often as its budget lasts.
      if (!stream || !stream->reset_by_user) charge(budget.on_reset(now));
      return 0;
    }
    case NGHTTP2_GOAWAY:
      counters.add(Counter::kHttp2GoawaySent);
      goaway_sent = static_cast<ErrorCode>(frame.goaway.error_code);
      if (frame.goaway.error_code != NGHTTP2_NO_ERROR && state != State::kEnded) {
        // nghttp2 found a connection error by itself.
        fail(FailureKind::kPeerFault, static_cast<ErrorCode>(frame.goaway.error_code),
             fault.empty() ? std::string(name_of(static_cast<ErrorCode>(frame.goaway.error_code))) : fault);
      }
      return 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: {
      Stream* stream = by_number(frame.hd.stream_id);
      if (state == State::kEnded || !stream || (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
      stream->end_sent = true;
      if (stream->refusing) {
        nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, stream->number, NGHTTP2_REFUSED_STREAM);
      } else if (stream->released && !stream->end_received) {
        submit_reset(*stream, role == Role::kServer ? ErrorCode::kNoError : ErrorCode::kCancel);
      }
      return 0;
    }
    default:
      return 0;
  }
}

}  // namespace culvert::http2
