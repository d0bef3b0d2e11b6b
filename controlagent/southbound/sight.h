// What the agent can see of the data plane, and ask of it, as plain values: for the metrics, config_dump and the
// readiness probe. Each call goes to the present session, waits at most kSightPatience, and may come from any thread.
//
// The error is one sentence for people; kAway when no session stands, which is no fault of the call.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "base/result.h"
#include "base/time.h"

namespace culvert::southbound {

inline constexpr Duration kSightPatience = 3s;
inline constexpr char kAway[] = "the data plane is not connected";

using Millis = std::chrono::milliseconds;
using WallTime = std::chrono::sys_time<Millis>;

// Counts by size: `bounds` ascending, without +Inf; `counts` has one more.
struct Histogram {
  std::vector<double> bounds;
  std::vector<uint64_t> counts;
  double sum = 0;

  void add(double value) {
    size_t at = 0;
    while (at < bounds.size() && value > bounds[at]) ++at;
    ++counts[at];
    sum += value;
  }
};

struct WorkerStatus {
  Millis silent{};   // since its last heartbeat
  std::string poll;  // how it idles
};

struct DataPlaneStatus {
  std::string build, node, instance;
  uint32_t contract = 0;
  Millis uptime{};
  uint64_t snapshot_version = 0;
  std::string mesh_version;
  uint32_t workloads = 0, services = 0, policies = 0, attachments = 0, identities = 0;
  uint32_t connections = 0, sessions = 0, tunnels = 0;
  std::vector<WorkerStatus> workers;
  uint64_t strangers_refused = 0, log_lines_lost = 0;
};

// A connection that is carried.
struct SessionRow {
  bool outbound = false;
  Endpoint source, destination;
  std::string hbone_authority;  // "": plain TCP
  std::string source_identity, destination_identity;
  std::string tunnel_peer;     // "address:port"
  std::string requested_host;  // inbound: the service's hostname that the client asked for; "": unknown
};

// An attachment as the data plane holds it.
struct AttachmentRow {
  std::string id;
  std::string workload;  // "namespace/name"
  std::vector<IpAddress> addresses;
  bool up = false;
};

struct CounterRow {
  std::string name, unit, room, text;  // room: of a drop reason
  uint64_t value = 0;
};

struct TrafficPeer {
  std::string workload, canonical_service, canonical_revision, workload_namespace, principal, cluster, region, zone;
};

// One label set of the traffic metrics (reference 24); "" is unknown.
struct TrafficRow {
  bool at_source = false;  // reporter
  TrafficPeer source, destination;
  std::string destination_service, destination_service_namespace, destination_service_name;
  std::string response_flags;
  bool mutual_tls = false;
  bool localities = false;
  uint64_t opened = 0, closed = 0, failed = 0, received_bytes = 0, sent_bytes = 0;
};

struct Traffic {
  std::vector<TrafficRow> rows;
  uint64_t source_sockets_open = 0, destination_sockets_open = 0;
  uint64_t series = 0, overflowed = 0;
};

struct CertificateRow {
  enum class State : uint8_t { kNeeded, kValid, kExpired, kRequested };
  std::string identity;
  State state = State::kNeeded;
  bool attached = false;
  WallTime not_before{}, not_after{};
  std::string serial;  // decimal
  std::string chain_pem, roots_pem;
};

struct CrlRow {
  uint32_t lists = 0, entries = 0;
  std::optional<WallTime> next_update, set_at;
};

struct DrainState {
  bool draining = false;
  uint32_t sessions_left = 0, tunnels_left = 0;
  Millis left{};
};

template <class Value>
using Seen = Result<Value, std::string>;

class Sight {
 public:
  virtual ~Sight() = default;
  // A session stands: said without asking anybody.
  virtual bool connected() const = 0;
  virtual Seen<DataPlaneStatus> status() = 0;
  virtual Seen<std::vector<SessionRow>> sessions() = 0;
  virtual Seen<std::vector<AttachmentRow>> attachments() = 0;
  virtual Seen<std::vector<CounterRow>> counters() = 0;
  virtual Seen<std::vector<CounterRow>> drops() = 0;
  virtual Seen<Traffic> traffic() = 0;
  // By identity, with their public texts.
  virtual Seen<std::vector<CertificateRow>> certificates() = 0;
  virtual Seen<CrlRow> crl() = 0;
  // Starts the drain; none: with the deadline of culvert.yaml.
  virtual Seen<DrainState> drain(std::optional<Millis> deadline) = 0;
  virtual Seen<DrainState> drain_state() = 0;
};

}  // namespace culvert::southbound
