#include "control/event_board.h"

#include <gtest/gtest.h>

#include <thread>

namespace culvert::control {
namespace {

Event named(std::string name) {
  Event event;
  event.name = std::move(name);
  return event;
}

TEST(EventBoard, GivesEachWatcherWhatCameAfterItsLast) {
  EventBoard board(10);
  board.put(named("a"));
  board.put(named("b"));
  auto events = board.after(0, 10, 0ms);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].sequence, 1u);
  EXPECT_EQ(events[1].name, "b");
  EXPECT_TRUE(board.after(2, 10, 0ms).empty());
  EXPECT_EQ(board.after(0, 1, 0ms).size(), 1u);
}

TEST(EventBoard, ShowsAGapToAWatcherThatIsTooSlow) {
  EventBoard board(3);
  for (int i = 0; i < 5; ++i) board.put(named(std::to_string(i)));
  const auto events = board.after(0, 10, 0ms);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].sequence, 3u);
}

TEST(EventBoard, WakesWhoWaits) {
  EventBoard board(3);
  std::thread writer([&] { board.put(named("a")); });
  EXPECT_EQ(board.after(0, 1, 60s).size(), 1u);
  writer.join();
  std::thread closer([&] { board.close(); });
  EXPECT_TRUE(board.after(1, 1, 60s).empty());
  closer.join();
  EXPECT_TRUE(board.closed());
}

}  // namespace
}  // namespace culvert::control
