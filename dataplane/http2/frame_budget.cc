#include "http2/frame_budget.h"

#include <algorithm>

namespace culvert::http2 {

namespace {

// HEADERS up to this size are what a stream costs (a CONNECT with baggage and forwarded is about 500 bytes without a
// dynamic table); only what exceeds it is charged. CONTINUATION is never needed for that and charged whole.
constexpr uint64_t kHeaderBlockFree = 4'096;

}  // namespace

// Capacity, tokens per second, payload bytes per token, tokens per stream opened.
FrameBudget::FrameBudget(Instant start)
    // A slow reader updates its windows in small steps, 512 bytes being the smallest that any known peer uses; PING
    // comes every 10 s, or once per round trip from peers that measure bandwidth with it.
    : control_{2'000, 100, 512, 4, 2'000, start},
      // Some libraries flush with empty DATA: once per write of a few KB, and around the end of a stream.
      empty_data_{200, 10, 4'096, 2, 200, start},
      // Pods that abort connections are no attack: 1,000 a second for ever. A rapid reset (CVE-2023-44487) is tens of
      // thousands.
      resets_{4'096, 1'000, 4'096, 0, 4'096, start},
      // Bytes beyond kHeaderBlockFree.
      header_bytes_{1u << 20, 64u << 10, 1, 0, 1u << 20, start} {}

bool FrameBudget::spend(Bucket& bucket, uint64_t tokens, Instant now) {
  const auto elapsed_us = static_cast<uint64_t>(std::max<int64_t>(0, to_us(now - bucket.filled_at)));
  const uint64_t earned = elapsed_us >= 3'600'000'000 ? bucket.capacity : elapsed_us * bucket.per_second / 1'000'000;
  // Only the time that earned whole tokens is used up.
  bucket.filled_at = earned >= bucket.capacity
                         ? now
                         : bucket.filled_at + std::chrono::microseconds(earned * 1'000'000 / bucket.per_second);
  const uint64_t by_payload = (payload_bytes_ - bucket.payload_seen) / bucket.payload_bytes_per_token;
  bucket.payload_seen += by_payload * bucket.payload_bytes_per_token;
  const uint64_t by_streams = (streams_ - bucket.streams_seen) * bucket.per_stream;
  bucket.streams_seen = streams_;
  bucket.level = std::min(bucket.capacity, bucket.level + earned + by_payload + by_streams);
  if (bucket.level < tokens) {
    bucket.level = 0;
    return false;
  }
  bucket.level -= tokens;
  return true;
}

FrameBudget::Verdict FrameBudget::on_control_frame(Instant now) {
  return spend(control_, 1, now) ? Verdict::kWithin : Verdict::kControlFlood;
}

FrameBudget::Verdict FrameBudget::on_empty_data(Instant now) {
  return spend(empty_data_, 1, now) ? Verdict::kWithin : Verdict::kEmptyDataFlood;
}

FrameBudget::Verdict FrameBudget::on_reset(Instant now) {
  return spend(resets_, 1, now) ? Verdict::kWithin : Verdict::kResetFlood;
}

FrameBudget::Verdict FrameBudget::on_headers(uint64_t bytes, Instant now) {
  return bytes <= kHeaderBlockFree ? Verdict::kWithin : on_continuation(bytes - kHeaderBlockFree, now);
}

FrameBudget::Verdict FrameBudget::on_continuation(uint64_t bytes, Instant now) {
  return spend(header_bytes_, bytes, now) ? Verdict::kWithin : Verdict::kHeaderFlood;
}

}  // namespace culvert::http2
