// One connection of a pod through a tunnel: the pod's TCP connection on one side, a stream on the other, and what the
// log and policy need to know about it. A plain value; outbound.cc, inbound.cc and splice.cc move it along.
#pragma once

#include <cstdint>
#include <string>

#include "base/interface_id.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "base/timer_wheel.h"
#include "hbone/stream.h"
#include "identity/spiffe_id.h"
#include "packet/packet.h"
#include "tcp/stack.h"
#include "telemetry/traffic.h"

namespace culvert::proxy {

enum class Direction : uint8_t { kOutbound, kInbound };

enum class SessionState : uint8_t {
  kFree,
  kAwaitingRecord,  // the pod's workload record is not there yet (reference 9.1); nothing is open on the other side
  kConnecting,      // outbound: CONNECT is under way; inbound: TCP to the pod is
  kOpen,            // spliced
  kDraining,        // both directions ended; what was written to the stream has not all left
};

// Names for the access log (reference 25). Empty: unknown.
struct Party {
  std::string workload, name_space, identity, cluster;
  void clear() {
    workload.clear();
    name_space.clear();
    identity.clear();
    cluster.clear();
  }
};

struct Session;

// A session's entry in the timer wheel, which leads back to it.
struct SessionTimer : TimerEntry {
  Session* session = nullptr;
};

struct Session {
  uint32_t index = 0;
  uint32_t generation = 0;
  SessionState state = SessionState::kFree;
  Direction direction = Direction::kOutbound;
  InterfaceId pod = kNoInterface;

  bool has_tcp = false;
  bool has_stream = false;
  bool queued = false;          // stands in the queue of sessions with work
  bool pod_ended = false;       // the pod's FIN was passed on as END_STREAM
  bool stream_ended = false;    // the stream's END_STREAM was passed on as FIN
  bool stream_stopped = false;  // behind its END_STREAM the peer said that it takes no more bytes
  bool fin_acked = false;       // the pod has acknowledged our FIN and all before it
  ByteQueue last_bytes;         // what a pod had sent when its connection closed in order, not yet in the tunnel
  tcp::ConnectionId tcp;
  hbone::StreamId stream;

  Endpoint source;              // the client's
  Endpoint destination;         // outbound: as dialled; inbound: the pod's address and port
  Endpoint next_hop;            // outbound: where the tunnel goes; inbound: the tunnel's local end
  uint64_t bytes_sent = 0;      // from the pod into the tunnel
  uint64_t bytes_received = 0;  // from the tunnel to the pod
  Instant opened_at{};
  SessionTimer timer;  // of the wait that the state names

  identity::SpiffeId peer;  // inbound: who asks; valid when has_peer
  bool has_peer = false;
  std::string authority;
  std::string service;
  Party src, dst;
  TrafficTable::Series* series = nullptr;  // from where it is counted; null: refused before that

  uint64_t handle() const { return uint64_t{generation} << 32 | index; }
};

}  // namespace culvert::proxy
