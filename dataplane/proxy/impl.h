// What the files of this room share. Not shown outside of it.
//
//   proxy.cc      the public face and the turn
//   attachments.cc pods, who owns an address, which SYN is taken, whose certificate a tunnel shows
//   outbound.cc   a pod's connection: record, routing, tunnel, CONNECT
//   inbound.cc    a tunnel's stream: checks, policy, connection to the pod; deciding again after a change
//   splice.cc     bytes and ends from one side to the other
//   log.cc        access-log lines
//   traffic.cc    traffic series: labels and flags
//   drain.cc      the end of the core
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "policy/decision.h"
#include "proxy/proxy.h"
#include "proxy/session_table.h"
#include "proxy/wall_clock.h"
#include "routing/inbound.h"
#include "routing/outbound.h"
#include "telemetry/access_log.h"
#include "telemetry/traffic.h"

namespace culvert::proxy {

// How long a connection waits for the record of its pod (reference 9.1), and for how long after a pod was attached its
// certificate may still be on its way.
inline constexpr Duration kRecordPatience = 5s;
// For the answer to a CONNECT, tunnel included: 10 s for TCP, 10 s for TLS and SETTINGS, 10 s for the far end's own
// connection to its pod (reference 5.4, 22), so that nothing waits forever on a peer that never answers.
inline constexpr Duration kConnectPatience = 30s;
// Inbound TCP to the pod (reference 11.2).
inline constexpr Duration kPodConnectPatience = 10s;
// Bytes moved per session, direction and turn: others get their turn in between.
inline constexpr uint64_t kSpliceBytesPerTurn = 256u << 10;
// Slots looked at per turn after a change of policies or workloads.
inline constexpr uint32_t kRecheckPerTurn = 256;
// Draining: after the last session, for peers to answer GOAWAY and FIN, and for pods to take their last bytes.
inline constexpr Duration kDrainTail = 500ms;
// Sessions reset per turn when the deadline has passed, and how long that may wait for room in the log.
inline constexpr uint32_t kDrainCutPerTurn = 256;
inline constexpr Duration kDrainLogPatience = 1s;
// A buffer pool that was empty is tried again after this long.
inline constexpr Duration kStarvedRetry = 1ms;

struct Pod {
  Attachment attachment;
  std::string name_space, name;  // of its record
  Instant attached_at{};
};

// The end of a core, from drain() on.
struct Drain {
  Instant due;                // what is left then is reset
  Instant tail_due = kNever;  // the last session is over, this long is waited for the rest
  Instant wake = kNever;
  uint32_t next_slot = 0;  // where cutting goes on
  bool done = false;
};

struct Proxy::Impl final : hbone::CredentialSource {
  Impl(const Setup& setup_in, tcp::Stack& tcp_in, BufferPool& pool_in, Counters& counters_in, tls::AeadBackend& aead,
       Egress& egress_in, LogSink& log_in, Instant start);
  ~Impl() override = default;

  // --- attachments.cc ----------------------------------------------------------------------------------------------
  const Pod* pod_at(const IpAddress& address) const;
  // The record of the pod; null: not there yet.
  const snapshot::Workload* record_of(const Pod& pod) const;
  // Whether the pod has a record and a certificate that is valid now.
  bool is_ready(const Pod& pod) const;
  // Attached moments ago: what is missing may be on its way.
  bool is_fresh(const Pod& pod, Instant now) const { return now < pod.attached_at + kRecordPatience; }
  // Null: none, or none that is valid now.
  std::shared_ptr<const identity::Credentials> valid_credentials(const identity::SpiffeId& identity) const;
  // The pod's address of the same family as `like`, preferring `wanted`; none without one.
  static std::optional<IpAddress> address_like(const std::vector<IpAddress>& addresses, const IpAddress& like);
  tcp::SynVerdict filter_pod(InterfaceId interface, const tcp::Tuple& tuple);
  tcp::SynVerdict filter_uplink(InterfaceId interface, const tcp::Tuple& tuple);
  std::shared_ptr<const identity::Credentials> client(const identity::SpiffeId& identity) override;
  std::shared_ptr<const identity::Credentials> server(InterfaceId interface, const IpAddress& local) override;
  void attach(InterfaceId interface, const Attachment& attachment, Instant now);
  void detach(InterfaceId interface, Instant now);

  // --- outbound.cc -------------------------------------------------------------------------------------------------
  void on_accepted(tcp::ConnectionId connection, InterfaceId interface, Instant now);
  // Goes on with a session that waits, once its pod is ready or nothing more is to be waited for.
  void try_outbound(Session& session, Instant now);
  void start_outbound(Session& session, const snapshot::Workload& record, Instant now);
  void refuse_outbound(Session& session, DropReason reason, AccessEvent event, std::string_view error, Instant now,
                       ResponseFlag flag = ResponseFlag::kConnect);

