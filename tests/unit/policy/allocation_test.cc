// A decision allocates nothing, however many policies it asks (house style 6).
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "policy/decision.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace {
uint64_t allocations = 0;
}

void* operator new(size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  std::abort();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace culvert::policy {
namespace {

using namespace testkit::records;

TEST(Allocation, ADecisionTakesNoneFromTheHeap) {
  using namespace snapshot;
  MeshBuilder builder;
  Workload w = pod("api", {"10.0.0.2"});
  for (int i = 0; i < 200; ++i) {
    Policy p;
    p.name = "a-policy-with-a-name-that-is-too-long-for-small-strings-" + std::to_string(i);
    p.name_space = "shop";
    p.scope = i % 2 ? PolicyScope::kNamespace : PolicyScope::kWorkloadSelector;
    p.action = i % 3 ? PolicyAction::kDeny : PolicyAction::kAllow;
    p.dry_run = i % 5 == 0;
    Match m;
    m.principals.any_of.push_back(
        {StringMatch::Kind::kSuffix, "/a/service/account/of/some/other/" + std::to_string(i)});
    m.principals.any_of.push_back({StringMatch::Kind::kPrefix, "cluster.local/ns/shop/sa/nobody"});
    m.source_ips.any_of.push_back(cidr("10.0.0.0/8"));
    p.rules.push_back({{{{m}}}});
    w.authorization_policies.push_back(p.key());
    builder.upsert(p);
  }
  builder.upsert(w);
  const auto mesh = builder.publish();
  const Workload* workload = mesh->workload(w.uid);
  const identity::SpiffeId peer{"cluster.local", "shop", "a-service-account-with-a-long-name"};
  const Connection c{&peer, ip("10.0.0.1"), ip("10.0.0.2"), 80};
  const uint64_t before = allocations;
  const Decision d = decide(*mesh, *workload, c);
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(d.reason, Reason::kNoneAllowed);
}

}  // namespace
}  // namespace culvert::policy
