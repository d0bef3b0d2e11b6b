// One end of one TLS 1.3 connection (RFC 8446) over byte queues: handshake by OpenSSL over memory BIOs, then Culvert's
// own record layer with the traffic secrets taken over (D6). No I/O, no clock: it is handed both. Used by one core.
//
//   ciphertext in ── on_ciphertext(queue) ─▶ Session ── take_plaintext() ─▶ http2
//   http2 ── seal(pieces) ─▶ Session ── take_ciphertext() ─▶ tcp
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "identity/credentials.h"
#include "identity/revocation.h"
#include "identity/spiffe_id.h"
#include "packet/packet.h"
#include "telemetry/counters.h"
#include "tls/aead.h"

namespace culvert::tls {

enum class Role : uint8_t { kClient, kServer };
enum class ClientCertificate : uint8_t { kNone, kOptional, kRequired };

// What a session is to prove and to demand. The credentials are those in force when it is made; rotation does not touch
// sessions that live (reference section 6).
struct SessionConfig {
  Role role = Role::kClient;
  // Never null: they hold the roots. A client without a certificate has credentials made of roots alone.
  std::shared_ptr<const identity::Credentials> credentials;
  ClientCertificate client_certificate = ClientCertificate::kRequired;  // server
  // The peer must present one of these exactly (reference 3.3); empty: any identity under the roots.
  std::vector<identity::SpiffeId> expected_peers;
  // Server: at least one SAN of the client must have this trust domain (reference 3.4); empty: no check.
  std::string required_trust_domain;
  // The peer's chain is judged by it (reference 16); null: nothing is revoked. Of the session's core, outlives it.
  identity::Revocation* revocation = nullptr;
  std::string alpn = "h2";      // empty: none is offered and none chosen
  AeadBackend* aead = nullptr;  // outlives the session
  // Our direction gets a new key after this many records: RFC 8446 5.5 allows 2^24.5 under one AES-GCM key.
  uint64_t records_per_key_max = uint64_t{1} << 24;
  uint64_t key_update_every_bytes = 0;                             // and after this many bytes; 0: only for the records
  void (*keylog)(void* context, std::string_view line) = nullptr;  // debugging tools only
  void* keylog_context = nullptr;
};

enum class State : uint8_t {
  kHandshaking,
  kOpen,    // our side is finished: a client may send, but its certificate is judged by the server's first bytes (D6)
  kClosed,  // close_notify received, everything before it delivered
  kFailed,  // alert sent or received, or bytes that are not TLS; failure() tells
};

struct Failure {
  std::optional<uint8_t> alert_sent;  // RFC 8446 6
  std::optional<uint8_t> alert_received;
  bool revoked = false;  // a CRL names a certificate of the peer's chain
  std::string reason;    // one sentence for the log, ztunnel's wording where reference 26.4 has one
};

struct SessionCounts {
  // Records of any content after the handshake; bytes of application data.
  uint64_t records_sealed = 0, records_opened = 0, bytes_sealed = 0, bytes_opened = 0;
  uint64_t key_updates_sent = 0, key_updates_received = 0, tickets_ignored = 0;
  bool hello_retry = false;
  Duration handshake_cpu{};  // CPU time spent inside OpenSSL (D11: counted)
};

class Session {
 public:
  // Null when OpenSSL refuses the credentials (message in `error`).
  static std::unique_ptr<Session> make(const SessionConfig& config, BufferPool& pool, Counters& counters, UnixTime now,
                                       std::string& error);
  virtual ~Session() = default;

  // Takes whole records off the front of `in` until nothing more can be done: an incomplete record stays, so does
  // everything once `plaintext_limit` bytes of plaintext wait in plaintext(), or when the pool has no buffer. What
  // follows a close_notify or a failure is taken and ignored. Returns the bytes taken. Call it again, with or without
  // new bytes, when buffers have come back.
  virtual uint64_t on_ciphertext(ByteQueue& in, uint64_t plaintext_limit, UnixTime now) = 0;
  // Opened application data, one packet per record, in order.
  virtual ByteQueue& plaintext() = 0;
  // Seals `bytes` (at most 16,384) as one record; it joins ciphertext(). False: not open, our direction closed, or the
  // pool is empty (nothing happened, try again later). Also in kClosed: the peer's close_notify does not end ours.
  virtual bool seal(const Packet& bytes) = 0;
  virtual bool seal(std::span<const ByteView> pieces) = 0;
  // Handshake messages, records, alerts that wait to be sent, in order. A call also brings what was put off for want of
  // a buffer.
  virtual ByteQueue& ciphertext() = 0;
  virtual void close_notify() = 0;  // half-close of our direction (RFC 8446 6.1); during the handshake: once it is over
  // Our next record comes under a new key; with `ask_peer` the peer's soon, too (RFC 8446 4.6.3).
  virtual void request_key_update(bool ask_peer) = 0;

  virtual State state() const = 0;
  virtual const Failure& failure() const = 0;
  virtual bool close_notify_received() const = 0;
  // Valid from kOpen on.
  virtual const std::vector<identity::SpiffeId>& peer_identities() const = 0;
  // The peer's chain for later questions, once; `tracked` false: SessionConfig::revocation had no room for it.
  struct PeerChain {
    identity::ChainMark mark;
    bool tracked = true;
  };
  virtual PeerChain take_peer_chain() = 0;
  virtual std::string alpn() const = 0;
  virtual std::string_view cipher() const = 0;  // "TLS_AES_256_GCM_SHA384"
  virtual std::string_view group() const = 0;   // "x25519"
  virtual const SessionCounts& counts() const = 0;
  virtual std::string_view aead_backend() const = 0;
};

}  // namespace culvert::tls
