// Writing: records, and the messages that are owed and may have to wait for a buffer.
//
// Whatever is owed goes out before the next data: the rest of the handshake, a KeyUpdate, then close_notify or an
// alert.
#include <array>

#include "base/check.h"
#include "tls/session_impl.h"

namespace culvert::tls {

bool SessionImpl::may_write() const {
  return (state_ == State::kOpen || state_ == State::kClosed) && !closed_ && sealer_.has_value();
}

bool SessionImpl::seal(const Packet& bytes) {
  std::array<ByteView, kPiecesMax> pieces;
  size_t count = 0;
  bytes.for_each([&](ByteView piece) {
    if (count < kPiecesMax) pieces[count] = piece;
    ++count;
  });
  if (count <= kPiecesMax) return seal({pieces.data(), count});
  // A packet in very many segments: gathered into one buffer first.
  Packet gathered = pool_.take_large();
  if (!gathered) {
    counters_.add(Counter::kTlsBufferRefused);
    return false;
  }
  const auto total = static_cast<uint16_t>(bytes.bytes());
  uint8_t* to = gathered.append(total);
  bytes.copy_out(0, {to, total});
  pool_.count_copied(total);
  pieces[0] = {to, total};
  return seal({pieces.data(), 1});
}

bool SessionImpl::seal(std::span<const ByteView> pieces) {
  size_t bytes = 0;
  for (const ByteView piece : pieces) bytes += piece.size();
  DP_CHECK(bytes <= kPlaintextBytesMax);
  if (!may_write()) return false;
  if (rotation_due(bytes) && !owed_key_update_) owed_key_update_ = false;
  if (!flush()) return false;
  if (bytes == 0) return true;
  if (!seal_record(ContentType::kApplicationData, pieces, bytes)) return false;
  bytes_under_key_ += bytes;
  counts_.bytes_sealed += bytes;
  counters_.add(Counter::kTlsByteSealed, bytes);
  return true;
}

bool SessionImpl::rotation_due(size_t bytes) const {
  if (sealer_->sequence() >= records_per_key_max_) return true;
  return key_update_every_bytes_ > 0 && bytes_under_key_ > 0 && bytes_under_key_ + bytes > key_update_every_bytes_;
}

ByteQueue& SessionImpl::ciphertext() {
  flush();
  return ciphertext_;
}

void SessionImpl::close_notify() {
  if (closed_ || state_ == State::kFailed) return;
  closed_ = true;
  owed_close_ = true;
  flush();
}

void SessionImpl::request_key_update(bool ask_peer) {
  if (closed_ || state_ == State::kFailed) return;
  owed_key_update_ = owed_key_update_.value_or(false) || ask_peer;
  flush();
}

// True when nothing is owed any more.
bool SessionImpl::flush() {
  if (!flush_handshake_output()) return false;
  if (!sealer_) return !owed_alert_ && !owed_close_ && !owed_key_update_;
  if (owed_key_update_) {
    if (!send_key_update(*owed_key_update_)) return false;
    owed_key_update_.reset();
  }
  if (owed_close_) {
    if (!send_alert(Alert::kCloseNotify)) return false;
    owed_close_ = false;
    sealer_.reset();
  }
  if (owed_alert_) {
    if (!send_alert(*owed_alert_)) return false;
    owed_alert_.reset();
    sealer_.reset();
  }
  return true;
}

bool SessionImpl::flush_handshake_output() {
  if (handshake_output_.empty()) return true;
  Packet packet = pool_.take_copy(handshake_output_);
  if (!packet) {
    counters_.add(Counter::kTlsBufferRefused);
    return false;
  }
  ciphertext_.append(std::move(packet));
  handshake_output_ = {};  // its memory, too: there is at most one more flight
  return true;
}

bool SessionImpl::send_key_update(bool ask_peer) {
  const std::array<uint8_t, 5> message = {24, 0, 0, 1, static_cast<uint8_t>(ask_peer ? 1 : 0)};
  const ByteView piece{message};
  if (!seal_record(ContentType::kHandshake, {&piece, 1}, message.size())) return false;
  sealer_->update();
  bytes_under_key_ = 0;
  ++counts_.key_updates_sent;
  counters_.add(Counter::kTlsKeyUpdateSent);
  return true;
}

bool SessionImpl::send_alert(Alert alert) {
  const bool warning = alert == Alert::kCloseNotify;
  const std::array<uint8_t, 2> message = {static_cast<uint8_t>(warning ? 1 : 2), static_cast<uint8_t>(alert)};
  const ByteView piece{message};
  return seal_record(ContentType::kAlert, {&piece, 1}, message.size());
}

bool SessionImpl::seal_record(ContentType type, std::span<const ByteView> pieces, size_t bytes) {
  Packet record = sealer_->seal(type, pieces, bytes, pool_);
  if (!record) {
    counters_.add(Counter::kTlsBufferRefused);
    return false;
  }
  ciphertext_.append(std::move(record));
  ++counts_.records_sealed;
  counters_.add(sealed_counter_);
  return true;
}

}  // namespace culvert::tls
