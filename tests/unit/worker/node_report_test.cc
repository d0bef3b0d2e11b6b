// What the control thread reads of a node's workers: lines they lost, and traffic only when every worker told its part.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "drivers/crypto/openssl/aead.h"
#include "worker/node.h"
#include "worker/worker.h"

namespace culvert::worker {
namespace {

class StillClock final : public Clock {
 public:
  Instant now() override { return Instant{1s}; }
  UnixTime calendar() override { return UnixTime{}; }
};

class NodeReports : public testing::Test {
 protected:
  NodeReports() {
    NodeConfig config;
    config.name = "n1";
    config.workers = 2;
    config.buffers = {.small = 64, .large = 64, .view = 64};
    node = std::move(*Node::make(config, clock, aead, false));
  }
  StillClock clock;
  crypto::OpensslAead aead;
  std::unique_ptr<Node> node;
};

TEST_F(NodeReports, LinesThatFoundNoRoomAreCountedOverAllWorkers) {
  const std::string line(1000, 'x');
  EXPECT_EQ(node->log_lines_lost(), 0u);
  uint64_t refused = 0;
  for (uint32_t w = 0; w < 2; ++w) {
    while (node->worker(w).log().put(line)) {
    }
    ++refused;
    refused += node->worker(w).log().put(line) ? 0 : 1;
  }
  EXPECT_EQ(node->log_lines_lost(), refused);
  EXPECT_EQ(refused, 4u);
  std::vector<std::string> lines;
  node->take_log_lines(lines, 10);
  EXPECT_TRUE(node->worker(0).log().put(line)) << "there is room again";
  EXPECT_EQ(node->log_lines_lost(), refused) << "what is lost stays lost";
}

TEST_F(NodeReports, TrafficOfWorkersThatDoNotTurnIsMissingAndSaidToBe) {
  EXPECT_EQ(node->traffic(5ms).workers_silent, 2u);
}

TEST_F(NodeReports, TrafficIsToldWhenEveryWorkerAnswered) {
  std::vector<std::jthread> threads;
  for (uint32_t w = 0; w < 2; ++w) {
    threads.emplace_back([this, w](std::stop_token stop) { node->worker(w).run(stop, PollMode::kAdaptive); });
  }
  const TrafficReport report = node->traffic(20s);
  EXPECT_EQ(report.workers_silent, 0u);
  EXPECT_TRUE(report.samples.empty());
  EXPECT_EQ(report.series, 0u);
}

}  // namespace
}  // namespace culvert::worker
