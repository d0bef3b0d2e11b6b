// How a worker spends the time in which nothing happens (D17): it spins while packets came a moment ago, then blocks on
// its ports' descriptors, bounded by the next timer. Ports without a descriptor (memif, AF_XDP) shorten the sleep to
// port::kIdlePollInterval.
//
// Descriptors are watched edge-triggered: a port is read only after its edge came, until it is empty, so a node with
// a thousand quiet pods does not read a thousand descriptors per turn.
#pragma once

#include <cstdint>
#include <vector>

#include "base/time.h"

namespace culvert::worker {

enum class PollMode : uint8_t { kAdaptive, kAlways };

// A turn within this time of the last packet spins: two wake-ups of a blocked thread cost more than this.
inline constexpr Duration kSpin = 30us;

class Idle {
 public:
  Idle();
  ~Idle();
  Idle(const Idle&) = delete;
  Idle& operator=(const Idle&) = delete;

  // `key` comes back from ready(). The descriptor stays the caller's.
  bool watch(int fd, uint32_t key);
  void forget(int fd);

  // Collects the keys whose descriptors became readable, waiting at most until `patience` has passed (0: a look).
  const std::vector<uint32_t>& ready(Duration patience);

  // How long the next wait may last. `busy_at`: when the last packet came.
  static Duration patience(PollMode mode, Instant now, Instant busy_at, Instant next_deadline, bool polled_ports);

 private:
  const int epoll_fd_;
  std::vector<uint32_t> ready_;
};

}  // namespace culvert::worker
