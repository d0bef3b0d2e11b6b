// config_dump of ztunnel, as it was seen and in the forms that other versions write (reference 22, 23).
#include "local/config_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "local/json_tree.h"

namespace culvert::local {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Shortened from what a ztunnel said.
constexpr std::string_view kDump = R"({
 "certificates": [], "config": {"network": "", "localNode": "n1"}, "version": {},
 "policies": [
  {"action": "Allow", "dryRun": false, "name": "web-from-cli", "namespace": "shop",
   "rules": [[[{"destinationPorts": [8080]}], [{"principals": [{"Exact": "cluster.local/ns/shop/sa/cli"}]}]]],
   "scope": "WorkloadSelector"}
 ],
 "services": [
  {"canonical": true,
   "cidrVips": [{"network": "", "cidr": "240.240.0.0/16"}],
   "endpoints": {"Kubernetes//Pod/shop/web": {"port": {"80": 8080, "81": 8080}, "status": "Healthy",
                                              "workloadUid": "Kubernetes//Pod/shop/web"}},
   "hostname": "web.shop.svc.cluster.local", "ipFamilies": "IPv4", "name": "web", "namespace": "shop",
   "loadBalancer": {"routingPreferences": ["Network", "Region"], "mode": "Failover", "healthPolicy": "OnlyHealthy"},
   "ports": {"80": 8080, "81": 0}, "subjectAltNames": ["spiffe://cluster.local/ns/shop/sa/web"],
   "vips": ["/10.96.0.80"], "visibility": "Public"}
 ],
 "stagedServices": {}, "staticConfig": {"policies": [], "services": [], "workloads": []},
 "workloadState": {},
 "workloads": [
  {"authorizationPolicies": ["shop/web-from-cli"], "canonicalName": "web", "canonicalRevision": "latest",
   "applicationTunnel": {"protocol": "NONE", "port": null},
   "capacity": 1, "clusterId": "Kubernetes", "locality": {"region": "r1", "subzone": "", "zone": "z1"},
   "name": "web", "namespace": "shop", "networkMode": "Standard", "node": "n1", "protocol": "HBONE",
   "serviceAccount": "web", "services": ["shop/web.shop.svc.cluster.local"], "status": "Healthy",
   "trustDomain": "cluster.local", "uid": "Kubernetes//Pod/shop/web", "workloadIps": ["10.77.0.11"],
   "waypoint": {"destination": "shop/waypoint.shop.svc.cluster.local", "hboneMtlsPort": 15008},
   "workloadName": "web", "workloadType": "pod"},
  {"capacity": 1, "clusterId": "Kubernetes", "name": "late", "namespace": "shop", "networkMode": "Standard",
   "protocol": "TCP", "services": ["shop/web.shop.svc.cluster.local"], "status": "Unhealthy",
   "uid": "Kubernetes//Pod/shop/late", "workloadIps": ["10.77.0.12"]}
 ]
})";

TEST(ConfigDump, HoldsTheMeshThatTheProxyHad) {
  const auto dump = parse_config_dump(kDump, "dump.json");
  ASSERT_TRUE(dump) << dump.error().front();
  EXPECT_THAT(dump->warnings, IsEmpty());
  EXPECT_EQ(dump->node, "n1");
  EXPECT_EQ(dump->network, "");
  ASSERT_EQ(dump->mesh.workloads.size(), 2u);
  const reconcile::Workload& web = dump->mesh.workloads.at("Kubernetes//Pod/shop/web");
  EXPECT_EQ(web.identity(), "spiffe://cluster.local/ns/shop/sa/web");
  EXPECT_EQ(web.tunnel, reconcile::Tunnel::kHbone);
  EXPECT_EQ(web.type, reconcile::WorkloadType::kPod);
  EXPECT_EQ(web.locality.zone, "z1");
  EXPECT_TRUE(web.waypoint);
  EXPECT_THAT(web.authorization_policies, ElementsAre("shop/web-from-cli"));
  const std::string key = "shop/web.shop.svc.cluster.local";
  EXPECT_EQ(web.services.at(key), (reconcile::PortMap{{80, 8080}, {81, 8080}})) << "ports stand at the endpoint";
  const reconcile::Workload& late = dump->mesh.workloads.at("Kubernetes//Pod/shop/late");
  EXPECT_EQ(late.health, reconcile::Health::kUnhealthy);
  EXPECT_EQ(late.services.at(key), reconcile::PortMap{}) << "it backs the service, though it is no endpoint now";
  const reconcile::Service& service = dump->mesh.services.at(key);
  EXPECT_EQ(service.ports, (reconcile::PortMap{{80, 8080}, {81, 0}}));
  EXPECT_EQ(service.load_balancing->mode, reconcile::BalancingMode::kFailover);
  EXPECT_EQ(service.cidr_vips.size(), 1u);
  EXPECT_TRUE(service.canonical);
  EXPECT_EQ(dump->mesh.policies.at("shop/web-from-cli").rules.size(), 1u);
}

