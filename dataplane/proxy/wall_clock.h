// Microseconds of the calendar, for log lines, from what a turn is given: an instant and whole seconds.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace culvert::proxy {

// Each observation bounds the offset between both clocks from below (the calendar is cut to seconds) and, a second
// higher, from above. The highest lower bound is kept: after a few observations it is right to within a turn. A
// calendar that was set contradicts the bounds, and the estimate starts over.
class WallClock {
 public:
  void observe(Instant now, UnixTime calendar) {
    const int64_t lower = calendar.time_since_epoch().count() * kSecond - to_us(now.time_since_epoch());
    const bool contradicted = offset_us_ < lower - kSecond || offset_us_ >= lower + kSecond;
    if (!known_ || contradicted) {
      offset_us_ = lower;
      known_ = true;
    } else {
      offset_us_ = std::max(offset_us_, lower);
    }
  }
  int64_t unix_us(Instant now) const { return known_ ? to_us(now.time_since_epoch()) + offset_us_ : 0; }

 private:
  static constexpr int64_t kSecond = 1'000'000;
  int64_t offset_us_ = 0;
  bool known_ = false;
};

}  // namespace culvert::proxy
