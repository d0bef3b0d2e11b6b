// The parts together: what one of them learns reaches the node, the certificates and the watchers.
#include "control/controller.h"

#include <gtest/gtest.h>

#include "tests/unit/control/fake_node.h"

namespace culvert::control {
namespace {

class ControllerTest : public testing::Test {
 protected:
  void push(std::vector<snapshot::Workload> workloads) {
    const uint64_t stream = controller.open_mesh_stream();
    MeshRecords records;
    records.workloads = std::move(workloads);
    ASSERT_TRUE(controller.begin_mesh(stream, "v", true).ok());
    ASSERT_TRUE(controller.apply_mesh(stream, std::move(records)).ok());
    ASSERT_TRUE(controller.end_mesh(stream).ok());
    controller.close_mesh_stream(stream);
  }
  void attach(const std::string& id, const std::string& workload, const std::string& address = "10.1.0.11") {
    ASSERT_TRUE(controller.give_descriptors(id, one(make_tap_queue())).ok());
    ASSERT_TRUE(controller.attach({attachment(id, {address}, workload), {}}).up);
  }
  std::vector<std::string> needed() {
    std::vector<std::string> out;
    for (const Event& event : controller.board().after(seen, 100, 0ms)) {
      seen = event.sequence;
      if (event.kind == Event::Kind::kCertificateNeeded) out.push_back(event.name);
    }
    return out;
  }

  FakeNode node;
  FakeClock clock;
  Controller controller{{"instance", "n1"}, node, clock};
  uint64_t seen = 0;
};

TEST_F(ControllerTest, PublishesAnEmptyMeshAndNoCredentialsAtItsStart) {
  ASSERT_NE(node.mesh, nullptr);
  EXPECT_EQ(node.mesh->workload_count(), 0u);
  ASSERT_NE(node.credentials, nullptr);
  EXPECT_TRUE(node.credentials->empty());
}

TEST_F(ControllerTest, NeedsCertificatesForAttachedWorkloadsOnlyWhicheverCameFirst) {
  push({workload("u1", "web", "web"), workload("u2", "other", "other")});
  EXPECT_TRUE(needed().empty()) << "nobody is attached";
  attach("a", "demo/web");
  EXPECT_EQ(needed(), std::vector<std::string>{"spiffe://cluster.local/ns/demo/sa/web"});
  attach("b", "demo/late", "10.1.0.12");
  EXPECT_TRUE(needed().empty()) << "its record is unknown";
  push({workload("u1", "web", "web"), workload("u3", "late", "late")});
  EXPECT_EQ(needed(), std::vector<std::string>{"spiffe://cluster.local/ns/demo/sa/late"});
  push({workload("u1", "web", "changed")});
  EXPECT_EQ(needed(), std::vector<std::string>{"spiffe://cluster.local/ns/demo/sa/changed"});
}

TEST_F(ControllerTest, PublishesCredentialsAndTakesExpiredOnesBack) {
  const testkit::TestCa ca;
  const identity::SpiffeId id{"cluster.local", "demo", "web"};
  const auto csr = controller.create_csr(id);
  ASSERT_TRUE(csr.ok());
  const UnixTime now = clock.calendar();
  ASSERT_TRUE(controller.install(csr->id, ca.sign_csr(csr->pem, now, now + 60s), ca.root_pem()).ok());
  EXPECT_TRUE(node.credentials->contains(id));
  clock.pass(60s);
  controller.tick();
  EXPECT_FALSE(node.credentials->contains(id));
  EXPECT_EQ(controller.certificates()[0].state, CertificateRow::State::kExpired);
}

TEST_F(ControllerTest, KeepsTheListsInForceWhenNewOnesAreBad) {
  const testkit::TestCa ca;
  EXPECT_EQ(node.crls, nullptr);
  EXPECT_FALSE(controller.crls().set_at);
  const std::string list = ca.crl_pem({.serials = {"1", "2"}, .next_update = clock.calendar() + 60s});
  const auto set = controller.set_crls({list, list});
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set->lists, 2u);
  EXPECT_EQ(set->entries, 4u);
  EXPECT_EQ(set->next_update, clock.calendar() + 60s);
  EXPECT_EQ(set->set_at, clock.calendar());
  const auto in_force = node.crls;
  ASSERT_NE(in_force, nullptr);
  const auto bad = controller.set_crls({list, "nothing of the kind"});
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().find("CRL file 2"), std::string::npos) << bad.error();
  EXPECT_EQ(node.crls, in_force);
  EXPECT_EQ(controller.crls().lists, 2u);
  ASSERT_TRUE(controller.set_crls({}).ok());
  EXPECT_EQ(node.crls->lists(), 0u);
}

