// The node of this process: made from culvert.yaml, its ports from the drivers, and what the control room calls on it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "control/node_face.h"
#include "worker/node.h"

namespace culvert {

// CLOCK_MONOTONIC and the calendar.
class SystemClock final : public worker::Clock {
 public:
  Instant now() override;
  UnixTime calendar() override;
};

class NodeHost final : public control::NodeFace {
 public:
  // EAL is up; the node's buffers come from its memory. References outlive the host.
  static Result<std::unique_ptr<NodeHost>, std::string> make(const config::Config& config, worker::Clock& clock,
                                                             tls::AeadBackend& aead);

  // Opens the DPDK ports of the configuration. Before the workers start. The error names the port.
  Result<void, std::string> open_ethdev_ports();
  worker::Node& node() { return *node_; }

  Result<void, std::string> attach(const control::Attachment& attachment, std::vector<UniqueFd> queues) override;
  bool detach(std::string_view id) override { return node_->detach(id); }
  std::vector<std::string> ports_wanted() const override;
  Result<void, std::string> open_port(std::string_view name, std::vector<UniqueFd> queues) override;
  void publish(std::shared_ptr<const snapshot::Mesh> mesh) override { node_->publish(std::move(mesh)); }
  void publish(std::shared_ptr<const worker::CredentialMap> credentials) override {
    node_->publish(std::move(credentials));
  }
  void publish(std::shared_ptr<const identity::CrlSet> crls) override { node_->publish(std::move(crls)); }
  void drain(Duration deadline) override { node_->drain(deadline); }
  uint32_t workers() const override { return node_->workers(); }
  uint64_t value(uint32_t worker, Counter counter) const override { return node_->counters(worker).value(counter); }
  uint64_t value(uint32_t worker, DropReason reason) const override { return node_->counters(worker).value(reason); }
  worker::StatusRow status(Duration patience) override { return node_->status(patience); }
  std::vector<worker::SessionRow> sessions(Duration patience) override { return node_->sessions(patience); }
  std::vector<worker::TunnelRow> tunnels(Duration patience) override { return node_->tunnels(patience); }
  std::vector<worker::PortRow> ports(Duration patience) override { return node_->ports(patience); }
  worker::TrafficReport traffic(Duration patience) override { return node_->traffic(patience); }
  uint64_t log_lines_lost() const override { return node_->log_lines_lost(); }
  size_t take_log_lines(std::vector<std::string>& out, size_t max) override { return node_->take_log_lines(out, max); }

 private:
  NodeHost(const config::Config& config, std::unique_ptr<worker::Node> node)
      : config_(config), node_(std::move(node)) {}
  Result<void, std::string> add_uplink(const config::Port& port, std::unique_ptr<port::Port> device);

  const config::Config& config_;
  std::unique_ptr<worker::Node> node_;
  std::map<std::string, bool, std::less<>> open_;  // uplinks by name
};

// Each worker's share of memory.buffers_mb, by kind. A received frame needs a small buffer and, when it is large, four
// large ones; a full TLS record is one large buffer; each view is one mbuf.
PoolLimits buffers_of(const config::Config& config);

// "port uplink0: driver tap, 1 queue, MTU 1500, mac …, device does: …; in software: …" for the start of the log.
std::string describe(const std::string& name, const port::Port& port);

}  // namespace culvert
