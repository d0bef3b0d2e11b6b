// Handshake messages after the handshake (RFC 8446 4.6), read as they come: a message may lie in several records, a
// record may hold several messages. Nothing is stored but the message's header and KeyUpdate's one byte.
//
// NewSessionTicket is skipped unread: sessions are never resumed here. CertificateRequest is refused, since we never
// offer post_handshake_auth (RFC 8446 4.6.2).
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace culvert::tls {

class PostHandshake {
 public:
  // Only servers send tickets.
  explicit PostHandshake(bool peer_is_server) : peer_is_server_(peer_is_server) {}

  enum class Event : uint8_t {
    kNeedMore,  // all bytes taken, the message goes on
    kTicket,
    kKeyUpdate,
    kKeyUpdateRequested,  // and the peer wants one of ours
    kUnexpected,          // a message that has no place here
    kMalformed,
    kBadRequest,  // KeyUpdate with a value that does not exist: illegal_parameter
  };
  // Takes bytes off the front of `bytes` up to the end of one message.
  Event next(ByteView& bytes);
  // A message has begun and not ended: no other content may come between (RFC 8446 5.1).
  bool inside_message() const { return header_bytes_ > 0; }

 private:
  Event begin();

  bool peer_is_server_;
  uint8_t header_[4] = {};
  uint8_t header_bytes_ = 0;
  uint32_t body_left_ = 0;
};

}  // namespace culvert::tls
