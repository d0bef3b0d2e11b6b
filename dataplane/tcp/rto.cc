#include "tcp/rto.h"

#include <algorithm>

namespace culvert::tcp {

namespace {

// RFC 6298 2: alpha 1/8, beta 1/4, K 4.
constexpr int64_t kAlphaInverse = 8, kBetaInverse = 4, kK = 4;

}  // namespace

void RttEstimator::sample(Duration rtt, Instant now, uint32_t flight_samples) {
  rtt = std::max<Duration>(rtt, 1us);
  latest_ = rtt;
  if (!has_sample_) {
    srtt_ = rtt;
    rttvar_ = rtt / 2;
    has_sample_ = true;
    min_since_ = now;
    current_min_ = rtt;
  } else {
    const auto spread = static_cast<int64_t>(std::max<uint32_t>(flight_samples, 1));
    const Duration error = srtt_ > rtt ? srtt_ - rtt : rtt - srtt_;
    rttvar_ += (error - rttvar_) / (kBetaInverse * spread);
    srtt_ += (rtt - srtt_) / (kAlphaInverse * spread);
  }
  if (now - min_since_ > kMinWindow) {
    previous_min_ = current_min_;
    current_min_ = rtt;
    min_since_ = now;
  }
  current_min_ = std::min(current_min_, rtt);
}

Duration RttEstimator::base_rto() const {
  if (!has_sample_) return initial_;
  return std::clamp(srtt_ + std::max(kK * rttvar_, kRtoMin), kRtoMin, kRtoMax);
}

Duration RttEstimator::rto() const {
  const Duration base = base_rto();
  return base.count() > (kRtoMax.count() >> backoff_) ? kRtoMax : Duration{base.count() << backoff_};
}

}  // namespace culvert::tcp
