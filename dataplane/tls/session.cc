// The parts of a session that both directions share: making, handshake, take-over, failure. Reading is in
// session_read.cc, writing in session_write.cc.
#include "tls/session.h"

#include <utility>

#include "base/check.h"
#include "tls/session_impl.h"

namespace culvert::tls {

std::unique_ptr<Session> Session::make(const SessionConfig& config, BufferPool& pool, Counters& counters, UnixTime now,
                                       std::string& error) {
  DP_CHECK(config.aead);
  auto handshake = Handshake::make(config, error);
  if (!handshake) return nullptr;
  auto session = std::make_unique<SessionImpl>(config, std::move(handshake), pool, counters);
  if (config.role == Role::kClient) session->start(now);
  return session;
}

SessionImpl::SessionImpl(const SessionConfig& config, std::unique_ptr<Handshake> handshake, BufferPool& pool,
                         Counters& counters)
    : role_(config.role),
      aead_(*config.aead),
      pool_(pool),
      counters_(counters),
      records_per_key_max_(config.records_per_key_max),
      key_update_every_bytes_(config.key_update_every_bytes),
      handshake_(std::move(handshake)),
      post_handshake_(config.role == Role::kClient) {
  const bool ipsec_mb = aead_.name() == "ipsec_mb";
  sealed_counter_ = ipsec_mb ? Counter::kTlsRecordIpsecMbSealed : Counter::kTlsRecordOpensslSealed;
  opened_counter_ = ipsec_mb ? Counter::kTlsRecordIpsecMbOpened : Counter::kTlsRecordOpensslOpened;
}

void SessionImpl::start(UnixTime now) {
  ByteQueue nothing;
  advance_handshake(nothing, now);
}

std::string_view SessionImpl::cipher() const {
  if (state_ == State::kHandshaking) return "";
  return suite_ == CipherSuite::kAes128GcmSha256 ? "TLS_AES_128_GCM_SHA256" : "TLS_AES_256_GCM_SHA384";
}

void SessionImpl::advance_handshake(ByteQueue& in, UnixTime now) {
  const Handshake::Progress progress = handshake_->advance(in, now);
  std::vector<uint8_t>& output = handshake_->output();
  handshake_output_.insert(handshake_output_.end(), output.begin(), output.end());
  output.clear();
  flush_handshake_output();
  if (progress == Handshake::Progress::kDone) take_over();
  if (progress == Handshake::Progress::kFailed) handshake_failed();
}

void SessionImpl::take_over() {
  Handshake::Outcome outcome = handshake_->take_outcome();
  suite_ = outcome.suite;
  alpn_ = std::move(outcome.alpn);
  group_ = outcome.group;
  peer_identities_ = std::move(outcome.peer_identities);
  peer_chain_ = std::move(outcome.peer_chain);
  const bool client = role_ == Role::kClient;
  opener_.emplace(aead_, suite_, std::move(client ? outcome.server_secret : outcome.client_secret));
  sealer_.emplace(aead_, suite_, std::move(client ? outcome.client_secret : outcome.server_secret));
  counts_.hello_retry = handshake_->hello_retry();
  counts_.handshake_cpu = handshake_->cpu();
  counters_.add(Counter::kTlsHandshakeCompleted);
  counters_.add(Counter::kTlsHandshakeCpu, static_cast<uint64_t>(counts_.handshake_cpu.count()));
  if (counts_.hello_retry) counters_.add(Counter::kTlsHandshakeHelloRetry);
  handshake_.reset();
  state_ = State::kOpen;
  flush();
}

void SessionImpl::handshake_failed() {
  failure_ = handshake_->failure();
  counts_.hello_retry = handshake_->hello_retry();
  counts_.handshake_cpu = handshake_->cpu();
  counters_.add(Counter::kTlsHandshakeFailed);
  counters_.add(Counter::kTlsHandshakeCpu, static_cast<uint64_t>(counts_.handshake_cpu.count()));
  counters_.drop(handshake_drop_reason());
  handshake_.reset();
  state_ = State::kFailed;
}

DropReason SessionImpl::handshake_drop_reason() const {
  if (failure_.revoked) return DropReason::kTlsHandshakeRevoked;
  if (failure_.alert_received) return DropReason::kTlsHandshakeAlertReceived;
  if (handshake_->failed_on_identity()) return DropReason::kTlsHandshakeWrongIdentity;
  switch (static_cast<Alert>(failure_.alert_sent.value_or(static_cast<uint8_t>(Alert::kInternalError)))) {
    case Alert::kCertificateRequired:
      return DropReason::kTlsHandshakeNoCertificate;
    case Alert::kCertificateExpired:
      return DropReason::kTlsHandshakeCertificateExpired;
    case Alert::kUnknownCa:
      return DropReason::kTlsHandshakeUnknownCa;
    case Alert::kBadCertificate:
    case Alert::kUnsupportedCertificate:
    case Alert::kCertificateRevoked:
    case Alert::kCertificateUnknown:
    case Alert::kDecryptError:
      return DropReason::kTlsHandshakeBadCertificate;
    case Alert::kProtocolVersion:
      return DropReason::kTlsHandshakeOldVersion;
    case Alert::kNoApplicationProtocol:
      return DropReason::kTlsHandshakeWrongAlpn;
    case Alert::kHandshakeFailure:
    case Alert::kInsufficientSecurity:
      return DropReason::kTlsHandshakeNoCommonParameter;
    default:
      return DropReason::kTlsHandshakeMalformed;
  }
}

// A client counts as open before the server has judged its certificate (D6): an alert that comes before any data is the
// handshake's failure still, and is named so.
void SessionImpl::fail(Alert alert, DropReason drop, std::string_view reason) {
  counters_.drop(drop);
  failure_.alert_sent = static_cast<uint8_t>(alert);
  failure_.reason = std::string("tls error: ")
                        .append(reason)
                        .append(", sent alert ")
                        .append(name_of_alert(static_cast<uint8_t>(alert)));
  state_ = State::kFailed;
  owed_key_update_.reset();
  owed_close_ = false;
  opener_.reset();
  // RFC 8446 6.1: nothing may follow our own close_notify, not even this.
  if (closed_) {
    failure_.alert_sent.reset();
    end_without_alert();
    return;
  }
  owed_alert_ = alert;
  flush();
}

void SessionImpl::end_without_alert() {
  state_ = State::kFailed;
  owed_key_update_.reset();
  owed_alert_.reset();
  owed_close_ = false;
  opener_.reset();
  sealer_.reset();
}

}  // namespace culvert::tls
