// What the readiness probe waits for (reference 21.2).
#include "admin/readiness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace culvert::admin {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

southbound::DataPlaneStatus workers(std::vector<southbound::Millis> silences) {
  southbound::DataPlaneStatus out;
  for (const auto silence : silences) out.workers.push_back({.silent = silence, .poll = "adaptive"});
  return out;
}

TEST(Readiness, IsReadyWhenNothingIsPending) {
  EXPECT_THAT(pending_tasks({}, workers({0ms, 1999ms})), IsEmpty());
  EXPECT_EQ(readiness_reply({}).status, 200);
  EXPECT_EQ(readiness_reply({}).body, "ready\n");
}

TEST(Readiness, NamesWhatIsPendingSorted) {
  const auto pending = pending_tasks({"workload proxy manager", "state manager"}, std::nullopt);
  EXPECT_THAT(pending, ElementsAre("data plane", "state manager", "workload proxy manager"));
  EXPECT_EQ(readiness_reply(pending).status, 500);
  EXPECT_EQ(readiness_reply(pending).body, "not ready, pending: data plane, state manager, workload proxy manager\n");
}

TEST(Readiness, ADataPlaneThatDoesNotAnswerIsNotThere) {
  EXPECT_THAT(pending_tasks({}, southbound::Seen<southbound::DataPlaneStatus>(std::string("deadline"))),
              ElementsAre("data plane"));
}

TEST(Readiness, NamesASilentWorker) {
  EXPECT_THAT(pending_tasks({}, workers({0ms, 2000ms})), ElementsAre("worker 1 silent for 2000 ms"));
}

}  // namespace
}  // namespace culvert::admin
