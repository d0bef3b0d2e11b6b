// Congestion control behind one interface: NewReno (RFC 5681, RFC 6582) and CUBIC (RFC 9438).
//
// Says how much may be in flight (cwnd) outside of loss recovery, and what a loss does to it. How cwnd is reached
// during a recovery is the sender's business (proportional rate reduction, RFC 6937). Counts in bytes. The two
// algorithms are plain functions on the shared state: no virtual call per ACK.
#pragma once

#include <cstdint>
#include <limits>

#include "base/time.h"

namespace culvert::tcp {

enum class CongestionAlgorithm : uint8_t { kNewReno, kCubic };

struct CubicState {
  double w_max = 0;        // segments; window before the last reduction
  double k = 0;            // seconds until the curve is back at w_max
  double w_est = 0;        // segments; what NewReno would have (RFC 9438 4.3)
  double origin = 0;       // segments; plateau of the curve
  double cwnd_prior = 0;   // segments; window at the last reduction
  double carry = 0;        // fraction of a byte that the window has grown
  Instant epoch = kNever;  // start of this congestion-avoidance stage; kNever: begins with the next ACK
};

class Congestion {
 public:
  // RFC 6928: initial window of ten segments, at least two and at most 14,600 bytes unless the segments are larger.
  void start(CongestionAlgorithm algorithm, uint32_t mss);
  void set_mss(uint32_t mss) { mss_ = mss; }

  CongestionAlgorithm algorithm() const { return algorithm_; }
  uint32_t cwnd() const { return cwnd_; }
  uint32_t ssthresh() const { return ssthresh_; }
  uint32_t mss() const { return mss_; }
  // ssthresh, or cwnd while no loss has set it.
  uint32_t ssthresh_or_cwnd() const { return ssthresh_ == std::numeric_limits<uint32_t>::max() ? cwnd_ : ssthresh_; }
  uint32_t initial_window() const;
  bool slow_start() const { return cwnd_ < ssthresh_; }

  // `acked` bytes arrived at the peer while the window was what limited us (RFC 7661's concern: an idle window does not
  // grow). Not during fast recovery.
  void on_ack(uint32_t acked, Duration srtt, Instant now);
  // Loss was detected: ssthresh falls, the window is remembered for undo(). cwnd follows through set_cwnd.
  void on_loss(uint32_t flight_bytes, Instant now);
  // A retransmission timeout: ssthresh falls as for a loss (once: not again while `again`), cwnd becomes one segment
  // (RFC 5681 3.1).
  void on_timeout(uint32_t flight_bytes, bool again, Instant now);
  // The recovery turned out to be for nothing (RFC 4015): back to what was before it.
  void undo();
  // A recovery begins that is no sign of congestion: undo() and the recovery's end leave the window as it is.
  void hold();
  // A recovery's window, and its end.
  void set_cwnd(uint32_t bytes) { cwnd_ = bytes < mss_ ? mss_ : bytes; }
  // Nothing was sent for `idle`: RFC 5681 4.1 restarts; the window is halved per timeout elapsed, down to the initial
  // one.
  void on_idle(Duration idle, Duration rto, Instant now);

 private:
  uint32_t reduced(uint32_t flight_bytes);
  void newreno_on_ack(uint32_t acked);
  void cubic_on_ack(uint32_t acked, Duration srtt, Instant now);
  uint32_t cubic_reduced(uint32_t flight_bytes);
  void slow_start_on_ack(uint32_t& acked);
  void grow(uint32_t bytes);

  // A window that no path of this age fills; keeps sums of windows within 32 bits.
  static constexpr uint32_t kCwndMax = 1u << 30;

  uint32_t cwnd_ = 0;
  uint32_t ssthresh_ = std::numeric_limits<uint32_t>::max();  // RFC 5681 3.1: arbitrarily high at first
  uint32_t mss_ = 0;
  uint32_t acked_in_window_ = 0;  // NewReno: bytes acknowledged towards the next segment of growth (RFC 3465)
  uint32_t undo_cwnd_ = 0, undo_ssthresh_ = 0;
  CongestionAlgorithm algorithm_ = CongestionAlgorithm::kCubic;
  CubicState cubic_;
  CubicState undo_cubic_;
};

}  // namespace culvert::tcp
