// Reading: records off the ciphertext queue, and what each kind of content does.
#include "base/check.h"
#include "tls/session_impl.h"

namespace culvert::tls {

uint64_t SessionImpl::on_ciphertext(ByteQueue& in, uint64_t plaintext_limit, UnixTime now) {
  const uint64_t before = in.bytes();
  flush();
  if (state_ == State::kHandshaking) advance_handshake(in, now);
  while (state_ == State::kOpen && plaintext_.bytes() < plaintext_limit && open_next(in)) {
  }
  // RFC 8446 6.1: "Any data received after a closure alert has been received MUST be ignored."
  if ((state_ == State::kClosed || state_ == State::kFailed) && !in.empty()) {
    counters_.drop(DropReason::kTlsByteAfterClose, in.bytes());
    in.clear();
  }
  return before - in.bytes();
}

// One record; false when there is none, or no buffer for it.
bool SessionImpl::open_next(ByteQueue& in) {
  if (in.bytes() < kRecordHeaderBytes) return false;
  uint8_t bytes[kRecordHeaderBytes];
  in.copy_out(0, bytes);
  const RecordHeader header = RecordHeader::parse(bytes);
  // change_cipher_spec is tolerated until the peer's Finished (RFC 8446 5), which lies behind us.
  if (header.type != ContentType::kApplicationData) {
    fail(Alert::kUnexpectedMessage, DropReason::kTlsRecordUnexpectedType, "unprotected record in an open session");
    return false;
  }
  if (header.length > kCiphertextBytesMax) {
    fail(Alert::kRecordOverflow, DropReason::kTlsRecordOverflow, "record of more than 2^14 + 256 bytes");
    return false;
  }
  if (in.bytes() < kRecordHeaderBytes + header.length) return false;

  RecordOpener::Opened opened = opener_->open(in, header.length, pool_);
  switch (opened.outcome) {
    case RecordOpener::Outcome::kOpened:
      break;
    case RecordOpener::Outcome::kNoBuffer:
      counters_.add(Counter::kTlsBufferRefused);
      return false;
    case RecordOpener::Outcome::kBadMac:
      fail(Alert::kBadRecordMac, DropReason::kTlsRecordBadMac, "record does not authenticate");
      return false;
    case RecordOpener::Outcome::kOverflow:
      fail(Alert::kRecordOverflow, DropReason::kTlsRecordOverflow, "record with more than 2^14 bytes of content");
      return false;
    case RecordOpener::Outcome::kNoContentType:
      fail(Alert::kUnexpectedMessage, DropReason::kTlsRecordUnexpectedType, "record without a content type");
      return false;
  }
  in.drop_front(kRecordHeaderBytes + header.length);
  ++counts_.records_opened;
  counters_.add(opened_counter_);
  on_record(opened.type, std::move(opened.content));
  return true;
}

void SessionImpl::on_record(ContentType type, Packet content) {
  const uint32_t bytes = content.bytes();
  const bool data = type == ContentType::kApplicationData && bytes > 0;
  records_without_data_ = data ? 0 : records_without_data_ + 1;
  if (records_without_data_ > kRecordsWithoutDataMax) {
    fail(Alert::kUnexpectedMessage, DropReason::kTlsRecordWithoutDataFlood, "too many records without data");
    return;
  }
  // RFC 8446 5.1: "Handshake messages MUST NOT be interleaved with other record types."
  if (post_handshake_.inside_message() && type != ContentType::kHandshake) {
    fail(Alert::kUnexpectedMessage, DropReason::kTlsRecordUnexpectedType, "record inside a handshake message");
    return;
  }
  switch (type) {
    case ContentType::kApplicationData:
      counts_.bytes_opened += bytes;
      counters_.add(Counter::kTlsByteOpened, bytes);
      plaintext_.append(std::move(content));
      return;
    case ContentType::kAlert:
      on_alert(content);
      return;
    case ContentType::kHandshake:
      on_handshake_bytes(content);
      return;
    default:
      fail(Alert::kUnexpectedMessage, DropReason::kTlsRecordUnexpectedType, "record of an unknown type");
      return;
  }
}

void SessionImpl::on_alert(const Packet& content) {
  // RFC 8446 5.1: "a record with an Alert type MUST contain exactly one message."
  if (content.bytes() != 2) {
    fail(Alert::kDecodeError, DropReason::kTlsMessageMalformed, "alert record that is not one alert");
    return;
  }
  // The level is not read: RFC 8446 6, "the severity is implicit in the type of alert being sent".
  const uint8_t alert = content.front()[1];
  if (alert == static_cast<uint8_t>(Alert::kUserCanceled)) return;
  if (alert == static_cast<uint8_t>(Alert::kCloseNotify)) {
    peer_closed_ = true;
    state_ = State::kClosed;
    opener_.reset();
    return;
  }
  failure_.alert_received = alert;
  const bool before_data = role_ == Role::kClient && counts_.bytes_opened == 0;
  failure_.reason = (before_data ? "tls handshake error: " : "tls error: ") + text_of_received(alert);
  if (before_data) counters_.add(Counter::kTlsHandshakeFailed);
  counters_.drop(before_data ? DropReason::kTlsHandshakeAlertReceived : DropReason::kTlsAlertReceived);
  end_without_alert();
}

void SessionImpl::on_handshake_bytes(const Packet& content) {
  ByteView bytes = content.front();
  // RFC 8446 5.1: "Implementations MUST NOT send zero-length fragments of Handshake types".
  if (bytes.empty()) {
    fail(Alert::kUnexpectedMessage, DropReason::kTlsRecordUnexpectedType, "empty handshake record");
    return;
  }
  while (!bytes.empty()) {
    const PostHandshake::Event event = post_handshake_.next(bytes);
    if (!on_handshake_event(event, bytes.empty())) return;
  }
}

bool SessionImpl::on_handshake_event(PostHandshake::Event event, bool at_record_end) {
  switch (event) {
    case PostHandshake::Event::kNeedMore:
      return true;
    case PostHandshake::Event::kTicket:
      ++counts_.tickets_ignored;
      counters_.add(Counter::kTlsTicketIgnored);
      return true;
    case PostHandshake::Event::kKeyUpdate:
    case PostHandshake::Event::kKeyUpdateRequested:
      // RFC 8446 5.1: "Handshake messages MUST NOT span key changes."
      if (!at_record_end) {
        fail(Alert::kUnexpectedMessage, DropReason::kTlsMessageUnexpected, "message behind a KeyUpdate in its record");
        return false;
      }
      opener_->update();
      ++counts_.key_updates_received;
      counters_.add(Counter::kTlsKeyUpdateReceived);
      // RFC 8446 4.6.3: "the receiver MUST send a KeyUpdate of its own with request_update set to
      // "update_not_requested" prior to sending its next Application Data record". Several requests get one answer; a
      // KeyUpdate that we owe anyway is one.
      if (event == PostHandshake::Event::kKeyUpdateRequested && !closed_) {
        if (!owed_key_update_) owed_key_update_ = false;
        flush();
      }
      return true;
    case PostHandshake::Event::kUnexpected:
      fail(Alert::kUnexpectedMessage, DropReason::kTlsMessageUnexpected, "handshake message out of place");
      return false;
    case PostHandshake::Event::kMalformed:
      fail(Alert::kDecodeError, DropReason::kTlsMessageMalformed, "handshake message of the wrong length");
      return false;
    case PostHandshake::Event::kBadRequest:
      fail(Alert::kIllegalParameter, DropReason::kTlsMessageMalformed, "KeyUpdate with an unknown request");
      return false;
  }
  return false;
}

}  // namespace culvert::tls
