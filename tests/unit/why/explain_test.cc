// Each row of reference 9.2, identities (3.3, 3.4), the checks at the destination (11.2) and policies (12.4): a mesh, a
// question, and what is told.
#include <gmock/gmock.h>

#include "hbone/connect.h"
#include "routing/outbound.h"
#include "telemetry/drop_reasons.h"
#include "tests/unit/why/mesh.h"

namespace culvert::why {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// --- the rows of reference 9.2 ---------------------------------------------------------------------------------------

TEST_F(Why, EveryRowOfTheDecisionIsTold) {
  builder.upsert(pod("api-1", {"10.0.0.2"}));
  Workload plain = pod("plain", {"10.0.0.3"});
  plain.tunnel_protocol = TunnelProtocol::kNone;
  builder.upsert(plain);
  Workload far = pod("far", {"10.0.0.4"});
  builder.upsert(service("far", {"10.96.0.4"}, ports({{80, 8080}})));
  far.network = "elsewhere";
  builder.upsert(backing(far, "shop/far.shop.svc.cluster.local"));
  Workload behind = pod("behind", {"10.0.0.5"});
  behind.waypoint = waypoint("shop", "gate.shop.svc.cluster.local");
  builder.upsert(behind);
  Workload lost = pod("lost", {"10.0.0.6"});
  lost.waypoint = waypoint("shop", "nowhere");
  builder.upsert(lost);
  builder.upsert(service("gate", {"10.96.0.9"}, ports({{15008, 15008}})));
  builder.upsert(backing(pod("gate-1", {"10.0.0.9"}), "shop/gate.shop.svc.cluster.local"));
  Service guarded = service("guarded", {"10.96.0.5"}, ports({{80, 8080}}));
  guarded.waypoint = waypoint("shop", "gate.shop.svc.cluster.local");
  builder.upsert(guarded);
  Service orphan = service("orphan", {"10.96.0.6"}, ports({{80, 8080}}));
  orphan.waypoint = waypoint("shop", "nowhere");
  builder.upsert(orphan);
  builder.upsert(service("empty", {"10.96.0.7"}, ports({{80, 8080}})));
  Service passing = service("passing", {"10.96.0.8"}, ports({{80, 8080}}));
  passing.load_balancing = LoadBalancing{{}, LoadBalancingMode::kPassthrough, HealthPolicy::kAllowAll};
  builder.upsert(passing);
  builder.upsert(service("named", {"10.96.0.10"}, ports({{80, 8080}})));
  Workload named = pod("named", {});
  named.hostname = "db.example.com";
  builder.upsert(backing(named, "shop/named.shop.svc.cluster.local"));
  Service six = service("six", {"10.96.0.11"}, ports({{80, 8080}}));
  six.ip_families = IpFamilies::kIpv6Only;
  builder.upsert(six);
  builder.upsert(backing(pod("four", {"10.0.0.12"}), "shop/six.shop.svc.cluster.local"));

  struct Row {
    const char *to, *route, *waypoint, *summary, *drop_reason;
  };
  const Row kRows[] = {
      // 9.1.2
      {"127.0.0.1:15001", "NO a port of the proxy itself, on the loopback", "",
       "refused: a port of the proxy itself, on the loopback", "proxy_recursive_call"},
      // B
      {"10.96.0.5:80", "NO HBONE to the waypoint, not taken",
       "NO the service's waypoint shop/gate.shop.svc.cluster.local would be traversed, which this version does not do",
       "refused: the service's waypoint shop/gate.shop.svc.cluster.local would be traversed, which this version does "
       "not do",
       "proxy_service_waypoint_not_carried"},
      {"10.96.0.6:80", "NO HBONE to the waypoint, not taken", "NO the service's waypoint shop/nowhere has no record",
       "refused: the service's waypoint shop/nowhere has no record", "proxy_unknown_waypoint"},
      // D
      {"10.96.0.7:80", "NO nowhere to go: no endpoint can be drawn", "", "refused: no workload backs the service",
       "proxy_no_healthy_upstream"},
      {"10.96.0.7:81", "NO nowhere to go: no endpoint can be drawn", "",
       "refused: shop/empty.shop.svc.cluster.local has no port 81", "proxy_no_healthy_upstream"},
      {"10.96.0.8:80", "NO plain TCP to 10.96.0.8:80, which this version does not carry", "",
       "refused: plain TCP to 10.96.0.8:80, which this version does not carry", "proxy_passthrough_not_carried"},
      {"8.8.8.8:53", "NO plain TCP to 8.8.8.8:53, which this version does not carry", "",
       "refused: plain TCP to 8.8.8.8:53, which this version does not carry", "proxy_outside_mesh_not_carried"},
      // E
      {"10.96.0.4:80", "NO double HBONE through a gateway of the other network, which this version does not carry", "",
       "refused: double HBONE through a gateway of the other network, which this version does not carry",
       "proxy_other_network_not_carried"},
      // F
      {"10.0.0.5:80", "NO HBONE to the waypoint, not taken",
       "NO the workload's waypoint shop/gate.shop.svc.cluster.local would be traversed, which this version does not do",
       "refused: the workload's waypoint shop/gate.shop.svc.cluster.local would be traversed, which this version does "
       "not do",
       "proxy_workload_waypoint_not_carried"},
      {"10.0.0.6:80", "NO HBONE to the waypoint, not taken", "NO the workload's waypoint shop/nowhere has no record",
       "refused: the workload's waypoint shop/nowhere has no record", "proxy_unknown_waypoint"},
      // 9.5
      {"10.96.0.10:80", "NO an endpoint known by host name only, which this version does not resolve", "",
       "refused: an endpoint known by host name only, which this version does not resolve",
       "proxy_hostname_not_carried"},
      {"10.96.0.11:80", "NO the endpoint has no address of a family that the service uses", "",
       "refused: the endpoint has no address of a family that the service uses", "proxy_no_address"},
      // H
      {"10.0.0.3:80", "NO plain TCP to 10.0.0.3:80, which this version does not carry", "",
       "refused: plain TCP to 10.0.0.3:80, which this version does not carry", "proxy_plaintext_not_carried"},
      // G
      {"10.0.0.2:80", "ok HBONE: a tunnel to 10.0.0.2:15008, CONNECT 10.0.0.2:80", "",
       "allowed: no policy denies and no ALLOW policy applies", ""},
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.to);
    const Explanation told = answer(row.to);
    ASSERT_EQ(told.paths.size(), 1u);
    const Path& path = told.paths.front();
    EXPECT_EQ(said(path.steps, StepKind::kRoute), row.route);
    EXPECT_EQ(said(path.steps, StepKind::kWaypoint), row.waypoint);
    EXPECT_EQ(told.summary, row.summary);
    EXPECT_EQ(path.drop_reason, row.drop_reason);
    EXPECT_EQ(told.outcome, *row.drop_reason ? Outcome::kRefused : Outcome::kAllowed);
    // What is logged is what the decision says that packets get.
    Random random(1);
    const Workload* web = mesh->local_workload("shop", "web", "");
    const auto decision = routing::decide_outbound(*mesh, {web, web->addresses[0], at(row.to), ""}, random);
    EXPECT_EQ(path.log_at_source, decision.error);
    if (!decision.carried()) {
      EXPECT_EQ(path.drop_reason, name_of(routing::drop_reason_of(decision.refusal)));
    }
  }
}

