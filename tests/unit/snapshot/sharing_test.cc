// Versions: what they share, what a change costs, and how a full state replaces the present one.
#include <gtest/gtest.h>
#include <time.h>

#include <map>
#include <set>

#include "base/random.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::snapshot {
namespace {

using namespace testkit::records;

Workload numbered(uint32_t n) {
  Workload w = pod("p" + std::to_string(n), {});
  w.addresses = {IpAddress::v4(0x0a000000u + n)};
  w.services.push_back({"shop/s" + std::to_string(n % 2000) + ".shop.svc.cluster.local", {}});
  return w;
}

TEST(Sharing, NothingChangedIsTheSameMesh) {
  MeshBuilder builder;
  EXPECT_TRUE(builder.upsert(numbered(1)));
  const auto first = builder.publish();
  EXPECT_FALSE(builder.upsert(numbered(1)));
  EXPECT_FALSE(builder.remove_workload("unknown"));
  EXPECT_EQ(builder.publish(), first);
}

TEST(Sharing, AnOldVersionStaysAsItWas) {
  MeshBuilder builder;
  builder.upsert(numbered(1));
  const auto old = builder.publish();
  builder.remove_workload(numbered(1).uid);
  builder.upsert(numbered(2));
  const auto now = builder.publish();
  EXPECT_NE(old->workload(numbered(1).uid), nullptr);
  EXPECT_EQ(old->workload(numbered(2).uid), nullptr);
  EXPECT_EQ(now->workload(numbered(1).uid), nullptr);
  EXPECT_NE(now->workload_at("", numbered(2).addresses[0]), nullptr);
  EXPECT_GT(now->version(), old->version());
}

TEST(Sharing, AGenerationTellsThatPoliciesChanged) {
  MeshBuilder builder;
  builder.upsert(numbered(1));
  const auto a = builder.publish();
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 80}})));
  const auto b = builder.publish();
  EXPECT_EQ(b->policy_generation(), a->policy_generation());
  Policy p;
  p.name = "p";
  p.name_space = "shop";
  builder.upsert(p);
  const auto c = builder.publish();
  EXPECT_GT(c->policy_generation(), b->policy_generation());
}

