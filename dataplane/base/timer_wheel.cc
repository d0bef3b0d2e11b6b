#include "base/timer_wheel.h"

#include <algorithm>

#include "base/check.h"

namespace culvert {

TimerEntry::~TimerEntry() {
  if (wheel_) wheel_->cancel(*this);
}

TimerWheel::TimerWheel(Instant start) : tick_(tick_of(start)) {}

void TimerWheel::schedule(TimerEntry& entry, Instant deadline) {
  if (entry.wheel_) unlink(entry);
  if (deadline == kNever) return;
  entry.deadline_ = deadline;
  insert(entry);
}

void TimerWheel::cancel(TimerEntry& entry) {
  if (entry.wheel_) unlink(entry);
}

void TimerWheel::insert(TimerEntry& entry) {
  const uint64_t tick = std::max(tick_of(entry.deadline_), tick_);
  // The highest digit in which the deadline differs from now says the level: digits above agree, so the slot index
  // alone is unambiguous.
  const uint64_t differs = tick ^ tick_;
  int level = 0;
  while (level < kLevels - 1 && (differs >> (kSlotBits * (level + 1))) != 0) ++level;
  int slot = static_cast<int>((tick >> (kSlotBits * level)) & (kSlots - 1));
  if (level == kLevels - 1) {
    // The highest level is a ring: up to 255 slots ahead are unambiguous, also where the digits above change. Past
    // that the entry waits in the slot furthest ahead and is placed again from there.
    const uint64_t here = tick_ >> (kSlotBits * level);
    const uint64_t ahead = (tick >> (kSlotBits * level)) - here;
    if (ahead > kSlots - 1) slot = static_cast<int>((here + kSlots - 1) & (kSlots - 1));
  }
  Level& l = levels_[static_cast<size_t>(level)];
  TimerEntry*& head = l.slots[static_cast<size_t>(slot)];
  entry.next_ = head;
  entry.link_ = &head;
  if (head) head->link_ = &entry.next_;
  head = &entry;
  entry.wheel_ = this;
  entry.level_ = static_cast<uint8_t>(level);
  entry.slot_ = static_cast<uint8_t>(slot);
  l.occupied[static_cast<size_t>(slot) / 64] |= 1ULL << (slot % 64);
}

void TimerWheel::unlink(TimerEntry& entry) {
  *entry.link_ = entry.next_;
  if (entry.next_) entry.next_->link_ = entry.link_;
  Level& l = levels_[entry.level_];
  if (!l.slots[entry.slot_]) l.occupied[entry.slot_ / 64u] &= ~(1ULL << (entry.slot_ % 64u));
  entry.next_ = nullptr;
  entry.link_ = nullptr;
  entry.wheel_ = nullptr;
  entry.deadline_ = kNever;
}

int TimerWheel::next_occupied(const Level& level, int from) const {
  for (int ahead = 0; ahead < kSlots;) {
    const int slot = (from + ahead) & (kSlots - 1);
    const uint64_t word = level.occupied[static_cast<size_t>(slot) / 64] >> (slot % 64);
    if (word) return std::min(ahead + __builtin_ctzll(word), kSlots) < kSlots ? ahead + __builtin_ctzll(word) : -1;
    ahead += 64 - slot % 64;
  }
  return -1;
}

void TimerWheel::cascade(int level) {
  const auto slot = static_cast<size_t>((tick_ >> (kSlotBits * level)) & (kSlots - 1));
  Level& l = levels_[static_cast<size_t>(level)];
  TimerEntry* entry = l.slots[slot];
  l.slots[slot] = nullptr;
  l.occupied[slot / 64] &= ~(1ULL << (slot % 64));
  while (entry) {
    TimerEntry* next = entry->next_;
    insert(*entry);
    entry = next;
  }
}

TimerEntry* TimerWheel::pop_due(Instant now) {
  const uint64_t now_tick = tick_of(now);
  for (;;) {
    // Within the current slot deadlines may lie on both sides of `now`.
    const auto slot = static_cast<size_t>(tick_ & (kSlots - 1));
    for (TimerEntry* entry = levels_[0].slots[slot]; entry; entry = entry->next_) {
      if (entry->deadline_ <= now) {
        unlink(*entry);
        return entry;
      }
    }
    if (tick_ >= now_tick) return nullptr;
    // Step to the next occupied slot of the lowest level, or, when that level is empty, to the first slot above that
    // has something to move down; or to now, whichever is first. What lies between is empty.
    const int ahead = next_occupied(levels_[0], static_cast<int>((tick_ + 1) & (kSlots - 1)));
    const uint64_t occupied = ahead >= 0 ? tick_ + 1 + static_cast<uint64_t>(ahead) : next_cascade();
    const uint64_t next = std::min(now_tick, occupied);
    tick_ = next;
    if ((tick_ & (kSlots - 1)) == 0) {
      int level = 1;
      while (level < kLevels - 1 && ((tick_ >> (kSlotBits * level)) & (kSlots - 1)) == 0) ++level;
      for (; level >= 1; --level) cascade(level);
    }
  }
}

Instant TimerWheel::next_deadline() const {
  Instant soonest = kNever;
  // Lowest level: the first occupied slot holds the soonest deadline of that level, in any order inside the slot.
  const int ahead = next_occupied(levels_[0], static_cast<int>(tick_ & (kSlots - 1)));
  if (ahead >= 0) {
    const auto slot = static_cast<size_t>((tick_ + static_cast<uint64_t>(ahead)) & (kSlots - 1));
    for (const TimerEntry* e = levels_[0].slots[slot]; e; e = e->next_) soonest = std::min(soonest, e->deadline_);
    return soonest;
  }
  const uint64_t tick = next_cascade();
  return tick == kNoTick ? kNever : Instant{Duration{static_cast<int64_t>(tick << kTickShift)}};
}

// The start of the first occupied slot above the lowest level.
uint64_t TimerWheel::next_cascade() const {
  uint64_t soonest = kNoTick;
  for (int level = 1; level < kLevels; ++level) {
    const uint64_t digit = tick_ >> (kSlotBits * level);
    const int steps = next_occupied(levels_[static_cast<size_t>(level)], static_cast<int>((digit + 1) & (kSlots - 1)));
    if (steps >= 0) soonest = std::min(soonest, (digit + 1 + static_cast<uint64_t>(steps)) << (kSlotBits * level));
  }
  return soonest;
}

}  // namespace culvert