TEST_F(Why, AWaypointIsPassedByWhenAServiceWithoutOneIsAddressedOrTheSourceIsIt) {
  Workload api = pod("api-1", {"10.0.0.2"});
  api.waypoint = waypoint("shop", "gate.shop.svc.cluster.local");
  builder.upsert(backing(api, kApi));
  builder.upsert(service("api", {"10.96.0.1"}, ports({{80, 8080}})));
  builder.upsert(service("gate", {"10.96.0.9"}, ports({{15008, 15008}})));
  builder.upsert(backing(pod("gate-1", {"10.0.0.9"}), "shop/gate.shop.svc.cluster.local"));
  EXPECT_EQ(said(answer("api:80").paths[0].steps, StepKind::kWaypoint),
            "ok the workload's waypoint shop/gate.shop.svc.cluster.local is passed by: the connection goes to a "
            "service, which has none");
  const auto own = ask("shop/gate-1", "10.0.0.2:8080");
  ASSERT_TRUE(own);
  EXPECT_EQ(said(own->paths[0].steps, StepKind::kWaypoint),
            "ok the workload's waypoint shop/gate.shop.svc.cluster.local is the source itself: it goes straight on");
  EXPECT_EQ(own->outcome, Outcome::kAllowed);
}

TEST_F(Why, SourceAndDestinationAreToldAsTheyWereFound) {
  Workload web = on("n1", pod("web", {"10.0.0.1", "fd00::1"}));
  web.locality = {"eu", "a", ""};
  builder.upsert(web);
  builder.upsert(service("api", {"10.96.0.1"}, ports({{80, 8080}})));
  builder.upsert(backing(pod("api-1", {"10.0.0.2"}), kApi));
  const Explanation told = answer("10.96.0.1:80");
  EXPECT_EQ(told.from, "shop/web");
  EXPECT_EQ(told.to, "10.96.0.1:80");
  EXPECT_EQ(said(told.steps, StepKind::kSource), "ok shop/web, 10.0.0.1 and fd00::1, on node n1, eu/a");
  EXPECT_THAT(lines(told.steps, StepKind::kSource), ElementsAre("identity spiffe://cluster.local/ns/shop/sa/web"));
  EXPECT_EQ(said(told.steps, StepKind::kDestination), "ok 10.96.0.1:80 is an address of the service " + kApi);
  EXPECT_EQ(said(told.steps, StepKind::kService), "ok " + kApi + ": port 80 leads to port 8080");
  EXPECT_EQ(said(answer("10.0.0.2:1").steps, StepKind::kDestination),
            "ok 10.0.0.2:1 is an address of the workload shop/api-1");
  EXPECT_EQ(said(answer("8.8.8.8:1").steps, StepKind::kDestination), "ok 8.8.8.8:1 is nobody's address in the mesh");
}