  // --- inbound.cc --------------------------------------------------------------------------------------------------
  void on_request(hbone::StreamId stream, Instant now);
  void start_inbound(Session& session, Instant now);
  // A status other than 200. `event`: an early deny is a short line, later refusals are a full one (reference 11.2).
  void refuse_inbound(Session& session, uint16_t status, DropReason reason, AccessEvent event, std::string_view error,
                      Instant now, ResponseFlag flag = ResponseFlag::kConnect);
  // The record of who asks; null: unknown, or in another network.
  const snapshot::Workload* source_of(const Session& session, const hbone::ConnectRequest& request) const;
  policy::Decision decide(const Session& session, const snapshot::Workload& record);
  void on_pod_connected(Session& session, Instant now);
  void on_pod_unreachable(Session& session, std::string_view why, Instant now);
  // Decides live inbound sessions again, a slice of them. True: more are left.
  bool recheck(Instant now);

  // --- splice.cc ---------------------------------------------------------------------------------------------------
  void queue(Session& session);
  // Moves what can be moved. The session may be gone afterwards.
  void splice(Session& session, Instant now);
  void on_pod_event(Session& session, tcp::EventKind kind, Instant now);
  void on_stream_event(Session& session, const hbone::Event& event, Instant now);
  // A pod's bytes, from its connection or from what that left behind.
  uint64_t readable_bytes(const Session& session) const;
  Packet read(Session& session, uint64_t bytes_max, Instant now);
  // The pod's connection closed in order. The stack gives it up with this event: what it still holds is kept here.
  void on_pod_closed(Session& session, Instant now);
  // Whether both directions ended, and what follows from it.
  void settle(Session& session, Instant now);

  enum class End : uint8_t { kClean, kReset };
  // The other side's end was told by an event: its handle is given back without another word on it.
  void forget_pod(Session& session, Instant now);
  void forget_stream(Session& session, Instant now);
  // Ends a session: closes or resets what is left of both sides, writes its last line, frees it. `flag` says which kind
  // of error it was; without one it is not looked at.
  void end(Session& session, End how, std::string_view error, Instant now, AccessEvent event = AccessEvent::kComplete,
           ResponseFlag flag = ResponseFlag::kConnect);

  // --- drain.cc ----------------------------------------------------------------------------------------------------
  void begin_drain(Instant due, Instant now);
  bool advance_drain(Instant now);  // true: work is left for the next turn at once
  bool cut_sessions(Instant now);   // a slice of them; true: at once again
  bool pods_wait_for_bytes() const;

  // --- log.cc ------------------------------------------------------------------------------------------------------
  void log(const Session& session, AccessEvent event, std::string_view error, Instant now);
  void log_tunnel_failure(const hbone::TunnelFailure& failure, Instant now);
  static Party party_of(const snapshot::Workload& record);
  // How the record describes itself in a CONNECT or its answer (reference 5.2).
  static std::string baggage_text(const snapshot::Workload& record);

  // --- traffic.cc --------------------------------------------------------------------------------------------------
  void begin_traffic(Session& session, const TrafficLabels& labels, Instant now);
  void begin_outbound_traffic(Session& session, const snapshot::Workload& source,
                              const routing::OutboundDecision& decision, Instant now);
  void begin_inbound_traffic(Session& session, const snapshot::Workload& destination, const snapshot::Service* service,
                             Instant now);
  // Of the services that the pod backs: the one that the request was forwarded for, else the first one of whose ports
  // leads to `target_port`; null: none. What a peer says chooses among them and names no other.
  const snapshot::Service* service_meant(const snapshot::Workload& destination, std::string_view forwarded,
                                         uint16_t target_port) const;
  static ResponseFlag flag_of(hbone::Loss loss, std::string_view text);

  // --- proxy.cc ----------------------------------------------------------------------------------------------------
  void on_tcp_event(const tcp::Event& event, Instant now);
  void take_tunnel_events(Instant now);
  void on_timer(Session& session, Instant now);
  void retry_awaiting(Instant now);
  bool poll(Instant now, UnixTime calendar);

  const Setup setup;
  const LogSettings default_log;
  const LogSettings& log_settings;
  tcp::Stack& tcp;
  BufferPool& pool;
  Counters& counters;
  Egress& egress;
  LogSink& sink;
  Random random;
  TimerWheel timers;
  WallClock wall;
  UnixTime calendar_now{};
  Instant last_now{};  // of the last event or turn: what SYN filters go by
  std::shared_ptr<const snapshot::Mesh> mesh = std::make_shared<const snapshot::Mesh>();
  std::shared_ptr<const CredentialMap> credentials = std::make_shared<const CredentialMap>();

  std::map<InterfaceId, Pod> pods;
  std::unordered_map<IpAddress, InterfaceId> interface_by_address;
  SessionTable sessions;
  ConnectionOwners owners;
  std::vector<uint64_t> work, working;  // sessions with something to move, in the order they came
  std::vector<uint64_t> awaiting;       // sessions that wait for a record
  std::vector<uint64_t> draining;       // sessions whose last bytes have not left
  std::vector<uint64_t> starved;        // sessions that found the buffer pool empty
  Instant starved_until = kNever;
  uint32_t recheck_next = 0, recheck_left = 0;
  std::optional<Drain> drain;
  AccessLine line;
  TrafficTable traffic;
  uint32_t pods_connected = 0;  // connections accepted from pods that are ours still

  hbone::Tunnels tunnels;
};

}  // namespace culvert::proxy
