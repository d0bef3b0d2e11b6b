// The TCP endpoints of one core: a table of connections and the machine that each of them is (RFC 9293).
//
// The stack does no I/O and reads no clock (TLDK's shape): segments come in through on_segment, time through poll, and
// both leave segments to send in an output list, which the pipeline empties, and events in an event list, which the
// proxy empties. Everything belongs to one core.
//
//   pipeline ── on_segment(Segment) ─▶ Stack ── take_output() ─▶ pipeline ─▶ ip
//                                        │
//   proxy ── accept / connect / read / write / shutdown / abort ─▶ Stack ── take_event() ─▶ proxy
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/interface_id.h"
#include "base/ip_address.h"
#include "base/random.h"
#include "base/result.h"
#include "base/time.h"
#include "packet/packet.h"
#include "tcp/segment.h"
#include "telemetry/counters.h"

namespace culvert::tcp {

// A handle; stale handles are recognised by their generation and every call on one is refused or ignored.
struct ConnectionId {
  uint32_t index = 0xffffffff;
  uint32_t generation = 0;
  friend bool operator==(const ConnectionId&, const ConnectionId&) = default;
};

// What an interface can carry, told by whoever attached it.
struct InterfaceLimits {
  uint16_t mtu = 1500;         // largest IP packet on the link
  uint32_t tso_bytes_max = 0;  // largest IP packet the port segments for us; 0: none, segments stay within the MTU
};

struct ConnectionOptions {
  uint32_t rcv_buffer_bytes_max = 4u << 20;  // ceiling of the receive window; it starts at 64 KB and follows the rate
  uint32_t snd_buffer_bytes = 1u << 20;      // write() takes no more than this many unacknowledged bytes
  Duration delayed_ack = 40ms;               // at most this long (RFC 9293 3.8.6.3 allows 500 ms)
  bool nodelay = true;                       // Nagle off: a proxy has batched already
  bool cubic = true;                         // RFC 9438; otherwise NewReno (RFC 6582)
  std::optional<Duration> user_timeout;      // RFC 5482
  bool keepalive = true;                     // ztunnel's 180 s / 180 s / 9
  Duration keepalive_idle = 180s, keepalive_interval = 180s;
  uint8_t keepalive_probes = 9;
  uint16_t mss_clamp = 0;      // 0: from the MTU
  Duration syn_timeout = 10s;  // connect() gives up after this long
};

// kClosed, kReset, kRefused and kTimedOut are a connection's last event. Its handle stays valid after that (cookie,
// tuple, info, what is left to read) until release() or abort(), or until the next take_events() that finds nothing
// left to read: an owner need not release what has ended by itself. Of each kind at most one event is pending per
// connection; they are handed out in the order of this enumeration.
enum class EventKind : uint8_t {
  kAccepted,   // a passive open completed: the handshake's ACK came. The connection's tuple tells who and where to
  kConnected,  // our connect() completed
  kReadable,   // bytes came in; reported again only after read(), receive_queue() or consumed() was called since
  kWritable,   // a third of the send buffer is free again after writable_bytes() said less, or a write() filled it
  kPeerFin,    // the peer's FIN was received in order: read() gives what remains, then no more
  kSent,       // our FIN was acknowledged, and everything before it
  kClosed,     // the connection is gone, orderly: both FINs exchanged (it may linger in TIME-WAIT by itself)
  kReset,      // the peer's RST ended it, in any state after establishment
  kRefused,    // connect(): RST in SYN-SENT, or an ICMP error that is final there
  kTimedOut,   // gave up: SYN, retransmission, persist, keepalive or user timeout
};

struct Event {
  EventKind kind;
  ConnectionId connection;
};

// What to do with a SYN to an address that nobody else owns: decided by the owner of the interface.
enum class SynVerdict : uint8_t { kAccept, kRefuse /* RST */, kDrop };

// Asked once per new SYN, before any state exists for it. A plain function and its context: no allocation.
struct SynFilter {
  SynVerdict (*decide)(void* context, InterfaceId interface, const Tuple& tuple) = nullptr;
  void* context = nullptr;
};

// Asked for each candidate when connect() chooses a source port: false passes it over. For nodes with several cores, on
// which only some ports bring the replies to this one (D4).
struct PortFilter {
  bool (*usable)(void* context, InterfaceId interface, const Tuple& tuple) = nullptr;
  void* context = nullptr;
};

struct StackLimits {
  uint32_t connections_max = 65'536;
  uint32_t half_open_max = 4'096;            // SYN-RECEIVED; beyond it SYNs are dropped and counted
  uint32_t time_wait_max = 65'536;           // oldest TIME-WAIT entries are recycled beyond it
  Duration time_wait = 60s;                  // 2 MSL as Linux has it
  uint64_t memory_bytes_max = 512ull << 20;  // packet buffers held by all queues; beyond 3/4 windows shrink
};

struct ConnectionInfo {  // for `culvertctl sessions`, tests and the log
  Tuple tuple;
  const char* state;  // "ESTABLISHED" …
  Duration srtt, rto;
  uint32_t cwnd, ssthresh, snd_wnd, rcv_wnd, mss;
  uint64_t bytes_in, bytes_out, bytes_retransmitted;
  uint64_t rcv_queue_bytes, snd_queue_bytes;
};

class Stack {
 public:
  // `seed` feeds initial sequence numbers' key (RFC 6528) and source ports. Counters and pool outlive the stack.
  Stack(const StackLimits& limits, BufferPool& pool, Counters& counters, uint64_t seed, Instant start);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void set_interface(InterfaceId interface, const InterfaceLimits& limits, SynFilter filter,
                     const ConnectionOptions& accepted);
  void set_port_filter(PortFilter filter);
  // Ends every connection of the interface: kReset for each, nothing is sent on it.
  void remove_interface(InterfaceId interface, Instant now);

