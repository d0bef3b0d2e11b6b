#include "worker/idle.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace culvert::worker {
namespace {

const Instant kNow{Duration{10s}};

TEST(Idle, SpinsRightAfterAPacketAndThenWaitsForTheNextDeadline) {
  EXPECT_EQ(Idle::patience(PollMode::kAdaptive, kNow, kNow - 10us, kNow + 5ms, false), Duration::zero());
  EXPECT_EQ(Idle::patience(PollMode::kAdaptive, kNow, kNow - kSpin, kNow + 5ms, false), Duration{5ms});
}

TEST(Idle, NeverWaitsLongerThanAHeartbeatAllows) {
  EXPECT_LE(Idle::patience(PollMode::kAdaptive, kNow, kNow - 1s, kNever, false), Duration{1s});
  EXPECT_GT(Idle::patience(PollMode::kAdaptive, kNow, kNow - 1s, kNever, false), Duration{100ms});
}

TEST(Idle, LooksAtPortsWithoutDescriptorEveryHalfMillisecond) {
  EXPECT_EQ(Idle::patience(PollMode::kAdaptive, kNow, kNow - 1s, kNever, true), Duration{500us});
}

TEST(Idle, DoesNotWaitWhenADeadlineHasPassedOrPollingIsAlways) {
  EXPECT_EQ(Idle::patience(PollMode::kAdaptive, kNow, kNow - 1s, kNow - 1us, false), Duration::zero());
  EXPECT_EQ(Idle::patience(PollMode::kAlways, kNow, kNow - 1s, kNever, false), Duration::zero());
}

TEST(Idle, ReportsAReadableDescriptorOnceByItsKey) {
  Idle idle;
  const int fd = eventfd(0, EFD_NONBLOCK);
  ASSERT_TRUE(idle.watch(fd, 42));
  EXPECT_TRUE(idle.ready(Duration::zero()).empty());
  const uint64_t one = 1;
  ASSERT_EQ(write(fd, &one, sizeof one), 8);
  ASSERT_EQ(idle.ready(100ms), std::vector<uint32_t>{42});
  EXPECT_TRUE(idle.ready(Duration::zero()).empty());  // an edge, not a level
  ASSERT_EQ(write(fd, &one, sizeof one), 8);
  EXPECT_EQ(idle.ready(100ms).size(), 1u);
  idle.forget(fd);
  ASSERT_EQ(write(fd, &one, sizeof one), 8);
  EXPECT_TRUE(idle.ready(Duration::zero()).empty());
  close(fd);
}

}  // namespace
}  // namespace culvert::worker
