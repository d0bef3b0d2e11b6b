#include "worker/log_ring.h"

#include <gtest/gtest.h>

#include <thread>

namespace culvert::worker {
namespace {

TEST(LogRing, HandsLinesOutInOrderAcrossTheWrap) {
  LogRing ring(64);
  std::string line;
  for (int i = 0; i < 100; ++i) {
    const std::string sent = "line " + std::to_string(i) + std::string(static_cast<size_t>(i % 20), 'x');
    ASSERT_TRUE(ring.put(sent));
    ASSERT_TRUE(ring.take(line));
    EXPECT_EQ(line, sent);
  }
  EXPECT_FALSE(ring.take(line));
  EXPECT_EQ(ring.lost(), 0u);
}

TEST(LogRing, LosesALineThatDoesNotFitAndCountsIt) {
  LogRing ring(64);
  EXPECT_TRUE(ring.put(std::string(40, 'a')));
  EXPECT_FALSE(ring.put(std::string(40, 'b')));
  EXPECT_EQ(ring.lost(), 1u);
  EXPECT_TRUE(ring.put(std::string(12, 'c')));  // there is room for a short one
  std::string line;
  ASSERT_TRUE(ring.take(line));
  EXPECT_EQ(line, std::string(40, 'a'));
  ASSERT_TRUE(ring.take(line));
  EXPECT_EQ(line, std::string(12, 'c'));
}

TEST(LogRing, CarriesEveryLineBetweenTwoThreads) {
  LogRing ring(1024);
  constexpr int kLines = 20'000;
  std::thread producer([&] {
    for (int i = 0; i < kLines;) {
      if (ring.put(std::to_string(i))) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  std::string line;
  for (int i = 0; i < kLines;) {
    if (ring.take(line)) {
      ASSERT_EQ(line, std::to_string(i));
      ++i;
    } else {
      std::this_thread::yield();
    }
  }
  producer.join();
}

}  // namespace
}  // namespace culvert::worker
