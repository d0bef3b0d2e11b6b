#include "proxy/wall_clock.h"

#include <gtest/gtest.h>

namespace culvert::proxy {
namespace {

Instant at(Duration d) { return Instant{d}; }
UnixTime unix_at(int64_t s) { return UnixTime{std::chrono::seconds{s}}; }

TEST(WallClock, KnowsNothingBeforeTheFirstLook) { EXPECT_EQ(WallClock().unix_us(at(5s)), 0); }

TEST(WallClock, FindsTheFractionOfTheSecond) {
  WallClock clock;
  // The calendar is 1,000.7 s ahead.
  clock.observe(at(0ms), unix_at(1000));
  EXPECT_EQ(clock.unix_us(at(0ms)), 1'000'000'000);
  clock.observe(at(310ms), unix_at(1001));
  EXPECT_EQ(clock.unix_us(at(310ms)), 1'001'000'000);
  clock.observe(at(1300ms), unix_at(1002));  // just when the second turned
  EXPECT_EQ(clock.unix_us(at(1300ms)), 1'002'000'000);
  clock.observe(at(2200ms), unix_at(1002));
  EXPECT_EQ(clock.unix_us(at(2200ms)), 1'002'900'000);
  EXPECT_EQ(clock.unix_us(at(2250ms)), 1'002'950'000);
}

TEST(WallClock, FollowsACalendarThatWasSet) {
  WallClock clock;
  clock.observe(at(0ms), unix_at(1000));
  clock.observe(at(100ms), unix_at(5000));
  EXPECT_EQ(clock.unix_us(at(100ms)), 5'000'000'000);
  clock.observe(at(200ms), unix_at(300));
  EXPECT_EQ(clock.unix_us(at(200ms)), 300'000'000);
}

}  // namespace
}  // namespace culvert::proxy
