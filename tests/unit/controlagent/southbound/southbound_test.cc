// The agent's side of the contract against the data plane's own server: the node behind it only remembers what it was
// told. Pods are real namespaces (as root), certificates come from the real CA, and both sides are restarted.
#include "southbound/southbound.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "ca/ca.h"
#include "tests/unit/controlagent/node/temporary_namespace.h"
#include "tests/unit/controlagent/southbound/data_plane.h"

namespace culvert::southbound {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class SouthboundTest : public testing::Test {
 protected:
  SouthboundTest() : data_plane_(folder_.path()) {
    const auto made = ca::init(folder_ / "ca");
    EXPECT_TRUE(made) << (made ? "" : made.error());
  }
  ~SouthboundTest() override { agent_.reset(); }

  void start_agent() {
    Options options;
    options.control_socket = folder_ / "control.sock";
    options.descriptor_socket = folder_ / "descriptors.sock";
    options.node = "n1";
    options.build = "test";
    agent_ = std::make_unique<Southbound>(
        options, mesh_, links_,
        [this](const std::string& csr, const std::string& id,
               const std::stop_token&) -> Result<SignedChain, std::string> {
          if (ca_broken_) return std::string("the CA is broken");
          const UnixTime now = RealClock().calendar();
          auto authority = ca::Authority::open(folder_ / "ca", now);
          if (!authority) return authority.error();
          auto chain = (*authority)->sign(csr, id, leaf_lifetime_, now);
          if (!chain) return chain.error();
          return SignedChain{chain->chain_pem, chain->roots_pem};
        },
        log_);
    agent_->start();
  }

  void set_mesh(const std::shared_ptr<reconcile::Mesh>& mesh) { mesh_.replace(reconcile::Source::kFile, *mesh); }

  WantedLink link(const std::string& id, const std::string& netns, const std::string& address,
                  const std::string& workload) const {
    return {.spec = {.name = id,
                     .netns = netns,
                     .interface = "eth0",
                     .mtu = 1500,
                     .pod = true,
                     .addresses = {*IpAddress::parse(address)},
                     .gateways = {*IpAddress::parse("10.1.0.1")}},
            .workload = workload};
  }
  WantedLink pod_link() const { return link("n1-p1", pod_.path(), "10.1.0.11", "demo/web"); }

  // Workloads "name" of service accounts of the same names, on this node, speaking HBONE.
  static std::shared_ptr<reconcile::Mesh> mesh(const std::vector<std::string>& names) {
    auto out = std::make_shared<reconcile::Mesh>();
    for (const std::string& name : names) {
      reconcile::Workload w;
      w.uid = w.name = w.service_account = name;
      w.name_space = "demo";
      w.trust_domain = "cluster.local";
      w.node = "n1";
      w.tunnel = reconcile::Tunnel::kHbone;
      out->workloads[w.uid] = w;
    }
    return out;
  }

  void attached_with_certificate() {
    start_agent();
    set_mesh(mesh({"web"}));
    agent_->set_links({pod_link()});
    ASSERT_TRUE(eventually([&] { return data_plane_.has("n1-p1") && data_plane_.serials().contains("web"); }))
        << testing::PrintToString(log_.lines());
  }

