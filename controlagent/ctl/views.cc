#include "ctl/views.h"

#include <algorithm>

#include "base/time.h"
#include "ctl/table.h"

namespace culvert::ctl {

namespace {

const Value kNothing;

const Value& in(const Value& map, const char* key) {
  const Value* found = map.find(key);
  return found ? *found : kNothing;
}

// spiffe://cluster.local/ns/demo/sa/web → the part that tells people apart.
std::string show_identity(const Value& value) {
  constexpr std::string_view kScheme = "spiffe://";
  const std::string cell = value.cell();
  return cell.starts_with(kScheme) ? cell.substr(kScheme.size()) : cell;
}

std::string indented(const std::string& text) {
  std::string out;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size() - 1);
    out += "  " + text.substr(start, end - start + 1);
    start = end + 1;
  }
  return out;
}

Value of_value_above_zero(const Value& rows, bool all) {
  if (all) return rows;
  Value out = Value::list();
  for (const Value& row : rows.items) {
    if (in(row, "value").number > 0) out.items.push_back(row);
  }
  return out;
}

}  // namespace

std::string show_date(const Value& value) {
  if (value.signed_number == 0) return "-";
  return rfc3339(UnixTime(std::chrono::seconds(value.signed_number / 1000)));
}

std::string show_status(const Value& status) {
  std::string out;
  const auto line = [&](const std::string& name, const std::string& value) {
    out += name + ":" + std::string(name.size() < 18 ? 18 - name.size() : 1, ' ') + value + "\n";
  };
  const auto counts = [&](std::initializer_list<const char*> keys) {
    std::string text;
    for (const char* key : keys) text += (text.empty() ? "" : ", ") + in(status, key).cell() + " " + key;
    return text;
  };
  line("node", in(status, "node").cell());
  line("build", in(status, "build").cell() + ", contract " + in(status, "contract").cell());
  line("up", show_span(in(status, "uptime_ms")));
  line("agent", in(status, "agent_connected").truth ? "connected" : "not connected: the last state stays in force");
  line("mesh", in(status, "mesh_version").cell() + " (snapshot " + in(status, "snapshot_version").cell() +
                   "): " + counts({"workloads", "services", "policies"}));
  line("traffic", counts({"connections", "sessions", "tunnels"}));
  for (const Value& worker : in(status, "workers").items) {
    line("worker " + in(worker, "index").cell(),
         "last heartbeat " + show_span(in(worker, "silent_ms")) + " ago, " + in(worker, "poll").cell());
  }
  line("log lines lost", in(status, "log_lines_lost").cell());
  line("strangers refused", in(status, "strangers_refused").cell());
  if (!in(status, "descriptors_wanted").items.empty()) {
    line("waits for", in(status, "descriptors_wanted").cell() + " (the agent opens and hands over their devices)");
  }
  out += "attachments:\n" + indented(to_table({{"ID", "id"},
                                               {"WORKLOAD", "workload"},
                                               {"INTERFACE", "interface"},
                                               {"ADDRESSES", "addresses"},
                                               {"MTU", "mtu"},
                                               {"UP", "up"}},
                                              in(status, "attachments")));
  for (const Value& attachment : in(status, "attachments").items) {
    if (!in(attachment, "up").truth) {
      out += "  " + in(attachment, "id").cell() + ": " + in(attachment, "error").cell() + "\n";
    }
  }
  out += "certificates:\n" + indented(to_table({{"IDENTITY", "identity", show_identity},
                                                {"STATE", "state"},
                                                {"NOT_AFTER", "not_after_ms", show_date},
                                                {"REQUEST_PENDING", "csr_pending"},
                                                {"SERIAL", "serial"}},
                                               in(status, "certificates")));
  return out;
}

std::string show_sessions(const Value& rows) {
  return to_table({{"DIRECTION", "direction"},
                   {"SOURCE", "source"},
                   {"DESTINATION", "destination"},
                   {"AUTHORITY", "hbone_authority"},
                   {"SOURCE_IDENTITY", "source_identity", show_identity},
                   {"DESTINATION_IDENTITY", "destination_identity", show_identity},
                   {"TUNNEL_PEER", "tunnel_peer"},
                   {"STATE", "state"},
                   {"SENT", "bytes_sent", show_bytes},
                   {"RECEIVED", "bytes_received", show_bytes},
                   {"AGE", "age_ms", show_span}},
                  rows);
}

std::string show_tunnels(const Value& rows) {
  return to_table({{"ROLE", "role"},
                   {"LOCAL", "local"},
                   {"REMOTE", "remote"},
                   {"LOCAL_IDENTITY", "local_identity", show_identity},
                   {"PEER_IDENTITY", "peer_identity", show_identity},
                   {"STATE", "state"},
                   {"STREAMS", "streams"},
                   {"TOTAL", "streams_total"},
                   {"CIPHER", "cipher"},
                   {"GROUP", "group"},
                   {"AEAD", "aead"},
                   {"SEALED", "bytes_sealed", show_bytes},
                   {"OPENED", "bytes_opened", show_bytes},
                   {"AGE", "age_ms", show_span}},
                  rows);
}

std::string show_ports(const Value& rows) {
  const auto wakeup = [](const Value& value) { return std::string(value.truth ? "wakes" : "polled"); };
  const auto link = [](const Value& value) { return std::string(value.truth ? "up" : "down"); };
  return to_table({{"NAME", "name"},
                   {"ROLE", "role"},
                   {"DRIVER", "driver"},
                   {"LINK", "link_up", link},
                   {"MTU", "mtu"},
                   {"QUEUES", "queues"},
                   {"MAC", "mac"},
                   {"RX_PACKETS", "rx_packets"},
                   {"RX_BYTES", "rx_bytes", show_bytes},
                   {"RX_ERRORS", "rx_errors"},
                   {"RX_NO_BUFFER", "rx_no_buffer"},
                   {"TX_PACKETS", "tx_packets"},
                   {"TX_BYTES", "tx_bytes", show_bytes},
                   {"TX_ERRORS", "tx_errors"},
                   {"TX_FULL", "tx_full"},
                   {"IDLE", "receive_wakeup", wakeup},
                   {"OFFLOADS", "offloads"}},
                  rows);
}

std::string show_counters(const Value& rows, bool all, bool per_worker) {
  std::vector<Column> columns = {{"NAME", "name"}, {"VALUE", "value"}, {"UNIT", "unit"}};
  if (per_worker) columns.push_back({"BY_WORKER", "by_worker"});
  return to_table(columns, of_value_above_zero(rows, all));
}

std::string show_drops(const Value& rows, bool all, bool per_worker) {
  std::vector<Column> columns = {{"REASON", "name"}, {"ROOM", "room"}, {"COUNT", "value"}};
  if (per_worker) columns.push_back({"BY_WORKER", "by_worker"});
  columns.push_back({"MEANING", "text", {}, true});
  return to_table(columns, of_value_above_zero(rows, all));
}

}  // namespace culvert::ctl
