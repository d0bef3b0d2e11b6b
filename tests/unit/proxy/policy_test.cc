// Authorization on inbound streams through real tunnels, and live streams that a change denies (reference 12.4, 12.5).
#include <gtest/gtest.h>

#include "tests/unit/proxy/world.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;
using snapshot::Policy;
using snapshot::StringMatch;

Policy policy(snapshot::PolicyAction action, snapshot::Match match,
              snapshot::PolicyScope scope = snapshot::PolicyScope::kNamespace) {
  Policy p;
  p.name = action == snapshot::PolicyAction::kDeny ? "deny" : "allow";
  p.name_space = "shop";
  p.scope = scope;
  p.action = action;
  p.rules = {{{{{std::move(match)}}}}};
  return p;
}
Policy deny(snapshot::Match m) { return policy(snapshot::PolicyAction::kDeny, std::move(m)); }
Policy allow(snapshot::Match m) { return policy(snapshot::PolicyAction::kAllow, std::move(m)); }

snapshot::Match principal(const std::string& name) {
  snapshot::Match m;
  m.principals.any_of.push_back({StringMatch::Kind::kExact, "cluster.local/ns/shop/sa/" + name});
  return m;
}
snapshot::Match port(uint16_t p) {
  snapshot::Match m;
  m.destination_ports.any_of.push_back(p);
  return m;
}
snapshot::Match source(const char* block) {
  snapshot::Match m;
  m.source_ips.any_of.push_back(cidr(block));
  return m;
}
snapshot::Match destination(const char* block) {
  snapshot::Match m;
  m.destination_ips.any_of.push_back(cidr(block));
  return m;
}
snapshot::Match from_namespace(const char* name) {
  snapshot::Match m;
  m.namespaces.any_of.push_back({StringMatch::Kind::kExact, name});
  return m;
}
snapshot::Match without_identity() {
  snapshot::Match m;
  m.principals.none_of.push_back({StringMatch::Kind::kPresence, ""});
  return m;
}

class PolicyThroughTunnels : public testing::Test {
 protected:
  PolicyThroughTunnels() {
    server.listen(80);
    server.listen(81);
    world.publish();
  }
  enum class Outcome { kServed, kReset, kNeither };
  Outcome try_connect(const char* to = "10.0.2.1:80") {
    Conn& c = client.connect(at(to));
    c.send(10);
    const size_t before = server.accepted_count();
    const auto served = [&] { return server.accepted_count() > before && server.accepted(before).received == 10; };
    world.run_until([&] { return c.got_reset || served(); }, 2s);
    if (served()) return Outcome::kServed;
    return c.got_reset ? Outcome::kReset : Outcome::kNeither;
  }

  World world;
  NodeHost& n1 = world.node("n1");
  NodeHost& n2 = world.node("n2");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1"});
  PodHost& server = world.pod(n2, "server", {"10.0.2.1"});
};

TEST_F(PolicyThroughTunnels, EachKindOfMatchDecidesOnWhatTheTunnelProves) {
  struct Row {
    const char* what;
    std::vector<Policy> policies;
    Outcome outcome;
  };
  const Row rows[] = {
      {"no policy", {}, Outcome::kServed},
      {"deny this principal", {deny(principal("client"))}, Outcome::kReset},
      {"deny another principal", {deny(principal("other"))}, Outcome::kServed},
      {"allow this principal", {allow(principal("client"))}, Outcome::kServed},
      {"allow another principal", {allow(principal("other"))}, Outcome::kReset},
      {"deny its namespace", {deny(from_namespace("shop"))}, Outcome::kReset},
      {"allow another namespace", {allow(from_namespace("prod"))}, Outcome::kReset},
      {"deny the client pod's address", {deny(source("10.0.1.1/32"))}, Outcome::kReset},
      {"deny another address", {deny(source("10.0.1.2/32"))}, Outcome::kServed},
      {"deny the port the pod listens on", {deny(port(80))}, Outcome::kReset},
      {"deny 15008, which is not the port", {deny(port(15008))}, Outcome::kServed},
      {"deny the pod's address", {deny(destination("10.0.2.0/24"))}, Outcome::kReset},
      {"strict: callers without identity only", {deny(without_identity())}, Outcome::kServed},
      {"deny wins over allow", {allow(principal("client")), deny(port(80))}, Outcome::kReset},
      {"an ALLOW policy without rules",
       {[] {
         Policy p = allow({});
         p.rules.clear();
         return p;
       }()},
       Outcome::kReset},
      {"a DENY policy without rules",
       {[] {
         Policy p = deny({});
         p.rules.clear();
         return p;
       }()},
       Outcome::kServed},
  };
  for (const Row& row : rows) {
    for (const Policy& p : row.policies) world.mesh.upsert(p);
    world.publish();
    EXPECT_EQ(try_connect(), row.outcome) << row.what;
    for (const Policy& p : row.policies) world.mesh.remove_policy(p.key());
  }
}

