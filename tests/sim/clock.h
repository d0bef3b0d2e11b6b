// The virtual clock of a simulation: it moves only when nothing is left to do at this instant.
#pragma once

#include "base/check.h"
#include "tests/testkit/test_ca.h"
#include "worker/node.h"

namespace culvert::sim {

class VirtualClock final : public worker::Clock {
 public:
  Instant now() override { return now_; }
  UnixTime calendar() override { return kCalendarStart + std::chrono::floor<std::chrono::seconds>(now_ - kStart); }

  void advance_to(Instant t) {
    DP_CHECK(t >= now_);
    now_ = t;
  }

  static constexpr Instant kStart{Duration{1s}};
  // Certificates of the test CA are valid around then.
  static constexpr UnixTime kCalendarStart = testkit::kTestNow;

 private:
  Instant now_ = kStart;
};

}  // namespace culvert::sim
