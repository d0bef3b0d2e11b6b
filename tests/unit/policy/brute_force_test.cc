// The decision against a second evaluator that was written from the text of the reference alone: it builds the strings,
// expands address blocks bit by bit and evaluates every part, without short cuts.
#include <gtest/gtest.h>

#include "base/random.h"
#include "policy/decision.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::policy {
namespace {

using namespace testkit::records;
using namespace snapshot;

// --- the oracle ------------------------------------------------------------------------------------------------------

struct Caller {
  std::optional<std::string> principal;  // "td/ns/x/sa/y"
  std::string name_space, account;
};

bool string_says(const StringMatch& m, const std::string& text) {
  if (m.kind == StringMatch::Kind::kExact) return text == m.value;
  if (m.kind == StringMatch::Kind::kPrefix) return text.rfind(m.value, 0) == 0;
  if (m.kind == StringMatch::Kind::kSuffix) {
    return text.size() >= m.value.size() && text.compare(text.size() - m.value.size(), std::string::npos, m.value) == 0;
  }
  return text != "";
}

std::string bits_of(const IpAddress& a) {
  std::string out = a.is_v4() ? "4" : "6";
  for (const uint8_t byte : a.wire()) {
    for (int bit = 7; bit >= 0; --bit) out += (byte >> bit) & 1 ? '1' : '0';
  }
  return out;
}

template <class T, class Says>
bool kind_says(const MatchLists<T>& lists, Says says) {
  int positive = 0, negative = 0;
  for (const T& value : lists.any_of) positive += says(value) ? 1 : 0;
  for (const T& value : lists.none_of) negative += says(value) ? 1 : 0;
  return (lists.any_of.empty() || positive > 0) && negative == 0;
}

bool match_says(const Match& m, const Caller& caller, const Connection& c) {
  const bool all[] = {
      kind_says(m.namespaces, [&](const StringMatch& s) { return string_says(s, caller.name_space); }),
      kind_says(m.principals,
                [&](const StringMatch& s) { return caller.principal && string_says(s, *caller.principal); }),
      kind_says(m.service_accounts,
                [&](const ServiceAccountMatch& s) {
                  return caller.principal && s.name_space == caller.name_space && s.service_account == caller.account;
                }),
      kind_says(m.source_ips,
                [&](const Prefix& p) {
                  return bits_of(c.source).substr(0, p.bits + 1) == bits_of(p.address).substr(0, p.bits + 1);
                }),
      kind_says(m.destination_ips,
                [&](const Prefix& p) {
                  return bits_of(c.destination).substr(0, p.bits + 1) == bits_of(p.address).substr(0, p.bits + 1);
                }),
      kind_says(m.destination_ports, [&](uint16_t p) { return p == c.port; })};
  for (const bool one : all) {
    if (!one) return false;
  }
  return true;
}

bool is_empty(const Match& m) { return m == Match{}; }

bool policy_says(const Policy& p, const Caller& caller, const Connection& c) {
  bool any_rule = false;
  for (const Rule& rule : p.rules) {
    bool all_clauses = true;
    for (const Clause& clause : rule.clauses) {
      bool any_match = clause.matches.empty();
      for (const Match& m : clause.matches) any_match |= !is_empty(m) && match_says(m, caller, c);
      all_clauses &= any_match;
    }
    any_rule |= all_clauses;
  }
  return any_rule;
}

struct Verdict {
  bool allowed;
  std::string text;  // of the error; for DENY any policy that matched may be named, so only the kind
};

Verdict oracle(const std::vector<Policy>& policies, const Workload& w, const Caller& caller, const Connection& c) {
  bool denied = false, allow_exists = false, allow_matches = false;
  for (const Policy& p : policies) {
    bool named = false;
    for (const std::string& name : w.authorization_policies) named |= name == p.key();
    const bool candidate = named || p.scope == PolicyScope::kGlobal ||
                           (p.scope == PolicyScope::kNamespace && p.name_space == w.name_space);
    if (!candidate || p.dry_run) continue;
    const bool says = policy_says(p, caller, c);
    if (p.action == PolicyAction::kDeny) {
      denied |= says;
    } else {
      allow_exists = true;
      allow_matches |= says;
    }
  }
  if (denied) return {false, "explicitly denied"};
  if (!allow_exists) return {true, ""};
  if (allow_matches) return {true, ""};
  return {false, "none allowed"};
}

// --- random cases ----------------------------------------------------------------------------------------------------
// Small alphabets, so that every comparison comes out both ways often.

const std::vector<std::string> kDomains = {"td", "t"}, kNamespaces = {"a", "ab", "b"}, kAccounts = {"x", "xy"};
const std::vector<std::string> kPrincipals = {
    "td/ns/a/sa/x", "t/ns/ab/sa/xy", "td/ns/b/sa/x", "td/ns/a/sa", "/sa/x", "d/", ""};
const std::vector<std::string> kAddresses = {"10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1", "fd00::2"};

class Cases {
 public:
  explicit Cases(uint64_t seed) : random_(seed) {}