TEST_F(Why, TheSourceIsNotOfThisNode) {
  builder.upsert(pod("api-1", {"10.0.0.2"}));
  question.node = "n2";
  EXPECT_THAT(lines(answer("10.0.0.2:80").steps, StepKind::kSource),
              Contains("not a pod of this node (n2): its own node decides, with the same records if both are up to "
                       "date"));
}

TEST_F(Why, AnAddressThatAWorkloadAndAServiceShareIsToldAsRoutingSeesIt) {
  builder.upsert(service("api", {"10.0.0.2"}, ports({{80, 8080}})));
  builder.upsert(backing(pod("api-1", {"10.0.0.3"}), kApi));
  builder.upsert(pod("squatter", {"10.0.0.2"}));
  const Explanation told = answer("10.0.0.2:80");
  EXPECT_EQ(said(told.steps, StepKind::kDestination), "ok 10.0.0.2:80 is an address of the workload shop/squatter");
  EXPECT_THAT(
      lines(told.steps, StepKind::kDestination),
      ElementsAre("the service " + kApi + " has it too: waypoints are the workload's, endpoints are the service's"));
  EXPECT_THAT(told.paths[0].endpoints, ElementsAre("shop/api-1"));
}

// --- endpoints -------------------------------------------------------------------------------------------------------

class Endpoints : public Why {
 protected:
  void back(const std::string& name, const std::string& address, const std::function<void(Workload&)>& change = {}) {
    Workload w = on("n2", pod(name, {address}));
    w.locality = {"eu", "a", ""};
    if (change) change(w);
    builder.upsert(backing(w, kApi));
  }
  void serve(std::optional<LoadBalancing> balancing = {}) {
    Service api = service("api", {"10.96.0.1"}, ports({{80, 8080}, {90, 0}}));
    api.load_balancing = std::move(balancing);
    builder.upsert(api);
  }
};

