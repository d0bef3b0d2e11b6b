// Desired minus known, as tables.
#include "reconcile/difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace culvert::reconcile {
namespace {

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

struct Row {
  std::string known, desired;
  std::vector<std::string> sent, removed;
};

class MeshDifferences : public testing::TestWithParam<Row> {};

TEST_P(MeshDifferences, NameWhatChanged) {
  const Row& row = GetParam();
  const Mesh known = mesh(row.known), desired = mesh(row.desired);
  const MeshDifference d = difference(desired, known);
  std::vector<std::string> workloads, services, policies, prefixed_sent, prefixed_removed;
  for (const Workload* w : d.workloads) workloads.push_back(w->uid);
  for (const Service* s : d.services) services.push_back(s->key());
  for (const Policy* p : d.policies) policies.push_back(p->key());
  for (const std::string& name : row.sent) prefixed_sent.push_back("n/" + name);
  for (const std::string& name : row.removed) prefixed_removed.push_back("n/" + name);
  EXPECT_EQ(workloads, row.sent);
  EXPECT_EQ(services, prefixed_sent);
  EXPECT_EQ(policies, prefixed_sent);
  EXPECT_EQ(d.removed_workloads, row.removed);
  EXPECT_EQ(d.removed_services, prefixed_removed);
  EXPECT_EQ(d.removed_policies, prefixed_removed);
  EXPECT_EQ(d.size(), 3 * (row.sent.size() + row.removed.size()));
}

INSTANTIATE_TEST_SUITE_P(Table, MeshDifferences,
                         testing::Values(Row{"", "", {}, {}},                        //
                                         Row{"a=1 b=1", "a=1 b=1", {}, {}},          //
                                         Row{"", "a=1 b=1", {"a", "b"}, {}},         //
                                         Row{"a=1 b=1", "", {}, {"a", "b"}},         //
                                         Row{"a=1 b=1", "a=1 b=2", {"b"}, {}},       //
                                         Row{"b=1", "a=1 b=1 c=1", {"a", "c"}, {}},  //
                                         Row{"a=1 b=1 c=1", "b=1", {}, {"a", "c"}},  //
                                         Row{"a=1 c=1 d=1", "b=1 c=2", {"b", "c"}, {"a", "d"}}));

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
