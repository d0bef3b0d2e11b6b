// A link between a namespace and the node: a persistent TAP device with its settings, and our copy of its queue.
//
// The device outlives this process and the data plane (D19): it goes only when it is removed here, by somebody else, or
// with its namespace. Nothing is kept on disk; what is needed to find a device again is in its queue, which the data
// plane gives back to an agent that restarted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "node/network_namespace.h"

namespace culvert::node {

struct LinkSpec {
  std::string name;   // for errors, and for the MAC: an attachment's id, "port:" and a port's name
  std::string netns;  // path; "" is our own namespace
  std::string interface;
  uint16_t mtu = 1500;
  bool pod = true;  // false: a port's kernel end, which gets neither addresses nor routes
  std::vector<IpAddress> addresses, gateways;
  friend bool operator==(const LinkSpec&, const LinkSpec&) = default;
};

// What an agent needs from the kernel, behind an interface so that its decisions are tested without one.
class Links {
 public:
  virtual ~Links() = default;

  // None: the path names no namespace now.
  virtual std::optional<NamespaceId> namespace_at(const std::string& path) = 0;
  // Opens the device's queue, or goes on with `queue` when it belongs to the device that the spec asks for (same name,
  // same namespace); then sets everything as asked. True when it was opened now. `queue` may be empty before; after an
  // error it is what was handed in, or empty when that did not belong.
  virtual Result<bool, std::string> make(const LinkSpec& spec, UniqueFd& queue) = 0;
  // False when the device behind the queue is gone.
  virtual bool alive(int queue) = 0;
  // Removes the device behind the queue, wherever it is.
  virtual Result<void, std::string> remove(int queue) = 0;
};

class KernelLinks final : public Links {
 public:
  std::optional<NamespaceId> namespace_at(const std::string& path) override;
  Result<bool, std::string> make(const LinkSpec& spec, UniqueFd& queue) override;
  bool alive(int queue) override;
  Result<void, std::string> remove(int queue) override;
};

}  // namespace culvert::node
