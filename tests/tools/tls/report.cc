#include "tests/tools/tls/report.h"

#include <nlohmann/json.hpp>

namespace culvert::tls_tool {

namespace {

const char* name_of(CloseReason reason) {
  switch (reason) {
    case CloseReason::kCloseNotify:
      return "close_notify";
    case CloseReason::kHandshakeFailed:
      return "handshake_failed";
    case CloseReason::kTlsFailed:
      return "tls_failed";
    case CloseReason::kTruncated:
      return "truncated";
    case CloseReason::kReset:
      return "reset";
    case CloseReason::kHandshakeTimeout:
      return "handshake_timeout";
  }
  return "";
}

// Null where there is nothing to say.
nlohmann::ordered_json text_or_null(std::string_view text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(std::string(text));
}
nlohmann::ordered_json alert_or_null(std::optional<uint8_t> alert) {
  return alert ? nlohmann::ordered_json(*alert) : nlohmann::ordered_json(nullptr);
}

}  // namespace

std::string json_line(const tls::Session& session, tls::Role role, CloseReason reason, const std::string& detail) {
  const bool opened = !session.cipher().empty();
  const tls::SessionCounts& counts = session.counts();
  nlohmann::ordered_json line;
  line["role"] = role == tls::Role::kServer ? "server" : "client";
  line["version"] = text_or_null(opened ? "TLSv1.3" : "");
  line["cipher"] = text_or_null(session.cipher());
  line["group"] = text_or_null(session.group());
  line["alpn"] = text_or_null(session.alpn());
  line["peer_identity"] =
      text_or_null(session.peer_identities().empty() ? std::string() : session.peer_identities().front().uri());
  line["aead"] = std::string(session.aead_backend());
  line["hello_retry"] = counts.hello_retry;
  line["bytes_sent"] = counts.bytes_sealed;
  line["bytes_received"] = counts.bytes_opened;
  line["records_sent"] = counts.records_sealed;
  line["records_received"] = counts.records_opened;
  line["key_updates_sent"] = counts.key_updates_sent;
  line["key_updates_received"] = counts.key_updates_received;
  line["tickets_ignored"] = counts.tickets_ignored;
  line["handshake_cpu_us"] = to_us(counts.handshake_cpu);
  line["alert_sent"] = alert_or_null(session.failure().alert_sent);
  line["alert_received"] = alert_or_null(session.failure().alert_received);
  line["close_reason"] = name_of(reason);
  line["detail"] = text_or_null(session.failure().reason.empty() ? detail : session.failure().reason);
  // Peers' words are already plain ASCII; what is not would be replaced, not thrown over.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace culvert::tls_tool
