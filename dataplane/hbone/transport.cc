#include "hbone/transport.h"

#include <algorithm>

#include "base/endian.h"

namespace culvert::hbone {

namespace {

// Opened records that may wait for http2: two of the largest. More would only be memory.
constexpr uint64_t kPlaintextBytesMax = 2 * http2::kRecordBytesMax;
constexpr Duration kRetry = 1ms;
constexpr uint64_t kRecordHeaderBytes = 5;  // RFC 8446 5.1

}  // namespace

std::unique_ptr<Transport> Transport::make(const TransportConfig& config, std::unique_ptr<tls::Session> tls,
                                           http2::CoreMemory& memory, BufferPool& pool, Counters& counters,
                                           Instant now) {
  std::unique_ptr<Transport> transport(new Transport(config, std::move(tls), memory, pool, counters, now));
  if (!transport->tls_ && !transport->start_http2(now)) return nullptr;
  return transport;
}

Transport::Transport(const TransportConfig& config, std::unique_ptr<tls::Session> tls, http2::CoreMemory& memory,
                     BufferPool& pool, Counters& counters, Instant now)
    : config_(config),
      tls_(std::move(tls)),
      memory_(memory),
      pool_(pool),
      counters_(counters),
      setup_due_(now + config.setup_timeout) {}

bool Transport::start_http2(Instant now) {
  http2_ = http2::Session::make(config_.role, config_.http2, memory_, pool_, counters_, config_.seed, now);
  if (http2_) state_ = State::kSettling;
  return http2_ != nullptr;
}

ByteQueue& Transport::output() { return tls_ ? tls_->ciphertext() : plain_out_; }

uint64_t Transport::on_bytes(ByteQueue& in, Instant now, UnixTime calendar) {
  if (state_ == State::kClosing || state_ == State::kEnded) {
    // Nothing that still comes can matter.
    const uint64_t bytes = in.bytes();
    in.clear();
    return bytes;
  }
  if (!tls_) {
    const uint64_t taken = http2_->on_bytes(in, now);
    check(now);
    return taken;
  }
  uint64_t taken = 0;
  for (;;) {
    const uint64_t opened = tls_->on_ciphertext(in, kPlaintextBytesMax, calendar);
    taken += opened;
    if (!http2_ && tls_->state() != tls::State::kHandshaking && tls_->state() != tls::State::kFailed &&
        !start_http2(now)) {
      fail(Loss::kNoMemory, "http2 handshake failed: out of memory");
      break;
    }
    const uint64_t placed = http2_ ? http2_->on_bytes(tls_->plaintext(), now) : 0;
    if (opened + placed == 0) break;
  }
  // TLS does not say why it stopped; a whole record that it left behind found no buffer.
  if (waits_for_room(in)) retry_at_ = now + kRetry;
  check(now);
  return taken;
}

// Bytes that could be taken if there were a buffer for them, as opposed to the beginning of a record.
bool Transport::waits_for_room(const ByteQueue& in) const {
  if (http2_ && http2_->blocked()) return true;
  if (!tls_) return !in.empty();
  if (!tls_->plaintext().empty()) return true;
  uint8_t header[kRecordHeaderBytes];
  if (in.copy_out(0, header) < kRecordHeaderBytes) return false;
  return in.bytes() >= kRecordHeaderBytes + load_be16(header + 3);
}

void Transport::on_end_of_bytes(const ByteQueue& in, Instant now) {
  check(now);
  if (state_ == State::kClosing || state_ == State::kEnded || waits_for_room(in)) return;
  if (!was_up_) {
    fail(Loss::kHandshake, state_ == State::kSettling ? "http2 handshake failed: connection closed"
                                                      : "tls handshake error: connection closed");
  } else {
    fail(Loss::kTruncated, tls_ ? "connection ended without close_notify" : "connection closed");
  }
}

// Looks at what the two machines have become.
void Transport::check(Instant now) {
  if (state_ == State::kClosing || state_ == State::kEnded) return;
  if (tls_ && tls_->state() == tls::State::kFailed) {
    const Loss before_up = tls_->failure().revoked ? Loss::kRevoked : Loss::kHandshake;
    return fail(was_up_ ? Loss::kProtocol : before_up, tls_->failure().reason);
  }
  if (http2_ && http2_->state() == http2::State::kEnded) {
    const http2::Failure& failure = http2_->failure();
    Loss loss = Loss::kProtocol;
    switch (failure.kind) {
      case http2::FailureKind::kNone:
        loss = Loss::kClosed;
        break;
      case http2::FailureKind::kPeerFault:
        loss = was_up_ ? Loss::kProtocol : Loss::kHandshake;
        break;
      case http2::FailureKind::kAbuse:
        loss = Loss::kAbuse;
        break;
      case http2::FailureKind::kPingTimeout:
        loss = Loss::kPingTimeout;
        break;
      case http2::FailureKind::kSettingsTimeout:
        loss = was_up_ ? Loss::kProtocol : Loss::kSetupTimeout;
        break;
      case http2::FailureKind::kNoMemory:
        loss = Loss::kNoMemory;
        break;
    }
    if (loss == Loss::kPingTimeout) return fail(loss, "HBONE ping timeout/error");
    return fail(loss, (was_up_ ? "h2 failed: " : "http2 handshake failed: ") + failure.text);
  }
  if (tls_ && tls_->state() == tls::State::kClosed && tls_->plaintext().empty() && !(http2_ && http2_->blocked())) {
    if (!was_up_) return fail(Loss::kHandshake, "http2 handshake failed: connection closed");
    return fail(Loss::kTruncated, http2_->goaway().received && http2_->goaway().code != http2::ErrorCode::kNoError
                                      ? "h2 failed: peer sent GOAWAY " + std::string(name_of(http2_->goaway().code))
                                      : "connection closed by the peer");
  }
  if (state_ == State::kSettling && http2_->state() == http2::State::kOpen) {
    state_ = State::kUp;
    was_up_ = true;
    setup_due_ = kNever;
  }
  if (now >= setup_due_) {
    fail(Loss::kSetupTimeout, state_ == State::kHandshake ? "tls handshake error: timed out"
                                                          : "http2 handshake failed: no SETTINGS in time");
  }
}

void Transport::fail(Loss loss, std::string text) {
  if (state_ == State::kClosing || state_ == State::kEnded) return;
  loss_ = loss;
  failure_ = std::move(text);
  state_ = State::kClosing;
  setup_due_ = kNever;
  close_notify_due_ = tls_ != nullptr;
}

void Transport::close(Instant now) {
  if (state_ == State::kClosing || state_ == State::kEnded) return;
  if (http2_) http2_->close(http2::ErrorCode::kNoError, "closed", now);
  fail(Loss::kClosed, "connection closed");
}

void Transport::produce(uint64_t bytes_min, Instant now) {
  while (output().bytes() < bytes_min && state_ != State::kEnded) {
    // A record that was taken from http2 goes out before anything else.
    Packet record = unsealed_ ? std::move(unsealed_) : (http2_ ? http2_->take_record(now) : Packet{});
    check(now);  // taking may have shown that http2 failed
    if (!record) {
      if (state_ != State::kClosing || (http2_ && http2_->stalled())) return;
      if (close_notify_due_) {
        close_notify_due_ = false;
        tls_->close_notify();
      }
      state_ = State::kEnded;
      return;
    }
    if (!tls_) {
      plain_out_.append(std::move(record));
      continue;
    }
    if (tls_->state() == tls::State::kFailed) continue;  // nothing can be said any more
    if (!tls_->seal(record)) {
      if (tls_->state() != tls::State::kOpen && tls_->state() != tls::State::kClosed) continue;
      unsealed_ = std::move(record);
      retry_at_ = now + kRetry;
      return;
    }
  }
}

void Transport::poll(Instant now) {
  if (retry_at_ <= now) retry_at_ = kNever;
  if (http2_) http2_->poll(now);
  check(now);
}

Instant Transport::next_deadline() const {
  return std::min({setup_due_, retry_at_, http2_ ? http2_->next_deadline() : kNever});
}

void Transport::request_key_update(bool ask_peer) {
  if (tls_ && state_ == State::kUp) tls_->request_key_update(ask_peer);
}

}  // namespace culvert::hbone
