// What happens to the connections of one core: a pod's outbound connection becomes a stream in a tunnel, a tunnel's
// inbound stream becomes a connection to a pod, and bytes are spliced between the two.
//
//   worker ── on_tcp_event / poll ─▶ Proxy ─▶ routing, policy ─▶ hbone::Tunnels, tcp::Stack
//
// The proxy owns the tunnels of its core. It does no I/O and reads no clock. Everything belongs to one core.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/interface_id.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "hbone/tunnels.h"
#include "identity/credentials.h"
#include "snapshot/mesh.h"
#include "tcp/stack.h"
#include "telemetry/counters.h"
#include "telemetry/log_settings.h"
#include "telemetry/traffic.h"
#include "tls/aead.h"

namespace culvert::proxy {

using CredentialMap = std::map<identity::SpiffeId, std::shared_ptr<const identity::Credentials>>;

// Where connections leave that are not for a pod of this node: implemented by whoever has the routes.
class Egress {
 public:
  virtual ~Egress() = default;
  // kNoInterface: no route.
  virtual InterfaceId interface_for(const IpAddress& destination) = 0;
};

// Takes finished access-log lines, each without its newline, before it returns.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void log_line(std::string_view line) = 0;
  // Whether some hundred lines more can be taken and none be lost. What can wait a moment waits.
  virtual bool has_room() const { return true; }
};

struct Attachment {
  std::string id;
  std::string workload;              // "namespace/name" of its record
  std::vector<IpAddress> addresses;  // the pod's
  std::vector<IpAddress> gateways;   // ours on its link: connections to them are refused
};

struct Setup {
  std::string node;         // NODE_NAME
  std::string network;      // own NETWORK
  InterfaceId link_out{0};  // the in-node link: opened here when the endpoint is a pod of this node …
  InterfaceId link_in{1};   // … and accepted here
  hbone::Limits hbone;
  uint32_t sessions_max = 65'536;
  tcp::ConnectionOptions tcp;        // of every connection, accepted or opened
  const LogSettings* log = nullptr;  // outlives the proxy; null: the defaults
  TrafficLimits traffic;
  uint64_t seed = 0;
};

// One line of `culvertctl sessions`.
struct SessionInfo {
  std::string_view direction;  // "outbound", "inbound"
  Endpoint source, destination;
  std::string hbone_authority, source_identity, destination_identity, tunnel_peer;
  std::string_view state;
  uint64_t bytes_sent = 0, bytes_received = 0;  // from the local pod's point of view (reference 25)
  Duration age{};
};

class Proxy {
 public:
  // References outlive the proxy.
  Proxy(const Setup& setup, tcp::Stack& tcp, BufferPool& pool, Counters& counters, tls::AeadBackend& aead,
        Egress& egress, LogSink& log, Instant start);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // --- interfaces --------------------------------------------------------------------------------------------------
  // What the stack asks for each SYN on an interface of this core. A pod's: every destination but our own addresses is
  // accepted. An uplink's and link_in: port 15008 of an attached pod. Everything else is refused, counted by reason.
  // The caller gives it to tcp::Stack::set_interface; valid for the proxy's life.
  tcp::SynFilter pod_filter();
  tcp::SynFilter uplink_filter();
  void attach(InterfaceId interface, const Attachment& attachment, Instant now);
  // The pod is gone: streams and tunnels of its connections are reset now (D23). Before tcp::Stack::remove_interface.
  void detach(InterfaceId interface, Instant now);
  // The attachment that owns an address; kNoInterface for none.
  InterfaceId attachment_of(const IpAddress& address) const;

  // --- state -------------------------------------------------------------------------------------------------------
  // Live inbound streams are decided again when policies or workloads changed (reference 12.5), a bounded number a
  // turn.
  void install(std::shared_ptr<const snapshot::Mesh> mesh, Instant now);
  void install(std::shared_ptr<const CredentialMap> credentials, Instant now);
  // Peers are judged by the set from now on; sessions of those it names end (reference 16). Null: nobody is revoked.
  void install(std::shared_ptr<const identity::CrlSet> crls, Instant now);

  // --- a turn ------------------------------------------------------------------------------------------------------
  //   for each tcp event: on_tcp_event(event, now);   then poll(now, calendar) once.
  void on_tcp_event(const tcp::Event& event, Instant now);
  // Timers, tunnel events, splicing, what was written goes down to TCP. True: work is left for the next turn at once.
  bool poll(Instant now, UnixTime calendar);
  Instant next_deadline() const;

  // --- drain and sight ---------------------------------------------------------------------------------------------
  // The end of this core (reference 21.4): nothing new is taken, tunnels are told, what is open goes on until `due` and
  // is reset then. Called again it may only bring `due` nearer.
  void drain(Instant due, Instant now);
  // Nothing is left: what TCP still has to send is the last. At most kDrainTail (impl.h) after the last session.
  bool drained() const;
  // Adds samples of the traffic series in slots from `slot` on, of at most `slots_max`; returns where to go on, 0 at
  // the end. A thousand slots take some 50 microseconds.
  uint32_t sample_traffic(uint32_t slot, uint32_t slots_max, Instant now, std::vector<TrafficSample>& out);
  struct TrafficTotals {
    uint32_t pod_connections = 0;  // accepted from pods, open
    uint32_t server_tunnels = 0;   // accepted from peers, open
    uint32_t series = 0;
    uint64_t overflowed = 0;  // connections without a series of their own
  };
  TrafficTotals traffic_totals() const;
  hbone::Tunnels& tunnels();
  uint32_t sessions() const;
  void for_each_session(void (*visit)(void* context, const SessionInfo& info), void* context, Instant now) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::proxy
