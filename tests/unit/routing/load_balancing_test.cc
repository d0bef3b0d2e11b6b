// Section 10 of the reference: ranks as its table gives them, modes, what is dropped, weights, and the port's sources.
#include <gtest/gtest.h>

#include <map>

#include "routing/load_balancing.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::routing {
namespace {

using namespace testkit::records;
using namespace snapshot;
using Scope = LoadBalancingScope;

const std::string kWeb = "shop/web.shop.svc.cluster.local";

struct Place {
  const char *network = "net", *region = "r", *zone = "z", *subzone = "s", *node = "n", *cluster = "c";
};

Workload located(Workload w, const Place& p) {
  w.network = p.network;
  w.locality = {p.region, p.zone, p.subzone};
  w.node = p.node;
  w.cluster_id = p.cluster;
  return w;
}

TEST(Ranks, CountLeadingScopesAndFavourALeadingNetwork) {
  const Workload client = located(pod("client", {}), {});
  const std::vector<Scope> close = {Scope::kNetwork, Scope::kRegion, Scope::kZone};
  const std::vector<Scope> node = {Scope::kNetwork, Scope::kRegion, Scope::kZone, Scope::kSubzone, Scope::kNode};
  const std::vector<Scope> plain = {Scope::kRegion, Scope::kZone, Scope::kNetwork};
  struct Row {
    const char* what;
    std::vector<Scope> scopes;
    Place place;
    uint32_t rank;
    bool strict;
  };
  const Row rows[] = {
      // The reference's own numbers for [NETWORK, REGION, ZONE].
      {"all", close, {}, 5, true},
      {"network and region", close, {.zone = "x"}, 4, false},
      {"network", close, {.region = "x"}, 3, false},
      {"region and zone elsewhere", close, {.network = "x"}, 2, false},
      {"region elsewhere", close, {.network = "x", .zone = "x"}, 1, false},
      {"none", close, {.network = "x", .region = "x", .zone = "x"}, 0, false},
      {"zone without region does not count", close, {.network = "x", .region = "x"}, 0, false},
      {"five scopes", node, {}, 9, true},
      {"all but the node", node, {.node = "x"}, 8, false},
      {"the node elsewhere", node, {.network = "x"}, 4, false},
      {"network not first: an ordinary scope", plain, {}, 3, true},
      {"network not first, mismatch", plain, {.network = "x"}, 2, false},
      {"first mismatch stops", plain, {.region = "x"}, 0, false},
      {"cluster", {Scope::kCluster}, {}, 1, true},
      {"other cluster", {Scope::kCluster}, {.cluster = "x"}, 0, false},
      {"no preference", {}, {.network = "x"}, 0, true},
  };
  for (const Row& row : rows) {
    const LoadBalancing balancing{row.scopes, LoadBalancingMode::kFailover, HealthPolicy::kOnlyHealthy};
    const Workload endpoint = located(pod("e", {}), row.place);
    EXPECT_EQ(failover_rank(balancing, client, endpoint), row.rank) << row.what;
    EXPECT_EQ(strict_match(balancing, client, endpoint), row.strict) << row.what;
  }
}

class Choices : public testing::Test {
 protected:
  void endpoint(const std::string& name, const Place& place, uint32_t capacity = 1) {
    Workload w = located(backing(pod(name, {"10.0.0.9"}), kWeb), place);
    w.capacity = capacity;
    builder.upsert(w);
  }
  // How often each endpoint was chosen in `draws`.
  std::map<std::string, int> draw(LoadBalancingMode mode, std::vector<Scope> scopes, int draws = 1000) {
    Service web = service("web", {"10.96.0.1"}, ports({{80, 8080}}));
    web.load_balancing = LoadBalancing{std::move(scopes), mode, HealthPolicy::kOnlyHealthy};
    builder.upsert(web);
    const auto mesh = builder.publish();
    std::map<std::string, int> chosen;
    for (int i = 0; i < draws; ++i) {
      const auto choice = choose_endpoint(*mesh, *mesh->service(kWeb), client, 80, random);
      ++chosen[choice ? choice->endpoint->workload->name : "none"];
    }
    return chosen;
  }
  MeshBuilder builder;
  Workload client = located(pod("client", {}), {});
  Random random{3};
};

TEST_F(Choices, StandardDrawsFromAll) {
  endpoint("near", {});
  endpoint("far", {.region = "x", .zone = "x", .node = "x"});
  const auto chosen = draw(LoadBalancingMode::kStandard, {Scope::kRegion});
  EXPECT_GT(chosen.at("near"), 400);
  EXPECT_GT(chosen.at("far"), 400);
}

TEST_F(Choices, StrictDrawsFromThoseThatMatchEveryScopeOrNone) {
  endpoint("near", {});
  endpoint("other-node", {.node = "x"});
  EXPECT_EQ(draw(LoadBalancingMode::kStrict, {Scope::kNode}), (std::map<std::string, int>{{"near", 1000}}));
  builder.remove_workload("Kubernetes//Pod/shop/near");
  EXPECT_EQ(draw(LoadBalancingMode::kStrict, {Scope::kNode}), (std::map<std::string, int>{{"none", 1000}}));
}

TEST_F(Choices, FailoverDrawsFromTheHighestRank) {
  endpoint("near", {});
  endpoint("near-too", {});
  endpoint("far", {.zone = "x"});
  auto chosen = draw(LoadBalancingMode::kFailover, {Scope::kRegion, Scope::kZone});
  EXPECT_EQ(chosen.count("far"), 0u);
  EXPECT_GT(chosen.at("near"), 400);
  builder.remove_workload("Kubernetes//Pod/shop/near");
  builder.remove_workload("Kubernetes//Pod/shop/near-too");
  chosen = draw(LoadBalancingMode::kFailover, {Scope::kRegion, Scope::kZone});
  EXPECT_EQ(chosen, (std::map<std::string, int>{{"far", 1000}}));
}

TEST_F(Choices, PassthroughDrawsFromNone) {
  endpoint("near", {});
  EXPECT_EQ(draw(LoadBalancingMode::kPassthrough, {}), (std::map<std::string, int>{{"none", 1000}}));
}

TEST_F(Choices, CapacityIsTheWeight) {
  endpoint("one", {}, 1);
  endpoint("three", {}, 3);
  endpoint("zero", {}, 0);
  const auto chosen = draw(LoadBalancingMode::kStandard, {}, 40'000);
  EXPECT_EQ(chosen.count("zero"), 0u);
  EXPECT_NEAR(chosen.at("one"), 10'000, 400);
  EXPECT_NEAR(chosen.at("three"), 30'000, 400);
}

TEST_F(Choices, OnlyZeroCapacityAtTheBestRankIsNoChoice) {
  endpoint("near", {}, 0);
  endpoint("far", {.zone = "x"}, 5);
  EXPECT_EQ(draw(LoadBalancingMode::kFailover, {Scope::kZone}), (std::map<std::string, int>{{"none", 1000}}));
}

TEST_F(Choices, HugeCapacitiesDoNotOverflow) {
  for (int i = 0; i < 4; ++i) endpoint("p" + std::to_string(i), {}, 0xffffffffu);
  const auto chosen = draw(LoadBalancingMode::kStandard, {}, 4000);
  for (int i = 0; i < 4; ++i) EXPECT_GT(chosen.at("p" + std::to_string(i)), 800);
}

TEST_F(Choices, TheSameSeedDrawsTheSameEndpoints) {
  endpoint("a", {});
  endpoint("b", {});
  random = Random(9);
  const auto first = draw(LoadBalancingMode::kStandard, {}, 100);
  random = Random(9);
  EXPECT_EQ(draw(LoadBalancingMode::kStandard, {}, 100), first);
}

TEST(TargetPort, HasThreeSourcesInOrder) {
  struct Row {
    const char* what;
    PortMap own, common;
    uint16_t tunnel_port;
    uint16_t expected;  // 0: no choice
  };
  for (const Row& row : {Row{"own map", ports({{80, 1111}}), ports({{80, 2222}}), 0, 1111},
                         Row{"service's map", {}, ports({{80, 2222}}), 0, 2222},
                         Row{"own map of another port", ports({{81, 1111}}), ports({{80, 2222}}), 0, 2222},
                         Row{"own map says nothing", ports({{80, 0}}), ports({{80, 2222}}), 0, 2222},
                         Row{"named target port, not mapped", {}, ports({{80, 0}}), 0, 0},
                         Row{"in front of an application tunnel", {}, ports({{80, 0}}), 15088, 80},
                         Row{"the service lacks the port", ports({{80, 1111}}), ports({{81, 2222}}), 0, 0}}) {
    MeshBuilder builder;
    Workload w = backing(pod("e", {"10.0.0.9"}), kWeb, row.own);
    w.application_tunnel.port = row.tunnel_port;
    builder.upsert(w);
    builder.upsert(service("web", {"10.96.0.1"}, row.common));
    const auto mesh = builder.publish();
    Random random(1);
    const auto choice = choose_endpoint(*mesh, *mesh->service(kWeb), pod("client", {}), 80, random);
    EXPECT_EQ(choice ? choice->target_port : 0, row.expected) << row.what;
  }
}

}  // namespace
}  // namespace culvert::routing
