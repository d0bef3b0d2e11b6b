#include "tests/unit/controlagent/admin/scrape_sample.h"

#include "telemetry/counters.h"
#include "telemetry/drop_reasons.h"

namespace culvert::admin {
namespace {

using namespace std::chrono_literals;
using namespace southbound;

// Every counter and drop reason that there is: names and texts of the real lists.
template <class Key>
std::vector<CounterRow> rows_of(size_t count) {
  std::vector<CounterRow> out;
  for (size_t i = 0; i < count; ++i) {
    const auto key = static_cast<Key>(i);
    CounterRow row{
        .name = std::string(name_of(key)), .unit = {}, .room = {}, .text = std::string(text_of(key)), .value = i + 1};
    if constexpr (std::is_same_v<Key, DropReason>) row.room = std::string(room_of(key));
    out.push_back(row);
  }
  return out;
}

}  // namespace

Scrape scrape_sample() {
  Scrape out;
  out.version = "1.2.3";
  out.now = WallTime(1'000'000ms);
  out.agent.xds_terminations = {{"ConnectionError", 1}, {"Error", 2}, {"Reconnect", 3}, {"Complete", 4}};
  out.agent.xds_messages = {{"type.googleapis.com/istio.workload.Address", {5, 600}}};
  out.agent.xds_connected = true;
  out.agent.xds_resources = {{"taken", 7}, {"removed", 8}, {"refused", 9}};
  out.agent.ca_requests = {{"issued", 10}, {"failed", 11}};
  out.agent.proxies_started = 12;
  out.agent.proxies_stopped = 13;
  out.agent.sessions = 14;
  out.agent.mesh_transactions = 15;
  out.agent.mesh_records_sent = 16;
  out.agent.certificates_installed = 17;
  out.agent.mesh_push_seconds = {.bounds = {0.001, 1}, .counts = {3, 2, 1}, .sum = 4.5};
  out.mesh_known = true;
  out.mesh = {.workloads = 3, .services = 2, .policies = 1};
  out.pods_wanted = 3;
  out.open_fds = 20;
  out.max_fds = 1024;
  out.http = {{"admin", {1, 2, 3}}};
  out.connected = true;
  DataPlaneStatus status;
  status.build = "1.2.3";
  status.instance = "i1";
  status.uptime = 5000ms;
  status.snapshot_version = 42;
  status.workers = {{.silent = 3ms, .poll = "adaptive"}, {.silent = 2500ms, .poll = "adaptive"}};
  out.status = status;
  Traffic traffic;
  TrafficRow row;
  row.at_source = true;
  row.source = {.workload = "cli",
                .canonical_service = "cli-app",
                .canonical_revision = "v1",
                .workload_namespace = "shop",
                .principal = "spiffe://td/ns/shop/sa/cli",
                .cluster = "Kubernetes",
                .region = "r1",
                .zone = "z1"};
  row.destination = {.workload = "web",
                     .canonical_service = "web-app",
                     .canonical_revision = "v2",
                     .workload_namespace = "shop",
                     .principal = "spiffe://td/ns/shop/sa/web",
                     .cluster = "Kubernetes",
                     .region = "r2",
                     .zone = "z2"};
  row.destination_service = "web.shop.svc.cluster.local";
  row.destination_service_namespace = "shop";
  row.destination_service_name = "web";
  row.response_flags = "-";
  row.mutual_tls = row.localities = true;
  row.opened = 100;
  row.closed = 90;
  row.received_bytes = 1234;
  row.sent_bytes = 18'446'744'073'709'551'615u;
  traffic.rows.push_back(row);
  row.response_flags = "DENY";
  row.opened = row.received_bytes = row.sent_bytes = 0;
  row.closed = row.failed = 5;
  traffic.rows.push_back(row);
  TrafficRow unknown;
  unknown.response_flags = "-";
  unknown.opened = 1;
  unknown.source.workload = "say \"\\hi\"\n";
  traffic.rows.push_back(unknown);
  traffic.source_sockets_open = 6;
  traffic.destination_sockets_open = 7;
  traffic.series = 3;
  traffic.overflowed = 1;
  out.traffic = traffic;
  out.counters = rows_of<Counter>(kCounters);
  out.drops = rows_of<DropReason>(kDropReasons);
  CertificateRow certificate;
  certificate.identity = "spiffe://td/ns/shop/sa/cli";
  certificate.state = CertificateRow::State::kValid;
  certificate.not_after = WallTime(1'090'500ms);
  CertificateRow expired = certificate;
  expired.identity = "spiffe://td/ns/shop/sa/old";
  expired.state = CertificateRow::State::kExpired;
  expired.not_after = WallTime(999'000ms);
  CertificateRow needed;
  needed.identity = "spiffe://td/ns/shop/sa/new";
  out.certificates = std::vector<CertificateRow>{certificate, expired, needed};
  out.attachments = std::vector<AttachmentRow>{{.id = "a", .workload = "shop/cli", .addresses = {}, .up = true},
                                               {.id = "b", .workload = "shop/web", .addresses = {}, .up = false}};
  out.crl = CrlRow{.lists = 2, .entries = 30, .next_update = WallTime(1'060'000ms), .set_at = WallTime(1ms)};
  return out;
}

}  // namespace culvert::admin
