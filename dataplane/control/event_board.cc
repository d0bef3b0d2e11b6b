#include "control/event_board.h"

namespace culvert::control {

void EventBoard::put(Event event) {
  {
    const std::lock_guard lock(mutex_);
    event.sequence = ++latest_;
    events_.push_back(std::move(event));
    if (events_.size() > events_max_) events_.pop_front();
  }
  changed_.notify_all();
}

uint64_t EventBoard::latest() const {
  const std::lock_guard lock(mutex_);
  return latest_;
}

std::vector<Event> EventBoard::after(uint64_t sequence, size_t max, Duration patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [&] { return closed_ || latest_ > sequence; });
  std::vector<Event> out;
  for (const Event& event : events_) {
    if (event.sequence > sequence && out.size() < max) out.push_back(event);
  }
  return out;
}

void EventBoard::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

bool EventBoard::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace culvert::control
