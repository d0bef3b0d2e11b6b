// Applications of the simulation: a client sends `up` bytes and reads `down` bytes, a server the other way round.
// Content is a function of (flow, direction, offset), so each side checks every byte as it comes: delivered once, in
// order, unchanged.
//
// The first eight bytes a client sends name the flow, so that a server knows which it accepted.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "packet/packet.h"
#include "tests/testkit/host.h"

namespace culvert::sim {

struct FlowPlan {
  uint32_t number = 0;
  size_t client = 0, server = 0;  // pods
  Endpoint to;
  uint64_t up = 0, down = 0;  // bytes, the eight of the flow's name included in `up`
  Instant start{};
  bool answer_after_fin = false;
  Duration reader_pause{};
};

enum class Ending : uint8_t { kPending, kComplete, kError };

// How one side of a flow stands.
struct SideState {
  tcp::ConnectionId connection;
  bool open = false;  // a connection exists
  bool up = false;    // established
  uint64_t written = 0, read = 0;
  bool fin_sent = false, fin_received = false;
  Ending ending = Ending::kPending;
  std::string error;
  Instant pause_until{};
  uint64_t next_pause_at = 0;
};

struct Flow {
  FlowPlan plan;
  SideState client, server;
  bool started = false;
  bool server_seen = false;
};

// Byte `offset` of a direction's content.
uint8_t content(uint32_t flow, bool up, uint64_t offset);

class Traffic {
 public:
  using Violation = void (*)(void* context, const std::string& what);

  Traffic(Violation violation, void* context) : violation_(violation), context_(context) {}

  void add(const FlowPlan& plan) { flows_.push_back({plan, {}, {}, false, false}); }
  std::vector<Flow>& flows() { return flows_; }
  const std::vector<Flow>& flows() const { return flows_; }

  // Starts flows that are due, takes the hosts' events, reads and writes. True when something was done.
  bool turn(std::vector<std::unique_ptr<testkit::Host>>& hosts, Instant now);
  Instant next_start() const;
  bool all_over() const;

  // Faults.
  bool abort_one(bool server, std::vector<std::unique_ptr<testkit::Host>>& hosts, Random& random, Instant now);
  // The pod's own stack vanished with it.
  void pod_gone(size_t pod, const std::string& why);

  uint64_t bytes_delivered() const { return bytes_delivered_; }

 private:
  struct Key {
    size_t host;
    uint32_t index, generation;
    auto operator<=>(const Key&) const = default;
  };
  struct Owner {
    size_t flow = SIZE_MAX;  // unknown until the name was read
    bool server = false;
  };

  void start(Flow& flow, size_t index, testkit::Host& host, Instant now);
  void on_event(size_t host_index, testkit::Host& host, const tcp::Event& event, Instant now);
  void read(size_t host_index, testkit::Host& host, tcp::ConnectionId id, Instant now);
  void identify(size_t host_index, testkit::Host& host, tcp::ConnectionId id, Instant now);
  void write(Flow& flow, bool server, testkit::Host& host, Instant now);
  void finish_if_done(Flow& flow, bool server, testkit::Host& host, Instant now);
  void fail(size_t host_index, tcp::ConnectionId id, const char* why);
  SideState& side(const Owner& owner) { return owner.server ? flows_[owner.flow].server : flows_[owner.flow].client; }

  Violation violation_;
  void* context_;
  std::vector<Flow> flows_;
  std::map<Key, Owner> owners_;
  uint64_t bytes_delivered_ = 0;
};

}  // namespace culvert::sim