  control::TemporaryFolder folder_;
  node::TemporaryNamespace pod_;
  reconcile::MeshStore mesh_{"n1", {reconcile::Source::kFile}};
  node::KernelLinks links_;
  RememberingLog log_;
  std::atomic<bool> ca_broken_{false};
  std::chrono::seconds leaf_lifetime_{600};
  DataPlane data_plane_;
  std::unique_ptr<Southbound> agent_;
};

TEST_F(SouthboundTest, BringsLinksMeshAndCertificates) {
  data_plane_.start();
  attached_with_certificate();
  const auto attachment = data_plane_.with([](const control::FakeNode& n) { return n.attached.at("n1-p1"); });
  EXPECT_EQ(attachment.spec.workload, "demo/web");
  EXPECT_EQ(attachment.spec.addresses, (std::vector<IpAddress>{*IpAddress::parse("10.1.0.11")}));
  EXPECT_EQ(attachment.spec.gateways, (std::vector<IpAddress>{*IpAddress::parse("10.1.0.1")}));
  EXPECT_EQ(attachment.interface, "eth0");
  EXPECT_EQ(data_plane_.with(
                [](const control::FakeNode& n) { return control::tap_name(n.queues_of.at("n1-p1").front().get()); }),
            "eth0");
  EXPECT_THAT(pod_.run("ip route"), HasSubstr("default via 10.1.0.1 dev eth0"));
}

TEST_F(SouthboundTest, WorksInWhateverOrderTheTwoComeUp) {
  start_agent();
  set_mesh(mesh({"web"}));
  agent_->set_links({pod_link()});
  ASSERT_TRUE(eventually([&] { return pod_.run("ip -br address show eth0").find("10.1.0.11") != std::string::npos; }))
      << "the pod has its interface although no data plane answers";
  EXPECT_EQ(log_.count("does not answer, trying again"), 1) << testing::PrintToString(log_.lines());
  EXPECT_THAT(log_.lines(), Contains("data plane at " + (folder_ / "control.sock") +
                                     " does not answer, trying again: No such file or directory"));
  data_plane_.start();
  EXPECT_TRUE(eventually([&] { return data_plane_.has("n1-p1") && data_plane_.serials().contains("web"); }, 5s))
      << testing::PrintToString(log_.lines());
}

TEST_F(SouthboundTest, SendsDifferencesAfterTheFirstMesh) {
  data_plane_.start();
  start_agent();
  auto first = mesh({"a", "b", "c"});
  set_mesh(first);
  ASSERT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 1; }));
  EXPECT_EQ(agent_->progress().mesh_records_sent, 3u);
  auto second = mesh({"a", "b", "d"});
  second->workloads.at("b").capacity = 2;
  set_mesh(second);
  ASSERT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 2; }));
  EXPECT_EQ(agent_->progress().mesh_records_sent, 3u + 3u) << "b changed, d came, c went";
  EXPECT_EQ(data_plane_.workloads(), 3u);
  EXPECT_EQ(data_plane_.with([](const control::FakeNode& n) { return n.mesh->workload("c") == nullptr; }), true);
  set_mesh(std::make_shared<reconcile::Mesh>(*second));
  set_mesh(mesh({"e"}));
  ASSERT_TRUE(eventually([&] { return data_plane_.workloads() == 1; }));
  EXPECT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 3; })) << "an equal mesh is not sent";
}

TEST_F(SouthboundTest, SendsAMeshThatNeedsManyChunks) {
  data_plane_.start();
  start_agent();
  std::vector<std::string> names;
  for (int i = 0; i < 20'000; i++) names.push_back("workload-with-a-long-name-" + std::to_string(i));
  set_mesh(mesh(names));
  ASSERT_TRUE(eventually([&] { return data_plane_.workloads() == names.size(); }, 60s));
  EXPECT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 1; })) << "in one transaction";
}

TEST_F(SouthboundTest, TellsWhichRecordWasRefusedAndWhy) {
  data_plane_.start();
  start_agent();
  auto wrong = mesh({"good"});
  reconcile::Workload bad = wrong->workloads.at("good");
  bad.uid = "bad";
  bad.waypoint = reconcile::Gateway{reconcile::NamespacedHostname{"demo", "waypoint"}, 0};
  wrong->workloads["bad"] = bad;
  set_mesh(wrong);
  ASSERT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 1; }));
  EXPECT_EQ(data_plane_.workloads(), 1u);
  ASSERT_TRUE(eventually([&] { return log_.count("refused") > 0; }));
  EXPECT_THAT(log_.lines(), Contains(HasSubstr("the data plane refused workload `bad`: waypoint.hbone_port: ")));
}

