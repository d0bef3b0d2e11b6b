// One end of one HTTP/2 connection (RFC 9113) that carries CONNECT tunnels, over byte queues: nghttp2 keeps the
// protocol, payload passes it by.
//
//   bytes in ── on_bytes(queue) ─▶ Session ── take_events(), read() ─▶ user
//   user ── request / respond / write / finish / reset ─▶ Session ── take_record() ─▶ bytes out
//
// Incoming DATA is mapped back to the packet buffer it lies in; outgoing payload is linked behind the 9-byte frame
// header that nghttp2 writes. Neither is copied. Connection credit goes back to the peer on receipt, a stream's credit
// when its bytes are read: a stream nobody reads stops by itself and never its neighbours. A stream's window starts
// small and doubles while its reader keeps up with a peer that is limited by it.
//
// Knows nothing of TCP or TLS. No I/O, no clock. Used by one core.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "http2/error_code.h"
#include "http2/header.h"
#include "http2/memory.h"
#include "packet/packet.h"
#include "telemetry/counters.h"

namespace culvert::http2 {

enum class Role : uint8_t { kClient, kServer };

// A full DATA frame fills a TLS record: 16,384 bytes less the frame header (D8).
inline constexpr uint32_t kRecordBytesMax = 16'384;
inline constexpr uint32_t kFrameHeaderBytes = 9;
inline constexpr uint32_t kDataBytesMax = kRecordBytesMax - kFrameHeaderBytes;

struct Limits {
  uint32_t streams_max = 200;                    // server: MAX_CONCURRENT_STREAMS; client: its own ceiling
  uint32_t header_list_bytes_max = 65'536;       // RFC 9113 6.5.2; clients use 16,384 (reference 4.1)
  uint32_t stream_window_bytes = 65'536;         // at first
  uint32_t stream_window_bytes_max = 4u << 20;   // grown
  uint32_t window_growth_bytes_max = 16u << 20;  // growth of all streams together
  uint32_t connection_window_bytes = 16u << 20;
  uint32_t stream_queue_bytes = 256u << 10;          // send queue of a stream; beyond it writable_bytes() is 0
  Duration ping_interval = 10s, ping_timeout = 20s;  // reference 4.2
  Duration settings_timeout = 10s;                   // for the ACK of ours
  uint64_t memory_bytes_max = 4u << 20;              // nghttp2's, for this session
};

// A stream of this session. Stale references are recognised: numbers are never used twice.
struct StreamRef {
  uint32_t index = 0xffffffff;
  int32_t number = 0;  // the stream identifier on the wire
  friend bool operator==(const StreamRef&, const StreamRef&) = default;
};

enum class EventKind : uint8_t {
  kHeaders,      // server: a request; client: the final response. headers() shows them
  kReadable,     // bytes came into an empty receive queue
  kEndOfStream,  // END_STREAM: what is queued is all there will be
  kStopped,      // RST_STREAM after END_STREAM: what is queued is complete, but the peer takes no more. Terminal
  kReset,        // RST_STREAM before END_STREAM, or GOAWAY refused the stream; the receive queue is gone. Terminal
  kWritable,     // room came back after writable_bytes() was 0
};

struct Event {
  EventKind kind;
  StreamRef stream;
  uint64_t cookie;
  ErrorCode code = ErrorCode::kNoError;  // kStopped, kReset
};

enum class State : uint8_t {
  kSettling,  // the peer's SETTINGS have not come
  kOpen,
  kEnded,  // failed, or closed by us: nothing is read any more; what take_record() still gives is GOAWAY
};

enum class FailureKind : uint8_t { kNone, kPeerFault, kAbuse, kPingTimeout, kSettingsTimeout, kNoMemory };

struct Failure {
  FailureKind kind = FailureKind::kNone;
  ErrorCode code = ErrorCode::kNoError;  // what our GOAWAY says
  std::string text;
};

struct Goaway {
  bool received = false;
  ErrorCode code = ErrorCode::kNoError;
  int32_t last_stream = 0;
};

// The peer's SETTINGS in force; RFC 9113 6.5.2's defaults before they came.
struct PeerSettings {
  uint32_t header_table_size, enable_push, max_concurrent_streams, initial_window_size, max_frame_size,
      max_header_list_size;
};

struct SessionCounts {
  uint64_t streams_opened = 0, resets_sent = 0, resets_received = 0;
  uint64_t data_bytes_sent = 0, data_bytes_received = 0, data_frames_sent = 0, data_frames_received = 0;
  uint64_t pings_acknowledged = 0;
};

enum class RequestError : uint8_t { kFull, kGoaway, kEnded, kTooLarge, kNoMemory };

class Session {
 public:
  // The preface (client) and SETTINGS wait in take_record() at once. `memory`, `pool` and `counters` outlive the
  // session; `seed` varies PING payloads. Null when memory is short.
  static std::unique_ptr<Session> make(Role role, const Limits& limits, CoreMemory& memory, BufferPool& pool,
                                       Counters& counters, uint64_t seed, Instant now);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // --- wire --------------------------------------------------------------------------------------------------------
  // Takes bytes off the front of `in`, all of them unless the pool has no view left for payload: then the rest stays
  // and blocked() is true until a later call finds room. Returns the bytes taken.
  uint64_t on_bytes(ByteQueue& in, Instant now);
  bool blocked() const;
  // The next bytes to send, at most kRecordBytesMax of them and whole DATA frames: what fits one TLS record. Empty:
  // nothing to send, windows closed, or no buffer left (stalled(), try again later).
  Packet take_record(Instant now);
  bool stalled() const;
  // False: take_record() has nothing.
  bool wants_write() const;
  void poll(Instant now);
  Instant next_deadline() const;

