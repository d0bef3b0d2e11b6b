#include "tls/post_handshake.h"

#include <algorithm>

namespace culvert::tls {

namespace {

enum MessageType : uint8_t { kNewSessionTicket = 4, kKeyUpdate = 24 };

// RFC 8446 4.6.1: lifetime, age_add, nonce<0..255>, ticket<1..2^16-1>, extensions<0..2^16-2>.
constexpr uint32_t kTicketBytesMin = 4 + 4 + 1 + 2 + 1 + 2;
constexpr uint32_t kTicketBytesMax = 4 + 4 + 1 + 255 + 2 + 65535 + 2 + 65534;

}  // namespace

PostHandshake::Event PostHandshake::begin() {
  body_left_ = static_cast<uint32_t>(header_[1] << 16 | header_[2] << 8 | header_[3]);
  if (header_[0] == kNewSessionTicket && peer_is_server_) {
    return body_left_ >= kTicketBytesMin && body_left_ <= kTicketBytesMax ? Event::kNeedMore : Event::kMalformed;
  }
  if (header_[0] == kKeyUpdate) return body_left_ == 1 ? Event::kNeedMore : Event::kMalformed;
  return Event::kUnexpected;
}

PostHandshake::Event PostHandshake::next(ByteView& bytes) {
  while (header_bytes_ < sizeof header_) {
    if (bytes.empty()) return Event::kNeedMore;
    header_[header_bytes_++] = bytes.front();
    bytes = bytes.subspan(1);
    if (header_bytes_ == sizeof header_) {
      const Event event = begin();
      if (event != Event::kNeedMore) return event;
    }
  }
  if (bytes.empty()) return Event::kNeedMore;
  const uint8_t first = bytes.front();
  const size_t take = std::min<size_t>(bytes.size(), body_left_);
  bytes = bytes.subspan(take);
  body_left_ -= static_cast<uint32_t>(take);
  if (body_left_ > 0) return Event::kNeedMore;
  header_bytes_ = 0;
  if (header_[0] == kNewSessionTicket) return Event::kTicket;
  // RFC 8446 4.6.3: update_not_requested(0), update_requested(1); anything else is an illegal_parameter.
  if (first > 1) return Event::kBadRequest;
  return first == 1 ? Event::kKeyUpdateRequested : Event::kKeyUpdate;
}

}  // namespace culvert::tls
