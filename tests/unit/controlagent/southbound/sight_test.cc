// What the agent sees of the data plane and asks of it, over the contract's own server and a node that remembers.
#include "southbound/sight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "southbound/southbound.h"
#include "telemetry/log_settings.h"
#include "tests/unit/controlagent/southbound/data_plane.h"

namespace culvert::southbound {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class SightTest : public testing::Test {
 protected:
  ~SightTest() override { agent_.reset(); }

  void start_data_plane() {
    node_ = std::make_unique<control::FakeNode>();
    settings_ = std::make_unique<culvert::LogSettings>();
    control::ServerOptions options;
    options.socket = folder_ / "control.sock";
    options.descriptors = folder_ / "descriptors.sock";
    options.node = "n1";
    options.build = "9.9.9";
    options.log_fd = -1;
    options.log = settings_.get();
    options.notice = [](const std::string&) {};
    auto started = control::Server::start(options, *node_, clock_);
    ASSERT_TRUE(started) << started.error();
    server_ = std::move(*started);
  }
  void end_data_plane() { server_.reset(); }

  void start_agent() {
    Options options;
    options.control_socket = folder_ / "control.sock";
    options.descriptor_socket = folder_ / "descriptors.sock";
    options.node = "n1";
    options.build = "test";
    agent_ = std::make_unique<Southbound>(options, mesh_, links_, Sign(), log_);
    agent_->start();
  }
  void connect() {
    start_data_plane();
    start_agent();
    ASSERT_TRUE(eventually([&] { return sight().connected(); }));
  }
  Sight& sight() { return agent_->sight(); }

