// One TCP stack between an IP layer and a virtual clock, and the rule by which threads share them.
//
// Time moves only in the calls that move it: sleep() and receive(), and by one microsecond at every reading. Blocking
// calls come from a second thread. When something that it waits for happens, that caller is marked woken at once, and
// time does not move on before it has read the clock (its end of the call is then the instant of the cause), or 200 ms
// of real time have passed. A call that blocks on the thread that moves the time moves it itself.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "ip/input.h"
#include "tcp/stack.h"
#include "tests/tools/packetdrill/flags.h"

namespace culvert::packetdrill {

using Lock = std::unique_lock<std::mutex>;

inline constexpr InterfaceId kWire{1};

class Engine {
 public:
  explicit Engine(const Flags& flags);
  ~Engine();

  // Who decides on SYNs and hears of events; both are called with the lock held.
  struct Listener {
    virtual ~Listener() = default;
    virtual tcp::SynVerdict on_syn(const tcp::Tuple& tuple) = 0;
    virtual void on_event(const tcp::Event& event) = 0;
  };
  void attach(Listener& listener) { listener_ = &listener; }
  // Options of the connections accepted from the next segment on.
  void accept_with(const tcp::ConnectionOptions& options);

  Lock lock() { return Lock(mutex_); }
  tcp::Stack& stack() { return *stack_; }
  BufferPool& pool() { return *pool_; }
  const Flags& flags() const { return flags_; }
  Instant now() const { return now_; }
  // Of the latest ICMP error that was given to the stack, for the reason of a refused connection.
  int last_icmp_errno() const { return last_icmp_errno_; }

  // After a call changed something: sends what is due, hands out events, wakes who may go on.
  void settle();
  // Waits until ready() holds. False: the timeout passed, or nothing could happen any more.
  bool wait(Lock& lock, const std::function<bool()>& ready, Instant deadline = kNever);

  int64_t read_clock_us();
  void sleep(Lock& lock, Duration duration);
  void send(ByteView packet);
  // The next packet and when it was sent; none after 60 virtual seconds without one.
  struct Sent {
    std::vector<uint8_t> bytes;
    int64_t time_us;
  };
  std::optional<Sent> receive(Lock& lock);

 private:
  struct Waiter {
    const std::function<bool()>* ready;
    Instant deadline;
    std::thread::id thread;
    bool woken = false;
  };
  void wake();
  void let_woken_read_the_clock(Lock& lock);
  // Up to `until`, or until stop() holds.
  void advance(Lock& lock, Instant until, const std::function<bool()>& stop);
  void transmit(tcp::OutSegment& segment);

  const Flags flags_;
  std::mutex mutex_;
  std::condition_variable woken_, clock_read_;
  std::unique_ptr<BufferPool> pool_;
  Counters counters_;
  Instant now_{Duration{1s}};
  std::unique_ptr<ip::Input> input_;
  std::unique_ptr<tcp::Stack> stack_;
  Listener* listener_ = nullptr;
  std::deque<Sent> outbox_;
  std::list<Waiter> waiters_;
  std::set<std::thread::id> unread_;  // woken, and have not read the clock since
  std::thread::id driver_;            // who exchanges packets
  int last_icmp_errno_ = 0;
};

}  // namespace culvert::packetdrill
