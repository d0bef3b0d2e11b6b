// What a real istiod sent (testdata/istiod_answers.txt), fed into the machine: every resource is taken, and the mesh is
// what that istiod's objects say.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/unit/controlagent/xds/responses.h"
#include "xds/machine.h"

namespace culvert::xds {
namespace {

using reconcile::Source;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

// The file's responses. Fails the test when a message does not parse.
std::vector<ResponseOf> answers() {
  std::ifstream file(CULVERT_TESTDATA "/istiod_answers.txt");
  EXPECT_TRUE(file.is_open());
  std::vector<ResponseOf> out;
  std::string url, name, version, text;
  const auto end_resource = [&] {
    if (name.empty()) return;
    istio::workload::Address address;
    istio::security::Authorization authorization;
    google::protobuf::Message& message = url == kAddressType ? static_cast<google::protobuf::Message&>(address)
                                                             : static_cast<google::protobuf::Message&>(authorization);
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << name;
    out.back().has_bytes(name, url, message.SerializeAsString(), version);
    name.clear();
    text.clear();
  };
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string mark, what;
    if (line.starts_with("== ")) {
      end_resource();
      words >> mark >> what >> url;
      out.emplace_back(url, "nonce-" + std::to_string(out.size()));
    } else if (line.starts_with("-- ")) {
      end_resource();
      version.clear();
      words >> mark >> what >> name >> version;
    } else if (!line.starts_with("#")) {
      text += line + "\n";
    }
  }
  end_resource();
  return out;
}

class Replay : public testing::Test {
 protected:
  Replay() { machine.start(); }
  void replay(size_t first, size_t last) {
    const auto all = answers();
    ASSERT_THAT(all, SizeIs(4));
    for (size_t i = first; i < last; ++i) {
      const auto outcome = machine.on_response(ResponseInMemory(all[i].bytes()));
      ASSERT_TRUE(outcome.has_value());
      EXPECT_FALSE(outcome->reply.has_error_detail()) << outcome->reply.error_detail().message();
      EXPECT_THAT(outcome->notes, IsEmpty());
    }
  }
  reconcile::Workload workload(const std::string& uid) const {
    reconcile::Workload out;
    store.for_each_workload([&](const auto& w) {
      if (w.uid == uid) out = w;
    });
    EXPECT_EQ(out.uid, uid);
    return out;
  }
  reconcile::Service service(const std::string& key) const {
    reconcile::Service out;
    store.for_each_service([&](const auto& s) {
      if (s.key() == key) out = s;
    });
    EXPECT_EQ(out.key(), key);
    return out;
  }
  reconcile::Policy policy(const std::string& key) const {
    reconcile::Policy out;
    store.for_each_policy([&](const auto& p) {
      if (p.key() == key) out = p;
    });
    EXPECT_EQ(out.key(), key);
    return out;
  }