  control::TemporaryFolder folder_;
  RealClock clock_;
  reconcile::MeshStore mesh_{"n1", {reconcile::Source::kFile}};
  node::KernelLinks links_;
  RememberingLog log_;
  std::unique_ptr<culvert::LogSettings> settings_;
  std::unique_ptr<control::FakeNode> node_;
  std::unique_ptr<control::Server> server_;
  std::unique_ptr<Southbound> agent_;
};

TEST_F(SightTest, TellsTheStatus) {
  connect();
  node_->silence = {3ms, 2500ms};
  const auto status = sight().status();
  ASSERT_TRUE(status) << status.error();
  EXPECT_EQ(status->build, "9.9.9");
  EXPECT_EQ(status->node, "n1");
  ASSERT_EQ(status->workers.size(), 2u);
  EXPECT_EQ(status->workers[1].silent, Millis(2500));
  EXPECT_EQ(status->workers[1].poll, "adaptive");
}

TEST_F(SightTest, TellsConnections) {
  connect();
  worker::SessionRow row{};
  row.direction = "outbound";
  row.source = *Endpoint::parse("10.1.0.11:4000");
  row.destination = *Endpoint::parse("[fd00::9]:80");
  row.hbone_authority = "10.2.0.1:8080";
  row.source_identity = "spiffe://td/ns/a/sa/b";
  row.tunnel_peer = "10.2.0.1:15008";
  worker::SessionRow inbound = row;
  inbound.direction = "inbound";
  inbound.hbone_authority = "web.example:80";
  for (int i = 0; i < 3000; i++) node_->session_rows.push_back(i == 2999 ? inbound : row);
  const auto rows = sight().sessions();
  ASSERT_TRUE(rows) << rows.error();
  ASSERT_EQ(rows->size(), 3000u) << "in as many messages as it takes";
  EXPECT_TRUE(rows->front().outbound);
  EXPECT_EQ(rows->front().source.to_string(), "10.1.0.11:4000");
  EXPECT_EQ(rows->front().destination.to_string(), "[fd00::9]:80");
  EXPECT_EQ(rows->front().tunnel_peer, "10.2.0.1:15008");
  EXPECT_EQ(rows->front().requested_host, "");
  EXPECT_FALSE(rows->back().outbound);
  EXPECT_EQ(rows->back().requested_host, "web.example");
}

TEST_F(SightTest, TellsCountersAndDrops) {
  connect();
  const auto counters = sight().counters();
  ASSERT_TRUE(counters) << counters.error();
  EXPECT_EQ(counters->front().name, "port_rx_packet");
  EXPECT_EQ(counters->front().value, 10u + 11u) << "over both workers";
  const auto drops = sight().drops();
  ASSERT_TRUE(drops) << drops.error();
  for (const CounterRow& row : *drops) EXPECT_EQ(row.value, row.name == "eth_too_short" ? 7u : 0u) << row.name;
  EXPECT_EQ(drops->front().room, "port");
}

TEST_F(SightTest, TellsTraffic) {
  connect();
  culvert::TrafficLabels labels;
  labels.reporter = Reporter::kDestination;
  labels.source.workload = "cli";
  labels.source.principal = "spiffe://td/ns/shop/sa/cli";
  labels.destination.canonical_service = "web";
  labels.service = "web.shop";
  labels.mutual_tls = true;
  TrafficSample sample;
  auto key = std::make_shared<TrafficKey>();
  key->assign(labels);
  sample.key = key;
  sample.opened = 5;
  sample.received_bytes = 100;
  sample.sent_bytes = 200;
  sample.closed[static_cast<size_t>(ResponseFlag::kNone)] = 3;
  sample.closed[static_cast<size_t>(ResponseFlag::kDeny)] = 1;
  {
    const std::lock_guard lock(node_->mutex);
    node_->traffic_report.samples = {sample};
    node_->traffic_report.pod_connections = 7;
    node_->traffic_report.server_tunnels = 8;
  }
  const auto traffic = sight().traffic();
  ASSERT_TRUE(traffic) << traffic.error();
  EXPECT_EQ(traffic->source_sockets_open, 7u);
  EXPECT_EQ(traffic->destination_sockets_open, 8u);
  ASSERT_EQ(traffic->rows.size(), 2u);
  const TrafficRow& fine = traffic->rows[0];
  EXPECT_FALSE(fine.at_source);
  EXPECT_EQ(fine.response_flags, "-");
  EXPECT_EQ(fine.source.workload, "cli");
  EXPECT_EQ(fine.source.principal, "spiffe://td/ns/shop/sa/cli");
  EXPECT_EQ(fine.destination.canonical_service, "web");
  EXPECT_EQ(fine.destination_service, "web.shop");
  EXPECT_TRUE(fine.mutual_tls);
  EXPECT_EQ(fine.opened, 5u);
  EXPECT_EQ(fine.closed, 3u);
  EXPECT_EQ(fine.received_bytes, 100u);
  EXPECT_EQ(fine.sent_bytes, 200u);
  EXPECT_EQ(traffic->rows[1].response_flags, "DENY");
  EXPECT_EQ(traffic->rows[1].failed, 1u);
  EXPECT_EQ(traffic->rows[1].opened, 0u);
}

TEST_F(SightTest, TrafficOfWhichAWorkersPartIsMissingIsNoTraffic) {
  connect();
  {
    const std::lock_guard lock(node_->mutex);
    node_->traffic_report.workers_silent = 1;
  }
  const auto traffic = sight().traffic();
  ASSERT_FALSE(traffic);
  EXPECT_THAT(traffic.error(), HasSubstr("the data plane does not tell its traffic: "));
}

TEST_F(SightTest, TellsCertificatesAttachmentsAndLists) {
  connect();
  const auto certificates = sight().certificates();
  ASSERT_TRUE(certificates) << certificates.error();
  EXPECT_THAT(*certificates, IsEmpty());
  const auto attachments = sight().attachments();
  ASSERT_TRUE(attachments) << attachments.error();
  EXPECT_THAT(*attachments, IsEmpty());
  const auto crl = sight().crl();
  ASSERT_TRUE(crl) << crl.error();
  EXPECT_EQ(crl->lists, 0u);
  EXPECT_FALSE(crl->set_at);
}

TEST_F(SightTest, StartsADrainWithItsDeadline) {
  connect();
  mesh_.replace(reconcile::Source::kFile, {});  // a data plane without one has nothing to drain
  ASSERT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 1; }));
  auto state = sight().drain_state();
  ASSERT_TRUE(state) << state.error();
  EXPECT_FALSE(state->draining);
  state = sight().drain(Millis(1500));
  ASSERT_TRUE(state) << state.error();
  EXPECT_TRUE(state->draining);
  EXPECT_LE(state->left, Millis(1500));
  const std::lock_guard lock(node_->mutex);
  EXPECT_EQ(node_->drains, std::vector<Duration>{1500ms});
}