TEST_F(PolicyThroughTunnels, ADeniedStreamIsAnswered401AndThePodHearsNothing) {
  world.mesh.upsert(deny(principal("client")));
  world.publish();
  EXPECT_EQ(try_connect(), Outcome::kReset);
  EXPECT_EQ(server.accepted_count(), 0u);
  EXPECT_EQ(n2.count(DropReason::kProxyPolicyDenied), 1u);
  EXPECT_EQ(n2.lines_with({"\terror\taccess\tconnection complete",
                           "src.identity=\"spiffe://cluster.local/ns/shop/sa/client\"",
                           "error=\"connection closed due to policy rejection: explicitly denied by: shop/deny\""}),
            1u);
  EXPECT_EQ(n1.lines_with({"error=\"http status: 401 Unauthorized\""}), 1u);
  world.mesh.remove_policy("shop/deny");
  world.mesh.upsert(allow(principal("other")));
  world.publish();
  EXPECT_EQ(try_connect(), Outcome::kReset);
  EXPECT_EQ(
      n2.lines_with({"error=\"connection closed due to policy rejection: allow policies exist, but none allowed\""}),
      1u);
  EXPECT_EQ(n1.proxy.tunnels().tunnels(), 1u) << "the tunnel stays";
}

TEST_F(PolicyThroughTunnels, AChangeEndsTheLiveStreamsItDeniesAndNoOther) {
  Conn& denied = client.connect(at("10.0.2.1:80"));
  Conn& other = client.connect(at("10.0.2.1:81"));
  denied.send(10);
  other.send(10);
  ASSERT_TRUE(world.run_until([&] { return n2.count(Counter::kProxyByteToPod) == 20; }, 1s));
  Conn& denied_end = server.accepted(server.accepted(0).local.port == 80 ? 0 : 1);

  world.mesh.upsert(deny(port(9999)));
  world.publish();
  world.run(1s);
  EXPECT_FALSE(denied.got_reset || other.got_reset) << "a change that denies neither";
  EXPECT_EQ(n2.count(Counter::kProxyPolicyRechecked), 2u);

  world.mesh.upsert(deny(port(80)));
  world.publish();
  ASSERT_TRUE(world.run_until([&] { return denied.got_reset && denied_end.got_reset; }, 1s));
  EXPECT_FALSE(denied.got_fin || denied_end.got_fin);
  EXPECT_EQ(n2.count(DropReason::kProxyPolicyChanged), 1u);
  EXPECT_EQ(n2.lines_with({"\terror\taccess\tconnection complete", "error=\"connection closed due to policy change\""}),
            1u);
  other.send(500'000);
  world.run(2s);
  EXPECT_FALSE(other.got_reset);
  EXPECT_EQ(n2.count(Counter::kProxyByteToPod), 500'020u);
}

TEST_F(PolicyThroughTunnels, AChangeOfTheWorkloadsOwnListEndsStreamsToo) {
  world.mesh.upsert(policy(snapshot::PolicyAction::kDeny, port(80), snapshot::PolicyScope::kWorkloadSelector));
  world.publish();
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1; }, 1s));
  snapshot::Workload record = pod("server", {"10.0.2.1"});
  record.node = "n2";
  record.authorization_policies = {"shop/deny"};
  world.mesh.upsert(record);
  world.publish();
  EXPECT_TRUE(world.run_until([&] { return c.got_reset && server.accepted(0).got_reset; }, 1s));
}

TEST_F(PolicyThroughTunnels, ChangesOfOtherWorkloadsDecideNothingAgain) {
  Conn& c = client.connect(at("10.0.2.1:80"));
  c.send(10);
  ASSERT_TRUE(world.run_until([&] { return server.accepted_count() == 1; }, 1s));
  const uint64_t before = n2.count(Counter::kProxyPolicyRechecked);
  for (uint32_t i = 1; i <= 50; ++i) {
    snapshot::Workload other = pod("other", {"10.0.9.1"});
    other.capacity = i;
    world.mesh.upsert(other);
    world.publish();
    world.run_until([] { return false; }, 2ms);
  }
  EXPECT_EQ(n2.count(Counter::kProxyPolicyRechecked), before);
}

TEST_F(PolicyThroughTunnels, ManyLiveStreamsAreDecidedAgainOverSeveralTurns) {
  for (int i = 0; i < 600; ++i) client.connect(at(i % 2 ? "10.0.2.1:80" : "10.0.2.1:81")).send(1);
  ASSERT_TRUE(world.run_until([&] { return n2.count(Counter::kProxyByteToPod) == 600; }, 5s));
  world.mesh.upsert(deny(port(80)));
  world.publish();
  ASSERT_TRUE(world.run_until([&] { return n2.count(DropReason::kProxyPolicyChanged) == 300; }, 1s));
  ASSERT_TRUE(world.run_until([&] { return n1.proxy.sessions() == 300; }, 1s));
  EXPECT_EQ(n2.proxy.sessions(), 300u);
  EXPECT_EQ(n2.count(Counter::kProxyPolicyRechecked), 600u);
}

}  // namespace
}  // namespace culvert::proxy
