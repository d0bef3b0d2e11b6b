// Transactions of the mesh stream: what is visible when, and what a stream may not do.
#include "control/mesh_feed.h"

#include <gtest/gtest.h>

#include "control/api/contract.h"
#include "tests/unit/control/fake_node.h"

namespace culvert::control {
namespace {

MeshRecords with(std::vector<snapshot::Workload> workloads, std::vector<snapshot::Policy> policies = {}) {
  MeshRecords out;
  out.workloads = std::move(workloads);
  out.policies = std::move(policies);
  return out;
}

std::shared_ptr<const snapshot::Mesh> push(MeshFeed& feed, uint64_t stream, bool full, MeshRecords records) {
  EXPECT_TRUE(feed.begin(stream, "v", full).ok());
  EXPECT_TRUE(feed.apply(stream, std::move(records)).ok());
  auto applied = feed.end(stream);
  EXPECT_TRUE(applied.ok());
  return applied ? applied->mesh : nullptr;
}

TEST(MeshFeed, ShowsNothingOfATransactionBeforeItsEnd) {
  MeshFeed feed;
  const uint64_t stream = feed.open_stream();
  ASSERT_TRUE(feed.begin(stream, "v1", true).ok());
  ASSERT_TRUE(feed.apply(stream, with({workload("a", "a")})).ok());
  EXPECT_EQ(feed.mesh()->workload("a"), nullptr);
  const auto applied = feed.end(stream);
  ASSERT_TRUE(applied.ok());
  EXPECT_EQ(applied->version, "v1");
  EXPECT_NE(feed.mesh()->workload("a"), nullptr);
  EXPECT_EQ(feed.version(), "v1");
}

TEST(MeshFeed, RemovesWhatAFullTransactionDoesNotName) {
  MeshFeed feed;
  const uint64_t stream = feed.open_stream();
  push(feed, stream, true, with({workload("a", "a"), workload("b", "b")}, {policy("p")}));
  const auto mesh = push(feed, stream, true, with({workload("b", "b")}));
  EXPECT_EQ(mesh->workload("a"), nullptr);
  EXPECT_NE(mesh->workload("b"), nullptr);
  EXPECT_EQ(mesh->policy_count(), 0u);
}

TEST(MeshFeed, AppliesAFullTransactionAsADifference) {
  MeshFeed feed;
  push(feed, feed.open_stream(), true, with({workload("a", "a")}, {policy("p")}));
  const auto before = feed.mesh();
  EXPECT_EQ(push(feed, feed.open_stream(), true, with({workload("a", "a")}, {policy("p")})), before)
      << "an equal state is no change";
  const auto after =
      push(feed, feed.open_stream(), true, with({workload("a", "a"), workload("b", "b")}, {policy("p")}));
  EXPECT_EQ(after->policy_generation(), before->policy_generation());
  EXPECT_EQ(after->workload("a"), before->workload("a")) << "the record itself is shared";
}

TEST(MeshFeed, AppliesAnIncrementalTransactionOnTop) {
  MeshFeed feed;
  const uint64_t stream = feed.open_stream();
  push(feed, stream, true, with({workload("a", "a"), workload("b", "b")}));
  MeshRecords change = with({workload("c", "c")});
  change.removed_workloads = {"a", "never-there"};
  const auto mesh = push(feed, stream, false, std::move(change));
  EXPECT_EQ(mesh->workload("a"), nullptr);
  EXPECT_NE(mesh->workload("b"), nullptr);
  EXPECT_NE(mesh->workload("c"), nullptr);
}

TEST(MeshFeed, KeepsTheFormerVersionOfARefusedRecord) {
  MeshFeed feed;
  const uint64_t stream = feed.open_stream();
  push(feed, stream, true, with({workload("a", "a"), workload("b", "b")}, {policy("p")}));
  MeshRecords records;
  records.rejections = {{"workload", "a", "addresses[0]", "x"}, {"policy", "demo/p", "scope", "x"}};
  ASSERT_TRUE(feed.begin(stream, "v2", true).ok());
  ASSERT_TRUE(feed.apply(stream, records).ok());
  const auto applied = feed.end(stream);
  ASSERT_TRUE(applied.ok());
  EXPECT_NE(applied->mesh->workload("a"), nullptr);
  EXPECT_NE(applied->mesh->policy("demo/p"), nullptr);
  EXPECT_EQ(applied->mesh->workload("b"), nullptr) << "not named at all";
  EXPECT_EQ(applied->rejections, records.rejections);
}

TEST(MeshFeed, CountsRejectionsBeyondWhatAnAckHolds) {
  MeshFeed feed;
  const uint64_t stream = feed.open_stream();
  MeshRecords records;
  records.rejections.assign(api::kRejectionsMax + 5, {"workload", "x", "uid", "y"});
  ASSERT_TRUE(feed.begin(stream, "v", true).ok());
  ASSERT_TRUE(feed.apply(stream, records).ok());
  const auto applied = feed.end(stream);
  ASSERT_TRUE(applied.ok());
  EXPECT_EQ(applied->rejections.size(), api::kRejectionsMax);
  EXPECT_EQ(applied->rejections_left_out, 5u);
}

TEST(MeshFeed, ForgetsATransactionWhoseStreamBroke) {
  MeshFeed feed;
  uint64_t stream = feed.open_stream();
  push(feed, stream, true, with({workload("a", "a")}));
  ASSERT_TRUE(feed.begin(stream, "v2", true).ok());
  ASSERT_TRUE(feed.apply(stream, with({workload("half", "half")})).ok());
  feed.close_stream(stream);
  EXPECT_EQ(feed.mesh()->workload("half"), nullptr);
  stream = feed.open_stream();
  const auto mesh = push(feed, stream, true, with({workload("a", "a")}));
  EXPECT_EQ(mesh->workload("half"), nullptr);
  EXPECT_NE(mesh->workload("a"), nullptr);
}

TEST(MeshFeed, RefusesWhatAStreamMayNotDo) {
  MeshFeed feed;
  const uint64_t stream = feed.open_stream();
  EXPECT_EQ(feed.begin(stream, "v", false).error(), "the first transaction of a stream has to be a full one");
  EXPECT_EQ(feed.apply(stream, {}).error(), "records outside of a transaction");
  EXPECT_EQ(feed.end(stream).error(), "an end without a transaction");
  ASSERT_TRUE(feed.begin(stream, "v", true).ok());
  EXPECT_EQ(feed.begin(stream, "v", true).error(), "a transaction begins before the one before it has ended");
  const uint64_t newer = feed.open_stream();
  EXPECT_EQ(feed.apply(stream, {}).error(), "a newer mesh stream took this one's place");
  EXPECT_EQ(feed.end(stream).error(), "a newer mesh stream took this one's place");
  feed.close_stream(stream);
  EXPECT_TRUE(feed.is_open(newer)) << "the end of the old one is not the end of the new one";
}

}  // namespace
}  // namespace culvert::control