  // --- packets -----------------------------------------------------------------------------------------------------
  // Takes the segment, whatever becomes of it; what is refused is counted under its reason.
  void on_segment(Segment segment, Instant now);
  // An ICMP or ICMPv6 error about a segment of ours (RFC 5927 checks the quoted sequence number). mtu 0: not a
  // packet-too-big.
  void on_icmp_error(InterfaceId interface, const Tuple& tuple, uint32_t quoted_sequence, IcmpErrorKind kind,
                     uint16_t mtu, Instant now);
  void poll(Instant now);         // fires what is due
  Instant next_deadline() const;  // kNever when no timer runs
  bool has_output() const;
  // Builds and moves out up to out.size() segments to send, connections taking turns. Windows and clocks are read here,
  // not when the data was written. When the pool is empty it stops: has_output() is then false until poll() at
  // next_deadline(), and nothing is lost.
  size_t take_output(std::span<OutSegment> out, Instant now);

  // --- application -------------------------------------------------------------------------------------------------
  size_t take_events(std::span<Event> out);

  enum class ConnectError : uint8_t { kNoPort, kInUse, kFull, kNoInterface };
  // Opens from tuple.local (any address; port 0: one is chosen from 32768–60999 by RFC 6056's double-hash) to
  // tuple.remote.
  Result<ConnectionId, ConnectError> connect(InterfaceId interface, Tuple tuple, const ConnectionOptions& options,
                                             Instant now);

  const Tuple* tuple(ConnectionId id) const;  // null for a stale handle
  InterfaceId interface_of(ConnectionId id) const;
  uint64_t readable_bytes(ConnectionId id) const;
  // Moves out up to `bytes_max` in-order bytes; empty when there are none. Reading opens the window again: an update is
  // sent as RFC 9293 3.8.6.2.2 says.
  Packet read(ConnectionId id, uint32_t bytes_max, Instant now);
  // The whole receive queue as a queue the caller may parse in place or take packets out of (TLS records). Afterwards
  // consumed() tells how many bytes are done with: those that the caller has not taken out itself are dropped there.
  ByteQueue* receive_queue(ConnectionId id);
  void consumed(ConnectionId id, uint64_t bytes, Instant now);
  bool peer_finished(ConnectionId id) const;  // FIN received and everything before it read

  uint64_t writable_bytes(ConnectionId id) const;
  // Queues the packet's bytes (no copy, no headers in them). Takes all of it even past the limit by one packet, so that
  // a record is never cut; callers look at writable_bytes() first. False: stale, shut down or reset; the packet is
  // freed.
  bool write(ConnectionId id, Packet bytes, Instant now);
  uint64_t unacknowledged_bytes(ConnectionId id) const;

  void shutdown_write(ConnectionId id, Instant now);  // FIN behind what is queued
  void abort(ConnectionId id, Instant now);           // RST now, everything queued is dropped; no event follows
  // The owner wants no more events; the stack finishes an orderly close by itself, or resets if data still arrives
  // (RFC 2525 2.17, RFC 9293 3.10.4).
  void release(ConnectionId id, Instant now);
  // An application word that rides along; 0 at first.
  void set_cookie(ConnectionId id, uint64_t cookie);
  uint64_t cookie(ConnectionId id) const;

  // The options in force, and new ones for a living connection: all but mss_clamp, cubic and syn_timeout take effect at
  // once; a receive buffer cannot outgrow the window scale that the SYN announced.
  std::optional<ConnectionOptions> options(ConnectionId id) const;
  void set_options(ConnectionId id, const ConnectionOptions& options, Instant now);
  // Acknowledge the next segments at once (Linux's TCP_QUICKACK), or delay from now on.
  void set_quick_ack(ConnectionId id, bool on);

  std::optional<ConnectionInfo> info(ConnectionId id) const;
  // Visits every connection (slow; for listings).
  void for_each(void (*visit)(void* context, ConnectionId id), void* context) const;
  // Connections that were released and are still finishing: their interface, and the bytes that the peer has not
  // acknowledged yet.
  void for_each_released(void (*visit)(void* context, InterfaceId interface, uint64_t unacknowledged_bytes),
                         void* context) const;
  uint32_t connections() const;  // released ones, too; TIME-WAIT is none
  // RST for every connection, released ones too, without events: the process is about to end.
  void abort_all(Instant now);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::tcp
