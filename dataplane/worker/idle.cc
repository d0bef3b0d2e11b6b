#include "worker/idle.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "port/port.h"

namespace culvert::worker {

namespace {

// Longest sleep without any deadline: heartbeats must not stop (readiness names a worker silent for 2 s).
constexpr Duration kSleepMax = 500ms;

}  // namespace

Idle::Idle() : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)) { DP_CHECK(epoll_fd_ >= 0); }

Idle::~Idle() { close(epoll_fd_); }

bool Idle::watch(int fd, uint32_t key) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u32 = key;
  return epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0;
}

void Idle::forget(int fd) { epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr); }

const std::vector<uint32_t>& Idle::ready(Duration patience) {
  ready_.clear();
  std::array<epoll_event, 64> events;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
  const timespec limit{static_cast<time_t>(seconds.count()), static_cast<long>((patience - seconds).count())};
  const int n = epoll_pwait2(epoll_fd_, events.data(), static_cast<int>(events.size()), &limit, nullptr);
  for (int i = 0; i < n; ++i) ready_.push_back(events[static_cast<size_t>(i)].data.u32);
  return ready_;
}

Duration Idle::patience(PollMode mode, Instant now, Instant busy_at, Instant next_deadline, bool polled_ports) {
  if (mode == PollMode::kAlways || now - busy_at < kSpin || next_deadline <= now) return Duration::zero();
  Duration patience = std::min<Duration>(kSleepMax, next_deadline == kNever ? kSleepMax : next_deadline - now);
  if (polled_ports) patience = std::min<Duration>(patience, port::kIdlePollInterval);
  return patience;
}

}  // namespace culvert::worker
