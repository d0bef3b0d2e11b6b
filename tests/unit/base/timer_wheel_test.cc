// The timer wheel against a list that is searched.
#include "base/timer_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "base/random.h"

namespace culvert {
namespace {

TEST(TimerWheel, FiresAtTheDeadlineAndNotBefore) {
  TimerWheel wheel(Instant{1s});
  TimerEntry entry;
  wheel.schedule(entry, Instant{1s + 10ms});
  EXPECT_TRUE(entry.scheduled());
  EXPECT_EQ(entry.deadline(), Instant{1s + 10ms});
  int fired = 0;
  auto count = [&](TimerEntry&) { ++fired; };
  wheel.expire(Instant{1s + 10ms - 1ns}, count);
  EXPECT_EQ(fired, 0);
  wheel.expire(Instant{1s + 10ms}, count);
  EXPECT_EQ(fired, 1);
  EXPECT_FALSE(entry.scheduled());
  EXPECT_EQ(entry.deadline(), kNever);
  EXPECT_EQ(wheel.next_deadline(), kNever);
}

TEST(TimerWheel, PastDeadlinesFireAtOnceAndNeverCancels) {
  TimerWheel wheel(Instant{1h});
  TimerEntry past, never;
  wheel.schedule(past, Instant{1s});
  wheel.schedule(never, Instant{1h + 1s});
  wheel.schedule(never, kNever);
  EXPECT_FALSE(never.scheduled());
  int fired = 0;
  wheel.expire(Instant{1h}, [&](TimerEntry& e) {
    EXPECT_EQ(&e, &past);
    ++fired;
  });
  EXPECT_EQ(fired, 1);
}

TEST(TimerWheel, DestroyedEntryIsForgotten) {
  TimerWheel wheel(Instant{});
  auto entry = std::make_unique<TimerEntry>();
  wheel.schedule(*entry, Instant{5ms});
  entry.reset();
  wheel.expire(Instant{1s}, [](TimerEntry&) { FAIL(); });
}

TEST(TimerWheel, CallbackMayScheduleCancelAndDestroyOthers) {
  TimerWheel wheel(Instant{});
  TimerEntry again, cancelled;
  auto destroyed = std::make_unique<TimerEntry>();
  wheel.schedule(again, Instant{1ms});
  wheel.schedule(cancelled, Instant{2ms});
  wheel.schedule(*destroyed, Instant{2ms});
  int fired = 0;
  wheel.expire(Instant{10ms}, [&](TimerEntry& e) {
    EXPECT_EQ(&e, &again);
    if (++fired < 3) wheel.schedule(again, Instant{4ms});  // due already: comes again in this round
    wheel.cancel(cancelled);
    destroyed.reset();
  });
  EXPECT_EQ(fired, 3);
}

// Deadlines from nanoseconds to a year, moved and cancelled, time in steps of all sizes: what fires is exactly what is
// due, and next_deadline() is never late.
TEST(TimerWheel, AgreesWithASearchedList) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    Instant now{std::chrono::nanoseconds(random.below(1'000'000'000'000'000))};
    TimerWheel wheel(now);
    std::vector<std::unique_ptr<TimerEntry>> entries(50);
    for (auto& e : entries) e = std::make_unique<TimerEntry>();
    std::map<TimerEntry*, Instant> model;
    auto span = [&] {
      // Log-uniform up to 2^55 ns, a bit more than a year.
      const uint64_t bits = random.below(56);
      return Duration{static_cast<int64_t>(random.below(uint64_t{1} << bits) + 1)};
    };
    for (int step = 0; step < 3000; ++step) {
      TimerEntry* entry = entries[random.below(entries.size())].get();
      switch (random.below(5)) {
        case 0:
        case 1: {
          const Instant at = now + span() - (random.below(10) == 0 ? Duration(1h) : Duration(0));
          wheel.schedule(*entry, at);
          model[entry] = at;
          break;
        }
        case 2:
          wheel.cancel(*entry);
          model.erase(entry);
          break;
        case 3: {
          // Straight to the next deadline, as an idle worker does.
          const Instant next = wheel.next_deadline();
          if (next != kNever && next > now) now = next;
          [[fallthrough]];
        }
        default: {
          if (random.below(2)) now += span();
          wheel.expire(now, [&](TimerEntry& e) {
            ASSERT_TRUE(model.count(&e)) << "seed " << seed;
            ASSERT_LE(model[&e], now) << "seed " << seed;
            model.erase(&e);
          });
          Instant soonest = kNever;
          for (const auto& [e, at] : model) soonest = std::min(soonest, at);
          ASSERT_GT(soonest, now) << "one was not fired, seed " << seed;
        }
      }
      Instant soonest = kNever;
      for (const auto& [e, at] : model) soonest = std::min(soonest, at);
      ASSERT_LE(wheel.next_deadline(), soonest) << "seed " << seed << " step " << step;
      ASSERT_EQ(wheel.next_deadline() == kNever, model.empty()) << "seed " << seed;
    }
  }
}

// A deadline behind the point where the ticks' 32 low bits wrap, after 52 days, is not a far one.
TEST(TimerWheel, NearDeadlineAcrossTheWrapOfTheHighestLevelFiresInTime) {
  const Instant wrap{Duration{int64_t{1} << 52}};  // 2^32 ticks of 2^20 ns
  Instant now = wrap - 1s;
  TimerWheel wheel(now);
  TimerEntry entry;
  wheel.schedule(entry, wrap + 1s);
  EXPECT_LE(wheel.next_deadline(), wrap + 1s);
  int fired = 0;
  wheel.expire(wrap + 999ms, [&](TimerEntry&) { ++fired; });
  EXPECT_EQ(fired, 0);
  wheel.expire(wrap + 1s, [&](TimerEntry&) { ++fired; });
  EXPECT_EQ(fired, 1);
}

// An idle worker that sleeps until next_deadline() each time must reach any deadline in few wakes.
TEST(TimerWheel, FarDeadlineIsReachedInFewSteps) {
  for (const Duration far :
       {Duration(1ms), Duration(200ms), Duration(60s), Duration(3h), Duration(24h * 40), Duration(24h * 365)}) {
    Instant now{123'456'789ns};
    TimerWheel wheel(now);
    TimerEntry entry;
    const Instant due = now + far;
    wheel.schedule(entry, due);
    int wakes = 0;
    bool fired = false;
    while (!fired && wakes < 100) {
      const Instant next = wheel.next_deadline();
      ASSERT_GT(next, now);
      ASSERT_LE(next, due);
      now = next;
      wheel.expire(now, [&](TimerEntry&) { fired = true; });
      ++wakes;
    }
    EXPECT_TRUE(fired) << to_ms(far);
    EXPECT_EQ(now, due);
    EXPECT_LE(wakes, 12) << to_ms(far);
  }
}

}  // namespace
}  // namespace culvert
