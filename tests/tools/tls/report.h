// The JSON line that culvert-tls writes at the end of each connection. Its names are stable.
#pragma once

#include <string>

#include "tls/session.h"

namespace culvert::tls_tool {

enum class CloseReason {
  kCloseNotify,  // both directions closed in order
  kHandshakeFailed,
  kTlsFailed,  // an alert or a bad record in an open session
  kTruncated,  // the connection ended without the peer's close_notify
  kReset,      // the socket failed
  kHandshakeTimeout,
};

// `detail` tells more where the session's own failure() does not.
std::string json_line(const tls::Session& session, tls::Role role, CloseReason reason, const std::string& detail);

}  // namespace culvert::tls_tool