TEST(Sharing, OneChangeAmongAHundredThousandCopiesOneShardPerTable) {
  MeshBuilder builder;
  for (uint32_t i = 0; i < 2000; ++i) {
    Service s = service("s" + std::to_string(i), {}, ports({{80, 8080}}));
    s.vips = {{"", IpAddress::v4(0x0b000000u + i)}};
    builder.upsert(s);
  }
  for (uint32_t n = 0; n < 100'000; ++n) builder.upsert(numbered(n));
  const auto before = builder.publish();
  ASSERT_EQ(before->workload_count(), 100'000u);
  ASSERT_EQ(builder.entries_copied(), 0u) << "loading copies nothing";

  const uint64_t copied = builder.entries_copied();
  Workload changed = numbered(77'777);
  changed.status = WorkloadStatus::kUnhealthy;
  ASSERT_TRUE(builder.upsert(changed));
  const auto after = builder.publish();
  EXPECT_EQ(after->workload_shards_shared_with(*before), kShards - 1);
  // Four tables are touched (uid, address, name, endpoints). An even spread puts 24 entries into a shard.
  const uint64_t cost = builder.entries_copied() - copied;
  EXPECT_LT(cost, 4 * 60u);
  EXPECT_GT(cost, 0u);
  EXPECT_EQ(after->endpoints(*after->service("shop", "s1777.shop.svc.cluster.local")).size(), 49u);
  EXPECT_EQ(before->endpoints(*before->service("shop", "s1777.shop.svc.cluster.local")).size(), 50u);
}

TEST(Sync, RemovesWhatItDoesNotMention) {
  MeshBuilder builder;
  Policy p;
  p.name_space = "shop";
  for (const char* name : {"stay", "go"}) {
    builder.upsert(pod(name, {}));
    builder.upsert(service(name, {}, ports({{80, 80}})));
    p.name = name;
    builder.upsert(p);
  }
  const auto before = builder.publish();
  builder.begin_sync();
  builder.upsert(pod("stay", {}));
  builder.upsert(service("stay", {}, ports({{80, 80}})));
  p.name = "stay";
  builder.upsert(p);
  builder.upsert(pod("new", {}));
  builder.end_sync();
  const auto after = builder.publish();
  EXPECT_EQ(after->workload_count(), 2u);
  EXPECT_EQ(after->workload("Kubernetes//Pod/shop/go"), nullptr);
  EXPECT_NE(after->workload("Kubernetes//Pod/shop/new"), nullptr);
  EXPECT_EQ(after->service("shop", "go.shop.svc.cluster.local"), nullptr);
  EXPECT_EQ(after->policy("shop/go"), nullptr);
  EXPECT_NE(after->policy("shop/stay"), nullptr);
  EXPECT_EQ(after->workload("Kubernetes//Pod/shop/stay"), before->workload("Kubernetes//Pod/shop/stay"))
      << "an equal record is not even replaced";
}

TEST(Sync, WithoutABeginRemovesNothing) {
  MeshBuilder builder;
  builder.upsert(pod("a", {}));
  builder.end_sync();
  EXPECT_EQ(builder.publish()->workload_count(), 1u);
}

TEST(Sync, ChangesBetweenTwoFullStatesDoNotProtectARecordFromTheSecond) {
  MeshBuilder builder;
  builder.begin_sync();
  builder.upsert(pod("a", {}));
  builder.end_sync();
  builder.upsert(pod("b", {}));
  builder.begin_sync();
  builder.upsert(pod("a", {}));
  builder.end_sync();
  EXPECT_EQ(builder.publish()->workload_count(), 1u);
}

// A builder driven at random agrees with a plain map, at every version it published.
TEST(Sharing, AgreesWithAPlainMapUnderRandomChanges) {
  Random random(7);
  MeshBuilder builder;
  std::map<std::string, Workload> expected;
  std::vector<std::pair<std::shared_ptr<const Mesh>, std::map<std::string, Workload>>> versions;
  for (int step = 0; step < 6000; ++step) {
    Workload w = numbered(static_cast<uint32_t>(random.below(300)));
    if (random.chance_ppm(400'000)) {
      builder.remove_workload(w.uid);
      expected.erase(w.uid);
    } else {
      w.canonical_revision = std::to_string(random.below(3));
      expected[w.uid] = w;
      builder.upsert(w);
    }
    if (random.chance_ppm(20'000)) versions.emplace_back(builder.publish(), expected);
  }
  ASSERT_GT(versions.size(), 50u);
  for (const auto& version : versions) {
    const auto& mesh = version.first;
    const auto& map = version.second;
    ASSERT_EQ(mesh->workload_count(), map.size());
    size_t visited = 0;
    mesh->for_each_workload([&](const Workload& w) {
      ++visited;
      ASSERT_EQ(w, map.at(w.uid));
    });
    EXPECT_EQ(visited, map.size());
    for (const auto& [uid, w] : map) {
      ASSERT_NE(mesh->workload(uid), nullptr);
      ASSERT_EQ(*mesh->workload_at("", w.addresses[0]), w);
      ASSERT_EQ(*mesh->local_workload("shop", w.name, ""), w);
    }
  }
}

// Endpoints of a ServiceEntry may share a name, and a broken control plane may give one address to everybody.
TEST(Sharing, ManyThatShareAnAddressAndANameCostOnePublication) {
  constexpr uint32_t kWorkloads = 20'000;
  const auto shared = [](uint32_t n) {
    Workload w = numbered(n);
    w.name = "same";
    w.addresses = {*IpAddress::parse("10.0.0.1")};
    return w;
  };
  timespec begin, end;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
  MeshBuilder builder;
  for (uint32_t n = 0; n < kWorkloads; ++n) builder.upsert(shared(n));
  auto mesh = builder.publish();
  EXPECT_EQ(mesh->workload_at("", *IpAddress::parse("10.0.0.1"))->uid, shared(kWorkloads - 1).uid) << "the latest";
  for (uint32_t n = kWorkloads - 1; n > 10; --n) builder.remove_workload(shared(n).uid);
  mesh = builder.publish();
  EXPECT_EQ(mesh->workload_at("", *IpAddress::parse("10.0.0.1"))->uid, shared(10).uid);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  // Copying the list for each of them took some hundred times as long.
  EXPECT_LT(end.tv_sec - begin.tv_sec, 5);
  for (uint32_t n = 0; n <= 10; ++n) builder.remove_workload(shared(n).uid);
  mesh = builder.publish();
  EXPECT_EQ(mesh->workload_at("", *IpAddress::parse("10.0.0.1")), nullptr);
  EXPECT_EQ(mesh->local_workload("shop", "same", ""), nullptr);
}

}  // namespace
}  // namespace culvert::snapshot