TEST_F(SouthboundTest, ADataPlaneThatRestartedIsToldEverythingAgain) {
  data_plane_.start();
  attached_with_certificate();
  const std::string index = pod_.run("cat /sys/class/net/eth0/ifindex");
  data_plane_.end();
  EXPECT_THAT(pod_.run("ip -o link show eth0"), HasSubstr("LOWER_UP")) << "the agent's copy of the queue keeps it up";
  EXPECT_THAT(pod_.run("ip route"), HasSubstr("default via 10.1.0.1 dev eth0"));
  data_plane_.start();
  EXPECT_TRUE(eventually([&] { return data_plane_.has("n1-p1"); }, 5s)) << testing::PrintToString(log_.lines());
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); }, 5s)) << "with a new key and chain";
  EXPECT_EQ(data_plane_.workloads(), 1u);
  EXPECT_EQ(pod_.run("cat /sys/class/net/eth0/ifindex"), index);
  EXPECT_EQ(log_.count("lost the data plane"), 1);
}

TEST_F(SouthboundTest, AnAgentThatRestartedDisturbsNothing) {
  data_plane_.start();
  attached_with_certificate();
  ASSERT_TRUE(eventually([&] { return data_plane_.workloads() == 1; }));
  const auto calls = data_plane_.calls();
  const auto serials = data_plane_.serials();
  const auto version = data_plane_.mesh_version();
  agent_.reset();
  EXPECT_TRUE(data_plane_.has("n1-p1"));
  start_agent();
  set_mesh(mesh({"web"}));
  agent_->set_links({pod_link()});
  ASSERT_TRUE(eventually([&] {
    return agent_->progress().links_attached == 1 && agent_->progress().mesh_transactions == 1;
  })) << testing::PrintToString(log_.lines());
  EXPECT_EQ(data_plane_.calls(), calls) << "neither detached nor attached again";
  EXPECT_EQ(data_plane_.serials(), serials);
  EXPECT_EQ(data_plane_.mesh_version(), version) << "an equal mesh is no change";
  // Its copy came back from the data plane: after that one's death the link is still held.
  data_plane_.end();
  EXPECT_THAT(pod_.run("ip -o link show eth0"), HasSubstr("LOWER_UP"));
}

TEST_F(SouthboundTest, APodThatLeftTheConfigurationWhileNoAgentRanIsRemoved) {
  data_plane_.start();
  attached_with_certificate();
  agent_.reset();
  start_agent();
  agent_->set_links({});
  EXPECT_TRUE(eventually([&] { return !data_plane_.has("n1-p1"); }));
  EXPECT_TRUE(eventually([&] { return pod_.run("ip link show eth0").find("does not exist") != std::string::npos; }));
}

TEST_F(SouthboundTest, NothingIsRemovedBeforeTheConfigurationIsKnown) {
  data_plane_.start();
  attached_with_certificate();
  agent_.reset();
  start_agent();
  ASSERT_TRUE(eventually([&] { return agent_->progress().sessions == 1; }));
  std::this_thread::sleep_for(300ms);
  EXPECT_TRUE(data_plane_.has("n1-p1"));
  EXPECT_EQ(data_plane_.workloads(), 1u) << "nor is the mesh replaced by nothing";
}

TEST_F(SouthboundTest, AnAttachmentThatIsTakenOutIsDetachedItsDeviceRemovedAndItsIdentityForgottenWithItsWorkload) {
  data_plane_.start();
  attached_with_certificate();
  node::TemporaryNamespace other;
  set_mesh(mesh({"web", "db"}));
  agent_->set_links({pod_link(), link("n1-p2", other.path(), "10.1.0.12", "demo/db")});
  ASSERT_TRUE(eventually([&] { return data_plane_.has("n1-p2") && data_plane_.serials().contains("db"); }));
  agent_->set_links({link("n1-p2", other.path(), "10.1.0.12", "demo/db")});
  EXPECT_TRUE(eventually([&] { return !data_plane_.has("n1-p1"); }));
  EXPECT_TRUE(eventually([&] { return pod_.run("ip link show eth0").find("does not exist") != std::string::npos; }));
  EXPECT_TRUE(data_plane_.serials().contains("web")) << "its workload is still this node's: a pod may come again";
  set_mesh(mesh({"db"}));
  EXPECT_TRUE(eventually([&] { return !data_plane_.serials().contains("web"); }))
      << testing::PrintToString(log_.lines());
  EXPECT_TRUE(data_plane_.has("n1-p2"));
  EXPECT_TRUE(data_plane_.serials().contains("db"));
  EXPECT_THAT(data_plane_.calls(), Not(Contains("detach n1-p2")));
}

