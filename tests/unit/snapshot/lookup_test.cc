// What a Mesh finds: by uid, address, name, VIP and host name, and which of several candidates (reference 9.3, 9.4).
#include <gtest/gtest.h>

#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::snapshot {
namespace {

using namespace testkit::records;

class Lookup : public testing::Test {
 protected:
  std::string workload_at(std::string_view address, std::string_view network = "") {
    const Workload* found = builder.publish()->workload_at(network, ip(address));
    return found ? found->uid : "none";
  }
  std::string service_at(std::string_view address, std::optional<std::string_view> client = "shop") {
    const Service* found = builder.publish()->service_at("", ip(address), client);
    return found ? found->key() : "none";
  }
  MeshBuilder builder;
};

TEST_F(Lookup, AnEmptyMeshKnowsNothing) {
  EXPECT_EQ(builder.publish()->version(), 0u);
  EXPECT_EQ(workload_at("10.0.0.1"), "none");
  EXPECT_EQ(service_at("10.96.0.1"), "none");
  EXPECT_EQ(builder.publish()->policy("a/b"), nullptr);
  EXPECT_TRUE(builder.publish()->policies_in_scope("").empty());
}

TEST_F(Lookup, FindsAWorkloadByUidAddressAndName) {
  builder.upsert(pod("a", {"10.0.0.1", "fd00::1"}));
  const auto mesh = builder.publish();
  EXPECT_EQ(mesh->version(), 1u);
  EXPECT_EQ(mesh->workload("Kubernetes//Pod/shop/a")->name, "a");
  EXPECT_EQ(workload_at("10.0.0.1"), "Kubernetes//Pod/shop/a");
  EXPECT_EQ(workload_at("fd00::1"), "Kubernetes//Pod/shop/a");
  EXPECT_EQ(workload_at("10.0.0.1", "other"), "none");
  EXPECT_EQ(mesh->local_workload("shop", "a", "")->name, "a");
  EXPECT_EQ(mesh->local_workload("shop", "b", ""), nullptr);
}

TEST_F(Lookup, ALocalLookUpSeesOnlyRecordsOfItsNode) {
  Workload here = pod("a", {"10.0.0.1"});
  here.uid += "-1";
  here.node = "n1";
  Workload there = pod("a", {"10.0.0.2"});
  there.uid += "-2";
  there.node = "n2";
  builder.upsert(there);
  builder.upsert(here);
  const auto mesh = builder.publish();
  EXPECT_EQ(mesh->local_workload("shop", "a", "n1")->uid, here.uid);
  EXPECT_EQ(mesh->local_workload("shop", "a", "n2")->uid, there.uid);
  EXPECT_EQ(mesh->local_workload("shop", "a", "n3"), nullptr);
  EXPECT_EQ(mesh->local_workload("shop", "a", "")->uid, here.uid) << "lowest uid of several";
}

TEST_F(Lookup, OfSeveralClaimsOnOneAddressTheHighestRankWins) {
  struct Row {
    const char* uid;
    TunnelProtocol protocol;
  };
  const Row by_rank[] = {{"x/EndpointSlice/a", TunnelProtocol::kNone},
                         {"x/WorkloadEntry/b", TunnelProtocol::kHbone},
                         {"c//Pod/shop/c", TunnelProtocol::kNone},
                         {"c//Pod/shop/d", TunnelProtocol::kHbone}};
  auto claim = [](const Row& row) {
    Workload w = pod("w", {"10.0.0.9"});
    w.uid = row.uid;
    w.tunnel_protocol = row.protocol;
    return w;
  };
  for (const Row& row : by_rank) {
    builder.upsert(claim(row));
    EXPECT_EQ(workload_at("10.0.0.9"), row.uid);
  }
  for (int i = 3; i > 0; --i) {
    builder.remove_workload(by_rank[i].uid);
    EXPECT_EQ(workload_at("10.0.0.9"), by_rank[i - 1].uid) << "the next in rank takes the address back";
  }
  // Downward insertion changes nothing.
  builder.upsert(claim(by_rank[3]));
  builder.upsert(claim(by_rank[1]));
  EXPECT_EQ(workload_at("10.0.0.9"), by_rank[3].uid);
}

TEST_F(Lookup, AmongEqualClaimsTheLatestWins) {
  Workload first = pod("a", {"10.0.0.1"});
  builder.upsert(first);
  builder.upsert(pod("b", {"10.0.0.1"}));
  EXPECT_EQ(workload_at("10.0.0.1"), "Kubernetes//Pod/shop/b");
  first.canonical_revision = "v2";
  builder.upsert(first);
  EXPECT_EQ(workload_at("10.0.0.1"), "Kubernetes//Pod/shop/a") << "sent again with a change: inserted again";
}

TEST_F(Lookup, HostNetworkWorkloadsAreNotFoundByAddress) {
  Workload w = pod("a", {"10.0.0.1"});
  w.network_mode = NetworkMode::kHostNetwork;
  builder.upsert(w);
  EXPECT_EQ(workload_at("10.0.0.1"), "none");
  EXPECT_NE(builder.publish()->workload(w.uid), nullptr);
}

TEST_F(Lookup, AnAddressThatAWorkloadGaveUpIsFree) {
  builder.upsert(pod("a", {"10.0.0.1"}));
  builder.upsert(pod("a", {"10.0.0.2"}));
  EXPECT_EQ(workload_at("10.0.0.1"), "none");
  EXPECT_EQ(workload_at("10.0.0.2"), "Kubernetes//Pod/shop/a");
}

TEST_F(Lookup, AnExactVipPrefersTheClientsNamespaceThenTheCanonicalThenTheFirst) {
  Service first = service("web", {"10.96.0.1"}, ports({{80, 8080}}), "a");
  Service second = service("web", {"10.96.0.1"}, ports({{80, 8080}}), "b");
  Service canonical = service("web", {"10.96.0.1"}, ports({{80, 8080}}), "c");
  canonical.canonical = true;
  builder.upsert(second);
  builder.upsert(first);
  EXPECT_EQ(service_at("10.96.0.1", "x"), second.key()) << "first inserted";
  builder.upsert(canonical);
  EXPECT_EQ(service_at("10.96.0.1", "x"), canonical.key());
  EXPECT_EQ(service_at("10.96.0.1", "a"), first.key());
  EXPECT_EQ(service_at("10.96.0.1", std::nullopt), canonical.key());
}

TEST_F(Lookup, AServiceVisibleInItsNamespaceOnlyIsHiddenFromOthers) {
  Service hidden = service("web", {"10.96.0.1"}, ports({{80, 8080}}), "a");
  hidden.visibility = Visibility::kNamespace;
  builder.upsert(hidden);
  EXPECT_EQ(service_at("10.96.0.1", "b"), "none");
  EXPECT_EQ(service_at("10.96.0.1", "a"), hidden.key());
  EXPECT_EQ(service_at("10.96.0.1", std::nullopt), hidden.key()) << "inbound validation does not ask for visibility";
  // Where no exact VIP is visible, a block that covers the address may be.
  Service block = service("block", {}, ports({{80, 8080}}), "c");
  block.cidr_vips = {{"", cidr("10.96.0.0/16")}};
  builder.upsert(block);
  EXPECT_EQ(service_at("10.96.0.1", "b"), block.key());
}

TEST_F(Lookup, CidrVipsPreferTheNamespaceThenTheLongerPrefixThenTheCanonical) {
  auto block = [](const std::string& ns, const char* prefix, bool canonical = false) {
    Service s = service("block", {}, ports({{80, 8080}}), ns);
    s.cidr_vips = {{"", cidr(prefix)}};
    s.canonical = canonical;
    return s;
  };
  builder.upsert(block("wide", "10.0.0.0/8", true));
  builder.upsert(block("narrow", "10.96.7.3/24"));
  EXPECT_EQ(service_at("10.96.7.9", "x"), block("narrow", "10.0.0.0/8").key()) << "bits behind the length do not count";
  EXPECT_EQ(service_at("10.96.8.9", "x"), block("wide", "10.0.0.0/8").key());
  EXPECT_EQ(service_at("10.96.7.9", "wide"), block("wide", "10.0.0.0/8").key());
  builder.upsert(block("tall", "10.96.7.0/24", true));
  EXPECT_EQ(service_at("10.96.7.9", "x"), block("tall", "10.0.0.0/8").key());
  EXPECT_EQ(service_at("11.0.0.1", "x"), "none");
  EXPECT_EQ(service_at("fd00::1", "x"), "none");
  builder.remove_service(block("tall", "10.0.0.0/8").key());
  builder.remove_service(block("narrow", "10.0.0.0/8").key());
  EXPECT_EQ(service_at("10.96.7.9", "x"), block("wide", "10.0.0.0/8").key());
}

TEST_F(Lookup, AnIpv6BlockCoversItsAddresses) {
  Service s = service("six", {}, ports({{80, 8080}}));
  s.cidr_vips = {{"", cidr("fd00:1::/32")}, {"", cidr("fd00:2::5/128")}};
  builder.upsert(s);
  EXPECT_EQ(service_at("fd00:1:ffff::9"), s.key());
  EXPECT_EQ(service_at("fd00:2::5"), s.key()) << "a block of one address is an ordinary VIP";
  EXPECT_EQ(service_at("fd00:2::6"), "none");
}

TEST_F(Lookup, AHostnamePrefersTheNamespaceThenTheCanonicalThenTheFirst) {
  auto named = [](const std::string& ns, bool canonical) {
    Service s = service("web", {}, ports({{80, 8080}}), ns);
    s.hostname = "web.example";
    s.canonical = canonical;
    return s;
  };
  builder.upsert(named("b", false));
  builder.upsert(named("a", false));
  EXPECT_EQ(builder.publish()->service_by_hostname("web.example", "x")->name_space, "b");
  builder.upsert(named("c", true));
  EXPECT_EQ(builder.publish()->service_by_hostname("web.example", "x")->name_space, "c");
  EXPECT_EQ(builder.publish()->service_by_hostname("web.example", "a")->name_space, "a");
  EXPECT_EQ(builder.publish()->service_by_hostname("other.example", "a"), nullptr);
}

TEST_F(Lookup, PoliciesAreFoundByNameAndByScope) {
  auto policy = [](const std::string& ns, const std::string& name, PolicyScope scope) {
    Policy p;
    p.name = name;
    p.name_space = ns;
    p.scope = scope;
    return p;
  };
  builder.upsert(policy("istio-system", "all", PolicyScope::kGlobal));
  builder.upsert(policy("shop", "b", PolicyScope::kNamespace));
  builder.upsert(policy("shop", "a", PolicyScope::kNamespace));
  builder.upsert(policy("shop", "one", PolicyScope::kWorkloadSelector));
  auto mesh = builder.publish();
  EXPECT_EQ(mesh->policy("istio-system/all")->name, "all");
  EXPECT_EQ(mesh->policy("shop/one")->scope, PolicyScope::kWorkloadSelector);
  ASSERT_EQ(mesh->policies_in_scope("").size(), 1u);
  ASSERT_EQ(mesh->policies_in_scope("shop").size(), 2u) << "selector policies are reached by name only";
  EXPECT_EQ(mesh->policies_in_scope("shop")[0]->name, "a");
  EXPECT_TRUE(mesh->policies_in_scope("istio-system").empty());

  Policy moved = policy("shop", "a", PolicyScope::kGlobal);
  builder.upsert(moved);
  builder.remove_policy("shop/b");
  mesh = builder.publish();
  EXPECT_TRUE(mesh->policies_in_scope("shop").empty());
  EXPECT_EQ(mesh->policies_in_scope("").size(), 2u);
  EXPECT_EQ(mesh->policy("shop/b"), nullptr);
}

TEST_F(Lookup, AnAddressResourceIsRemovedAsWorkloadOrElseAsService) {
  const Service s = service("web", {"10.96.0.1"}, ports({{80, 8080}}));
  builder.upsert(pod("a", {"10.0.0.1"}));
  builder.upsert(s);
  EXPECT_FALSE(builder.remove_address("nothing"));
  EXPECT_FALSE(builder.remove_address("too/many/slashes"));
  EXPECT_TRUE(builder.remove_address("Kubernetes//Pod/shop/a"));
  EXPECT_TRUE(builder.remove_address(s.key()));
  EXPECT_EQ(builder.publish()->workload_count(), 0u);
  EXPECT_EQ(builder.publish()->service_count(), 0u);
}

}  // namespace
}  // namespace culvert::snapshot
