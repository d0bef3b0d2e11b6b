// The node as the control room sees it: the calls of worker::Node that it makes, behind an interface, so that control
// is tested without workers. node_adapter.h puts it over a real node. Every call comes from the control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "telemetry/counters.h"
#include "worker/node.h"

namespace culvert::control {

// An attachment with what its port needs beyond the node's own part.
struct Attachment {
  worker::AttachmentSpec spec;
  std::string interface;  // the pod's device, for people
  uint16_t mtu = 1500;
  friend bool operator==(const Attachment&, const Attachment&) = default;
};

class NodeFace {
 public:
  virtual ~NodeFace() = default;

  // Opens a port on the queues, which are the callee's from then on, and attaches it. The error is one sentence.
  virtual Result<void, std::string> attach(const Attachment& attachment, std::vector<UniqueFd> queues) = 0;
  virtual bool detach(std::string_view id) = 0;
  // Names of culvert.yaml's ports that wait for descriptors; then one port's, which are the callee's from then on.
  virtual std::vector<std::string> ports_wanted() const = 0;
  virtual Result<void, std::string> open_port(std::string_view name, std::vector<UniqueFd> queues) = 0;

  virtual void publish(std::shared_ptr<const snapshot::Mesh> mesh) = 0;
  virtual void publish(std::shared_ptr<const worker::CredentialMap> credentials) = 0;
  virtual void publish(std::shared_ptr<const identity::CrlSet> crls) = 0;

  virtual void drain(Duration deadline) = 0;  // worker::Node's

  virtual uint32_t workers() const = 0;
  virtual uint64_t value(uint32_t worker, Counter counter) const = 0;
  virtual uint64_t value(uint32_t worker, DropReason reason) const = 0;

  virtual worker::StatusRow status(Duration patience) = 0;
  virtual std::vector<worker::SessionRow> sessions(Duration patience) = 0;
  virtual std::vector<worker::TunnelRow> tunnels(Duration patience) = 0;
  virtual std::vector<worker::PortRow> ports(Duration patience) = 0;

  virtual worker::TrafficReport traffic(Duration patience) = 0;

  // Access-log lines without their newlines, oldest first, at most `max`; returns how many.
  virtual size_t take_log_lines(std::vector<std::string>& out, size_t max) = 0;
  // Lines that the workers had no room for. Any thread.
  virtual uint64_t log_lines_lost() const = 0;
};

}  // namespace culvert::control
