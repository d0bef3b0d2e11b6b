#include "control/control_thread.h"

namespace culvert::control {

ControlThread::ControlThread(std::function<void()> tick, Duration interval)
    : tick_(std::move(tick)), interval_(interval), thread_([this] { run(); }) {}

ControlThread::~ControlThread() { stop(); }

void ControlThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool ControlThread::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
  return true;
}

void ControlThread::run() {
  auto next_tick = std::chrono::steady_clock::now() + interval_;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_until(lock, next_tick, [&] { return stopping_ || !jobs_.empty(); });
    if (!jobs_.empty()) {
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      lock.lock();
    } else if (stopping_) {
      return;
    }
    if (std::chrono::steady_clock::now() >= next_tick) {
      lock.unlock();
      tick_();
      lock.lock();
      next_tick = std::chrono::steady_clock::now() + interval_;
    }
  }
}

}  // namespace culvert::control
