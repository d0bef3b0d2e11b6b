// What a peer may cost us besides the payload it moves: one budget per tunnel, and the end of abusers (D7).
//
// Each kind of cheap-to-send, dear-to-handle event has a bucket of tokens. A bucket starts full, and is refilled by
// time, by payload moved in either direction and by streams opened, never beyond its size. An event that finds its
// bucket empty breaks the budget: the tunnel ends with GOAWAY(ENHANCE_YOUR_CALM).
//
// Not limited here: concurrent streams and header list size (Session), queued PING and SETTINGS acknowledgements and
// CONTINUATION frames per block (nghttp2), window sizes (RFC 9113 6.9 through nghttp2).
#pragma once

#include <cstdint>

#include "base/time.h"

namespace culvert::http2 {

class FrameBudget {
 public:
  enum class Verdict : uint8_t { kWithin, kControlFlood, kEmptyDataFlood, kResetFlood, kHeaderFlood };

  explicit FrameBudget(Instant start);

  // PING, SETTINGS, PRIORITY, WINDOW_UPDATE, GOAWAY or an unknown type received.
  Verdict on_control_frame(Instant now);
  // DATA without payload that does not end its stream.
  Verdict on_empty_data(Instant now);
  // A stream reset: by the peer, or by us because of what the peer sent.
  Verdict on_reset(Instant now);
  // HEADERS begins a block, CONTINUATION goes on with it; bytes on the wire.
  Verdict on_headers(uint64_t bytes, Instant now);
  Verdict on_continuation(uint64_t bytes, Instant now);
  void on_payload(uint64_t bytes) { payload_bytes_ += bytes; }  // DATA payload, either direction
  void on_stream() { ++streams_; }                              // a stream opened, by either side

 private:
  struct Bucket {
    uint64_t capacity;
    uint64_t per_second;
    uint64_t payload_bytes_per_token;
    uint64_t per_stream;
    uint64_t level;
    Instant filled_at;
    uint64_t payload_seen = 0;
    uint64_t streams_seen = 0;
  };
  bool spend(Bucket& bucket, uint64_t tokens, Instant now);

  uint64_t payload_bytes_ = 0;
  uint64_t streams_ = 0;
  Bucket control_, empty_data_, resets_, header_bytes_;
};

}  // namespace culvert::http2