  uint64_t below(uint64_t n) { return random_.below(n); }
  const std::string& pick(const std::vector<std::string>& list) { return list[random_.below(list.size())]; }

  StringMatch string_match(const std::vector<std::string>& words) {
    StringMatch m;
    m.kind = static_cast<StringMatch::Kind>(below(4));
    if (m.kind == StringMatch::Kind::kPresence) return m;
    m.value = pick(words);
    if (m.kind == StringMatch::Kind::kPrefix) m.value = m.value.substr(0, below(m.value.size() + 1));
    if (m.kind == StringMatch::Kind::kSuffix) m.value = m.value.substr(below(m.value.size() + 1));
    return m;
  }
  Prefix block() {
    const IpAddress a = ip(pick(kAddresses));
    static constexpr uint8_t kLengths4[] = {0, 8, 24, 30, 31, 32}, kLengths6[] = {0, 16, 64, 126, 127, 128};
    return {a, a.is_v4() ? kLengths4[below(6)] : kLengths6[below(6)]};
  }
  template <class T, class Make>
  void fill(MatchLists<T>& lists, Make make) {
    if (below(3) != 0) return;
    for (uint64_t n = below(3); n > 0; --n) lists.any_of.push_back(make());
    for (uint64_t n = below(2); n > 0; --n) lists.none_of.push_back(make());
  }
  Match match() {
    Match m;
    fill(m.namespaces, [&] { return string_match(kNamespaces); });
    fill(m.principals, [&] { return string_match(kPrincipals); });
    fill(m.service_accounts, [&] { return ServiceAccountMatch{pick(kNamespaces), pick(kAccounts)}; });
    fill(m.source_ips, [&] { return block(); });
    fill(m.destination_ips, [&] { return block(); });
    fill(m.destination_ports, [&] { return static_cast<uint16_t>(80 + below(3)); });
    return m;
  }
  Policy policy(uint64_t n) {
    Policy p;
    p.name = "p" + std::to_string(n);
    p.name_space = pick(kNamespaces);
    p.scope = static_cast<PolicyScope>(below(3));
    p.action = static_cast<PolicyAction>(below(2));
    p.dry_run = below(5) == 0;
    for (uint64_t rules = below(4); rules > 0; --rules) {
      Rule& rule = p.rules.emplace_back();
      for (uint64_t clauses = below(4); clauses > 0; --clauses) {
        Clause& clause = rule.clauses.emplace_back();
        for (uint64_t matches = below(4); matches > 0; --matches) clause.matches.push_back(match());
      }
    }
    return p;
  }

 private:
  Random random_;
};

TEST(BruteForce, AgreesOnTwoHundredThousandRandomCases) {
  Cases cases(20'240'607);
  uint64_t decisions = 0, outcomes[4] = {};
  for (int mesh_number = 0; mesh_number < 2'000; ++mesh_number) {
    MeshBuilder builder;
    std::vector<Policy> policies;
    for (uint64_t n = cases.below(6); n > 0; --n) {
      policies.push_back(cases.policy(n));
      builder.upsert(policies.back());
    }
    Workload w = pod("api", {"10.0.0.2"}, cases.pick(kNamespaces));
    for (const Policy& p : policies) {
      if (cases.below(2)) w.authorization_policies.push_back(p.key());
    }
    builder.upsert(w);
    const auto mesh = builder.publish();
    for (int i = 0; i < 100; ++i, ++decisions) {
      const identity::SpiffeId id{cases.pick(kDomains), cases.pick(kNamespaces), cases.pick(kAccounts)};
      Connection c{cases.below(4) ? &id : nullptr, ip(cases.pick(kAddresses)), ip(cases.pick(kAddresses)),
                   static_cast<uint16_t>(80 + cases.below(3))};
      Caller caller;
      if (c.peer) {
        caller = {id.trust_domain + "/ns/" + id.name_space + "/sa/" + id.service_account, id.name_space,
                  id.service_account};
      }
      const Decision decision = decide(*mesh, *mesh->workload(w.uid), c);
      const Verdict expected = oracle(policies, w, caller, c);
      ASSERT_EQ(decision.allowed(), expected.allowed) << "mesh " << mesh_number << " case " << i;
      ASSERT_NE(error_text(decision).find(expected.text), std::string::npos);
      if (decision.policy) {
        ASSERT_EQ(matching_rule(*decision.policy, c), decision.rule);
      }
      ++outcomes[static_cast<size_t>(decision.reason)];
    }
  }
  EXPECT_GE(decisions, 200'000u);
  for (const uint64_t n : outcomes) EXPECT_GT(n, decisions / 100) << "every outcome is really exercised";
}

}  // namespace
}  // namespace culvert::policy