TEST_F(SightTest, SaysSoWhenTheDataPlaneIsAway) {
  start_agent();
  EXPECT_FALSE(sight().connected());
  EXPECT_EQ(sight().status().error(), kAway);
  EXPECT_EQ(sight().traffic().error(), kAway);
  EXPECT_EQ(sight().drain(std::nullopt).error(), kAway);
  start_data_plane();
  ASSERT_TRUE(eventually([&] { return sight().connected() && sight().status().ok(); }));
  end_data_plane();
  EXPECT_TRUE(eventually([&] { return !sight().connected(); }, 5s));
  EXPECT_EQ(sight().status().error(), kAway);
}

TEST_F(SightTest, ManyThreadsMayAskAtOnceWhileItComesAndGoes) {
  connect();
  std::atomic<bool> done{false};
  std::atomic<int> answers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      while (!done) answers += sight().status().ok() ? 1 : 0;
    });
  }
  for (int i = 0; i < 3; i++) {
    const int before = answers;
    EXPECT_TRUE(eventually([&] { return answers > before; }));
    end_data_plane();
    start_data_plane();
  }
  agent_->stop();
  EXPECT_EQ(sight().status().error(), kAway) << "after the end";
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SightTest, TheLevelsOfTheLogFollowEveryDataPlane) {
  connect();
  agent_->set_log({.levels = {{"access", log::Level::kDebug}, {"culvert", std::nullopt}}, .json = true});
  const auto taken = [&] {
    return settings_->access == LogLevel::kDebug && settings_->own == LogLevel::kOff &&
           settings_->format == LogFormat::kJson;
  };
  EXPECT_TRUE(eventually(taken));
  end_data_plane();
  start_data_plane();
  EXPECT_TRUE(eventually(taken)) << "one that restarted knows nothing";
  agent_->set_log({.levels = {{"access", log::Level::kInfo}}, .json = std::nullopt});
  EXPECT_TRUE(eventually([&] { return settings_->access == LogLevel::kInfo; }));
  EXPECT_EQ(settings_->format, LogFormat::kJson) << "what is not named stays";
}

TEST_F(SightTest, ALevelThatTheDataPlaneDoesNotTakeIsToldOnce) {
  connect();
  agent_->set_log({.levels = {{"nobody", log::Level::kInfo}}, .json = std::nullopt});
  EXPECT_TRUE(eventually([&] { return log_.count("does not take the levels of its log") == 1; }));
  std::this_thread::sleep_for(400ms);
  EXPECT_EQ(log_.count("does not take the levels of its log"), 1) << "though it is tried again";
}

TEST_F(SightTest, PushesOfTheMeshAreTimed) {
  connect();
  mesh_.replace(reconcile::Source::kFile, {});
  ASSERT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 1; }));
  ASSERT_TRUE(eventually([&] {
    uint64_t pushes = 0;
    for (const uint64_t count : agent_->progress().mesh_push_seconds.counts) pushes += count;
    return pushes == 1;
  }));
  EXPECT_GT(agent_->progress().mesh_push_seconds.sum, 0);
}

}  // namespace
}  // namespace culvert::southbound
