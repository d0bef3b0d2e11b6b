// Sources tell, feeds carry on: what is sent, what is told as gone, and which identities follow.
#include "reconcile/mesh_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace culvert::reconcile {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// "a=1 b=2": workloads a and b of capacity 1 and 2; services and policies of the same names, with other changes.
Mesh mesh(const std::string& text) {
  Mesh out;
  for (size_t i = 0; i < text.size(); i += 4) {
    const std::string name = text.substr(i, 1);
    const uint32_t version = static_cast<uint32_t>(text[i + 2] - '0');
    Workload w;
    w.uid = name;
    w.capacity = version;
    out.workloads[name] = w;
    Service s;
    s.name_space = "n";
    s.hostname = name;
    s.ports[80] = static_cast<uint16_t>(version);
    out.services[s.key()] = s;
    Policy p;
    p.name_space = "n";
    p.name = name;
    p.rules.resize(version);
    out.policies[p.key()] = p;
  }
  return out;
}

std::vector<std::string> uids(const MeshDelta& delta) {
  std::vector<std::string> out;
  for (const auto& w : delta.workloads) out.push_back(w->uid);
  return out;
}

struct Row {
  std::string known, desired;
  std::vector<std::string> sent, removed;
};

class Replacing : public testing::TestWithParam<Row> {};

TEST_P(Replacing, CarriesOnWhatChanged) {
  const Row& row = GetParam();
  MeshStore store("n1", {Source::kFile});
  MeshStore::Feed feed(store);
  store.replace(Source::kFile, mesh(row.known));
  feed.take_all();
  store.replace(Source::kFile, mesh(row.desired));
  const MeshDelta d = feed.take();
  std::vector<std::string> services, policies, prefixed_sent, prefixed_removed;
  for (const auto& s : d.services) services.push_back(s->key());
  for (const auto& p : d.policies) policies.push_back(p->key());
  for (const std::string& name : row.sent) prefixed_sent.push_back("n/" + name);
  for (const std::string& name : row.removed) prefixed_removed.push_back("n/" + name);
  EXPECT_EQ(uids(d), row.sent);
  EXPECT_EQ(services, prefixed_sent);
  EXPECT_EQ(policies, prefixed_sent);
  EXPECT_EQ(d.removed_workloads, row.removed);
  EXPECT_EQ(d.removed_services, prefixed_removed);
  EXPECT_EQ(d.removed_policies, prefixed_removed);
  EXPECT_EQ(d.size(), 3 * (row.sent.size() + row.removed.size()));
  EXPECT_TRUE(feed.take().empty()) << "once taken, it is not carried again";
}

INSTANTIATE_TEST_SUITE_P(Table, Replacing,
                         testing::Values(Row{"", "", {}, {}},                        //
                                         Row{"a=1 b=1", "a=1 b=1", {}, {}},          //
                                         Row{"", "a=1 b=1", {"a", "b"}, {}},         //
                                         Row{"a=1 b=1", "", {}, {"a", "b"}},         //
                                         Row{"a=1 b=1", "a=1 b=2", {"b"}, {}},       //
                                         Row{"b=1", "a=1 b=1 c=1", {"a", "c"}, {}},  //
                                         Row{"a=1 b=1 c=1", "b=1", {}, {"a", "c"}},  //
                                         Row{"a=1 c=1 d=1", "b=1 c=2", {"b", "c"}, {"a", "d"}}));

MeshChange upsert(const std::string& text) {
  MeshChange out;
  for (auto& [uid, w] : mesh(text).workloads) out.workloads.push_back(w);
  return out;
}

MeshChange removal(const std::string& uid) {
  MeshChange out;
  out.removed_workloads.push_back(uid);
  return out;
}

TEST(MeshStore, AKeyThatChangedTwiceIsCarriedOnceAsItStands) {
  MeshStore store("n1", {});
  MeshStore::Feed feed(store);
  store.apply(Source::kIstiod, upsert("a=1 b=1"));
  store.apply(Source::kIstiod, upsert("a=2"));
  store.apply(Source::kIstiod, removal("b"));
  const MeshDelta d = feed.take();
  ASSERT_THAT(uids(d), ElementsAre("a"));
  EXPECT_EQ(d.workloads.front()->capacity, 2u);
  EXPECT_THAT(d.removed_workloads, ElementsAre("b"));
}

