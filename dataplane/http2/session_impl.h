// The state of a session, shared by the files of this room:
//
//   session.cc   making, clocks, the connection's own frames, ending
//   receive.cc   bytes in: nghttp2's receive callbacks, payload views, the frame budget
//   send.cc      bytes out: records, turns between streams, DATA without copies
//   streams.cc   what the user does with streams, events
#pragma once

#include <nghttp2/nghttp2.h>

#include <deque>
#include <string>
#include <vector>

#include "http2/frame_budget.h"
#include "http2/session.h"
#include "http2/stream.h"

namespace culvert::http2 {

struct Session::Impl {
  Impl(Role role, const Limits& limits, CoreMemory& core, BufferPool& pool, Counters& counters, uint64_t seed,
       Instant now);
  ~Impl();

  // --- session.cc
  bool start();
  void poll();
  // Nothing is read any more; GOAWAY(code) is queued if nghttp2 can still send.
  void fail(FailureKind kind, ErrorCode code, std::string text);
  void end();  // closes every stream without an event
  void send_ping(uint64_t opaque);
  void on_ping_ack(const uint8_t opaque[8]);
  void on_settings_ack();

  // --- receive.cc
  uint64_t on_bytes(ByteQueue& in);
  void feed(uint32_t from);
  bool unblock();
  void deliver(Stream& stream, Packet bytes);
  void compact(Stream& stream);
  void charge(FrameBudget::Verdict verdict);
  void set_receive_callbacks(nghttp2_session_callbacks* callbacks);
  int on_begin_frame(const nghttp2_frame_hd& header);
  int on_begin_headers(const nghttp2_frame& frame);
  int on_header(const nghttp2_frame& frame, ByteView name, ByteView value);
  int on_frame(const nghttp2_frame& frame);
  void on_headers_end(Stream& stream);
  void on_end_stream(Stream& stream);
  int on_data(int32_t number, const uint8_t* data, uint32_t bytes);

  // --- send.cc
  Packet take_record();
  void set_send_callbacks(nghttp2_session_callbacks* callbacks);
  uint32_t append_copy(ByteView bytes);
  ssize_t data_length_max() const;
  ssize_t on_read_data(Stream& stream, size_t length, uint32_t* flags);
  int on_send_data(Stream& stream, const uint8_t header[kFrameHeaderBytes], uint32_t bytes);
  int on_frame_sent(const nghttp2_frame& frame);
  void wake(Stream& stream);
  bool window_open() const { return nghttp2_session_get_remote_window_size(h2) > 0; }

  // --- streams.cc
  Stream* find(StreamRef ref);
  const Stream* find(StreamRef ref) const;
  Stream* by_number(int32_t number);
  Stream& take_slot(int32_t number);
  void free_slot(Stream& stream);
  void settle_slot(Stream& stream);  // frees it when nobody refers to it any more
  void notify(Stream& stream, EventKind kind);
  int on_stream_close(int32_t number, uint32_t code);
  void submit_reset(Stream& stream, ErrorCode code);
  void grow_window(Stream& stream);
  uint32_t streams_left() const;

  const Role role;
  const Limits limits;
  BufferPool& pool;
  Counters& counters;
  SessionMemory memory;
  FrameBudget budget;
  nghttp2_mem hooks{};
  nghttp2_session* h2 = nullptr;
  Instant now;

  State state = State::kSettling;
  Failure failure;
  Goaway goaway;
  std::optional<ErrorCode> goaway_sent;
  SessionCounts counts;
  bool settings_acknowledged = false;
  bool draining = false, last_word = false;  // drain() was called; the final GOAWAY is queued
  std::string fault;                         // what nghttp2 said of the last invalid frame

  // Clocks. kNever: not running.
  Instant settings_sent, settings_due;
  Instant ping_due = kNever, ping_sent{}, ping_ack_due = kNever;
  Instant retry_at = kNever;  // a pool was empty
  uint64_t ping_opaque;       // the last one sent; 0 low bit: liveness, 1: drain
  Duration rtt{};

  std::deque<Stream> slots;
  std::vector<uint32_t> free_slots;
  uint32_t open = 0;           // streams nghttp2 holds
  uint64_t window_growth = 0;  // bytes that stream windows have grown by, all together
  TurnQueue turns;
  ReportQueue reports;

  // Receiving: the segment nghttp2 is being fed, and payload of it that found no view.
  Packet segment;
  const uint8_t* segment_base = nullptr;
  uint32_t segment_bytes = 0;
  struct Chunk {
    Stream* stream = nullptr;
    uint32_t offset = 0, bytes = 0;
  };
  Chunk tail;      // payload that ends where the segment ends: takes the segment itself, not a view
  Chunk unplaced;  // payload that waits for a view; feeding goes on at `resume`
  uint32_t resume = 0;
  bool is_blocked = false;
  FrameBudget::Verdict verdict = FrameBudget::Verdict::kWithin;

  // Sending: the record being filled.
  Packet record;
  bool record_full = false;
  bool is_stalled = false;
  Packet spare;            // a buffer for a frame header, at hand before payload is moved
  Stream* turn = nullptr;  // whose DATA nghttp2 may take now
};

inline Session::Impl& impl_of(void* user_data) { return *static_cast<Session::Impl*>(user_data); }

}  // namespace culvert::http2
