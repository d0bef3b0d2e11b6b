#include "tcp/congestion.h"

#include <algorithm>

namespace culvert::tcp {

void Congestion::start(CongestionAlgorithm algorithm, uint32_t mss) {
  *this = Congestion{};
  algorithm_ = algorithm;
  mss_ = mss;
  cwnd_ = initial_window();
}

uint32_t Congestion::initial_window() const { return std::min(10 * mss_, std::max(2 * mss_, 14'600u)); }

void Congestion::grow(uint32_t bytes) { cwnd_ = std::min(cwnd_ + std::min(bytes, kCwndMax), kCwndMax); }

// RFC 5681 3.1 equation 2, with L = 2 * SMSS per ACK of RFC 3465 widened to all that one ACK of a large receive covers:
// what was acknowledged has left the network. What goes beyond ssthresh is left in `acked`.
void Congestion::slow_start_on_ack(uint32_t& acked) {
  const uint32_t take = std::min(acked, ssthresh_ - cwnd_);
  grow(take);
  acked -= take;
}

void Congestion::on_ack(uint32_t acked, Duration srtt, Instant now) {
  if (slow_start()) {
    slow_start_on_ack(acked);
    if (acked == 0) return;
  }
  if (algorithm_ == CongestionAlgorithm::kCubic) {
    cubic_on_ack(acked, srtt, now);
  } else {
    newreno_on_ack(acked);
  }
}

uint32_t Congestion::reduced(uint32_t flight_bytes) {
  // RFC 5681 3.1: it is FlightSize that counts, not a window that was not in use.
  const uint32_t window = std::min(cwnd_, flight_bytes);
  const uint32_t to = algorithm_ == CongestionAlgorithm::kCubic ? cubic_reduced(window) : window / 2;
  return std::max(to, 2 * mss_);
}

void Congestion::on_loss(uint32_t flight_bytes, Instant) {
  undo_cwnd_ = cwnd_;
  undo_ssthresh_ = ssthresh_;
  undo_cubic_ = cubic_;
  ssthresh_ = reduced(flight_bytes);
  acked_in_window_ = 0;
}

void Congestion::on_timeout(uint32_t flight_bytes, bool again, Instant now) {
  if (!again) on_loss(flight_bytes, now);
  cwnd_ = mss_;
  cubic_.epoch = kNever;
}

void Congestion::hold() {
  undo_cwnd_ = cwnd_;
  undo_ssthresh_ = ssthresh_;
  undo_cubic_ = cubic_;
  ssthresh_ = std::max(ssthresh_or_cwnd(), cwnd_);
}

void Congestion::undo() {
  cwnd_ = std::max(cwnd_, undo_cwnd_);
  ssthresh_ = std::max(ssthresh_, undo_ssthresh_);
  cubic_ = undo_cubic_;
}

void Congestion::on_idle(Duration idle, Duration rto, Instant) {
  const uint32_t restart = std::min(initial_window(), cwnd_);
  // The path's capacity is not forgotten: ssthresh keeps three quarters of the window (RFC 2861 3.1).
  if (ssthresh_ != std::numeric_limits<uint32_t>::max()) ssthresh_ = std::max(ssthresh_, cwnd_ - cwnd_ / 4);
  for (; idle > rto && cwnd_ > restart; idle -= rto) cwnd_ = std::max(cwnd_ / 2, restart);
  cubic_.epoch = kNever;
}

}  // namespace culvert::tcp
