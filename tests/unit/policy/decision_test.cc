// The decision over several policies (reference 12.4): candidates, order, dry-run, and how it is told.
#include <gtest/gtest.h>

#include "policy/decision.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::policy {
namespace {

using namespace testkit::records;
using snapshot::Policy;
using snapshot::PolicyAction;
using snapshot::PolicyScope;

const identity::SpiffeId kWeb{"cluster.local", "shop", "web"};

// Policies in these tests match everything (a rule without clauses) or nothing (no rules).
Policy policy(const std::string& key, PolicyScope scope, PolicyAction action, bool matching, bool dry_run = false) {
  Policy p;
  p.name_space = key.substr(0, key.find('/'));
  p.name = key.substr(key.find('/') + 1);
  p.scope = scope;
  p.action = action;
  p.dry_run = dry_run;
  if (matching) p.rules.emplace_back();
  return p;
}
Policy allow(const std::string& key, bool matching, bool dry_run = false) {
  return policy(key, PolicyScope::kNamespace, PolicyAction::kAllow, matching, dry_run);
}
Policy deny(const std::string& key, bool matching, bool dry_run = false) {
  return policy(key, PolicyScope::kNamespace, PolicyAction::kDeny, matching, dry_run);
}

class Decisions : public testing::Test {
 protected:
  Decision decide_with(std::vector<Policy> policies, std::vector<std::string> named = {}) {
    snapshot::MeshBuilder builder;
    for (Policy& p : policies) builder.upsert(std::move(p));
    snapshot::Workload w = pod("api", {"10.0.0.2"});
    w.authorization_policies = std::move(named);
    builder.upsert(w);
    mesh = builder.publish();
    workload = mesh->workload(w.uid);
    return decide(*mesh, *workload, connection);
  }
  std::shared_ptr<const snapshot::Mesh> mesh;
  const snapshot::Workload* workload = nullptr;
  Connection connection{&kWeb, ip("10.0.0.1"), ip("10.0.0.2"), 8080};
};

TEST_F(Decisions, FollowTheOrderOfTheReference) {
  struct Row {
    const char* what;
    std::vector<Policy> policies;
    Reason reason;
    const char* named_policy;
  };
  const Row rows[] = {
      {"nothing applies", {}, Reason::kNoAllowPolicy, ""},
      {"a DENY that does not match", {deny("shop/d", false)}, Reason::kNoAllowPolicy, ""},
      {"a DENY that matches", {deny("shop/d", true)}, Reason::kExplicitlyDenied, "shop/d"},
      {"an ALLOW that matches", {allow("shop/a", true)}, Reason::kAllowed, "shop/a"},
      {"an ALLOW that does not match", {allow("shop/a", false)}, Reason::kNoneAllowed, ""},
      {"DENY before ALLOW", {allow("shop/a", true), deny("shop/z", true)}, Reason::kExplicitlyDenied, "shop/z"},
      {"ALLOW behind a DENY that does not match",
       {allow("shop/a", true), deny("shop/d", false)},
       Reason::kAllowed,
       "shop/a"},
      {"one ALLOW of two", {allow("shop/a", false), allow("shop/b", true)}, Reason::kAllowed, "shop/b"},
      {"a DENY in dry-run", {deny("shop/d", true, true)}, Reason::kNoAllowPolicy, ""},
      {"a dry-run DENY before one that counts",
       {deny("shop/c", true, true), deny("shop/d", true)},
       Reason::kExplicitlyDenied,
       "shop/d"},
      {"an ALLOW in dry-run admits nobody",
       {allow("shop/a", false), allow("shop/b", true, true)},
       Reason::kNoneAllowed,
       ""},
      {"an ALLOW in dry-run excludes nobody", {allow("shop/b", false, true)}, Reason::kNoAllowPolicy, ""},
  };
  for (const Row& row : rows) {
    const Decision d = decide_with(row.policies);
    EXPECT_EQ(d.reason, row.reason) << row.what;
    EXPECT_EQ(d.policy ? d.policy->key() : "", row.named_policy) << row.what;
    EXPECT_EQ(d.allowed(), row.reason == Reason::kNoAllowPolicy || row.reason == Reason::kAllowed);
    EXPECT_EQ(error_text(d).empty(), d.allowed()) << row.what;
  }
}

TEST_F(Decisions, ScopeSaysWhereAPolicyApplies) {
  struct Row {
    const char* what;
    Policy policy;
    std::vector<std::string> named;
    bool denied;
  };
  auto d = [](const char* key, PolicyScope scope) { return policy(key, scope, PolicyAction::kDeny, true); };
  const Row rows[] = {
      {"global", d("istio-system/p", PolicyScope::kGlobal), {}, true},
      {"own namespace", d("shop/p", PolicyScope::kNamespace), {}, true},
      {"other namespace", d("prod/p", PolicyScope::kNamespace), {}, false},
      {"selector, not named", d("shop/p", PolicyScope::kWorkloadSelector), {}, false},
      {"selector, named", d("shop/p", PolicyScope::kWorkloadSelector), {"shop/p"}, true},
      {"selector of another namespace, named",
       d("istio-system/strict", PolicyScope::kWorkloadSelector),
       {"istio-system/strict"},
       true},
      {"another one named", d("shop/p", PolicyScope::kWorkloadSelector), {"shop/q"}, false},
      {"namespace policy of another namespace, named", d("prod/p", PolicyScope::kNamespace), {"prod/p"}, true},
  };
  for (const Row& row : rows) EXPECT_EQ(!decide_with({row.policy}, row.named).allowed(), row.denied) << row.what;
}

TEST_F(Decisions, ANameThatNoPolicyBearsIsSkippedAndCounted) {
  const Decision d = decide_with({}, {"shop/not-yet", "no-slash"});
  EXPECT_TRUE(d.allowed());
  EXPECT_EQ(d.unknown_policies, 2u);
}

TEST_F(Decisions, AWorkloadInNoNamespaceDoesNotReadGlobalPoliciesTwiceOver) {
  snapshot::MeshBuilder builder;
  builder.upsert(policy("root/p", PolicyScope::kGlobal, PolicyAction::kDeny, true));
  snapshot::Workload w = pod("api", {"10.0.0.2"}, "");
  builder.upsert(w);
  mesh = builder.publish();
  EXPECT_EQ(explain(*mesh, *mesh->workload(w.uid), connection).findings.size(), 1u);
}

TEST_F(Decisions, DryRunIsReportedBesideTheOutcome) {
  Decision d = decide_with({deny("shop/d", true, true), allow("shop/a", true, true), allow("shop/b", true)});
  EXPECT_EQ(d.reason, Reason::kAllowed);
  EXPECT_EQ(d.dry_run_deny->key(), "shop/d");
  EXPECT_EQ(d.dry_run_allow->key(), "shop/a");
  EXPECT_FALSE(d.dry_run_allow_missed);
  d = decide_with({allow("shop/a", false, true)});
  EXPECT_EQ(d.dry_run_allow, nullptr);
  EXPECT_TRUE(d.dry_run_allow_missed);
}

TEST_F(Decisions, ErrorsAreWordedAsTheReferenceSays) {
  EXPECT_EQ(error_text(decide_with({deny("shop/no-web", true)})),
            "connection closed due to policy rejection: explicitly denied by: shop/no-web");
  EXPECT_EQ(error_text(decide_with({allow("shop/a", false)})),
            "connection closed due to policy rejection: allow policies exist, but none allowed");
}

TEST_F(Decisions, AreExplainedPolicyByPolicy) {
  decide_with({deny("shop/d", false), allow("shop/a", true), allow("shop/t", false, true),
               policy("root/g", PolicyScope::kGlobal, PolicyAction::kDeny, true)},
              {"shop/gone"});
  EXPECT_EQ(
      to_lines(explain(*mesh, *workload, connection)),
      (std::vector<std::string>{
          "DENY shop/d (of the namespace): does not match", "DENY root/g (global): rule 0 matches",
          "ALLOW shop/a (of the namespace): rule 0 matches",
          "ALLOW shop/t (of the namespace) in dry-run: does not match",
          "shop/gone is named by the workload and unknown: skipped", "denied: explicitly denied by: root/g, rule 0"}));
}

}  // namespace
}  // namespace culvert::policy