TEST(ConfigDump, PassesOverWhatOtherVersionsSayAndLeavesOutWhatItCannotRead) {
  const auto dump = parse_config_dump(R"({"services": {"shop/x": {"name": "x", "namespace": "shop", "hostname": "x",
      "vips": [], "ports": {}, "futureKey": {"a": [1]}, "cidrVips": ["/10.0.0.0/8"]}},
    "workloads": [{"uid": "u1", "namespace": "shop", "workloadIps": [], "protocol": "QUIC"},
                  {"uid": "u2", "namespace": "shop", "workloadIps": [], "somethingNew": true}]})",
                                      "d");
  ASSERT_TRUE(dump);
  EXPECT_TRUE(dump->mesh.services.contains("shop/x")) << "lists may be maps";
  EXPECT_EQ(dump->mesh.services.at("shop/x").cidr_vips.size(), 1u) << "\"network/cidr\" is a form, too";
  EXPECT_TRUE(dump->mesh.workloads.contains("u2"));
  EXPECT_THAT(dump->warnings,
              ElementsAre("d:3: workloads[0].protocol: `QUIC` is not accepted; accepted: TCP, HBONE; left out"));
}

TEST(ConfigDump, IsRefusedWhenItIsNone) {
  const std::pair<const char*, const char*> kRows[] = {
      {"", "d:1: is not JSON: it ends too soon"},
      {"{\n\"workloads\": [}", "d:2: is not JSON at `\"workloads\": [}`"},
      {"[]", "d: is no config_dump: it has no `workloads` or no `services`"},
      {"{\"workloads\": []}", "d: is no config_dump: it has no `workloads` or no `services`"},
      {"{\"a\": 1, \"a\": 2}", "d:1: the key `a` is given twice"},
  };
  for (const auto& [text, sentence] : kRows) {
    const auto dump = parse_config_dump(text, "d");
    ASSERT_FALSE(dump) << text;
    EXPECT_THAT(dump.error(), ElementsAre(sentence));
  }
  EXPECT_THAT(load_config_dump("/nowhere/d").error(), ElementsAre("/nowhere/d: cannot be read"));
}

TEST(JsonTree, KnowsLinesKindsAndQuotes) {
  const auto tree = parse_json("{\"a\":\n 80\n,\n\"b\": [true, null,\n\"x\\u00e9\\n\"]}");
  ASSERT_TRUE(tree);
  EXPECT_EQ(tree->find("a")->line, 2u);
  EXPECT_EQ(tree->find("a")->text, "80");
  EXPECT_FALSE(tree->find("a")->quoted);
  const auto& items = tree->find("b")->items;
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].text, "true");
  EXPECT_EQ(items[1].kind, config::YamlNode::Kind::kNull);
  EXPECT_EQ(items[2].text, "x\xc3\xa9\n");
  EXPECT_TRUE(items[2].quoted);
  EXPECT_EQ(items[2].line, 5u);
}

TEST(JsonTree, IsBounded) {
  const std::string deep = std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']');
  EXPECT_TRUE(parse_json(deep));
  const auto deeper = parse_json("[" + deep + "]");
  ASSERT_FALSE(deeper);
  EXPECT_EQ(deeper.error().text, "is nested deeper than 64");
}

}  // namespace
}  // namespace culvert::local
