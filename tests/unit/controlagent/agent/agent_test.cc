// The agent over its files: what a good change of each does, and that a bad one changes nothing.
#include "agent/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "ca/ca.h"
#include "identity/revocation.h"
#include "tests/testkit/test_ca.h"
#include "tests/unit/controlagent/node/temporary_namespace.h"
#include "tests/unit/controlagent/southbound/data_plane.h"

namespace culvert::agent {
namespace {

using testing::Contains;
using testing::HasSubstr;

class AgentTest : public testing::Test {
 protected:
  AgentTest() : data_plane_(folder_.path()) {
    EXPECT_TRUE(ca::init(folder_ / "ca"));
    write_config({"n1-p1"});
    write_mesh({"web"});
    data_plane_.start();
  }
  ~AgentTest() override {
    running_ = false;
    if (loop_.joinable()) loop_.join();
    if (agent_ != nullptr) agent_->stop();
  }

  void replace(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / (name + ".new")) << text;
    std::filesystem::rename(folder_ / (name + ".new"), folder_ / name);
  }
  void write_config(const std::vector<std::string>& ids, const std::string& more = "") {
    std::string text = "node: {name: n1}\n";
    text +=
        "control: {socket: " + (folder_ / "control.sock") + ", descriptors: " + (folder_ / "descriptors.sock") + "}\n";
    text += "admin: {listen: \"\", metrics: \"\", readiness: \"\"}\n";
    text += "mesh: {file: " + (folder_ / "mesh.yaml") + "}\nca: {dir: " + (folder_ / "ca") +
            (set_crl_.empty() ? "" : ", crl: " + set_crl_) + "}\n" + more;
    text += "attachments:\n";
    int n = 10;
    for (const std::string& id : ids) {
      text += "- {id: " + id + ", netns: " + pod_.path() + ", interface: " + id +
              ", workload: demo/web, addresses: [10.1.0." + std::to_string(++n) + "], gateway: [10.1.0.1]}\n";
    }
    replace("culvert.yaml", text);
  }
  void write_mesh(const std::vector<std::string>& names, const std::string& more = "") {
    std::string text = "workloads:\n";
    for (const std::string& name : names) {
      text += "- {name: " + name + ", namespace: demo, workloadIps: [], services: {}, protocol: HBONE, node: n1, " +
              "trustDomain: cluster.local, serviceAccount: " + name + "}\n";
    }
    replace("mesh.yaml", text + more);
  }

  void start() {
    auto loaded = config::load(folder_ / "culvert.yaml", {});
    ASSERT_TRUE(loaded) << loaded.error().front();
    agent_ = std::make_unique<Agent>(folder_ / "culvert.yaml", config::Overrides(), std::move(*loaded), links_, log_);
    const auto started = agent_->start();
    ASSERT_TRUE(started) << started.error();
    loop_ = std::thread([this] {
      while (running_) {
        std::vector<pollfd> polled;
        for (const int fd : agent_->descriptors()) polled.push_back({.fd = fd, .events = POLLIN, .revents = 0});
        poll(polled.data(), polled.size(), 20);
        agent_->turn(Instant(std::chrono::steady_clock::now().time_since_epoch()));
      }
    });
  }

