// A hierarchical timer wheel: one per core, one entry per connection, which shows only its soonest deadline.
//
// Four levels of 256 slots; a tick is 2^20 ns (1.05 ms), so the levels span 0.27 s, 69 s, 4.9 h and 52 days; later
// deadlines wait in the last slot and are placed again. An entry that is far away sits in a coarse slot and moves down
// when its slot comes up, so schedule and cancel are O(1) and an entry moves at most three times in its life. Most TCP
// timers are cancelled or pushed back before they fire; entries whose deadline moved later need not be touched until
// they come up (the owner reschedules from the callback).
//
// Entries are intrusive: the owner embeds a TimerEntry, which must not move while scheduled. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>

#include "base/time.h"

namespace culvert {

class TimerWheel;

class TimerEntry {
 public:
  TimerEntry() = default;
  TimerEntry(const TimerEntry&) = delete;
  TimerEntry& operator=(const TimerEntry&) = delete;
  ~TimerEntry();

  bool scheduled() const { return wheel_ != nullptr; }
  Instant deadline() const { return deadline_; }  // kNever when not scheduled

 private:
  friend class TimerWheel;
  TimerEntry* next_ = nullptr;
  TimerEntry** link_ = nullptr;  // the pointer that points at us
  TimerWheel* wheel_ = nullptr;
  Instant deadline_ = kNever;
  uint8_t level_ = 0;
  uint8_t slot_ = 0;
};

class TimerWheel {
 public:
  explicit TimerWheel(Instant start);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Schedules or moves an entry. kNever cancels. A deadline that has passed fires at the next expire().
  void schedule(TimerEntry& entry, Instant deadline);
  void cancel(TimerEntry& entry);

  // Calls fire(entry) for each entry whose deadline is at or before `now`. The entry is no longer scheduled when it is
  // called and may be scheduled again; it, and any other entry, may be cancelled or destroyed by the callback.
  template <class Fire>
  void expire(Instant now, Fire&& fire) {
    while (TimerEntry* entry = pop_due(now)) fire(*entry);
  }

  // The soonest instant at which expire() may have something to do: exact within the lowest level, early (never late)
  // beyond it. kNever when nothing is scheduled.
  Instant next_deadline() const;

 private:
  static constexpr int kLevels = 4;
  static constexpr int kSlotBits = 8;
  static constexpr int kSlots = 1 << kSlotBits;
  static constexpr int kTickShift = 20;

  struct Level {
    std::array<TimerEntry*, kSlots> slots{};
    std::array<uint64_t, kSlots / 64> occupied{};  // bit per slot
  };

  static uint64_t tick_of(Instant t) { return static_cast<uint64_t>(t.time_since_epoch().count()) >> kTickShift; }
  void insert(TimerEntry& entry);
  void unlink(TimerEntry& entry);
  TimerEntry* pop_due(Instant now);
  void cascade(int level);
  static constexpr uint64_t kNoTick = ~uint64_t{0};
  uint64_t next_cascade() const;
  int next_occupied(const Level& level, int from) const;  // slots ahead, 0..255; -1 for none

  std::array<Level, kLevels> levels_;
  uint64_t tick_;  // every slot before this one is empty
};

}  // namespace culvert
