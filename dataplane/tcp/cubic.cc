// CUBIC (RFC 9438): after a loss the window grows along a cubic curve whose plateau is the window at which the loss
// happened, so it comes back fast, stays there for long, and then probes ever faster; never slower than NewReno would.
#include <algorithm>
#include <cmath>

#include "tcp/congestion.h"

namespace culvert::tcp {

namespace {

constexpr double kC = 0.4;                                // RFC 9438 5.2: segments per second cubed
constexpr double kBeta = 0.7;                             // RFC 9438 4.6
constexpr double kAlpha = 3 * (1 - kBeta) / (1 + kBeta);  // RFC 9438 4.3: as aggressive as NewReno with this beta

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

void Congestion::cubic_on_ack(uint32_t acked, Duration srtt, Instant now) {
  const double mss = mss_;
  const double cwnd = cwnd_ / mss;
  if (cubic_.epoch == kNever) {
    // RFC 9438 4.2, 4.10: the stage begins where the window is now.
    cubic_.epoch = now;
    cubic_.w_est = cwnd;
    if (cwnd < cubic_.w_max) {
      cubic_.origin = cubic_.w_max;
      cubic_.k = std::cbrt((cubic_.w_max - cwnd) / kC);
    } else {
      cubic_.origin = cwnd;
      cubic_.k = 0;
    }
  }
  // The curve one round trip ahead, held between no growth and half a window per round trip (RFC 9438 4.4, 4.5).
  const double t = seconds(now - cubic_.epoch) + seconds(srtt) - cubic_.k;
  const double target = std::clamp(cubic_.origin + kC * t * t * t, cwnd, 1.5 * cwnd);

  // RFC 9438 4.3: the estimate grows by alpha segments per window, by one once it has reached the window of the last
  // loss.
  const double alpha = cubic_.w_est < cubic_.cwnd_prior ? kAlpha : 1.0;
  cubic_.w_est += alpha * (acked / mss) / cwnd;

  double growth = (target - cwnd) / cwnd * acked;
  if (cubic_.w_est > cwnd + growth / mss) growth = (cubic_.w_est - cwnd) * mss;
  cubic_.carry += growth;
  const auto whole = static_cast<uint32_t>(std::clamp(cubic_.carry, 0.0, double{kCwndMax}));
  cubic_.carry -= whole;
  grow(whole);
}

uint32_t Congestion::cubic_reduced(uint32_t flight_bytes) {
  const double window = static_cast<double>(flight_bytes) / mss_;
  // RFC 9438 4.7, fast convergence: a loss below the last plateau means that others came; leave them room.
  cubic_.w_max = window < cubic_.w_max ? window * (1 + kBeta) / 2 : window;
  cubic_.cwnd_prior = window;
  cubic_.carry = 0;
  cubic_.epoch = kNever;
  return static_cast<uint32_t>(flight_bytes * kBeta);
}

}  // namespace culvert::tcp
