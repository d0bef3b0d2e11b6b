// Which workloads are endpoints of a service, in whatever order records come and go (reference 10, 13.2).
#include <gtest/gtest.h>

#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::snapshot {
namespace {

using namespace testkit::records;

const std::string kWeb = "shop/web.shop.svc.cluster.local";

std::string endpoints_of(const Mesh& mesh, std::string_view key = kWeb) {
  const Service* s = mesh.service(key);
  if (!s) return "no service";
  std::string out;
  for (const ServiceEndpoint& endpoint : mesh.endpoints(*s)) out += endpoint.workload->name + " ";
  return out;
}

Workload unhealthy(Workload w) {
  w.status = WorkloadStatus::kUnhealthy;
  return w;
}

TEST(Endpoints, WaitForTheirService) {
  MeshBuilder builder;
  builder.upsert(backing(pod("b", {"10.0.0.2"}), kWeb));
  builder.upsert(backing(pod("a", {"10.0.0.1"}), kWeb, ports({{80, 9090}})));
  EXPECT_EQ(endpoints_of(*builder.publish()), "no service");
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  const auto mesh = builder.publish();
  EXPECT_EQ(endpoints_of(*mesh), "a b ") << "in order of uid";
  EXPECT_EQ(target_port_of(*mesh->endpoints(*mesh->service(kWeb))[0].ports, 80), 9090);
}

TEST(Endpoints, ComeBackWithTheirService) {
  MeshBuilder builder;
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  builder.upsert(backing(pod("a", {"10.0.0.1"}), kWeb));
  builder.remove_service(kWeb);
  EXPECT_EQ(endpoints_of(*builder.publish()), "no service");
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  EXPECT_EQ(endpoints_of(*builder.publish()), "a ");
}

TEST(Endpoints, FollowTheWorkloadsOwnList) {
  MeshBuilder builder;
  builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}})));
  builder.upsert(service("api", {"10.96.0.2"}, ports({{80, 8080}})));
  builder.upsert(backing(pod("a", {"10.0.0.1"}), kWeb));
  builder.upsert(backing(pod("b", {"10.0.0.2"}), kWeb));
  builder.publish();
  builder.upsert(backing(pod("a", {"10.0.0.1"}), "shop/api.shop.svc.cluster.local"));
  builder.remove_workload("Kubernetes//Pod/shop/b");
  const auto mesh = builder.publish();
  EXPECT_EQ(endpoints_of(*mesh), "");
  EXPECT_EQ(endpoints_of(*mesh, "shop/api.shop.svc.cluster.local"), "a ");
}

TEST(Endpoints, AreHealthyUnlessTheServiceTakesAll) {
  MeshBuilder builder;
  Service web = service("web", {"10.96.0.1"}, ports({{80, 8080}}));
  builder.upsert(web);
  builder.upsert(backing(pod("a", {"10.0.0.1"}), kWeb));
  builder.upsert(unhealthy(backing(pod("b", {"10.0.0.2"}), kWeb)));
  EXPECT_EQ(endpoints_of(*builder.publish()), "a ");
  web.load_balancing = LoadBalancing{{}, LoadBalancingMode::kStandard, HealthPolicy::kAllowAll};
  builder.upsert(web);
  EXPECT_EQ(endpoints_of(*builder.publish()), "a b ");
  web.load_balancing->health_policy = HealthPolicy::kOnlyHealthy;
  builder.upsert(web);
  EXPECT_EQ(endpoints_of(*builder.publish()), "a ");
  builder.upsert(backing(pod("b", {"10.0.0.2"}), kWeb));
  EXPECT_EQ(endpoints_of(*builder.publish()), "a b ") << "healthy again";
}

TEST(Endpoints, AServicesIdentitiesAreThoseThatParse) {
  MeshBuilder builder;
  Service web = service("web", {"10.96.0.1"}, ports({{80, 8080}}));
  web.subject_alt_names = {"spiffe://td/ns/a/sa/b", "web.example", "spiffe://td/ns/a"};
  builder.upsert(web);
  const auto mesh = builder.publish();
  const auto identities = mesh->identities(*mesh->service(kWeb));
  ASSERT_EQ(identities.size(), 1u);
  EXPECT_EQ(identities[0].uri(), "spiffe://td/ns/a/sa/b");
}

}  // namespace
}  // namespace culvert::snapshot
