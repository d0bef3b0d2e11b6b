// All HBONE tunnels of one core, client and server, over its TCP stack: the door through which the proxy opens,
// accepts, reads and writes streams.
//
//   proxy ── open / respond / read / write / finish / reset ─▶ Tunnels ── take_events() ─▶ proxy
//                                                                │ ▲
//                                                     tcp::Stack ▼ │ on_tcp_event
//
// Client tunnels come from a pool keyed by TunnelKey; server tunnels from connections accepted on port 15008. Both are
// the same Transport (TLS and HTTP/2 stacked) over a TCP connection. Nothing here does I/O or reads a clock; a turn is
//
//   tunnels.set_calendar(unix_now);
//   for each tcp event: tunnels.on_tcp_event(event, now)   (false: not ours)
//   tunnels.poll(now);
//   for each tunnels event: …                              (the proxy's own work: read, write, open …)
//   tunnels.flush(now);                                    (what was written goes to TCP)
//
// A reset is never turned into a clean end (D23): kEndOfStream is reported for END_STREAM only.
// Payload is never copied. Everything belongs to one core; handles, not pointers, cross the door; a pointer that an
// accessor returns is good until the next call that takes `now`.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "hbone/connect.h"
#include "hbone/stream.h"
#include "http2/error_code.h"
#include "identity/credentials.h"
#include "identity/revocation.h"
#include "packet/packet.h"
#include "tcp/stack.h"
#include "telemetry/counters.h"
#include "tls/aead.h"

namespace culvert::hbone {

inline constexpr uint16_t kHbonePort = 15008;

struct Limits {
  uint32_t tunnels_max = 4'096;               // client and server together
  uint32_t waiters_max = 8'192;               // opens that wait for a tunnel
  uint32_t streams_per_connection_max = 100;  // client; the peer's MAX_CONCURRENT_STREAMS may lower it (reference 6)
  uint32_t server_streams_max = 200;          // MAX_CONCURRENT_STREAMS that we announce (reference 4.1)
  Duration connect_timeout = 10s;             // TCP
  Duration setup_timeout = 10s;               // TLS and the peer's SETTINGS
  Duration idle_release = 5min;               // a client tunnel without streams that nobody asked for (reference 6)
  Duration close_timeout = 5s;                // for the peer's FIN after our GOAWAY, close_notify and FIN
  size_t issuers_max = identity::Revocation::kIssuersMax;  // of peers' chains that later CRLs are compared with
  uint32_t stream_queue_bytes = 256u << 10;                // a stream's send queue: write() beyond it is back-pressure
  uint64_t key_update_every_bytes = 0;                     // 0: only before the AEAD's limit (tls/session.h)
  uint64_t nghttp2_bytes_max = 256ull << 20;               // memory of all nghttp2 sessions of the core
};

// Whose certificate a tunnel shows. Implemented by the owner of the credentials; asked once per tunnel.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  // Client: what proves `identity`. Null: the tunnel is refused (D16).
  virtual std::shared_ptr<const identity::Credentials> client(const identity::SpiffeId& identity) = 0;
  // Server: what the pod at `local` proves itself with. Null: the connection is refused.
  virtual std::shared_ptr<const identity::Credentials> server(InterfaceId interface, const IpAddress& local) = 0;
};

enum class OpenError : uint8_t {
  kFull,           // tunnels_max or waiters_max
  kNoCredentials,  // D16
  kNoPort,         // no local port, or no such interface
  kTooLarge,       // header fields beyond the limit
};

class Tunnels {
 public:
  // References outlive the object. `seed` feeds PING payloads.
  Tunnels(const Limits& limits, tcp::Stack& tcp, BufferPool& pool, Counters& counters, CredentialSource& credentials,
          tls::AeadBackend& aead, uint64_t seed);
  ~Tunnels();
  Tunnels(const Tunnels&) = delete;
  Tunnels& operator=(const Tunnels&) = delete;

