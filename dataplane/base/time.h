// Instants and durations of the node's clock. A machine never reads a clock: it is handed `now`.
//
// Instant counts nanoseconds from an arbitrary start (CLOCK_MONOTONIC, or 0 in simulation). Certificates live by the
// calendar: UnixTime. Durations are std::chrono's, so 10ms and 60s read as such.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>

namespace culvert {

using namespace std::chrono_literals;

using Duration = std::chrono::nanoseconds;

struct NodeClock {
  using rep = int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<NodeClock, Duration>;
  static constexpr bool is_steady = true;
};

using Instant = NodeClock::time_point;

// Later than every deadline: nothing is due.
inline constexpr Instant kNever{Duration{std::numeric_limits<int64_t>::max()}};

// Seconds since 1970-01-01 UTC.
using UnixTime = std::chrono::sys_seconds;

// "2026-01-31T10:00:00Z" (RFC 3339).
std::string rfc3339(UnixTime time);

inline constexpr int64_t to_us(Duration d) { return std::chrono::duration_cast<std::chrono::microseconds>(d).count(); }
inline constexpr int64_t to_ms(Duration d) { return std::chrono::duration_cast<std::chrono::milliseconds>(d).count(); }

}  // namespace culvert
