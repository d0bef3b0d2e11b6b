#include "tests/tools/hbone/report.h"

#include <nlohmann/json.hpp>

namespace culvert::hbone_tool {

namespace {

using Json = nlohmann::ordered_json;

// Null where there is nothing to say.
Json text_or_null(std::string_view text) { return text.empty() ? Json(nullptr) : Json(std::string(text)); }

Json code_or_null(std::optional<uint32_t> code) {
  return code ? Json(std::string(http2::name_of(http2::ErrorCode{*code}))) : Json(nullptr);
}

Json alert_or_null(std::optional<uint8_t> alert) { return alert ? Json(*alert) : Json(nullptr); }

Json object_of(const hbone::Baggage& b) {
  Json out = Json::object();
  const std::pair<const char*, const std::string&> fields[] = {{"cluster", b.cluster},
                                                               {"namespace", b.name_space},
                                                               {"workload_type", b.workload_type},
                                                               {"workload", b.workload},
                                                               {"service", b.service},
                                                               {"revision", b.revision},
                                                               {"region", b.region},
                                                               {"zone", b.zone}};
  for (const auto& [name, value] : fields) {
    if (!value.empty()) out[name] = value;
  }
  return out.empty() ? Json(nullptr) : out;
}

// What a peer wrote may be no UTF-8: replaced, not thrown over.
std::string text_of(const Json& line) { return line.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string json_line(const StreamReport& r) {
  Json line;
  line["kind"] = "stream";
  line["role"] = r.server ? "server" : "client";
  line["connection"] = r.connection;
  line["stream"] = r.number;
  line["authority"] = r.authority;
  line["status"] = r.status == 0 ? Json(nullptr) : Json(r.status);
  line["end"] = r.end;
  line["rst_sent"] = code_or_null(r.reset_sent);
  line["rst_received"] = code_or_null(r.reset_received);
  line["bytes_sent"] = r.bytes_sent;
  line["bytes_received"] = r.bytes_received;
  line["peer_identity"] = text_or_null(r.peer_identity);
  line["baggage"] = object_of(r.baggage);
  line["forwarded_host"] = text_or_null(r.forwarded_host);
  line["traceparent"] = text_or_null(r.traceparent);
  line["detail"] = text_or_null(r.detail);
  return text_of(line);
}

std::string json_line(const hbone::Transport& transport, bool server, uint64_t connection, const std::string& peer) {
  Json line;
  line["kind"] = "connection";
  line["role"] = server ? "server" : "client";
  line["connection"] = connection;
  line["peer"] = peer;
  const tls::Session* tls = transport.tls();
  const bool opened = tls && !tls->cipher().empty();
  line["plain"] = tls == nullptr;
  line["peer_identity"] =
      text_or_null(tls && !tls->peer_identities().empty() ? tls->peer_identities().front().uri() : std::string());
  line["cipher"] = text_or_null(opened ? tls->cipher() : "");
  line["group"] = text_or_null(opened ? tls->group() : "");
  line["aead"] = text_or_null(tls ? tls->aead_backend() : "");
  line["hello_retry"] = tls ? Json(tls->counts().hello_retry) : Json(nullptr);
  line["records_sent"] = tls ? Json(tls->counts().records_sealed) : Json(nullptr);
  line["records_received"] = tls ? Json(tls->counts().records_opened) : Json(nullptr);
  line["key_updates_sent"] = tls ? Json(tls->counts().key_updates_sent) : Json(nullptr);
  line["key_updates_received"] = tls ? Json(tls->counts().key_updates_received) : Json(nullptr);
  line["alert_sent"] = alert_or_null(tls ? tls->failure().alert_sent : std::nullopt);
  line["alert_received"] = alert_or_null(tls ? tls->failure().alert_received : std::nullopt);
  if (const http2::Session* h2 = transport.http2()) {
    const http2::PeerSettings s = h2->peer_settings();
    line["settings_received"] = h2->state() != http2::State::kSettling && transport.was_up();
    line["peer_settings"] = {{"header_table_size", s.header_table_size},
                             {"enable_push", s.enable_push},
                             {"max_concurrent_streams", s.max_concurrent_streams},
                             {"initial_window_size", s.initial_window_size},
                             {"max_frame_size", s.max_frame_size},
                             {"max_header_list_size", s.max_header_list_size}};
    const http2::SessionCounts& c = h2->counts();
    line["streams"] = c.streams_opened;
    line["resets_sent"] = c.resets_sent;
    line["resets_received"] = c.resets_received;
    line["data_bytes_sent"] = c.data_bytes_sent;
    line["data_bytes_received"] = c.data_bytes_received;
    line["data_frames_sent"] = c.data_frames_sent;
    line["data_frames_received"] = c.data_frames_received;
    line["pings_acknowledged"] = c.pings_acknowledged;
    const auto sent = h2->goaway_sent();
    line["goaway_sent"] = code_or_null(sent ? std::optional(static_cast<uint32_t>(*sent)) : std::nullopt);
    line["goaway_received"] = h2->goaway().received ? Json{{"code", std::string(http2::name_of(h2->goaway().code))},
                                                           {"last_stream", h2->goaway().last_stream}}
                                                    : Json(nullptr);
  } else {
    line["settings_received"] = false;
  }
  line["end"] = std::string(hbone::name_of(transport.loss()));
  line["detail"] = text_or_null(transport.failure());
  return text_of(line);
}

}  // namespace culvert::hbone_tool