  // --- turn --------------------------------------------------------------------------------------------------------
  void set_calendar(UnixTime now);  // certificates are judged by it
  // Takes events of our own connections, and kAccepted ones whose local port is kHbonePort. False: not ours.
  bool on_tcp_event(const tcp::Event& event, Instant now);
  void poll(Instant now);   // timers, and work that waited for room
  void flush(Instant now);  // hands what was written since to TCP
  Instant next_deadline() const;
  // In the order things happened per stream; streams take turns. Call until it returns less than asked for.
  size_t take_events(std::span<Event> out);
  // Tunnels that failed, oldest first; a bounded list, the oldest are lost (counted) when nobody takes them.
  size_t take_failures(std::span<TunnelFailure> out);

  // --- client ------------------------------------------------------------------------------------------------------
  // A stream to headers.authority through a tunnel of that key; joins one that is up, waits for one being made, or
  // starts one. kEstablished, kRefused, kReset or kLost follows. write() is allowed at once; bytes wait for the 200.
  Result<StreamId, OpenError> open(const TunnelKey& key, const ConnectHeaders& headers, Instant now);
  const ConnectResponse* response(StreamId id) const;  // from kEstablished on

  // --- server ------------------------------------------------------------------------------------------------------
  const ConnectRequest* request(StreamId id) const;  // from kRequest on
  // 200 carries `baggage` unless it is empty and leaves the stream open; any other status ends it (END_STREAM, no
  // body).
  bool respond(StreamId id, uint16_t status, std::string_view baggage, Instant now);

  // --- both --------------------------------------------------------------------------------------------------------
  const Peer* peer(StreamId id) const;  // null: stale, or the tunnel is not up yet
  uint64_t readable_bytes(StreamId id) const;
  // Moves out up to `bytes_max` in-order bytes; empty when there are none, or no view is left in the pool. Delivery
  // returns the stream's credit to the peer.
  Packet read(StreamId id, uint32_t bytes_max, Instant now);
  bool peer_finished(StreamId id) const;  // END_STREAM received and everything before it read
  uint64_t writable_bytes(StreamId id) const;
  // Queues all of the packet, past the limit by one packet if need be. False: stale, finished, reset or lost; freed.
  bool write(StreamId id, Packet bytes, Instant now);
  uint64_t unsent_bytes(StreamId id) const;                     // written, not yet in a DATA frame
  void finish(StreamId id, Instant now);                        // END_STREAM behind what is queued
  void reset(StreamId id, http2::ErrorCode code, Instant now);  // RST_STREAM now; queues are dropped; no event follows
  // Forgets the stream. What is still open of it is reset with CANCEL (reference 5.5).
  void release(StreamId id, Instant now);
  std::string_view failure(StreamId id) const;    // after kLost: the sentence for the log
  void set_cookie(StreamId id, uint64_t cookie);  // a word of the owner's that rides along; 0 at first
  uint64_t cookie(StreamId id) const;

  // --- housekeeping ------------------------------------------------------------------------------------------------
  // Ends every tunnel with that local address: its streams are reset towards the peer, ours report kLost(kClosed).
  void close_address(const IpAddress& local, Instant now);
  // From now on (reference 21.4): server tunnels say GOAWAY gracefully, client tunnels leave the pool, streams go on,
  // and a tunnel closes when its last one ends. The same happens to tunnels that come up later; whether any come is the
  // owner's decision, by its SYN filter and by what it opens.
  void drain(Instant now);
  // Ends every tunnel as close_address() does.
  void close_all(std::string_view text, Instant now);
  // Peers are judged by the set from now on (reference 16), null: by none. Living tunnels whose peer's chain it names
  // are torn down: their streams are reset towards the peer, ours report kLost(kRevoked).
  void install(std::shared_ptr<const identity::CrlSet> set, Instant now);
  uint32_t tunnels() const;
  uint32_t server_tunnels() const;  // accepted ones; looks at each tunnel
  uint32_t streams() const;
  void for_each_tunnel(void (*visit)(void* context, const TunnelInfo& info), void* context, Instant now) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::hbone