  std::string set_crl_;  // ca.crl
  control::TemporaryFolder folder_;
  node::TemporaryNamespace pod_;
  node::KernelLinks links_;
  RememberingLog log_;
  DataPlane data_plane_;
  std::atomic<bool> running_{true};
  std::unique_ptr<Agent> agent_;
  std::thread loop_;
};

TEST_F(AgentTest, TellsTheDataPlaneWhatItsFilesSay) {
  start();
  EXPECT_TRUE(eventually([&] { return data_plane_.has("n1-p1") && data_plane_.serials().contains("web"); }))
      << testing::PrintToString(log_.lines());
  EXPECT_EQ(agent_->summary(), "node n1, 1 attachment, 0 ports");
  EXPECT_THAT(log_.lines(), Contains((folder_ / "mesh.yaml") + " read: 1 workload, 0 services, 0 policies"));
}

TEST_F(AgentTest, FollowsTheMeshFileAndKeepsTheMeshWhenItIsBad) {
  start();
  ASSERT_TRUE(eventually([&] { return data_plane_.workloads() == 1; }));
  replace("mesh.yaml", "workloads:\n- {name: a}\npods: []\n");
  ASSERT_TRUE(eventually([&] { return log_.count("is not used, the mesh stays as it is") == 1; }));
  EXPECT_THAT(log_.lines(), Contains((folder_ / "mesh.yaml") + ":2: workloads[0].namespace: is required"));
  EXPECT_THAT(log_.lines(), Contains((folder_ / "mesh.yaml") +
                                     ":3: pods: is not a key here; accepted: workloads, policies, services"));
  EXPECT_EQ(data_plane_.workloads(), 1u);
  write_mesh({"web", "db"});
  EXPECT_TRUE(eventually([&] { return data_plane_.workloads() == 2; })) << testing::PrintToString(log_.lines());
  EXPECT_TRUE(eventually([&] { return agent_->progress().mesh_records_sent == 2; })) << "one, then the one that came";
}

TEST_F(AgentTest, WaitsForAMeshFileThatIsNotThereYet) {
  std::filesystem::remove(folder_ / "mesh.yaml");
  start();
  EXPECT_TRUE(eventually([&] { return data_plane_.has("n1-p1"); })) << "the pods need no mesh";
  EXPECT_THAT(log_.lines(), Contains((folder_ / "mesh.yaml") + ": cannot be read"));
  EXPECT_EQ(agent_->progress().mesh_transactions, 0u) << "the data plane keeps what it has";
  write_mesh({"web"});
  EXPECT_TRUE(eventually([&] { return data_plane_.workloads() == 1; }));
}

TEST_F(AgentTest, FollowsTheAttachmentsAndKeepsThemWhenTheFileIsBad) {
  start();
  ASSERT_TRUE(eventually([&] { return data_plane_.has("n1-p1"); }));
  write_config({"n1-p1", "n1-p2"});
  ASSERT_TRUE(eventually([&] { return data_plane_.has("n1-p2"); })) << testing::PrintToString(log_.lines());
  write_config({"n1-p2"}, "nonsense: 1\n");
  ASSERT_TRUE(eventually([&] { return log_.count("is not used, the configuration stays as it is") == 1; }));
  EXPECT_GE(log_.count("nonsense"), 1);
  EXPECT_TRUE(data_plane_.has("n1-p1"));
  write_config({"n1-p1"});
  EXPECT_TRUE(eventually([&] { return !data_plane_.has("n1-p2"); }));
  EXPECT_TRUE(data_plane_.has("n1-p1"));
}

TEST_F(AgentTest, NamesChangesThatNeedARestart) {
  start();
  ASSERT_TRUE(eventually([&] { return data_plane_.has("n1-p1"); }));
  write_config({"n1-p1"}, "log: {level: debug}\n");
  EXPECT_TRUE(eventually([&] { return log_.count("changes that need a restart: log.level") == 1; }))
      << testing::PrintToString(log_.lines());
}

TEST_F(AgentTest, RevocationListsFollowTheirFileAndABadOneKeepsTheOnesBefore) {
  const testkit::TestCa ca;
  const auto revoked = [this] {
    return data_plane_.with(
        [](const control::FakeNode& n) { return n.crls == nullptr ? size_t{0} : n.crls->entries(); });
  };
  replace("crl.pem", ca.crl_pem({.serials = {"7"}}));
  set_crl_ = "crl.pem";
  write_config({"n1-p1"});
  start();
  ASSERT_TRUE(eventually([&] { return revoked() == 1; })) << testing::PrintToString(log_.lines());
  replace("crl.pem", ca.crl_pem({.serials = {"7", "8"}}));
  ASSERT_TRUE(eventually([&] { return revoked() == 2; })) << "read two quiet seconds later";
  replace("crl.pem", "-----BEGIN X509 CRL-----\nbm90aGluZw==\n-----END X509 CRL-----\n");
  ASSERT_TRUE(eventually([&] { return log_.count("the revocation lists are not used, those before stay") == 1; }));
  EXPECT_EQ(revoked(), 2u);
  std::filesystem::remove(folder_ / "crl.pem");
  ASSERT_TRUE(eventually([&] { return log_.count("crl.pem: cannot be read; the revocation lists stay") == 1; }));
  data_plane_.end();
  replace("crl.pem", ca.crl_pem({.serials = {"9"}}));
  data_plane_.start();
  EXPECT_TRUE(eventually([&] { return revoked() == 1; })) << "a data plane that restarted is told again";
}

TEST_F(AgentTest, SaysWhatIsWrongWithItsCaAndUsesItOnceItIsRight) {
  std::filesystem::rename(folder_ / "ca", folder_ / "ca-elsewhere");
  start();
  ASSERT_TRUE(eventually([&] { return log_.count("no certificate for spiffe://cluster.local/ns/demo/sa/web") >= 1; }));
  EXPECT_THAT(log_.lines(), Contains(HasSubstr("make a CA with: culvertctl ca init " + (folder_ / "ca"))));
  std::filesystem::rename(folder_ / "ca-elsewhere", folder_ / "ca");
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); }));
}

}  // namespace
}  // namespace culvert::agent