  // --- connection --------------------------------------------------------------------------------------------------
  State state() const;
  const Failure& failure() const;
  const Goaway& goaway() const;
  std::optional<ErrorCode> goaway_sent() const;  // the last one that left
  PeerSettings peer_settings() const;
  // Client: how many streams more may be opened now. Before the peer's SETTINGS, RFC 9113 6.5.2's 100 is assumed.
  uint32_t streams_left() const;
  uint32_t streams_open() const;      // not yet closed in both directions
  uint32_t peer_streams_max() const;  // the peer's MAX_CONCURRENT_STREAMS
  const SessionCounts& counts() const;
  Duration rtt() const;  // the smallest seen; 0 when none was measured
  // Server: GOAWAY(2^31-1), and when its PING was answered GOAWAY with the last stream taken (RFC 9113 6.8). Client:
  // opens no more streams. Streams go on.
  void drain(Instant now);
  bool drained() const;  // drain() has said its last word: no new stream will come, and none is left
  // GOAWAY(code) and the end: streams end without an event, as they do when the session fails. What came of streams
  // that the peer had ended stays readable, everything else is dropped.
  void close(ErrorCode code, std::string text, Instant now);

  // --- streams -----------------------------------------------------------------------------------------------------
  size_t take_events(std::span<Event> out);
  // Client: HEADERS without END_STREAM. Bytes written before the 2xx came wait for it.
  Result<StreamRef, RequestError> request(std::span<const Header> headers, uint64_t cookie, Instant now);
  // Server, once per stream. False: stale, answered already, ended or no memory.
  bool respond(StreamRef stream, std::span<const Header> headers, bool end_stream);
  // The peer's header fields, valid until drop_headers() or release(). Empty when there are none.
  std::vector<Header> headers(StreamRef stream) const;
  void drop_headers(StreamRef stream);

  uint64_t readable_bytes(StreamRef stream) const;
  Packet read(StreamRef stream, uint32_t bytes_max, Instant now);
  bool ended(StreamRef stream) const;  // END_STREAM received and everything before it read
  bool end_received(StreamRef stream) const;
  bool end_sent(StreamRef stream) const;
  uint64_t writable_bytes(StreamRef stream) const;
  bool write(StreamRef stream, Packet bytes);  // false: stale, finished, reset; the packet is freed
  uint64_t unsent_bytes(StreamRef stream) const;
  void finish(StreamRef stream);                 // END_STREAM behind what is queued
  void reset(StreamRef stream, ErrorCode code);  // RST_STREAM; both queues are dropped; no event follows
  // The user forgets the stream. A stream that was finished is sent to its end first; what is still open then is reset:
  // NO_ERROR by a server that said all it had to say (RFC 9113 8.1), CANCEL otherwise.
  void release(StreamRef stream);
  void set_cookie(StreamRef stream, uint64_t cookie);

  // The implementation lies in several files of the room, around one struct.
  struct Impl;

 private:
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::http2
