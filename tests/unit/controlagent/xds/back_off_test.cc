// The waits between streams, row by row of reference 14.5.
#include "xds/back_off.h"

#include <gtest/gtest.h>

namespace culvert::xds {
namespace {

using grpc::Status;
using grpc::StatusCode;

TEST(Ending, IsTheRowOfTheStatus) {
  EXPECT_EQ(ending_of(Status(StatusCode::UNAVAILABLE, "refused"), false), Ending::kConnection);
  EXPECT_EQ(ending_of(Status(StatusCode::UNKNOWN, ""), false), Ending::kConnection);
  EXPECT_EQ(ending_of(Status::OK, true), Ending::kComplete);
  for (const StatusCode code : {StatusCode::UNKNOWN, StatusCode::CANCELLED, StatusCode::DEADLINE_EXCEEDED}) {
    EXPECT_EQ(ending_of(Status(code, ""), true), Ending::kReconnect);
  }
  EXPECT_EQ(ending_of(Status(StatusCode::UNAVAILABLE, "x transport is closing"), true), Ending::kReconnect);
  EXPECT_EQ(ending_of(Status(StatusCode::UNAVAILABLE, "received prior goaway: x"), true), Ending::kReconnect);
  for (const char* lost :
       {"Socket closed", "recvmsg:Connection reset by peer", "GOAWAY received", "keepalive watchdog timeout"}) {
    EXPECT_EQ(ending_of(Status(StatusCode::UNAVAILABLE, lost), true), Ending::kReconnect) << lost;
  }
  EXPECT_EQ(ending_of(Status(StatusCode::UNAVAILABLE, "busy"), true), Ending::kError);
  for (const StatusCode code : {StatusCode::UNAUTHENTICATED, StatusCode::PERMISSION_DENIED, StatusCode::INTERNAL,
                                StatusCode::RESOURCE_EXHAUSTED, StatusCode::UNIMPLEMENTED}) {
    EXPECT_EQ(ending_of(Status(code, ""), true), Ending::kError);
  }
}

TEST(BackOff, ConnectionsAreTriedTwiceAsLateEachTimeUpToFifteenSeconds) {
  BackOff back_off;
  std::vector<Duration> waits;
  for (int i = 0; i < 12; ++i) waits.push_back(back_off.after(Ending::kConnection, false));
  EXPECT_EQ(waits,
            (std::vector<Duration>{20ms, 40ms, 80ms, 160ms, 320ms, 640ms, 1280ms, 2560ms, 5120ms, 10240ms, 15s, 15s}));
}

TEST(BackOff, OtherErrorsGoOnWhereConnectionsWere) {
  BackOff back_off;
  EXPECT_EQ(back_off.after(Ending::kConnection, false), 20ms);
  EXPECT_EQ(back_off.after(Ending::kError, true), 40ms);
  EXPECT_EQ(back_off.after(Ending::kConnection, false), 80ms);
}

TEST(BackOff, ANormalRotationWaitsTenMillisecondsAndStartsOver) {
  BackOff back_off;
  for (int i = 0; i < 5; ++i) back_off.after(Ending::kConnection, false);
  EXPECT_EQ(back_off.after(Ending::kReconnect, true), 10ms);
  EXPECT_EQ(back_off.after(Ending::kConnection, false), 20ms);
}

TEST(BackOff, ACleanEndAndAFaultOfOursAreTriedAtOnce) {
  BackOff back_off;
  EXPECT_EQ(back_off.after(Ending::kComplete, true), 0ms);
  EXPECT_EQ(back_off.after(Ending::kLocal, false), 0ms);
  EXPECT_EQ(back_off.after(Ending::kConnection, false), 20ms);
}

TEST(BackOff, QuickRowsHoldForEightFruitlessStreams) {
  for (const Ending ending : {Ending::kReconnect, Ending::kComplete, Ending::kLocal}) {
    BackOff back_off;
    const Duration quick = ending == Ending::kReconnect ? Duration(10ms) : Duration{};
    for (int i = 0; i < 8; ++i) EXPECT_EQ(back_off.after(ending, false), quick);
    EXPECT_EQ(back_off.after(ending, false), 20ms);
    EXPECT_EQ(back_off.after(ending, false), 40ms);
    for (int i = 0; i < 20; ++i) back_off.after(ending, false);
    EXPECT_EQ(back_off.after(ending, false), ending == Ending::kLocal ? Duration(1s) : Duration(15s));
    EXPECT_EQ(back_off.after(ending, true), quick);
  }
}

}  // namespace
}  // namespace culvert::xds
