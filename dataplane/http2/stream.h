// One stream of a session, and the two queues streams stand in: for their turn to send, and to report events.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "http2/error_code.h"
#include "packet/packet.h"

namespace culvert::http2 {

// Header fields one after the other in one allocation, so that a stream holds two blocks and not two per field.
struct HeaderBlock {
  std::string bytes;
  std::vector<std::pair<uint32_t, uint32_t>> lengths;  // of each field's name and value
  void clear() {
    bytes.clear();
    bytes.shrink_to_fit();
    lengths.clear();
    lengths.shrink_to_fit();
  }
};

struct Stream {
  uint32_t index = 0;  // of its slot
  int32_t number = 0;  // on the wire; 0: the slot is free
  uint64_t cookie = 0;

  ByteQueue rx, tx;
  HeaderBlock headers;             // the peer's
  uint32_t header_list_bytes = 0;  // RFC 9113 6.5.2: names, values and 32 per field

  // What we said.
  bool answered = false;       // server: a response was submitted
  bool data_allowed = false;   // client: a 2xx came; server: the 200 was submitted
  bool finishing = false;      // finish() was called, or the response carries END_STREAM
  bool end_sent = false;       // END_STREAM is on the wire
  bool reset_by_user = false;  // reset() or release()
  bool refusing = false;       // 431 is on its way; RST_STREAM(REFUSED_STREAM) follows it
  bool writable_owed = false;  // the send queue was full

  // What the peer said.
  bool headers_done = false;  // the request, or the final response, is complete
  bool headers_too_large = false;
  bool end_received = false;
  bool reset_received = false;

  bool announced = false;         // the user knows it
  bool released = false;          // the user forgot it
  bool closed = false;            // nghttp2 forgot it
  bool deferred = false;          // its DATA rests until resumed
  bool waits_for_turn = false;    // stands in the turn queue
  bool waits_for_report = false;  // stands in the report queue
  uint8_t events = 0;             // bits of EventKind, not yet taken
  ErrorCode reset_code = ErrorCode::kNoError;
  Stream* next_turn = nullptr;
  Stream* next_report = nullptr;

  uint32_t window = 0;     // receive window in force
  uint64_t delivered = 0;  // bytes read since window_mark
  Instant window_mark{};   // when the measurement of the reader's rate began

  bool sendable() const { return data_allowed && !reset_by_user && !closed && !end_sent && (!tx.empty() || finishing); }
};

// First in, first out; a stream stands in it at most once, and its slot is not reused before it left.
template <Stream* Stream::*kNext, bool Stream::*kWaits>
class StreamQueue {
 public:
  Stream* front() const { return head_; }
  void push(Stream& stream) {
    if (stream.*kWaits) return;
    stream.*kWaits = true;
    stream.*kNext = nullptr;
    if (tail_) {
      tail_->*kNext = &stream;
    } else {
      head_ = &stream;
    }
    tail_ = &stream;
  }
  void pop() {
    Stream* stream = head_;
    head_ = stream->*kNext;
    if (!head_) tail_ = nullptr;
    stream->*kNext = nullptr;
    stream->*kWaits = false;
  }

 private:
  Stream* head_ = nullptr;
  Stream* tail_ = nullptr;
};

using TurnQueue = StreamQueue<&Stream::next_turn, &Stream::waits_for_turn>;
using ReportQueue = StreamQueue<&Stream::next_report, &Stream::waits_for_report>;

}  // namespace culvert::http2
