// A node: its interfaces, its worker cores, and the door through which the control thread reaches them (D3, D4).
//
// A node is an object: one process normally hosts one, tests and the simulator host several. Everything a worker owns
// is touched by its thread only; the calls marked "control thread" hand their work over through the worker's mailbox
// and are safe while workers run. Where a call waits for the workers it says so, and gives up after the given time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/interface_id.h"
#include "base/ip_address.h"
#include "base/result.h"
#include "base/time.h"
#include "hbone/tunnels.h"
#include "identity/credentials.h"
#include "identity/revocation.h"
#include "port/port.h"
#include "proxy/proxy.h"
#include "snapshot/mesh.h"
#include "telemetry/counters.h"
#include "telemetry/log_settings.h"
#include "telemetry/traffic.h"
#include "tls/aead.h"
#include "worker/idle.h"
#include "worker/interface.h"

namespace culvert::worker {

// The credentials in force, by identity. Immutable; published as a whole.
using CredentialMap = proxy::CredentialMap;

// Certificate time and packet time: real clocks in a process, one virtual clock in simulation.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() = 0;
  virtual UnixTime calendar() = 0;
};

struct Route {
  Prefix to;
  std::optional<IpAddress> via;  // none: on link, the destination itself is resolved
  std::string port;              // name of the uplink
};

struct UplinkSpec {
  std::string name;
  std::vector<Prefix> addresses;  // the node's own on this link; ICMP errors and neighbour requests leave from them
  bool proxy_neighbours = true;   // answer ARP and ND for the attached pods' addresses
  uint16_t mtu = 1500;
};

struct AttachmentSpec {
  std::string id;
  std::string workload;              // "namespace/name" of its record
  std::vector<IpAddress> addresses;  // the only source addresses accepted from it
  std::vector<IpAddress> gateways;   // answered by the node on this link
  friend bool operator==(const AttachmentSpec&, const AttachmentSpec&) = default;
};

struct NodeConfig {
  std::string name;     // NODE_NAME
  std::string network;  // own NETWORK
  std::string cluster = "Kubernetes";
  std::vector<Route> routes;
  uint32_t workers = 1;
  uint64_t seed = 0;  // of every generator of the node
  uint32_t connections_max = 65'536;
  uint64_t memory_bytes_max = 512ull << 20;
  PoolLimits buffers;                // of each worker
  hbone::Limits hbone;               // of each worker's tunnels
  TrafficLimits traffic;             // of each worker's traffic series
  const LogSettings* log = nullptr;  // what access-log lines are made; outlives the node; null: the defaults
};

struct PortRow {
  std::string name, attachment, driver;
  PortRole role;
  uint16_t mtu, queues;
  std::array<uint8_t, 6> mac;
  bool link_up, receive_wakeup;
  port::Offloads offloads;
  port::PortStats stats;
};

struct SessionRow {
  std::string direction;  // "outbound", "inbound"
  Endpoint source, destination;
  std::string hbone_authority, source_identity, destination_identity, tunnel_peer, state;
  uint64_t bytes_sent, bytes_received;
  Duration age;
};

struct TunnelRow {
  std::string role;  // "client", "server"
  Endpoint local, remote;
  std::string local_identity, peer_identity, cipher, group, aead, state;
  uint32_t streams;
  uint64_t streams_total, records_sealed, records_opened, bytes_sealed, bytes_opened;
  Duration age;
};

struct StatusRow {
  std::string version, node;
  uint64_t snapshot_version;
  uint32_t workers, attachments, connections, sessions, tunnels, workloads, services, policies, identities;
  std::vector<Duration> worker_silence;  // since each worker's last heartbeat
  std::vector<std::string> poll_modes;   // per worker: how it idles, for the line printed at start
};

struct TrafficReport {
  std::vector<TrafficSample> samples;  // each label set once, summed over the workers
  uint64_t pod_connections = 0;        // accepted from pods, open
  uint64_t server_tunnels = 0;         // accepted from peers, open
  uint64_t series = 0;                 // label sets held, those of each worker counted
  uint64_t overflowed = 0;             // connections that found no room for a series of their own
  uint32_t workers_silent = 0;         // whose part is missing: sums are too low then
};

class Worker;

class Node {
 public:
  // Pools are made here, one per worker, from mempools (EAL is up) or the heap.
  static Result<std::unique_ptr<Node>, std::string> make(const NodeConfig& config, Clock& clock, tls::AeadBackend& aead,
                                                         bool mempools);
  ~Node();

  // --- control thread ----------------------------------------------------------------------------------------------
  // Ports belong to the node from then on. The error is one sentence.
  Result<InterfaceId, std::string> add_uplink(const UplinkSpec& spec, std::unique_ptr<port::Port> port);
  Result<InterfaceId, std::string> attach(const AttachmentSpec& spec, std::unique_ptr<port::Port> port);
  // Ends the attachment: peers of its connections are reset within a turn (D23), then the port is closed.
  bool detach(std::string_view id);
  std::vector<AttachmentSpec> attachments() const;

  void publish(std::shared_ptr<const snapshot::Mesh> mesh);
  void publish(std::shared_ptr<const CredentialMap> credentials);
  void publish(std::shared_ptr<const identity::CrlSet> crls);

  // The end of the node (reference 21.4): new connections and tunnels are not taken, what is open goes on for at most
  // `deadline` and is reset then. Called again it may only bring the end nearer. The node answers as before until it is
  // destroyed.
  void drain(Duration deadline);
  // Any thread: every worker has nothing left, which is at most a second after its last session. Also three seconds
  // after the deadline, when a worker does not say so.
  bool drained() const;

  // What every worker counted since its start, and in sum.
  uint64_t value(Counter counter) const;
  uint64_t value(DropReason reason) const;
  const Counters& counters(uint32_t worker) const;

  // These wait for the workers, at most `patience`; rows of a silent worker are left out.
  StatusRow status(Duration patience);
  std::vector<SessionRow> sessions(Duration patience);
  std::vector<TunnelRow> tunnels(Duration patience);
  std::vector<PortRow> ports(Duration patience);
  // In pieces, so that no worker is held up: `patience` is for each of them.
  TrafficReport traffic(Duration patience);

  // Finished access-log lines, oldest first, each without its newline. Returns how many.
  size_t take_log_lines(std::vector<std::string>& out, size_t max);
  // Lines that no worker's ring had room for, since start.
  uint64_t log_lines_lost() const;

  // --- worker threads ----------------------------------------------------------------------------------------------
  uint32_t workers() const;
  Worker& worker(uint32_t index);
  // The pool of the worker that reads and writes the ports: for drivers that are made before they are added.
  BufferPool& port_pool();
  const BufferPool& pool(uint32_t worker) const;
  // What worker::owner_of is seeded with.
  uint64_t steering_seed() const;

 private:
  struct Impl;
  explicit Node(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::worker