TEST_F(SouthboundTest, APodWhoseNamespaceGoesIsWithdrawnAtOnceAndComesBackWithIt) {
  data_plane_.start();
  attached_with_certificate();
  const auto gone_at = std::chrono::steady_clock::now();
  pod_.remove();
  ASSERT_TRUE(eventually([&] { return !data_plane_.has("n1-p1"); }));
  EXPECT_LT(std::chrono::steady_clock::now() - gone_at, 900ms) << "peers are to see a reset within a second";
  EXPECT_EQ(log_.count("n1-p1: the network namespace " + pod_.path() + " is gone, the link is withdrawn"), 1);
  pod_.add();
  EXPECT_TRUE(eventually([&] { return data_plane_.has("n1-p1"); })) << testing::PrintToString(log_.lines());
  EXPECT_THAT(pod_.run("ip route"), HasSubstr("default via 10.1.0.1 dev eth0"));
}

TEST_F(SouthboundTest, ANamespaceMadeAnewUnderTheSamePathIsNoticed) {
  data_plane_.start();
  attached_with_certificate();
  pod_.remove();
  pod_.add();
  EXPECT_TRUE(
      eventually([&] { return pod_.run("ip route").find("default via 10.1.0.1 dev eth0") != std::string::npos; }));
  EXPECT_TRUE(eventually([&] {
    const auto calls = data_plane_.calls();
    return std::count(calls.begin(), calls.end(), "attach n1-p1") == 2;
  })) << testing::PrintToString(log_.lines());
}

TEST_F(SouthboundTest, ADeviceThatSomebodyRemovesIsMadeAndAttachedAgain) {
  data_plane_.start();
  attached_with_certificate();
  pod_.run("ip link delete eth0");
  EXPECT_TRUE(eventually([&] {
    const auto calls = data_plane_.calls();
    return std::count(calls.begin(), calls.end(), "attach n1-p1") == 2;
  })) << testing::PrintToString(log_.lines());
  EXPECT_THAT(pod_.run("ip route"), HasSubstr("default via 10.1.0.1 dev eth0"));
}

TEST_F(SouthboundTest, TwoPodsMayExchangeTheirAddresses) {
  data_plane_.start();
  start_agent();
  node::TemporaryNamespace other;
  set_mesh(mesh({"web"}));
  agent_->set_links({pod_link(), link("n1-p2", other.path(), "10.1.0.12", "demo/db")});
  ASSERT_TRUE(eventually([&] { return agent_->progress().links_attached == 2; }))
      << testing::PrintToString(log_.lines());
  agent_->set_links(
      {link("n1-p1", pod_.path(), "10.1.0.12", "demo/web"), link("n1-p2", other.path(), "10.1.0.11", "demo/db")});
  EXPECT_TRUE(eventually([&] {
    return data_plane_.with([](const control::FakeNode& n) {
      const auto p1 = n.attached.find("n1-p1"), p2 = n.attached.find("n1-p2");
      return p1 != n.attached.end() && p2 != n.attached.end() &&
             p1->second.spec.addresses.front() == *IpAddress::parse("10.1.0.12") &&
             p2->second.spec.addresses.front() == *IpAddress::parse("10.1.0.11");
    });
  })) << testing::PrintToString(log_.lines());
  EXPECT_TRUE(
      eventually([&] { return pod_.run("ip -br -4 address show eth0").find("10.1.0.12/32") != std::string::npos; }));
}