TEST_F(Endpoints, AllAreEquallyLikelyWithoutAPreference) {
  serve();
  back("api-1", "10.0.0.2");
  back("api-2", "10.0.0.3");
  const Explanation told = answer("api:80");
  EXPECT_EQ(said(told.steps, StepKind::kEndpoints), "ok all 2 may be drawn, each as likely");
  EXPECT_THAT(lines(told.steps, StepKind::kEndpoints),
              ElementsAre("+  shop/api-1  10.0.0.2  n2  eu/a", "+  shop/api-2  10.0.0.3  n2  eu/a"));
  EXPECT_THAT(lines(told.steps, StepKind::kService), ElementsAre("no preference among endpoints"));
  ASSERT_EQ(told.paths.size(), 1u) << "the same fate is told once";
  EXPECT_THAT(told.paths[0].endpoints, ElementsAre("shop/api-1", "shop/api-2"));
}

TEST_F(Endpoints, UnhealthyOnesAreLeftOutUnlessTheServiceTakesThem) {
  serve();
  back("api-1", "10.0.0.2");
  back("api-2", "10.0.0.3", [](Workload& w) { w.status = WorkloadStatus::kUnhealthy; });
  Explanation told = answer("api:80");
  EXPECT_EQ(said(told.steps, StepKind::kEndpoints), "ok 1 of 2 may be drawn");
  EXPECT_THAT(lines(told.steps, StepKind::kEndpoints),
              ElementsAre("+  shop/api-1  10.0.0.2  n2  eu/a", "-  shop/api-2  10.0.0.3  n2  eu/a  unhealthy"));
  builder.remove_workload("Kubernetes//Pod/shop/api-1");
  told = answer("api:80");
  EXPECT_EQ(said(told.steps, StepKind::kEndpoints), "NO none of 1 may be drawn: none is healthy");
  EXPECT_EQ(told.summary, "refused: none of 1 may be drawn: none is healthy");
  serve(LoadBalancing{{}, LoadBalancingMode::kStandard, HealthPolicy::kAllowAll});
  told = answer("api:80");
  EXPECT_EQ(said(told.steps, StepKind::kEndpoints), "ok the only one may be drawn");
  EXPECT_THAT(lines(told.steps, StepKind::kService), Contains("unhealthy endpoints are used too (ALLOW_ALL)"));
}

TEST_F(Endpoints, FailoverDrawsAmongTheBestRank) {
  serve(LoadBalancing{{LoadBalancingScope::kNetwork, LoadBalancingScope::kRegion, LoadBalancingScope::kNode},
                      LoadBalancingMode::kFailover,
                      HealthPolicy::kOnlyHealthy});
  Workload web = on("n1", pod("web", {"10.0.0.1"}));
  web.locality = {"eu", "b", ""};
  builder.upsert(web);
  back("api-1", "10.0.0.2", [](Workload& w) { w.locality.region = "us"; });
  back("api-2", "10.0.0.3");
  back("api-3", "10.0.0.4");
  const Explanation told = answer("api:80");
  EXPECT_THAT(lines(told.steps, StepKind::kService),
              ElementsAre("FAILOVER: prefers endpoints of the same network, region, node, in this order"));
  EXPECT_EQ(said(told.steps, StepKind::kEndpoints), "ok 2 of 3 may be drawn, each as likely");
  EXPECT_THAT(lines(told.steps, StepKind::kEndpoints),
              ElementsAre("+  shop/api-2  10.0.0.3  n2  eu/a  rank 4", "+  shop/api-3  10.0.0.4  n2  eu/a  rank 4",
                          "-  shop/api-1  10.0.0.2  n2  us/a  rank 3, behind 4"));
}

TEST_F(Endpoints, StrictDrawsInScopeOnly) {
  serve(LoadBalancing{{LoadBalancingScope::kNode}, LoadBalancingMode::kStrict, HealthPolicy::kOnlyHealthy});
  back("api-1", "10.0.0.2");
  const Explanation told = answer("api:80");
  EXPECT_EQ(said(told.steps, StepKind::kEndpoints), "NO none of 1 may be drawn");
  EXPECT_THAT(lines(told.steps, StepKind::kEndpoints),
              ElementsAre("-  shop/api-1  10.0.0.2  n2  eu/a  not in the required scope"));
  EXPECT_EQ(told.paths[0].drop_reason, "proxy_no_healthy_upstream");
}

