// A thread that keeps one kind of thing in step: it takes a turn when it is woken, when a session begins or ends, and
// when the time comes that its last turn named.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/time.h"
#include "southbound/session.h"

namespace culvert::southbound {

Instant monotonic_now();

class Keeper {
 public:
  Keeper() = default;
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;
  virtual ~Keeper() = default;  // stopped by then

  void start();
  // Cancels the call under way and waits for the thread.
  virtual void stop();
  void wake();
  // Null: the data plane is away.
  void set_session(SessionPtr session);

 protected:
  // Does what is due, in the keeper's thread. `session` may be null. Returns when the next turn is due at the latest.
  virtual Instant turn(const SessionPtr& session, Instant now) = 0;
  Calls& calls() { return calls_; }

 private:
  void run();

  Calls calls_;
  std::mutex mutex_;
  std::condition_variable changed_;
  SessionPtr session_;
  bool woken_ = true, stopping_ = false;
  std::thread thread_;
};

// Waits between tries: 100 ms, then twice as long each time, up to a ceiling.
class BackOff {
 public:
  explicit BackOff(Duration longest) : longest_(longest) {}
  // The wait after another failure.
  Duration next() {
    span_ = span_ == Duration{} ? Duration(100ms) : std::min(2 * span_, longest_);
    return std::min(span_, longest_);
  }
  void reset() { span_ = Duration{}; }

 private:
  Duration longest_, span_{};
};

}  // namespace culvert::southbound
