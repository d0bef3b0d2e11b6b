// The state of Tunnels, shared by the files of this room:
//
//   tunnels.cc   the turn: TCP's events, bytes up and down, timers, the end of tunnels
//   client.cc    opening streams: pool, connecting, waiters
//   server.cc    accepting connections
//   streams.cc   what the user does with streams, and the events it gets
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/timer_wheel.h"
#include "hbone/pool.h"
#include "hbone/transport.h"
#include "hbone/tunnels.h"

namespace culvert::hbone {

inline constexpr uint32_t kNoIndex = 0xffffffff;

// A stream that has no tunnel yet.
struct Pending {
  TunnelKey key;
  ConnectHeaders headers;
  ByteQueue written;
  bool finish = false;
};

struct Stream {
  enum class Stage : uint8_t {
    kFree,
    kWaiting /* for a tunnel */,
    kActive,
    kOver /* terminal event told or pending */
  };

  uint32_t index = 0;
  uint32_t generation = 0;
  Stage stage = Stage::kFree;
  uint64_t cookie = 0;
  uint32_t tunnel = kNoIndex;
  http2::StreamRef ref;

  uint16_t events = 0;  // bits of EventKind, not yet taken
  bool waits_for_report = false;
  Stream* next_report = nullptr;
  Stream* next_of_tunnel = nullptr;  // streams of a tunnel, in the order they came
  Stream* previous_of_tunnel = nullptr;

  uint32_t code = 0;  // of kRefused, kStopped, kReset
  Loss loss = Loss::kNone;
  std::string failure;
  std::unique_ptr<Pending> pending;
  std::unique_ptr<ConnectRequest> request;
  std::unique_ptr<ConnectResponse> response;

  StreamId id() const { return {index, generation}; }
};

struct Tunnel : TimerEntry {
  enum class Stage : uint8_t {
    kConnecting,  // TCP
    kRunning,     // TLS, SETTINGS, streams
    kClosing,     // the transport is over; what it still has to say is being sent, then FIN
    kGone,        // no TCP any more; stays while streams read what had come
  };

  uint32_t index = 0;
  Stage stage = Stage::kConnecting;
  TunnelKey key;        // client
  bool pooled = false;  // client: stands in the pool, ready or connecting
  bool up = false;
  bool told = false;   // its streams know that it is over
  bool dirty = false;  // stands in the list to be flushed
  bool fin_sent = false, fin_received = false;
  bool refused_by_us = false;  // closed on purpose: no failure is recorded
  tcp::ConnectionId connection;
  Peer peer;
  std::shared_ptr<const identity::Credentials> credentials;
  UnixTime own_not_after = UnixTime::max();  // of what we show: the handshake must be over by then (D16)
  identity::ChainMark chain;                 // the peer's, once TLS is open, for CRLs that come later
  bool chain_taken = false;
  std::unique_ptr<Transport> transport;  // null while TCP connects
  Instant since{};
  Instant idle_due = kNever;    // client, pooled: nobody asked for so long
  Instant close_due = kNever;   // the peer's FIN after ours
  Instant goaway_due = kNever;  // server that came up while the node drains
  Stream* first_stream = nullptr;
  Stream* last_stream = nullptr;
  uint32_t streams = 0;
  uint64_t streams_total = 0;
};

struct Tunnels::Impl {
  Impl(const Limits& limits, tcp::Stack& tcp, BufferPool& pool, Counters& counters, CredentialSource& credentials,
       tls::AeadBackend& aead, uint64_t seed);

  // --- tunnels.cc
  bool on_tcp_event(const tcp::Event& event, Instant now);
  void poll(Instant now);
  void flush(Instant now);
  void mark(Tunnel& tunnel);
  void pump(Tunnel& tunnel, Instant now);     // bytes from TCP upwards, then everything that follows
  void advance(Tunnel& tunnel, Instant now);  // whatever the machines have to tell, bytes down to TCP, timers
  void send(Tunnel& tunnel, Instant now);
  void lose(Tunnel& tunnel, Loss loss, std::string text, Instant now);
  void drop_connection(Tunnel& tunnel, Instant now);  // TCP is gone, or is to be gone, at once
  void close(Tunnel& tunnel, Instant now);
  // RST_STREAM for each stream, GOAWAY, close_notify, FIN; our streams are lost.
  void cut(Tunnel& tunnel, Loss loss, std::string_view text, Instant now);
  void close_address(const IpAddress& local, Instant now);
  void drain(Instant now);
  void drain(Tunnel& tunnel, Instant now);
  void install(std::shared_ptr<const identity::CrlSet> set, Instant now);
  void take_chain(Tunnel& tunnel);
  void record_failure(const Tunnel& tunnel, Loss loss, const std::string& text);
  void schedule(Tunnel& tunnel);
  Tunnel* find(tcp::ConnectionId connection);
  Tunnel& take_tunnel(tcp::ConnectionId connection, Instant now);
  void free_tunnel(Tunnel& tunnel);
  bool start_transport(Tunnel& tunnel, const tls::SessionConfig& config, Instant now);
  TunnelInfo info(const Tunnel& tunnel, Instant now) const;

  // --- client.cc
  Result<StreamId, OpenError> open(const TunnelKey& key, const ConnectHeaders& headers, Instant now);
  Result<Tunnel*, OpenError> connect(const TunnelKey& key, Instant now);
  void on_connected(Tunnel& tunnel, Instant now);
  bool on_up(Tunnel& tunnel, Instant now);  // false: it ended instead, and may be gone
  bool serve_waiters(const TunnelKey& key, Instant now);
  Result<void, OpenError> request(Stream& stream, Tunnel& tunnel, const ConnectHeaders& headers, Instant now);
  void leave_pool(Tunnel& tunnel);
  void on_response(Stream& stream, http2::Session& session);

  // --- server.cc
  void accept(tcp::ConnectionId connection, Instant now);
  void on_request(Tunnel& tunnel, http2::StreamRef ref);

  // --- streams.cc
  void take_session_events(Tunnel& tunnel);
  Stream* find(StreamId id);
  const Stream* find(StreamId id) const;
  http2::Session* session_of(const Stream& stream) const;
  Stream& take_stream();
  void free_stream(Stream& stream);
  void attach(Stream& stream, Tunnel& tunnel, http2::StreamRef ref);
  void detach(Stream& stream);
  void notify(Stream& stream, EventKind kind);
  void end(Stream& stream, EventKind kind);  // terminal
  // False: the stream had all it needed of its tunnel.
  bool lose(Stream& stream, Loss loss, const std::string& text);

  const Limits limits;
  tcp::Stack& tcp;
  BufferPool& pool;
  Counters& counters;
  CredentialSource& credentials;
  tls::AeadBackend& aead;
  Random random;
  UnixTime calendar{};
  http2::CoreMemory memory;
  TimerWheel timers{Instant{}};

  Pool tunnel_pool;
  std::vector<std::unique_ptr<Tunnel>> tunnels;
  std::vector<uint32_t> free_tunnels;
  uint32_t tunnel_count = 0;
  std::vector<uint32_t> tunnel_by_connection;  // by ConnectionId::index
  std::vector<uint32_t> dirty, flushing;
  std::deque<TunnelFailure> failures;
  identity::Revocation revocation;
  bool draining = false;

  std::deque<Stream> streams;
  std::vector<uint32_t> free_streams;
  uint32_t stream_count = 0;
  uint32_t waiting = 0;  // streams that wait for a tunnel
  Stream* first_report = nullptr;
  Stream* last_report = nullptr;
};

}  // namespace culvert::hbone