TEST(MeshStore, OneChangeRemovesBeforeItAdds) {
  MeshStore store("n1", {});
  MeshStore::Feed feed(store);
  MeshChange change = upsert("a=1");
  change.removed_workloads.push_back("a");
  store.apply(Source::kIstiod, change);
  EXPECT_THAT(uids(feed.take()), ElementsAre("a"));
}

TEST(MeshStore, AChangesServicesAndPoliciesStandUnderTheirOwnKeys) {
  MeshStore store("n1", {Source::kIstiod});
  MeshStore::Feed feed(store);
  MeshChange change;
  for (const char* name : {"a", "b"}) {
    Service& service = change.services.emplace_back();
    service.name_space = "n";
    service.hostname = name;
    Policy& policy = change.policies.emplace_back();
    policy.name_space = "n";
    policy.name = name;
  }
  store.apply(Source::kIstiod, std::move(change));
  EXPECT_EQ(store.counts().services, 2u);
  EXPECT_EQ(store.counts().policies, 2u);
  MeshChange removal;
  removal.removed_services = {"n/a"};
  removal.removed_policies = {"n/b"};
  store.apply(Source::kIstiod, std::move(removal));
  const MeshDelta d = feed.take();
  ASSERT_EQ(d.services.size(), 1u);
  EXPECT_EQ(d.services[0]->key(), "n/b");
  ASSERT_EQ(d.policies.size(), 1u);
  EXPECT_EQ(d.policies[0]->key(), "n/a");
}

TEST(MeshStore, ARecordThatIsTakenOutlivesItsRemoval) {
  MeshStore store("n1", {});
  MeshStore::Feed feed(store);
  store.apply(Source::kIstiod, upsert("a=7"));
  const MeshDelta d = feed.take();
  store.apply(Source::kIstiod, removal("a"));
  EXPECT_EQ(d.workloads.front()->capacity, 7u);
}

TEST(MeshStore, AnEqualRecordChangesNothing) {
  MeshStore store("n1", {});
  int told = 0;
  store.on_change([&](bool) { told++; });
  store.apply(Source::kIstiod, upsert("a=1"));
  store.apply(Source::kIstiod, upsert("a=1"));
  store.apply(Source::kIstiod, removal("nobody"));
  EXPECT_EQ(told, 1);
}

TEST(MeshStore, EachFeedHasItsOwnChanges) {
  MeshStore store("n1", {});
  MeshStore::Feed one(store);
  store.apply(Source::kIstiod, upsert("a=1"));
  MeshStore::Feed two(store);
  EXPECT_THAT(uids(two.take_all()), ElementsAre("a"));
  store.apply(Source::kIstiod, upsert("b=1"));
  EXPECT_THAT(uids(one.take()), ElementsAre("a", "b"));
  EXPECT_THAT(uids(two.take()), ElementsAre("b"));
}

TEST(MeshStore, IsKnownWhenEverySourceToldItsFirstState) {
  MeshStore store("n1", {Source::kFile, Source::kIstiod});
  store.replace(Source::kFile, {});
  store.apply(Source::kIstiod, upsert("a=1"));
  EXPECT_FALSE(store.is_known());
  store.complete(Source::kIstiod);
  EXPECT_TRUE(store.is_known());
}

TEST(MeshStore, ASourceTakesAwayOnlyWhatItToldLast) {
  MeshStore store("n1", {});
  store.replace(Source::kFile, mesh("a=1 b=1"));
  store.apply(Source::kIstiod, upsert("b=2"));
  store.replace(Source::kFile, {});
  EXPECT_FALSE(store.has_workload("a"));
  EXPECT_TRUE(store.has_workload("b"));
  store.apply(Source::kIstiod, removal("b"));
  EXPECT_EQ(store.counts().workloads, 0u);
}

