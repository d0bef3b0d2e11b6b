// Every row of reference 12.3 as a table: one policy, one connection, the outcome.
#include <gtest/gtest.h>

#include "policy/matcher.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::policy {
namespace {

using namespace testkit::records;
using snapshot::Clause;
using snapshot::Match;
using snapshot::Policy;
using snapshot::Rule;
using snapshot::StringMatch;

const identity::SpiffeId kWeb{"cluster.local", "shop", "web"};

Connection from_web() { return {&kWeb, ip("10.0.0.1"), ip("10.0.0.2"), 8080}; }
Connection from_nobody() { return {nullptr, ip("10.0.0.1"), ip("10.0.0.2"), 8080}; }

StringMatch exact(std::string v) { return {StringMatch::Kind::kExact, std::move(v)}; }
StringMatch prefix(std::string v) { return {StringMatch::Kind::kPrefix, std::move(v)}; }
StringMatch suffix(std::string v) { return {StringMatch::Kind::kSuffix, std::move(v)}; }
StringMatch presence() { return {StringMatch::Kind::kPresence, ""}; }

Match principal(StringMatch m) {
  Match out;
  out.principals.any_of.push_back(std::move(m));
  return out;
}
Match port(uint16_t p) {
  Match out;
  out.destination_ports.any_of.push_back(p);
  return out;
}

Clause clause(std::vector<Match> matches) { return {std::move(matches)}; }
Rule rule(std::vector<Clause> clauses) { return {std::move(clauses)}; }
Policy policy(std::vector<Rule> rules) {
  Policy p;
  p.name = "p";
  p.name_space = "shop";
  p.rules = std::move(rules);
  return p;
}

TEST(Structure, EmptyRulesClausesAndMatchesAreThreeDifferentThings) {
  const Match yes = port(8080), no = port(9090), empty;
  struct Row {
    const char* what;
    Policy policy;
    bool matches;
  };
  const Row rows[] = {
      {"no rules: never", policy({}), false},
      {"a rule without clauses: always", policy({rule({})}), true},
      {"a clause without matches: true", policy({rule({clause({})})}), true},
      {"a clause of empty matches only: false", policy({rule({clause({empty})})}), false},
      {"two empty matches: false", policy({rule({clause({empty, empty})})}), false},
      {"an empty match is skipped beside one that matches", policy({rule({clause({empty, yes})})}), true},
      {"an empty match is skipped beside one that does not", policy({rule({clause({empty, no})})}), false},
      {"any match of a clause", policy({rule({clause({no, yes})})}), true},
      {"no match of a clause", policy({rule({clause({no, no})})}), false},
      {"all clauses of a rule", policy({rule({clause({yes}), clause({yes})})}), true},
      {"one clause of a rule fails", policy({rule({clause({yes}), clause({no})})}), false},
      {"an empty clause does not hide one that fails", policy({rule({clause({}), clause({no})})}), false},
      {"any rule of a policy", policy({rule({clause({no})}), rule({clause({yes})})}), true},
      {"no rule of a policy", policy({rule({clause({no})}), rule({clause({no})})}), false},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(matching_rule(row.policy, from_web()).has_value(), row.matches) << row.what;
  }
  EXPECT_EQ(matching_rule(policy({rule({clause({no})}), rule({clause({yes})})}), from_web()), 1u);
}

TEST(Structure, AMatchHoldsWhenEveryKindItListsHolds) {
  Match m = port(8080);
  m.namespaces.any_of.push_back(exact("shop"));
  m.source_ips.any_of.push_back(cidr("10.0.0.0/24"));
  EXPECT_TRUE(matches(m, from_web()));
  m.source_ips.any_of[0] = cidr("10.0.1.0/24");
  EXPECT_FALSE(matches(m, from_web()));
}

TEST(Structure, PositiveAndNegativeListOfAKindMustBothHold) {
  struct Row {
    std::vector<uint16_t> any_of, none_of;
    bool matches;
  };
  for (const Row& row : {Row{{8080}, {}, true}, Row{{9090}, {}, false}, Row{{}, {9090}, true}, Row{{}, {8080}, false},
                         Row{{8080}, {9090}, true}, Row{{8080}, {8080}, false}, Row{{9090}, {9091}, false},
                         Row{{9090, 8080}, {1, 2}, true}, Row{{8080}, {1, 8080}, false}}) {
    Match m;
    m.destination_ports = {row.any_of, row.none_of};
    EXPECT_EQ(matches(m, from_web()), row.matches);
  }
}

TEST(Kinds, StringsMatchExactlyByPrefixSuffixAndPresence) {
  struct Row {
    StringMatch match;
    bool matches;
  };
  const Row rows[] = {
      {exact("cluster.local/ns/shop/sa/web"), true},
      {exact("spiffe://cluster.local/ns/shop/sa/web"), false},  // principals are written without the scheme
      {exact("cluster.local/ns/shop/sa/we"), false},
      {exact("cluster.local/ns/shop/sa/webs"), false},
      {exact("Cluster.local/ns/shop/sa/web"), false},  // case-sensitive
      {exact(""), false},
      {prefix("cluster.local/ns/shop/"), true},
      {prefix("cluster.local/ns/shop/sa/web"), true},
      {prefix("cluster.local/ns/shop/sa/web1"), false},
      {prefix("local"), false},
      {prefix(""), true},
      {suffix("/sa/web"), true},
      {suffix("ns/shop/sa/web"), true},  // across the pieces of which the name is made
      {suffix("cluster.local/ns/shop/sa/web"), true},
      {suffix("x/cluster.local/ns/shop/sa/web"), false},
      {suffix("/sa/we"), false},
      {suffix(""), true},
      {presence(), true},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(matches(principal(row.match), from_web()), row.matches)
        << static_cast<int>(row.match.kind) << " " << row.match.value;
  }
}

TEST(Kinds, WithoutIdentityEveryPositivePrincipalFailsAndNegativesPass) {
  for (const StringMatch& m : {exact(""), exact("a"), prefix(""), suffix(""), presence()}) {
    EXPECT_FALSE(matches(principal(m), from_nobody()));
    Match negative;
    negative.principals.none_of.push_back(m);
    EXPECT_TRUE(matches(negative, from_nobody()));
  }
}

TEST(Kinds, StrictMutualTlsIsADenyOfCallersWithoutIdentity) {
  // What istiod makes of PeerAuthentication STRICT (reference 12.6).
  Match strict;
  strict.principals.none_of.push_back(presence());
  EXPECT_TRUE(matches(strict, from_nobody()));
  EXPECT_FALSE(matches(strict, from_web()));
}

TEST(Kinds, TheNamespaceIsEmptyWithoutIdentity) {
  auto match = [](StringMatch m) {
    Match out;
    out.namespaces.any_of.push_back(std::move(m));
    return out;
  };
  EXPECT_TRUE(matches(match(exact("shop")), from_web()));
  EXPECT_TRUE(matches(match(prefix("sh")), from_web()));
  EXPECT_TRUE(matches(match(suffix("op")), from_web()));
  EXPECT_TRUE(matches(match(presence()), from_web()));
  EXPECT_FALSE(matches(match(exact("other")), from_web()));
  EXPECT_FALSE(matches(match(exact("shop")), from_nobody()));
  EXPECT_FALSE(matches(match(presence()), from_nobody()));
  EXPECT_TRUE(matches(match(exact("")), from_nobody()));
  Match negative;
  negative.namespaces.none_of.push_back(exact("shop"));
  EXPECT_TRUE(matches(negative, from_nobody()));
  EXPECT_FALSE(matches(negative, from_web()));
}

TEST(Kinds, ServiceAccountsIgnoreTheTrustDomain) {
  const identity::SpiffeId elsewhere{"other.domain", "shop", "web"};
  Match m;
  m.service_accounts.any_of.push_back({"shop", "web"});
  Connection c = from_web();
  EXPECT_TRUE(matches(m, c));
  c.peer = &elsewhere;
  EXPECT_TRUE(matches(m, c));
  EXPECT_FALSE(matches(m, from_nobody()));
  m.service_accounts.any_of = {{"shop", "api"}, {"prod", "web"}};
  EXPECT_FALSE(matches(m, from_web()));
  Match negative;
  negative.service_accounts.none_of.push_back({"shop", "web"});
  EXPECT_FALSE(matches(negative, from_web()));
  EXPECT_TRUE(matches(negative, from_nobody()));
}

TEST(Kinds, AddressesAreComparedByBlock) {
  struct Row {
    const char* block;
    bool source, destination;
  };
  for (const Row& row :
       {Row{"10.0.0.1/32", true, false}, Row{"10.0.0.2/32", false, true}, Row{"10.0.0.0/30", true, true},
        Row{"0.0.0.0/0", true, true}, Row{"::/0", false, false}, Row{"10.0.1.0/24", false, false}}) {
    Match source, destination;
    source.source_ips.any_of.push_back(cidr(row.block));
    destination.destination_ips.any_of.push_back(cidr(row.block));
    EXPECT_EQ(matches(source, from_web()), row.source) << row.block;
    EXPECT_EQ(matches(destination, from_web()), row.destination) << row.block;
    std::swap(source.source_ips.any_of, source.source_ips.none_of);
    std::swap(destination.destination_ips.any_of, destination.destination_ips.none_of);
    EXPECT_EQ(matches(source, from_web()), !row.source) << row.block;
    EXPECT_EQ(matches(destination, from_web()), !row.destination) << row.block;
  }
  const Connection six{&kWeb, ip("fd00::1"), ip("fd00::2"), 80};
  Match m;
  m.source_ips.any_of.push_back(cidr("fd00::/64"));
  EXPECT_TRUE(matches(m, six));
  m.source_ips.any_of[0] = cidr("0.0.0.0/0");
  EXPECT_FALSE(matches(m, six)) << "never across families";
}

}  // namespace
}  // namespace culvert::policy