TEST_F(Endpoints, CapacityAndPortsDecideToo) {
  serve();
  back("api-1", "10.0.0.2", [](Workload& w) { w.capacity = 3; });
  back("api-2", "10.0.0.3");
  back("api-3", "10.0.0.4", [](Workload& w) { w.capacity = 0; });
  const Explanation told = answer("api:80");
  EXPECT_EQ(said(told.steps, StepKind::kEndpoints), "ok 2 of 3 may be drawn, by capacity");
  EXPECT_THAT(lines(told.steps, StepKind::kEndpoints),
              ElementsAre("+  shop/api-1  10.0.0.2  n2  eu/a  3 of 4 connections",
                          "+  shop/api-2  10.0.0.3  n2  eu/a  1 of 4 connections",
                          "-  shop/api-3  10.0.0.4  n2  eu/a  capacity 0"));
  const Explanation unmapped = answer("api:90");
  EXPECT_EQ(said(unmapped.steps, StepKind::kService),
            "ok " + kApi + ": port 90 leads to the port that each endpoint names");
  EXPECT_THAT(lines(unmapped.steps, StepKind::kEndpoints), Contains(HasSubstr("does not map the port")));
  EXPECT_EQ(unmapped.outcome, Outcome::kRefused);
}

// The draws that are followed are exactly the ones that packets may get.
TEST_F(Endpoints, WhatMayBeDrawnIsWhatIsDrawn) {
  serve(LoadBalancing{{LoadBalancingScope::kZone}, LoadBalancingMode::kFailover, HealthPolicy::kOnlyHealthy});
  Random random(7);
  for (int i = 0; i < 12; ++i) {
    back("api-" + std::to_string(i), "10.0.1." + std::to_string(i), [&](Workload& w) {
      w.locality.zone = random.below(2) ? "" : "a";
      w.capacity = static_cast<uint32_t>(random.below(3));
      w.service_account = "account-" + std::to_string(random.below(3));
    });
  }
  const Explanation told = answer("api:80");
  std::set<std::string> followed, drawn;
  for (const Path& path : told.paths) followed.insert(path.endpoints.begin(), path.endpoints.end());
  const Workload* web = mesh->local_workload("shop", "web", "");
  for (int i = 0; i < 2'000; ++i) {
    const auto d = routing::decide_outbound(*mesh, {web, web->addresses[0], at("10.96.0.1:80"), ""}, random);
    drawn.insert(d.workload_namespace + "/" + d.workload);
  }
  EXPECT_EQ(followed, drawn);
  EXPECT_GT(drawn.size(), 1u);
}

TEST_F(Endpoints, FatesThatDifferAreToldApartAndTheRestIsCounted) {
  serve();
  back("api-1", "10.0.0.2");
  back("api-2", "10.0.0.3", [](Workload& w) { w.tunnel_protocol = TunnelProtocol::kNone; });
  Explanation told = answer("api:80");
  EXPECT_EQ(told.outcome, Outcome::kDepends);
  EXPECT_EQ(told.summary, "depends on which endpoint is drawn");
  ASSERT_EQ(told.paths.size(), 2u);
  EXPECT_EQ(told.paths[0].outcome, Outcome::kAllowed);
  EXPECT_EQ(told.paths[1].drop_reason, "proxy_plaintext_not_carried");
  // Ten endpoints, each denied by a policy of its own.
  for (int i = 10; i < 20; ++i) {
    const std::string name = "p" + std::to_string(i);
    builder.upsert(policy(name, PolicyAction::kDeny, {Rule{}}, PolicyScope::kWorkloadSelector));
    back("api-" + std::to_string(i), "10.0.1." + std::to_string(i),
         [&](Workload& w) { w.authorization_policies = {"shop/" + name}; });
  }
  told = answer("api:80");
  EXPECT_EQ(told.paths.size(), kPathsMax);
  EXPECT_EQ(told.paths_left_out, 12 - kPathsMax);
}

