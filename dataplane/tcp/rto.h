// The retransmission timeout (RFC 6298) and the round-trip times that other machines ask for.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace culvert::tcp {

// RFC 6298 2.1: before a sample the timeout is one second.
inline constexpr Duration kInitialRto = 1s;
// Deviates from RFC 6298 2.4 (one second), as Linux does: a second is hundreds of round trips in a data centre. It is
// added to SRTT, so a peer that delays its ACKs by up to this long causes no timeout.
inline constexpr Duration kRtoMin = 200ms;
inline constexpr Duration kRtoMax = 120s;

class RttEstimator {
 public:
  // One measurement, of a segment that was sent once (Karn, RFC 6298 3) or that its timestamp identifies.
  // `flight_samples` says how many samples a round trip brings, so that many do not make the filter forget faster (RFC
  // 7323 4.2).
  void sample(Duration rtt, Instant now, uint32_t flight_samples = 1);

  bool has_sample() const { return has_sample_; }
  Duration srtt() const { return srtt_; }
  Duration rttvar() const { return rttvar_; }
  Duration latest() const { return latest_; }
  // The smallest sample of the last five to ten minutes; zero without a sample.
  Duration min_rtt() const {
    return has_sample_ ? (previous_min_ < current_min_ ? previous_min_ : current_min_) : Duration{0};
  }

  // Without back-off, and as it stands after the timeouts so far.
  Duration base_rto() const;
  Duration rto() const;
  void back_off() {
    if (backoff_ < kBackoffMax) ++backoff_;
  }
  void reset_backoff() { backoff_ = 0; }
  uint8_t backoff() const { return backoff_; }
  // RFC 6298 5.7: a SYN was retransmitted, so the timeout starts at 3 s when data transfer begins (unless a sample
  // comes).
  void syn_was_retransmitted() { initial_ = 3s; }

 private:
  static constexpr Duration kMinWindow = 300s;
  static constexpr uint8_t kBackoffMax = 16;

  Duration srtt_{0};
  Duration rttvar_{0};
  Duration latest_{0};
  Duration initial_ = kInitialRto;
  Duration current_min_ = Duration::max();
  Duration previous_min_ = Duration::max();
  Instant min_since_{};
  uint8_t backoff_ = 0;
  bool has_sample_ = false;
};

}  // namespace culvert::tcp
