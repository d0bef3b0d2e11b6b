// What the users of a tunnel see of its streams: handles, events, and why a stream or tunnel was lost.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/interface_id.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "identity/spiffe_id.h"
#include "tcp/segment.h"

namespace culvert::hbone {

// A handle; stale handles are recognised by their generation, and every call on one is refused or ignored.
struct StreamId {
  uint32_t index = 0xffffffff;
  uint32_t generation = 0;
  friend bool operator==(const StreamId&, const StreamId&) = default;
};

enum class Loss : uint8_t {
  kNone,
  kConnectTimeout,  // TCP did not come up in time: maybe a NetworkPolicy blocks port 15008 (reference 26.4)
  kConnectRefused,  // RST or a final ICMP error to the SYN, or no local port
  kHandshake,       // TLS failed, or an alert came before the peer's SETTINGS
  kSetupTimeout,    // TLS and SETTINGS took longer than Limits::setup_timeout
  kNoCredentials,   // no certificate for the source identity (D16)
  kProtocol,        // the peer broke HTTP/2 or TLS after the tunnel was up
  kAbuse,           // the frame budget ended the tunnel
  kPingTimeout,     // no PING ACK in time (reference 4.2)
  kTcpReset,        // RST from the peer
  kTcpTimeout,      // TCP gave up
  kTruncated,       // TCP or TLS ended without close_notify, or GOAWAY and end with the stream still open (D23)
  kGoaway,          // the peer's GOAWAY refused the stream: it was not processed
  kClosed,          // we closed the tunnel: detach, drain deadline, shutdown
  kRevoked,         // a CRL names a certificate of the peer: at the handshake, or since a newer CRL came
  kNoMemory,        // a bound of this node was reached
};
std::string_view name_of(Loss loss);

enum class EventKind : uint8_t {
  kRequest,      // server: a CONNECT arrived; request() and peer() tell. Answer with respond()
  kEstablished,  // client: 200. response() tells
  kRefused,      // client: any other status, in `code`. Terminal
  kReadable,     // bytes came into an empty receive queue (edge)
  kWritable,     // room came back after writable_bytes() was 0 (edge)
  kEndOfStream,  // the peer's END_STREAM: read() gives what remains, then no more
  kStopped,  // RST_STREAM behind the peer's END_STREAM, code in `code`: what came is complete and stays readable, but
             // the peer takes no more bytes (a server that answered without reading all). write() is refused from now
             // on
  kReset,    // RST_STREAM from the peer before its END_STREAM, code in `code`; unread bytes are gone. Terminal
  kLost,     // the tunnel ended, or never came up; `loss` and failure() tell; unread bytes are gone. Terminal
};

// After a terminal event nothing more is reported for the stream; it stays a valid handle until release().
struct Event {
  EventKind kind;
  StreamId stream;
  uint32_t code = 0;  // HTTP status, or RFC 9113 7 error code
  Loss loss = Loss::kNone;
};

// What decides which tunnel a stream may share (D5, reference 6). Two pods never share one, since the receiver takes
// the tunnel's TCP source as the address that policy sees.
struct TunnelKey {
  identity::SpiffeId source_identity;
  IpAddress source;                          // the tunnel's TCP source
  std::vector<identity::SpiffeId> expected;  // the server must present one of these; order counts, as in ztunnel
  Endpoint destination;                      // where TCP goes, usually port 15008
  InterfaceId interface = kNoInterface;      // on which it leaves
  friend auto operator<=>(const TunnelKey&, const TunnelKey&) = default;
};

enum class Side : uint8_t { kClient, kServer };

// Both ends of the tunnel a stream runs in.
struct Peer {
  Side side = Side::kClient;
  InterfaceId interface = kNoInterface;
  tcp::Tuple tuple;
  identity::SpiffeId local_identity;
  std::vector<identity::SpiffeId> identities;  // the peer's, in the order of its certificate; the first is its identity
};

// A tunnel that failed before or after it was up: the log's "early deny" and the reason its streams were lost.
struct TunnelFailure {
  Side side = Side::kClient;
  bool was_up = false;  // false: the handshake failed
  tcp::Tuple tuple;
  InterfaceId interface = kNoInterface;
  Loss loss = Loss::kNone;
  std::string text;  // ztunnel's wording (reference 26.4)
};

// One line of `culvertctl tunnels`.
struct TunnelInfo {
  Side side = Side::kClient;
  tcp::Tuple tuple;
  std::string local_identity, peer_identity, cipher, group, aead;
  std::string_view state;  // "connecting", "handshake", "open", "draining", "closing"
  uint32_t streams = 0;
  uint64_t streams_total = 0, records_sealed = 0, records_opened = 0, bytes_sealed = 0, bytes_opened = 0;
  Duration age{};
};

}  // namespace culvert::hbone
