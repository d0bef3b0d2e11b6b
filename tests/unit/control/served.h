// A served contract in a folder of its own, and a client as the agent and culvertctl are ones.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <memory>
#include <optional>
#include <string>

#include "control/api/contract.h"
#include "control/server.h"
#include "tests/unit/control/fake_node.h"

namespace culvert::control {

class Served {
 public:
  Served() { start(); }
  void start(uint32_t contract_min = 1, uint32_t contract_max = 1) {
    server.reset();
    ServerOptions options;
    options.socket = folder / "control.sock";
    options.descriptors = folder / "descriptors.sock";
    options.node = "n1";
    options.build = "9.9.9";
    options.contract_min = contract_min;
    options.contract_max = contract_max;
    options.log_fd = log_fd;
    options.log = log;
    options.allowed_uids = allowed_uids;
    options.notice = [this](const std::string& line) {
      const std::lock_guard lock(notices_mutex);
      notices.push_back(line);
    };
    options.drain_begun = [this] { ++drains_begun; };
    auto started = Server::start(options, node, clock);
    if (!started) {
      std::fprintf(stderr, "%s\n", started.error().c_str());
      std::abort();
    }
    server = std::move(*started);
  }
  std::shared_ptr<grpc::Channel> channel(const std::string& socket = "control.sock") {
    grpc::ChannelArguments arguments;
    // A channel of its own, which connects again at once: the tests restart servers.
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);
    arguments.SetInt("grpc.initial_reconnect_backoff_ms", 20);
    arguments.SetInt("grpc.min_reconnect_backoff_ms", 20);
    arguments.SetInt("grpc.max_reconnect_backoff_ms", 100);
    return grpc::CreateCustomChannel("unix:" + (folder / socket), grpc::InsecureChannelCredentials(), arguments);
  }

  TemporaryFolder folder;
  FakeNode node;
  FakeClock clock;
  int log_fd = -1;
  LogSettings* log = nullptr;
  std::vector<uint32_t> allowed_uids = {0};
  std::mutex notices_mutex;
  std::vector<std::string> notices;
  std::atomic<int> drains_begun{0};
  std::unique_ptr<Server> server;
};

// A call's context as a client that said Hello makes it, with a bound on its time.
struct Call : grpc::ClientContext {
  explicit Call(const std::string& version = "1") {
    AddMetadata(api::kContractMetadata, version);
    set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    set_wait_for_ready(true);
  }
};

}  // namespace culvert::control