TEST_F(SouthboundTest, APortGetsItsKernelEndAndItsQueue) {
  data_plane_.start(1, {"uplink0"});
  start_agent();
  WantedLink port;
  port.spec = {.name = "port:uplink0",
               .netns = pod_.path(),
               .interface = "n1-up",
               .mtu = 1500,
               .pod = false,
               .addresses = {},
               .gateways = {}};
  agent_->set_links({port});
  EXPECT_TRUE(eventually([&] {
    return data_plane_.with([](const control::FakeNode& n) { return n.queues_of.contains("port:uplink0"); });
  })) << testing::PrintToString(log_.lines());
  EXPECT_THAT(pod_.run("ip -o link show n1-up"), HasSubstr("UP,LOWER_UP"));
  EXPECT_EQ(log_.count("did not take its queue"), 0) << testing::PrintToString(log_.lines());
  data_plane_.end();
  data_plane_.start(1, {"uplink0"});
  EXPECT_TRUE(eventually(
      [&] { return data_plane_.with([](const control::FakeNode& n) { return n.queues_of.contains("port:uplink0"); }); },
      5s))
      << testing::PrintToString(log_.lines());
}

TEST_F(SouthboundTest, CertificatesAreRenewedWhileTheOldOnesStillWork) {
  leaf_lifetime_ = 4s;
  data_plane_.start();
  attached_with_certificate();
  std::set<std::string> serials;
  bool always = true;
  EXPECT_TRUE(eventually([&] {
    const auto now = data_plane_.serials();
    always = always && now.contains("web");
    if (now.contains("web")) serials.insert(now.at("web"));
    return serials.size() >= 3;
  })) << testing::PrintToString(log_.lines());
  EXPECT_TRUE(always) << "there was never a moment without a valid one";
}

TEST_F(SouthboundTest, AFailingCaIsToldByIdentityAndTriedAgain) {
  ca_broken_ = true;
  data_plane_.start();
  start_agent();
  set_mesh(mesh({"web"}));
  agent_->set_links({pod_link()});
  const std::string line =
      "no certificate for spiffe://cluster.local/ns/demo/sa/web, trying again in 1 s: the CA is broken";
  ASSERT_TRUE(eventually([&] { return log_.count(line) >= 1; })) << testing::PrintToString(log_.lines());
  ca_broken_ = false;
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); }));
  EXPECT_LE(log_.count("no certificate for"), 4) << "it waits between its tries";
}

TEST_F(SouthboundTest, AnAttachedWorkloadOutsideOfTheMeshGetsNoCertificate) {
  data_plane_.start();
  start_agent();
  auto plain = mesh({"web"});
  plain->workloads.at("web").tunnel = reconcile::Tunnel::kNone;
  set_mesh(plain);
  agent_->set_links({pod_link()});
  ASSERT_TRUE(eventually([&] { return data_plane_.has("n1-p1") && data_plane_.workloads() == 1; }));
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(agent_->progress().certificates_installed, 0u);
  set_mesh(mesh({"web"}));
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); }))
      << testing::PrintToString(log_.lines());
}

TEST_F(SouthboundTest, ADataPlaneOfAnotherContractIsToldAndWaitedFor) {
  data_plane_.start(7);
  start_agent();
  ASSERT_TRUE(eventually([&] { return log_.count("data plane at") >= 1; }));
  EXPECT_EQ(agent_->progress().sessions, 0u);
  EXPECT_THAT(log_.lines().front(), testing::AllOf(HasSubstr("7"), HasSubstr("1")));
  data_plane_.end();
  data_plane_.start(1);
  EXPECT_TRUE(eventually([&] { return agent_->progress().sessions == 1; }, 5s));
}

TEST_F(SouthboundTest, EndsAtOnceWhateverItWaitsFor) {
  start_agent();
  set_mesh(mesh({"web"}));
  const auto before = std::chrono::steady_clock::now();
  agent_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 1s) << "without a data plane";
  data_plane_.start();
  attached_with_certificate();
  const auto with = std::chrono::steady_clock::now();
  agent_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - with, 1s) << "with one";
  EXPECT_TRUE(data_plane_.has("n1-p1"));
  EXPECT_THAT(pod_.run("ip route"), HasSubstr("default via 10.1.0.1 dev eth0"));
}

}  // namespace
}  // namespace culvert::southbound