  reconcile::MeshStore store{"n1", {Source::kIstiod}};
  Machine machine{{}, false, {}, store};
};

TEST_F(Replay, EveryResourceOfARealIstiodIsTaken) {
  replay(0, 2);
  EXPECT_TRUE(machine.ready());
  EXPECT_TRUE(store.is_known());
  EXPECT_EQ(store.counts().workloads, 16u);
  EXPECT_EQ(store.counts().services, 10u);
  EXPECT_EQ(store.counts().policies, 10u);
}

TEST_F(Replay, WorkloadsAreWhatTheirPodsAre) {
  replay(0, 2);
  const auto istiod = workload("Kubernetes//Pod/istio-system/istiod-0");
  EXPECT_EQ(istiod.identity(), "spiffe://cluster.local/ns/istio-system/sa/istiod");
  EXPECT_THAT(istiod.addresses, ElementsAre(*IpAddress::parse("10.77.0.1")));
  const auto cni = workload("Kubernetes//Pod/istio-system/istio-cni-node-n1");
  EXPECT_EQ(cni.network_mode, reconcile::NetworkMode::kHostNetwork);
  EXPECT_EQ(cni.locality, (reconcile::Locality{"r1", "z1", ""}));
  const auto vm = workload("Kubernetes/networking.istio.io/WorkloadEntry/shop/vm");
  EXPECT_EQ(vm.capacity, 3u);
  EXPECT_EQ(vm.tunnel, reconcile::Tunnel::kHbone);
  const auto slice = workload("Kubernetes/discovery.k8s.io/EndpointSlice/shop/no-selector-1/192.0.2.9");
  EXPECT_EQ(slice.type, reconcile::WorkloadType::kDeployment);
  EXPECT_EQ(slice.service_account, "default");
  const auto dns = workload("Kubernetes/networking.istio.io/ServiceEntry/shop/dns/dns.example");
  EXPECT_EQ(dns.hostname, "dns.example");
  EXPECT_THAT(dns.services, ElementsAre(Pair("shop/dns.example", ElementsAre(Pair(80, 80)))));
  EXPECT_THAT(dns.authorization_policies, SizeIs(5));
}

TEST_F(Replay, ServicesAreWhatTheirObjectsAre) {
  replay(0, 2);
  const auto far = service("shop/far.example");
  ASSERT_THAT(far.vips, SizeIs(1));
  EXPECT_EQ(far.vips[0].address.to_string(), "240.1.1.1");
  ASSERT_THAT(far.cidr_vips, SizeIs(1));
  EXPECT_EQ(far.cidr_vips[0].prefix.to_string(), "240.2.0.0/16");
  EXPECT_THAT(far.subject_alt_names, ElementsAre("spiffe://cluster.local/ns/x/sa/y"));
  const auto local = service("shop/local.shop.svc.cluster.local");
  ASSERT_TRUE(local.load_balancing.has_value());
  EXPECT_EQ(local.load_balancing->mode, reconcile::BalancingMode::kFailover);
  EXPECT_EQ(local.load_balancing->health_policy, reconcile::HealthPolicy::kAllowAll);
  EXPECT_THAT(
      local.load_balancing->routing_preference,
      ElementsAre(reconcile::RoutingScope::kNetwork, reconcile::RoutingScope::kRegion, reconcile::RoutingScope::kZone));
  EXPECT_THAT(service("shop/web.shop.svc.cluster.local").ports, ElementsAre(Pair(80, 8080), Pair(81, 0)));
  EXPECT_FALSE(service("outside/far.example").canonical);
  EXPECT_THAT(service("shop/headless.shop.svc.cluster.local").vips, IsEmpty());
}

TEST_F(Replay, PoliciesHaveTheirShape) {
  replay(0, 2);
  const auto strict = policy("istio-system/istio_converted_static_strict");
  EXPECT_EQ(strict.scope, reconcile::PolicyScope::kWorkloadSelector);
  EXPECT_EQ(strict.action, reconcile::PolicyAction::kDeny);
  ASSERT_THAT(strict.rules, SizeIs(1));
  EXPECT_EQ(strict.rules[0][0][0].not_principals[0].kind, reconcile::StringMatch::Kind::kPresence);
  EXPECT_THAT(policy("outside/allow-nothing").rules, IsEmpty());
  const auto everything = policy("shop/whole-namespace");
  ASSERT_THAT(everything.rules, SizeIs(1));
  EXPECT_THAT(everything.rules[0], IsEmpty());
  const auto wide = policy("shop/wide");
  ASSERT_THAT(wide.rules, SizeIs(1));
  ASSERT_THAT(wide.rules[0], SizeIs(5));
  EXPECT_THAT(wide.rules[0][1], SizeIs(2));
  EXPECT_THAT(wide.rules[0][1][0].source_ips, ElementsAre(*Prefix::parse("10.1.0.0/16")));
  EXPECT_THAT(wide.rules[0][1][1].service_accounts, ElementsAre(reconcile::ServiceAccountMatch{"shop", "cli"},
                                                                reconcile::ServiceAccountMatch{"outside", "plain"}));
}

TEST_F(Replay, ASecondStreamThatClaimsAllChangesNothing) {
  replay(0, 2);
  reconcile::MeshStore::Feed feed(store);
  const auto requests = machine.start();
  EXPECT_EQ(requests[0].initial_resource_versions_size(), 26);
  EXPECT_EQ(requests[0].initial_resource_versions().at("Kubernetes//Pod/shop/web"), "a24c818f0843af84");
  EXPECT_EQ(requests[1].initial_resource_versions_size(), 10);
  replay(2, 4);
  EXPECT_TRUE(feed.take().empty());
  EXPECT_EQ(machine.kept(), 36u);
}

}  // namespace
}  // namespace culvert::xds
