// A data plane for tests of the agent: the contract's own server over a node that only remembers, which can be taken
// away and come back with nothing in its memory; and a log that remembers.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control/server.h"
#include "log/agent_log.h"
#include "tests/unit/control/fake_node.h"

namespace culvert {

using namespace std::chrono_literals;

class RealClock final : public worker::Clock {
 public:
  Instant now() override { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }
  UnixTime calendar() override { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }
};

class RememberingLog final : public log::AgentLog {
 public:
  void set_filter(const log::Filter& filter) override {
    const std::lock_guard lock(mutex_);
    filter_ = filter;
  }
  log::Filter filter() const override {
    const std::lock_guard lock(mutex_);
    return filter_;
  }
  void write(log::Level, std::string_view line) override {
    const std::lock_guard lock(mutex_);
    lines_.emplace_back(line);
  }
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  int count(const std::string& part) const {
    int n = 0;
    for (const std::string& line : lines()) n += line.find(part) != std::string::npos;
    return n;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  log::Filter filter_;
};

// A data plane that can be taken away and come back with nothing in its memory.
class DataPlane {
 public:
  explicit DataPlane(const std::string& folder) : folder_(folder) {}

  void start(uint32_t contract = 1, std::vector<std::string> ports = {}) {
    node_ = std::make_unique<control::FakeNode>();
    node_->wanted = std::move(ports);
    control::ServerOptions options;
    options.socket = folder_ + "/control.sock";
    options.descriptors = folder_ + "/descriptors.sock";
    options.node = "n1";
    options.build = "9.9.9";
    options.contract_min = options.contract_max = contract;
    options.log_fd = -1;
    options.notice = [](const std::string&) {};
    auto started = control::Server::start(options, *node_, clock_);
    ASSERT_TRUE(started) << started.error();
    server_ = std::move(*started);
  }
  void end() {
    server_.reset();
    node_.reset();
  }

  template <class Look>
  auto with(Look look) const {
    const std::lock_guard lock(node_->mutex);
    return look(*node_);
  }
  bool has(const std::string& id) const {
    return with([&](const control::FakeNode& n) { return n.attached.contains(id); });
  }
  std::vector<std::string> calls() const {
    return with([](const control::FakeNode& n) { return n.calls; });
  }
  size_t workloads() const {
    return with([](const control::FakeNode& n) { return n.mesh->workload_count(); });
  }
  uint64_t mesh_version() const {
    return with([](const control::FakeNode& n) { return n.mesh->version(); });
  }
  // Serials in force, by service account.
  std::map<std::string, std::string> serials() const {
    return with([](const control::FakeNode& n) {
      std::map<std::string, std::string> out;
      if (n.credentials == nullptr) return out;
      for (const auto& [id, credentials] : *n.credentials) out[id.service_account] = credentials->serial_decimal();
      return out;
    });
  }

 private:
  const std::string folder_;
  RealClock clock_;
  std::unique_ptr<control::FakeNode> node_;
  std::unique_ptr<control::Server> server_;
};

// Waits for what another thread brings about; the bound is only there so that a failure ends.
inline bool eventually(const std::function<bool()>& holds, Duration patience = 20s) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

}  // namespace culvert