Workload account(const std::string& uid, const std::string& name, Tunnel tunnel, const std::string& node) {
  Workload w;
  w.uid = uid;
  w.name_space = "demo";
  w.service_account = name;
  w.trust_domain = "td";
  w.tunnel = tunnel;
  w.node = node;
  return w;
}

TEST(MeshStore, IdentitiesAreThoseOfHboneAndNativeTunnels) {
  MeshStore store("n1", {});
  MeshChange change;
  change.workloads = {account("1", "hbone", Tunnel::kHbone, "n1"), account("2", "plain", Tunnel::kNone, "n1"),
                      account("3", "native", Tunnel::kNone, "n2"), account("4", "nameless", Tunnel::kHbone, "n1")};
  change.workloads[2].native_tunnel = true;
  change.workloads[3].trust_domain.clear();
  store.apply(Source::kIstiod, change);
  EXPECT_TRUE(store.is_meshed("spiffe://td/ns/demo/sa/hbone"));
  EXPECT_TRUE(store.is_meshed("spiffe://td/ns/demo/sa/native"));
  EXPECT_FALSE(store.is_meshed("spiffe://td/ns/demo/sa/plain"));
  EXPECT_THAT(store.local_identities(), ElementsAre("spiffe://td/ns/demo/sa/hbone"));
}

TEST(MeshStore, AnIdentityGoesWithItsLastWorkload) {
  MeshStore store("n1", {});
  std::vector<bool> told;
  store.on_change([&](bool identities) { told.push_back(identities); });
  const auto apply = [&](std::vector<Workload> workloads, std::vector<std::string> removed) {
    MeshChange change;
    change.workloads = std::move(workloads);
    change.removed_workloads = std::move(removed);
    store.apply(Source::kIstiod, std::move(change));
  };
  apply({account("1", "web", Tunnel::kHbone, "n1")}, {});
  apply({account("2", "web", Tunnel::kHbone, "n1")}, {});
  apply({}, {"1"});
  EXPECT_THAT(store.local_identities(), ElementsAre("spiffe://td/ns/demo/sa/web"));
  // It moves to another node, then leaves the mesh.
  apply({account("2", "web", Tunnel::kHbone, "n2")}, {});
  EXPECT_THAT(store.local_identities(), IsEmpty());
  EXPECT_TRUE(store.is_meshed("spiffe://td/ns/demo/sa/web"));
  apply({account("2", "web", Tunnel::kNone, "n2")}, {});
  EXPECT_FALSE(store.is_meshed("spiffe://td/ns/demo/sa/web"));
  EXPECT_THAT(told, ElementsAre(true, false, false, true, true));
}

TEST(MeshStore, CarriesEveryChangeOfAThreadToAnother) {
  constexpr int kWorkloads = 20'000;
  MeshStore store("n1", {});
  MeshStore::Feed feed(store);
  std::thread source([&] {
    for (int i = 0; i < kWorkloads; i++) {
      MeshChange change;
      change.workloads.resize(1);
      change.workloads[0].uid = std::to_string(i);
      store.apply(Source::kIstiod, std::move(change));
    }
  });
  std::set<std::string> seen;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (seen.size() < kWorkloads && std::chrono::steady_clock::now() < until) {
    for (const auto& w : feed.take().workloads) EXPECT_TRUE(seen.insert(w->uid).second);
  }
  source.join();
  EXPECT_EQ(seen.size(), static_cast<size_t>(kWorkloads));
}

TEST(WorkloadIdentity, NeedsAllThreeParts) {
  Workload w;
  w.trust_domain = "cluster.local";
  w.name_space = "demo";
  w.service_account = "client";
  EXPECT_EQ(w.identity(), "spiffe://cluster.local/ns/demo/sa/client");
  for (std::string Workload::*part : {&Workload::trust_domain, &Workload::name_space, &Workload::service_account}) {
    Workload bare = w;
    bare.*part = "";
    EXPECT_EQ(bare.identity(), std::nullopt);
  }
}

}  // namespace
}  // namespace culvert::reconcile
