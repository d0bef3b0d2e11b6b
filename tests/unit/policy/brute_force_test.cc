// Decisions against an evaluator written separately, from the reference alone (tests/testkit/policy_oracle.h), on a
// million random cases of fixed seeds. A case that fails is printed as a line that `culvertctl policy eval` takes.
#include <gtest/gtest.h>

#include "policy/decision.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"
#include "tests/testkit/policy_cases.h"
#include "tests/testkit/policy_oracle.h"

#ifndef CULVERT_POLICY_SETS
#define CULVERT_POLICY_SETS 4000
#endif

namespace culvert::policy {
namespace {

using testkit::ConnectionForm;
using testkit::PolicySetForm;
using testkit::PolicyVerdict;
using namespace testkit::records;

constexpr uint64_t kSets = CULVERT_POLICY_SETS;
constexpr uint64_t kConnectionsPerSet = 250;

// --- the forms as records --------------------------------------------------------------------------------------------

snapshot::StringMatch record_of(const testkit::StringForm& form) {
  using Kind = snapshot::StringMatch::Kind;
  switch (form.kind) {
    case testkit::StringForm::Kind::kExact:
      return {Kind::kExact, form.text};
    case testkit::StringForm::Kind::kPrefix:
      return {Kind::kPrefix, form.text};
    case testkit::StringForm::Kind::kSuffix:
      return {Kind::kSuffix, form.text};
    case testkit::StringForm::Kind::kPresence:
      break;
  }
  return {Kind::kPresence, {}};
}
snapshot::ServiceAccountMatch record_of(const testkit::AccountForm& form) { return {form.first, form.second}; }
Prefix record_of(const std::string& text) { return cidr(text); }
uint16_t record_of(int port) { return static_cast<uint16_t>(port); }

template <class Form, class Record>
void fill(snapshot::MatchLists<Record>& out, const std::vector<Form>& any_of, const std::vector<Form>& none_of) {
  for (const Form& form : any_of) out.any_of.push_back(record_of(form));
  for (const Form& form : none_of) out.none_of.push_back(record_of(form));
}

snapshot::Policy record_of(const testkit::PolicyForm& form) {
  snapshot::Policy out;
  out.name = form.name;
  out.name_space = form.name_space;
  out.scope = form.scope == "Global"      ? snapshot::PolicyScope::kGlobal
              : form.scope == "Namespace" ? snapshot::PolicyScope::kNamespace
                                          : snapshot::PolicyScope::kWorkloadSelector;
  out.action = form.action == "Deny" ? snapshot::PolicyAction::kDeny : snapshot::PolicyAction::kAllow;
  out.dry_run = form.dry_run;
  for (const auto& rule : form.rules) {
    snapshot::Rule& made = out.rules.emplace_back();
    for (const auto& clause : rule) {
      snapshot::Clause& made_clause = made.clauses.emplace_back();
      for (const testkit::MatchForm& m : clause) {
        snapshot::Match& match = made_clause.matches.emplace_back();
        fill(match.namespaces, m.namespaces, m.not_namespaces);
        fill(match.principals, m.principals, m.not_principals);
        fill(match.service_accounts, m.service_accounts, m.not_service_accounts);
        fill(match.source_ips, m.source_ips, m.not_source_ips);
        fill(match.destination_ips, m.destination_ips, m.not_destination_ips);
        fill(match.destination_ports, m.destination_ports, m.not_destination_ports);
      }
    }
  }
  return out;
}

// --- comparison ------------------------------------------------------------------------------------------------------

std::string_view name_of(Reason reason) {
  constexpr std::string_view kNames[] = {"no_allow_policy", "allowed", "explicitly_denied", "none_allowed"};
  return kNames[static_cast<size_t>(reason)];
}

// A sentence when they differ.
std::string difference(const Decision& decision, const PolicyVerdict& verdict) {
  const auto is_one_of = [](const snapshot::Policy* policy, const std::set<std::string>& keys) {
    return policy ? keys.contains(policy->key()) : keys.empty();
  };
  if (decision.allowed() != verdict.allowed) return "allowed";
  if (name_of(decision.reason) != verdict.reason) return "reason";
  if (decision.reason == Reason::kExplicitlyDenied) {
    return is_one_of(decision.policy, verdict.deny) ? "" : "the policy that denied";
  }
  if (!is_one_of(decision.policy, verdict.allow)) return "the policy that allowed";
  // A denial ends the decision before all of these are known.
  if (!is_one_of(decision.dry_run_deny, verdict.dry_run_deny)) return "dry-run DENY";
  if (!is_one_of(decision.dry_run_allow, verdict.dry_run_allow)) return "dry-run ALLOW";
  if (decision.dry_run_allow_missed != (verdict.dry_run_allow_exists && verdict.dry_run_allow.empty())) {
    return "dry-run ALLOW missed";
  }
  return decision.unknown_policies == verdict.unknown ? "" : "unknown policies";
}

TEST(BruteForce, AgreesWithAnEvaluatorWrittenFromTheReference) {
  testkit::PolicyCases cases(20'240'607);
  uint64_t outcomes[4] = {}, decisions = 0, differing = 0;
  for (uint64_t n = 0; n < kSets; ++n) {
    const PolicySetForm set = cases.policy_set();
    snapshot::MeshBuilder builder;
    for (const testkit::PolicyForm& form : set.policies) builder.upsert(record_of(form));
    snapshot::Workload workload = pod("api", {"10.0.0.2"}, set.workload_namespace);
    workload.authorization_policies = set.workload_policies;
    const auto mesh = builder.publish();
    for (uint64_t i = 0; i < kConnectionsPerSet; ++i, ++decisions) {
      const ConnectionForm form = cases.connection();
      const identity::SpiffeId id{form.trust_domain, form.name_space, form.service_account};
      const Connection connection{form.has_identity ? &id : nullptr, ip(form.source_ip), ip(form.destination_ip),
                                  static_cast<uint16_t>(form.port)};
      const Decision decision = decide(*mesh, workload, connection);
      const PolicyVerdict verdict = testkit::judge(set, form);
      ++outcomes[static_cast<size_t>(decision.reason)];
      if (decision.policy) {
        ASSERT_EQ(matching_rule(*decision.policy, connection), decision.rule);
      }
      const std::string differs = difference(decision, verdict);
      if (differs.empty()) continue;
      ADD_FAILURE() << differs << ": decided " << name_of(decision.reason) << ", the evaluator says " << verdict.reason
                    << "\n"
                    << testkit::to_json(set, form);
      ASSERT_LT(++differing, 5u) << "more is not shown";
    }
  }
  EXPECT_EQ(decisions, kSets * kConnectionsPerSet);
  for (const uint64_t count : outcomes) EXPECT_GT(count, decisions / 50) << "every outcome is really exercised";
}

// What the evaluator itself says in cases that can be read off the reference: it is a witness, so it is heard, too.
TEST(BruteForce, TheEvaluatorIsRightWhereTheReferenceIsPlain) {
  using testkit::MatchForm, testkit::StringForm;
  const auto allow = [](std::vector<std::vector<std::vector<MatchForm>>> rules) {
    PolicySetForm set;
    set.policies = {{"p", "a", "Namespace", "Allow", false, std::move(rules)}};
    set.workload_namespace = "a";
    return set;
  };
  ConnectionForm nobody;
  nobody.source_ip = "::ffff:10.0.0.1";
  nobody.destination_ip = "10.0.0.2";
  const auto allowed = [&](const PolicySetForm& set) { return testkit::judge(set, nobody).allowed; };
  EXPECT_FALSE(allowed(allow({}))) << "no rules: never";
  EXPECT_TRUE(allowed(allow({{}}))) << "no clauses: everything";
  EXPECT_TRUE(allowed(allow({{{}}}))) << "no matches: true";
  EXPECT_FALSE(allowed(allow({{{MatchForm{}}}}))) << "empty matches only: false";
  MatchForm presence;
  presence.not_principals = {{StringForm::Kind::kPresence, ""}};
  EXPECT_TRUE(allowed(allow({{{presence}}}))) << "without identity negatives pass";
  MatchForm any;
  any.principals = {{StringForm::Kind::kPrefix, ""}};
  EXPECT_FALSE(allowed(allow({{{any}}}))) << "and every positive form fails";
  MatchForm space;
  space.namespaces = {{StringForm::Kind::kExact, ""}};
  EXPECT_TRUE(allowed(allow({{{space}}}))) << "the namespace is then \"\"";
  MatchForm source;
  source.source_ips = {"10.0.0.0/31"};
  EXPECT_TRUE(allowed(allow({{{source}}}))) << "IPv4-mapped is IPv4";
  source.source_ips = {"::/0"};
  EXPECT_FALSE(allowed(allow({{{source}}}))) << "and no IPv6";
}

}  // namespace
}  // namespace culvert::policy
