// The only door through which another thread asks a worker for something.
//
// Any thread posts; the worker takes everything at the start of a turn. A relaxed look at one flag is all that an empty
// mailbox costs, the lock is taken only when something is there. Posting wakes a worker that blocks.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "base/check.h"

namespace culvert::worker {

class Worker;

class Mailbox {
 public:
  // Runs on the worker's thread, between two turns.
  using Request = std::function<void(Worker&)>;

  Mailbox() : wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { DP_CHECK(wake_fd_ >= 0); }
  ~Mailbox() { close(wake_fd_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void post(Request request) {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(std::move(request));
      waiting_.store(true, std::memory_order_release);
    }
    wake();
  }

  // Worker: all requests so far, oldest first.
  std::vector<Request> take() {
    if (!waiting_.load(std::memory_order_acquire)) return {};
    uint64_t drained = 0;
    [[maybe_unused]] const auto got = read(wake_fd_, &drained, sizeof drained);
    const std::lock_guard lock(mutex_);
    waiting_.store(false, std::memory_order_relaxed);
    return std::exchange(requests_, {});
  }

  bool waiting() const { return waiting_.load(std::memory_order_acquire); }
  void wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const auto put = write(wake_fd_, &one, sizeof one);  // full means that it is awake already
  }
  int wake_fd() const { return wake_fd_; }

 private:
  const int wake_fd_;
  std::mutex mutex_;
  std::atomic<bool> waiting_{false};
  std::vector<Request> requests_;
};

}  // namespace culvert::worker