TEST_F(Endpoints, LongListsAreCut) {
  serve();
  for (int i = 0; i < 100; ++i) back("api-" + std::to_string(i), "10.0.1." + std::to_string(i));
  const Explanation told = answer("api:80");
  const auto shown = lines(told.steps, StepKind::kEndpoints);
  ASSERT_EQ(shown.size(), kEndpointsListedMax + 1);
  EXPECT_EQ(shown.back(), "and 68 more");
  EXPECT_EQ(told.paths[0].endpoints.size(), 100u);
}

// --- identities and arrival ------------------------------------------------------------------------------------------

TEST_F(Why, IdentitiesAreThoseThatTheHandshakeAsksFor) {
  Service api = service("api", {"10.96.0.1"}, ports({{80, 8080}}));
  api.subject_alt_names = {"spiffe://other/ns/x/sa/y"};
  builder.upsert(api);
  builder.upsert(backing(pod("api-1", {"10.0.0.2"}), kApi));
  const Explanation told = answer("api:80");
  EXPECT_EQ(said(told.paths[0].steps, StepKind::kIdentity),
            "ok the destination proves spiffe://cluster.local/ns/shop/sa/api-1");
  EXPECT_THAT(lines(told.paths[0].steps, StepKind::kIdentity),
              ElementsAre("also accepted: spiffe://other/ns/x/sa/y",
                          "the source proves spiffe://cluster.local/ns/shop/sa/web"));
}

TEST_F(Why, AnotherTrustDomainIsNotLetIn) {
  Workload api = pod("api-1", {"10.0.0.2"});
  api.trust_domain = "elsewhere";
  builder.upsert(api);
  const Explanation told = answer("10.0.0.2:80");
  EXPECT_EQ(told.outcome, Outcome::kRefused);
  EXPECT_EQ(told.summary, "refused: the destination does not accept spiffe://cluster.local/ns/shop/sa/web");
  EXPECT_EQ(told.paths[0].drop_reason, "tls_handshake_wrong_identity");
  EXPECT_THAT(told.paths[0].log_at_destination, HasSubstr("did not present the expected trustdomain (elsewhere)"));
}

TEST_F(Why, AWorkloadWithoutAnIdentityCannotBeVerified) {
  Workload api = pod("api-1", {"10.0.0.2"});
  api.service_account = "";
  builder.upsert(api);
  EXPECT_EQ(answer("10.0.0.2:80").summary, "refused: shop/api-1 has no identity that a certificate could bear");
}