TEST_F(ControllerTest, DrainsForAsLongAsItIsAskedAndNeverLonger) {
  push({workload("u1", "web", "web")});
  EXPECT_FALSE(controller.lifecycle().draining);
  LifecycleReport report = controller.drain(std::nullopt);
  EXPECT_TRUE(report.draining);
  EXPECT_EQ(report.left, 5s) << "the configuration's";
  EXPECT_EQ(node.drains, std::vector<Duration>{5s});
  clock.pass(1s);
  EXPECT_EQ(controller.drain(60s).left, 4s) << "it is not put off";
  EXPECT_EQ(controller.drain(2s).left, 2s);
  clock.pass(10s);
  EXPECT_EQ(controller.lifecycle().left, 0s);
}

TEST_F(ControllerTest, DrainsNothingBeforeAMeshHasCome) {
  EXPECT_EQ(controller.drain(std::nullopt).left, 0s);
  EXPECT_EQ(node.drains, std::vector<Duration>{0s});
}

TEST_F(ControllerTest, OpensPortsThatWaitForTheirDescriptors) {
  node.wanted = {"uplink0"};
  EXPECT_EQ(controller.descriptors_wanted(), std::vector<std::string>{"port:uplink0"});
  ASSERT_EQ(controller.present().events.size(), 1u);
  EXPECT_EQ(controller.give_descriptors("port:uplink9", one(make_tap_queue())).error(),
            "no port `uplink9` of culvert.yaml waits for descriptors");
  node.refuse_port = "no memory";
  EXPECT_EQ(controller.give_descriptors("port:uplink0", one(make_tap_queue())).error(), "no memory");
  EXPECT_TRUE(controller.descriptors_held().empty());
  node.refuse_port.clear();
  ASSERT_TRUE(controller.give_descriptors("port:uplink0", one(make_tap_queue())).ok());
  EXPECT_EQ(node.calls, std::vector<std::string>{"open uplink0 1"});
  EXPECT_TRUE(controller.descriptors_wanted().empty());
  EXPECT_EQ(controller.give_descriptors("port:uplink0", one(make_tap_queue())).error(),
            "`port:uplink0` is in use with the descriptors it has: detach it first");
  EXPECT_EQ(controller.release_descriptors("port:uplink0").error(), "`port:uplink0` is in use: detach it first");
  controller.reconcile({});
  EXPECT_EQ(controller.descriptors_held(), std::vector<std::string>{"port:uplink0"}) << "ports are no attachments";
}

TEST_F(ControllerTest, TellsASilentWorkerOnceAndItsReturn) {
  const auto worker_events = [&] {
    std::vector<std::pair<uint32_t, bool>> out;
    for (const Event& event : controller.board().after(seen, 100, 0ms)) {
      seen = event.sequence;
      out.emplace_back(event.worker, event.kind == Event::Kind::kWorkerSilent);
    }
    return out;
  };
  node.silence = {0s, 1999ms};
  clock.pass(1s);
  controller.tick();
  EXPECT_TRUE(worker_events().empty());
  node.silence = {0s, 2s};
  controller.tick();
  EXPECT_TRUE(worker_events().empty()) << "looked at once a second";
  clock.pass(1s);
  controller.tick();
  EXPECT_EQ(worker_events(), (std::vector<std::pair<uint32_t, bool>>{{1, true}}));
  EXPECT_EQ(controller.present().events.size(), 1u);
  clock.pass(1s);
  controller.tick();
  EXPECT_TRUE(worker_events().empty());
  node.silence = {0s, 0s};
  clock.pass(1s);
  controller.tick();
  EXPECT_EQ(worker_events(), (std::vector<std::pair<uint32_t, bool>>{{1, false}}));
  EXPECT_TRUE(controller.present().events.empty());
}

TEST_F(ControllerTest, PublishesNothingWhenAFullStateBringsNothingNew) {
  push({workload("u1", "web")});
  const uint64_t meshes = node.meshes;
  push({workload("u1", "web")});
  EXPECT_EQ(node.meshes, meshes);
}

TEST(Instance, IsNeverTheSame) {
  EXPECT_EQ(make_instance().size(), 32u);
  EXPECT_NE(make_instance(), make_instance());
}

}  // namespace
}  // namespace culvert::control
