// One thread for everything mutable in this room. Others hand it jobs and wait for their results; between jobs it
// ticks.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/time.h"

namespace culvert::control {

class ControlThread {
 public:
  // `tick` is called on the thread every `interval`, late when a job takes long.
  ControlThread(std::function<void()> tick, Duration interval);
  ~ControlThread();  // stops

  // Runs the job on the thread and returns its result; none after stop(), when it was not run. The queue is bounded by
  // the callers: each waits for its one job.
  template <class F>
  auto call(F&& job) -> std::optional<std::invoke_result_t<F>> {
    using R = std::invoke_result_t<F>;
    static_assert(!std::is_void_v<R>, "return something: the caller must see whether the job was run");
    std::optional<R> result;
    // Shared with the job, which may still be inside set_value() when the waiter is gone.
    const auto done = std::make_shared<std::promise<void>>();
    const bool taken = post([&, done] {
      result.emplace(job());
      done->set_value();
    });
    if (!taken) return std::nullopt;
    done->get_future().wait();
    return result;
  }

  // Runs the jobs that were taken, then ends the thread. May be called again.
  void stop();

 private:
  bool post(std::function<void()> job);
  void run();

  std::function<void()> tick_;
  const Duration interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace culvert::control
