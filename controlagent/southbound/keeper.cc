#include "southbound/keeper.h"

namespace culvert::southbound {

Instant monotonic_now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }

void Keeper::start() {
  thread_ = std::thread([this] { run(); });
}

void Keeper::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  calls_.cancel();
  if (thread_.joinable()) thread_.join();
}

void Keeper::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_all();
}

void Keeper::set_session(SessionPtr session) {
  {
    const std::lock_guard lock(mutex_);
    session_ = std::move(session);
    woken_ = true;
  }
  changed_.notify_all();
}

void Keeper::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    woken_ = false;
    const SessionPtr session = session_;
    lock.unlock();
    const Instant due = turn(session, monotonic_now());
    lock.lock();
    const auto ready = [this] { return woken_ || stopping_; };
    if (due == kNever) {
      changed_.wait(lock, ready);
    } else {
      changed_.wait_until(lock, std::chrono::steady_clock::time_point(due.time_since_epoch()), ready);
    }
  }
}

}  // namespace culvert::southbound
