// Session as it is: a Handshake until the secrets are known, then an opener and a sealer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tls/alert.h"
#include "tls/handshake.h"
#include "tls/post_handshake.h"
#include "tls/record_protection.h"
#include "tls/session.h"

namespace culvert::tls {

// Consecutive records without application data (tickets, KeyUpdates, empty records) that a peer may send. Two to four
// tickets and a KeyUpdate are usual; each KeyUpdate costs us six HMACs and an expanded key.
inline constexpr uint32_t kRecordsWithoutDataMax = 32;

class SessionImpl final : public Session {
 public:
  SessionImpl(const SessionConfig& config, std::unique_ptr<Handshake> handshake, BufferPool& pool, Counters& counters);

  uint64_t on_ciphertext(ByteQueue& in, uint64_t plaintext_limit, UnixTime now) override;
  ByteQueue& plaintext() override { return plaintext_; }
  bool seal(const Packet& bytes) override;
  bool seal(std::span<const ByteView> pieces) override;
  ByteQueue& ciphertext() override;
  void close_notify() override;
  void request_key_update(bool ask_peer) override;

  State state() const override { return state_; }
  const Failure& failure() const override { return failure_; }
  bool close_notify_received() const override { return peer_closed_; }
  const std::vector<identity::SpiffeId>& peer_identities() const override { return peer_identities_; }
  PeerChain take_peer_chain() override { return std::move(peer_chain_); }
  std::string alpn() const override { return alpn_; }
  std::string_view cipher() const override;
  std::string_view group() const override { return group_; }
  const SessionCounts& counts() const override { return counts_; }
  std::string_view aead_backend() const override { return aead_.name(); }

  // The first bytes of a client: its ClientHello.
  void start(UnixTime now);

 private:
  void advance_handshake(ByteQueue& in, UnixTime now);
  void take_over();
  void handshake_failed();
  DropReason handshake_drop_reason() const;

  bool open_next(ByteQueue& in);
  void on_record(ContentType type, Packet content);
  void on_alert(const Packet& content);
  void on_handshake_bytes(const Packet& content);
  bool on_handshake_event(PostHandshake::Event event, bool at_record_end);
  void fail(Alert alert, DropReason drop, std::string_view reason);
  void end_without_alert();

  bool may_write() const;
  bool flush();
  bool flush_handshake_output();
  bool send_key_update(bool ask_peer);
  bool send_alert(Alert alert);
  bool seal_record(ContentType type, std::span<const ByteView> pieces, size_t bytes);
  bool rotation_due(size_t bytes) const;

  Role role_;
  AeadBackend& aead_;
  BufferPool& pool_;
  Counters& counters_;
  Counter sealed_counter_;
  Counter opened_counter_;
  uint64_t records_per_key_max_;
  uint64_t key_update_every_bytes_;

  State state_ = State::kHandshaking;
  std::unique_ptr<Handshake> handshake_;   // null after the handshake
  std::vector<uint8_t> handshake_output_;  // what the pool had no room for yet
  std::optional<RecordOpener> opener_;     // from kOpen until the session fails
  std::optional<RecordSealer> sealer_;
  PostHandshake post_handshake_;
  uint32_t records_without_data_ = 0;
  uint64_t bytes_under_key_ = 0;  // application bytes sealed since the last KeyUpdate

  // Owed to the peer: sent at once, or when the pool has a buffer again.
  std::optional<bool> owed_key_update_;  // the value: do we ask for the peer's
  std::optional<Alert> owed_alert_;
  bool owed_close_ = false;

  bool closed_ = false;  // close_notify sent or owed: nothing more may be sealed
  bool peer_closed_ = false;
  CipherSuite suite_ = CipherSuite::kAes256GcmSha384;
  std::string alpn_;
  std::string_view group_;
  std::vector<identity::SpiffeId> peer_identities_;
  PeerChain peer_chain_;
  Failure failure_;
  SessionCounts counts_;
  ByteQueue plaintext_;
  ByteQueue ciphertext_;
};

}  // namespace culvert::tls
