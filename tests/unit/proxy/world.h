// A mesh in one process for the proxy's tests: nodes with real TCP stacks, tunnels and proxies, pods whose kernel is a
// TCP stack of its own, wires with a delay between them, and one virtual clock.
//
//   World world;
//   auto& n1 = world.node("n1");
//   auto& client = world.pod(n1, "client", {"10.0.1.1"});
//   …
//   Conn& c = client.connect(at("10.0.2.1:80"));
//   c.send(100);
//   world.run(1s);
//
// Payload is a pattern of its offset, so that every byte a connection receives is checked. Applications read everything
// at once unless told to pause.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "drivers/crypto/openssl/aead.h"
#include "proxy/proxy.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"
#include "tests/testkit/test_ca.h"

namespace culvert::proxy {

class World;
class PodHost;

// One end of an application's connection.
class Conn {
 public:
  Conn(PodHost& pod, tcp::ConnectionId id, bool from_here) : pod_(&pod), id_(id), from_here_(from_here) {}

  // Sends `bytes` more of the pattern as room allows, and then, if asked, FIN.
  void send(uint64_t bytes) { to_send_ += bytes; }
  void finish() { finish_wanted_ = true; }
  void reset();
  void pause() { paused_ = true; }
  void resume() { paused_ = false; }

  bool connected = false, got_fin = false, got_reset = false, timed_out = false, closed = false;
  uint64_t sent = 0, received = 0;
  bool intact = true;  // every byte received was the pattern's
  Endpoint local, remote;

  bool over() const { return got_reset || timed_out || closed; }

 private:
  friend class PodHost;
  bool work(Instant now);
  void on_event(tcp::EventKind kind);

  PodHost* pod_;
  tcp::ConnectionId id_;
  bool from_here_;
  bool paused_ = false, finish_wanted_ = false, finished_ = false;
  uint64_t to_send_ = 0;
};

struct NodeHost;

class PodHost {
 public:
  PodHost(World& world, std::string name, std::vector<IpAddress> addresses, uint64_t seed);

  Conn& connect(const Endpoint& to);
  void listen(uint16_t port) { listening_.insert(port); }
  // What a new connection to a listening port does.
  std::function<void(Conn&)> on_accept;
  // Called after bytes came.
  std::function<void(Conn&)> on_data;

  Conn& accepted(size_t i) { return *accepted_.at(i); }
  size_t accepted_count() const { return accepted_.size(); }

  const std::string name;
  const std::vector<IpAddress> addresses;
  NodeHost* node = nullptr;
  InterfaceId interface = kNoInterface;  // on its node

 private:
  friend class World;
  friend class Conn;
  static tcp::SynVerdict filter(void* self, InterfaceId, const tcp::Tuple& tuple);
  bool work(Instant now);

  World& world_;
  Counters counters_;
  tcp::Stack stack_;
  std::set<uint16_t> listening_;
  std::deque<std::unique_ptr<Conn>> conns_;
  std::vector<Conn*> accepted_;
};

struct NodeHost final : Egress, LogSink {
  NodeHost(World& world, const std::string& name, const hbone::Limits& limits, uint64_t seed);
  InterfaceId interface_for(const IpAddress& destination) override;
  void log_line(std::string_view line) override { log.emplace_back(line); }

  // The lines that contain all of these texts.
  size_t lines_with(std::initializer_list<std::string_view> texts) const;
  std::vector<SessionInfo> sessions(Instant now) const;
  uint64_t count(Counter c) const { return counters.value(c); }
  uint64_t count(DropReason r) const { return counters.value(r); }

  World& world;
  std::string name;
  LogSettings log_settings;  // access: debug
  Counters counters;
  tcp::Stack stack;
  Proxy proxy;
  uint16_t next_interface = 3;
  std::map<InterfaceId, PodHost*> pods;
  std::vector<std::string> log;
  CredentialMap credentials;
};

class World {
 public:
  static constexpr InterfaceId kLinkOut{0}, kLinkIn{1}, kUplink{2};
  static constexpr Duration kWireDelay = 50us;

  World();
  ~World();

  NodeHost& node(const std::string& name, const hbone::Limits& limits = {});
  // Attaches a pod, with its record (in namespace "shop", identity by its name) and a certificate.
  PodHost& pod(NodeHost& node, const std::string& name, const std::vector<std::string>& addresses);
  void detach(PodHost& pod);
  void give_credentials(NodeHost& node, const std::string& service_account, const testkit::LeafOptions& options);
  void take_credentials(NodeHost& node, const std::string& service_account);
  // Hands what stands in `mesh` to every node.
  void publish();

  void run(Duration duration);
  // Until the condition holds; false when `patience` passed first.
  bool run_until(const std::function<bool()>& condition, Duration patience = 30s);
  Instant now() const { return now_; }
  UnixTime calendar() const {
    return testkit::kTestNow + std::chrono::floor<std::chrono::seconds>(now_.time_since_epoch());
  }
  // True when no session, tunnelled stream or application connection is left and no packet buffer but what tunnels
  // hold.
  bool quiet() const;

  snapshot::MeshBuilder mesh;
  crypto::OpensslAead aead;
  testkit::TestCa ca;
  std::unique_ptr<BufferPool> pool;
  // Sees every segment that crosses a wire; false loses it.
  std::function<bool(const tcp::Segment&)> on_wire;
  // Taking part by hand: a stack on the wire, reached at its address; `turn` runs in each turn of the world.
  void join_wire(const IpAddress& address, tcp::Stack& stack, std::function<bool()> turn = {});
  void leave_wire(const IpAddress& address);

 private:
  friend class PodHost;
  friend class Conn;
  friend struct NodeHost;
  struct InFlight {
    Instant due;
    tcp::Stack* to;
    tcp::Segment segment;
  };
  bool step();
  Instant next_deadline() const;
  void collect(tcp::Stack& from, NodeHost* node, PodHost* pod);
  void dispatch(NodeHost& node);

  Instant now_{1s};
  std::deque<InFlight> wire_;
  std::vector<std::unique_ptr<NodeHost>> nodes_;
  std::vector<std::unique_ptr<PodHost>> pods_;
  struct Guest {
    tcp::Stack* stack;
    std::function<bool()> turn;
  };
  std::map<IpAddress, Guest> guests_;
};

}  // namespace culvert::proxy