TEST_F(Why, CertificatesCountForPodsOfTheNodeThatIsAsked) {
  builder.upsert(on("n1", pod("api-1", {"10.0.0.2"})));
  builder.upsert(on("n2", pod("api-2", {"10.0.0.3"})));
  question.node = "n1";
  Certificates certificates;
  question.certificates = &certificates;
  Explanation told = answer("10.0.0.3:80");
  EXPECT_THAT(lines(told.steps, StepKind::kSource), Contains("this node has no certificate in force for it"));
  EXPECT_EQ(told.paths[0].drop_reason, "proxy_no_mesh_access");
  EXPECT_EQ(told.paths[0].log_at_source, "no valid certificate for spiffe://cluster.local/ns/shop/sa/web");
  certificates[{"cluster.local", "shop", "web"}] = UnixTime{std::chrono::seconds{1'772'366'400}};
  told = answer("10.0.0.3:80");
  EXPECT_THAT(lines(told.steps, StepKind::kSource), Contains("certificate in force until 2026-03-01T12:00:00Z"));
  EXPECT_EQ(told.outcome, Outcome::kAllowed) << "the other node's certificates are not known";
  told = answer("10.0.0.2:80");
  EXPECT_EQ(told.outcome, Outcome::kRefused);
  EXPECT_EQ(told.summary, "refused: the destination cannot prove spiffe://cluster.local/ns/shop/sa/api-1");
  certificates[{"cluster.local", "shop", "api-1"}] = UnixTime{};
  EXPECT_EQ(answer("10.0.0.2:80").outcome, Outcome::kAllowed);
}

TEST_F(Why, TheDestinationsRefusalIsToldWithBothLogLines) {
  Workload api = pod("api-1", {"10.0.0.2"});
  api.application_tunnel = {TunnelledProtocol::kProxy, 0};
  builder.upsert(api);
  Explanation told = answer("10.0.0.2:80");
  EXPECT_EQ(said(told.paths[0].steps, StepKind::kArrival), "NO the destination answers 503 (application_tunnel)");
  EXPECT_EQ(told.paths[0].log_at_source, "http status: " + hbone::status_text(503));
  EXPECT_EQ(told.paths[0].log_at_destination, "application tunnels are not supported yet");
  builder.upsert(pod("api-1", {"10.0.0.2"}));
  told = answer("10.0.0.2:15008");
  EXPECT_EQ(told.paths[0].drop_reason, "proxy_recursive_call");
  EXPECT_EQ(told.paths[0].log_at_destination, "attempted recursive call to ourselves");
}

TEST_F(Why, TheOtherFamilyIsUsedWhenTheEndpointNeedsIt) {
  builder.upsert(service("api", {"10.96.0.1"}, ports({{80, 8080}})));
  builder.upsert(backing(pod("api-1", {"fd00::2"}), kApi));
  const Explanation told = answer("api:80");
  EXPECT_EQ(said(told.paths[0].steps, StepKind::kRoute),
            "ok HBONE: a tunnel to [fd00::2]:15008, CONNECT [fd00::2]:8080");
  builder.upsert(pod("four", {"10.0.0.9"}));
  const auto four = ask("shop/four", "api:80");
  ASSERT_TRUE(four);
  EXPECT_EQ(four->paths[0].drop_reason, "proxy_no_address");
}

// --- policies --------------------------------------------------------------------------------------------------------

Match principal(const std::string& exact) {
  Match m;
  m.principals.any_of = {{StringMatch::Kind::kExact, exact}};
  return m;
}
Match port(uint16_t number) {
  Match m;
  m.destination_ports.any_of = {number};
  return m;
}

TEST_F(Why, TheClauseAndTheMatchThatAllowedAreNamed) {
  builder.upsert(pod("api-1", {"10.0.0.2"}));
  Match both = principal("cluster.local/ns/shop/sa/web");
  both.destination_ports.any_of = {80, 443};
  both.source_ips.none_of = {cidr("192.168.0.0/16")};
  builder.upsert(policy("allow-web", PolicyAction::kAllow,
                        {Rule{{Clause{{port(1)}}}}, Rule{{Clause{{principal("x"), both}}, Clause{}}}}));
  const Explanation told = answer("10.0.0.2:80");
  EXPECT_EQ(told.outcome, Outcome::kAllowed);
  EXPECT_EQ(told.summary, "allowed by shop/allow-web, rule 1");
  EXPECT_THAT(lines(told.paths[0].steps, StepKind::kPolicy),
              ElementsAre("asked: cluster.local/ns/shop/sa/web from 10.0.0.1 to 10.0.0.2:80",
                          "ALLOW shop/allow-web (of the namespace): rule 1 matches",
                          "    clause 0, match 1: principal cluster.local/ns/shop/sa/web, source not 192.168.0.0/16, "
                          "port 80 or 443",
                          "    clause 1: without matches, always holds"));
}

TEST_F(Why, WhatKeptPoliciesFromMatchingIsNamed) {
  Workload api = pod("api-1", {"10.0.0.2"});
  api.authorization_policies = {"shop/missing"};
  builder.upsert(api);
  Match account;
  account.service_accounts.any_of = {{"shop", "other"}};
  builder.upsert(policy("accounts", PolicyAction::kAllow,
                        {Rule{{Clause{{port(80)}}, Clause{{account, port(9)}}}}, Rule{{Clause{{Match{}}}}}}));
  builder.upsert(policy("never", PolicyAction::kDeny, {}, PolicyScope::kGlobal));
  const Explanation told = answer("10.0.0.2:80");
  EXPECT_EQ(told.outcome, Outcome::kDenied);
  EXPECT_EQ(told.summary, "denied: allow policies exist, but none allowed");
  EXPECT_THAT(lines(told.paths[0].steps, StepKind::kPolicy),
              ElementsAre("asked: cluster.local/ns/shop/sa/web from 10.0.0.1 to 10.0.0.2:80",
                          "DENY shop/never (global): does not match", "    without rules: never matches",
                          "ALLOW shop/accounts (of the namespace): does not match",
                          "    rule 0 asks for service account shop/other; or port 9",
                          "    rule 1 asks for empty match, which never holds",
                          "shop/missing is named by the workload and unknown: skipped"));
  EXPECT_EQ(told.paths[0].drop_reason, "proxy_policy_denied");
  EXPECT_EQ(told.paths[0].log_at_source, "http status: " + hbone::status_text(401));
  EXPECT_EQ(told.paths[0].log_at_destination,
            "connection closed due to policy rejection: allow policies exist, but none allowed");
}

TEST_F(Why, ADenyThatMatchesEndsIt) {
  builder.upsert(pod("api-1", {"10.0.0.2"}));
  builder.upsert(policy("no-web", PolicyAction::kDeny, {Rule{}}));
  builder.upsert(policy("everyone", PolicyAction::kAllow, {Rule{}}));
  const Explanation told = answer("10.0.0.2:80");
  EXPECT_EQ(told.summary, "denied: explicitly denied by: shop/no-web, rule 0");
  EXPECT_THAT(lines(told.paths[0].steps, StepKind::kPolicy),
              Contains("    the rule has no clauses: it holds for every connection"));
  EXPECT_EQ(said(told.paths[0].steps, StepKind::kPolicy), "NO denied: explicitly denied by: shop/no-web, rule 0");
}

TEST_F(Why, DryRunPoliciesSayWhatTheyWouldDo) {
  builder.upsert(pod("api-1", {"10.0.0.2"}));
  Policy dry = policy("dry", PolicyAction::kDeny, {Rule{}});
  dry.dry_run = true;
  builder.upsert(dry);
  Policy other = policy("dry-allow", PolicyAction::kAllow, {});
  other.dry_run = true;
  builder.upsert(other);
  const Explanation told = answer("10.0.0.2:80");
  EXPECT_EQ(told.outcome, Outcome::kAllowed);
  const auto said_lines = lines(told.paths[0].steps, StepKind::kPolicy);
  EXPECT_THAT(said_lines, Contains("DENY shop/dry (of the namespace) in dry-run: rule 0 matches"));
  EXPECT_THAT(said_lines, Contains("enforced, shop/dry would deny"));
  EXPECT_THAT(said_lines, Contains("enforced, the dry-run ALLOW policies would deny"));
}

TEST_F(Why, PoliciesOfEachKindOfMatchAreSpelledOut) {
  Match m;
  m.namespaces.any_of = {{StringMatch::Kind::kPrefix, "kube-"}, {StringMatch::Kind::kSuffix, "-test"}};
  m.namespaces.none_of = {{StringMatch::Kind::kPresence, ""}};
  m.service_accounts.none_of = {{"a", "b"}};
  m.destination_ips.any_of = {cidr("10.0.0.0/8"), cidr("fd00::/8")};
  m.destination_ports.none_of = {1, 2, 3, 4, 5, 6, 7, 8};
  builder.upsert(pod("api-1", {"10.0.0.2"}));
  builder.upsert(policy("p", PolicyAction::kAllow, {Rule{{Clause{{m}}}}}));
  EXPECT_THAT(lines(answer("10.0.0.2:80").paths[0].steps, StepKind::kPolicy),
              Contains("    rule 0 asks for namespace kube-* or *-test, namespace not *, service account not a/b, "
                       "destination 10.0.0.0/8 or fd00::/8, port not 1 nor 2 nor 3 nor 4 nor 5 nor 6 or 2 more"));
}

}  // namespace
}  // namespace culvert::why
