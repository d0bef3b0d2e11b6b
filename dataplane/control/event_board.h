// Events for the agent: a bounded board that the control thread writes and any number of watchers read, each at its own
// pace. A watcher that is slower than the board is long finds a gap in the sequence numbers.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "base/time.h"

namespace culvert::control {

struct Event {
  enum class Kind : uint8_t {
    kAttachmentUp,         // name: attachment id
    kAttachmentDown,       // name: attachment id; text: why
    kCertificateNeeded,    // name: identity
    kCertificateExpiring,  // name: identity; not_after
    kCertificateLate,      // name: identity; not_after
    kCertificateExpired,   // name: identity; not_after
    kDescriptorWanted,     // name: "port:<name>"
    kWorkerSilent,         // worker, silence
    kWorkerBack,           // worker
  };
  uint64_t sequence = 0;  // given by the board, from 1; 0: a state that was there when the watcher came
  Kind kind = Kind::kAttachmentUp;
  UnixTime at{};
  std::string name, text;
  UnixTime not_after{};
  uint32_t worker = 0;
  Duration silence{};
};

class EventBoard {
 public:
  explicit EventBoard(size_t events_max) : events_max_(events_max) {}

  void put(Event event);
  // Number of the latest event: where a watcher that knows the present state goes on.
  uint64_t latest() const;
  // Events after `sequence`, oldest first, at most `max`; waits for the first of them at most `patience`.
  std::vector<Event> after(uint64_t sequence, size_t max, Duration patience);
  // Wakes every watcher and keeps them from waiting again.
  void close();
  bool closed() const;

 private:
  const size_t events_max_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  uint64_t latest_ = 0;
  bool closed_ = false;
};

}  // namespace culvert::control
