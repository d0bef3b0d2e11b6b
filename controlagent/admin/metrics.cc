#include "admin/metrics.h"

#include <dirent.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>

namespace culvert::admin {
namespace {

using southbound::CounterRow;
using southbound::TrafficRow;
using Type = OpenMetricsWriter::Type;

double seconds(southbound::Millis span) { return static_cast<double>(span.count()) / 1000; }

// The order is ztunnel's, and dashboards' by habit.
Labels labels_of(const TrafficRow& row) {
  const southbound::TrafficPeer &s = row.source, &d = row.destination;
  Labels out = {{"reporter", row.at_source ? "source" : "destination"},
                {"source_workload", s.workload},
                {"source_canonical_service", s.canonical_service},
                {"source_canonical_revision", s.canonical_revision},
                {"source_workload_namespace", s.workload_namespace},
                {"source_principal", s.principal},
                {"source_app", s.canonical_service},
                {"source_version", s.canonical_revision},
                {"source_cluster", s.cluster},
                {"destination_service", row.destination_service},
                {"destination_service_namespace", row.destination_service_namespace},
                {"destination_service_name", row.destination_service_name},
                {"destination_workload", d.workload},
                {"destination_canonical_service", d.canonical_service},
                {"destination_canonical_revision", d.canonical_revision},
                {"destination_workload_namespace", d.workload_namespace},
                {"destination_principal", d.principal},
                {"destination_app", d.canonical_service},
                {"destination_version", d.canonical_revision},
                {"destination_cluster", d.cluster},
                {"request_protocol", "tcp"},
                {"response_flags", row.response_flags},
                {"connection_security_policy", row.mutual_tls ? "mutual_tls" : "unknown"}};
  if (row.localities) {
    out.insert(out.end(), {{"source_region", s.region},
                           {"source_zone", s.zone},
                           {"destination_region", d.region},
                           {"destination_zone", d.zone}});
  }
  return out;
}

class Writer {
 public:
  Writer(const Scrape& scrape, const Sink& sink) : scrape_(scrape), out_(sink) {}

  bool run() {
    traffic();
    crl();
    dns();
    xds();
    build();
    workload_manager();
    process();
    data_plane();
    certificates();
    mesh();
    agent();
    counters();
    return out_.finish();
  }

 private:
  void counter(std::string_view name, std::string_view help, uint64_t value, const Labels& labels = {}) {
    out_.family(name, Type::kCounter, help);
    out_.sample(labels, value);
  }
  void gauge(std::string_view name, std::string_view help, uint64_t value, const Labels& labels = {}) {
    out_.family(name, Type::kGauge, help);
    out_.sample(labels, value);
  }

  template <class Shown>
  void traffic_family(std::string_view name, std::string_view help, uint64_t TrafficRow::*value, Shown shown) {
    out_.family(name, Type::kCounter, help);
    if (!scrape_.traffic) return;
    for (const TrafficRow& row : scrape_.traffic->rows) {
      if (shown(row)) out_.sample(labels_of(row), row.*value);
    }
  }

  void traffic() {
    const auto begun = [](const TrafficRow& row) { return row.response_flags == "-"; };
    traffic_family("istio_tcp_connections_opened", "TCP connections opened", &TrafficRow::opened, begun);
    traffic_family("istio_tcp_connections_closed", "TCP connections closed", &TrafficRow::closed,
                   [](const TrafficRow& row) { return row.closed != 0 || row.response_flags == "-"; });
    traffic_family("istio_tcp_received_bytes", "bytes from client to server", &TrafficRow::received_bytes, begun);
    traffic_family("istio_tcp_sent_bytes", "bytes from server to client", &TrafficRow::sent_bytes, begun);
    traffic_family("istio_tcp_connections_failed", "TCP connections that failed, by response_flags",
                   &TrafficRow::failed, [&](const TrafficRow& row) { return !begun(row); });
    out_.family("istio_tcp_sockets_open", Type::kGauge, "sockets accepted that are open");
    if (!scrape_.traffic) return;
    out_.sample({{"reporter", "destination"}}, scrape_.traffic->destination_sockets_open);
    out_.sample({{"reporter", "source"}}, scrape_.traffic->source_sockets_open);
  }

  void crl_family(std::string_view name, std::string_view help, const std::string& what) {
    out_.family(name, Type::kCounter, help);
    if (!scrape_.counters) return;
    for (const char* reporter : {"destination", "source"}) {
      const std::string counter = std::string("hbone_crl_") + reporter + "_" + what;
      const auto found = std::find_if(scrape_.counters->begin(), scrape_.counters->end(),
                                      [&](const CounterRow& row) { return row.name == counter; });
      if (found != scrape_.counters->end()) out_.sample({{"reporter", reporter}}, found->value);
    }
  }

  void crl() {
    crl_family("istio_crl_policy_rejections", "handshakes rejected because a certificate is revoked", "rejected");
    crl_family("istio_crl_untracked_connections", "tunnels that a later revocation does not end", "untracked");
  }

  // Nobody here answers or asks DNS: declared, so that a dashboard finds them, and without samples.
  void dns() {
    out_.family("istio_on_demand_dns", Type::kCounter, "workloads resolved by hostname");
    out_.family("istio_dns_requests", Type::kCounter, "DNS requests");
    out_.family("istio_dns_upstream_requests", Type::kCounter, "DNS requests forwarded");
    out_.family("istio_dns_upstream_failures", Type::kCounter, "DNS requests whose forwarding failed");
    out_.family("istio_dns_upstream_request_duration_seconds", Type::kHistogram, "time of forwarded DNS requests");
  }

  void xds() {
    out_.family("istio_xds_connection_terminations", Type::kCounter, "xDS streams that ended, by reason");
    for (const auto& [reason, value] : scrape_.agent.xds_terminations) out_.sample({{"reason", reason}}, value);
    out_.family("istio_xds_message", Type::kCounter, "xDS responses received");
    for (const auto& [url, messages] : scrape_.agent.xds_messages) out_.sample({{"url", url}}, messages.count);
    out_.family("istio_xds_message_bytes", Type::kCounter, "bytes of xDS responses received");
    for (const auto& [url, messages] : scrape_.agent.xds_messages) out_.sample({{"url", url}}, messages.bytes);
    if (scrape_.agent.xds_connected) {
      gauge("culvert_xds_connected", "1 while a stream with istiod stands", *scrape_.agent.xds_connected ? 1 : 0);
    }
    out_.family("culvert_xds_resources", Type::kCounter, "resources from istiod, by what became of them");
    for (const auto& [result, value] : scrape_.agent.xds_resources) out_.sample({{"result", result}}, value);
    out_.family("culvert_ca_requests", Type::kCounter, "certificate requests taken to the CA, by result");
    for (const auto& [result, value] : scrape_.agent.ca_requests) out_.sample({{"result", result}}, value);
  }

  void build() {
    gauge("istio_build", "version of the proxy", 1, {{"component", "ztunnel"}, {"tag", scrape_.version}});
  }

  void workload_manager() {
    out_.family("workload_manager_active_proxy_count", Type::kGauge, "pods that are served");
    uint64_t active = 0;
    if (scrape_.attachments) {
      for (const auto& row : *scrape_.attachments) active += row.up ? 1 : 0;
      out_.sample({}, active);
    }
    out_.family("workload_manager_pending_proxy_count", Type::kGauge, "pods that are to be served and are not yet");
    if (scrape_.attachments) out_.sample({}, scrape_.pods_wanted > active ? scrape_.pods_wanted - active : uint64_t{0});
    counter("workload_manager_proxies_started", "pods whose service began", scrape_.agent.proxies_started);
    counter("workload_manager_proxies_stopped", "pods whose service ended", scrape_.agent.proxies_stopped);
  }

  void process() {
    out_.family("process_open_fds", Type::kGauge, "file descriptors that this process has open");
    if (scrape_.open_fds) out_.sample({}, *scrape_.open_fds);
    out_.family("process_max_fds", Type::kGauge, "file descriptors that this process may have open");
    if (scrape_.max_fds) out_.sample({}, *scrape_.max_fds);
  }

  void data_plane() {
    gauge("culvert_data_plane_connected", "1 while the agent has a session with the data plane",
          scrape_.connected ? 1 : 0);
    counter("culvert_data_plane_sessions", "sessions that the agent had with data planes", scrape_.agent.sessions);
    if (!scrape_.status) return;
    const southbound::DataPlaneStatus& s = *scrape_.status;
    out_.family("culvert_data_plane_uptime_seconds", Type::kGauge, "since the data plane started");
    out_.sample({}, seconds(s.uptime));
    gauge("culvert_data_plane_build", "version of the data plane", 1,
          {{"version", s.build}, {"instance_id", s.instance}});
    out_.family("culvert_worker_silence_seconds", Type::kGauge, "since a worker's last heartbeat");
    for (size_t i = 0; i < s.workers.size(); ++i) {
      out_.sample({{"worker", std::to_string(i)}}, seconds(s.workers[i].silent));
    }
    gauge("culvert_snapshot_version", "version of the mesh that the workers use", s.snapshot_version);
    gauge("culvert_attachments", "pods' links", s.attachments);
    gauge("culvert_connections", "TCP connections of the data plane's own stack", s.connections);
    gauge("culvert_sessions", "pods' connections that are carried", s.sessions);
    gauge("culvert_tunnels", "HBONE connections", s.tunnels);
    counter("culvert_strangers_refused", "connections to the data plane's sockets by users that may not",
            s.strangers_refused);
    counter("culvert_log_lines_lost", "lines that the data plane could not write", s.log_lines_lost);
    if (scrape_.traffic) {
      gauge("culvert_traffic_series", "label sets of the traffic metrics that the data plane holds",
            scrape_.traffic->series);
      counter("culvert_traffic_overflow_connections", "connections counted as overflow: no room for their label set",
              scrape_.traffic->overflowed);
    }
  }

  void certificates() {
    out_.family("culvert_certificate_expiry_seconds", Type::kGauge,
                "until an identity's certificate ends; below 0: it has ended, and its traffic is refused");
    if (scrape_.certificates) {
      for (const auto& row : *scrape_.certificates) {
        if (row.not_after == southbound::WallTime()) continue;
        out_.sample({{"identity", row.identity}}, seconds(row.not_after - scrape_.now));
      }
    }
    out_.family("culvert_certificates", Type::kGauge, "identities of this node by the state of their certificate");
    if (scrape_.certificates) {
      using State = southbound::CertificateRow::State;
      const std::pair<const char*, State> states[] = {{"expired", State::kExpired},
                                                      {"needed", State::kNeeded},
                                                      {"requested", State::kRequested},
                                                      {"valid", State::kValid}};
      for (const auto& [name, state] : states) {
        const auto n = std::count_if(scrape_.certificates->begin(), scrape_.certificates->end(),
                                     [wanted = state](const auto& row) { return row.state == wanted; });
        out_.sample({{"state", name}}, static_cast<uint64_t>(n));
      }
    }
    counter("culvert_certificates_installed", "certificates that the agent brought to the data plane",
            scrape_.agent.certificates_installed);
    if (!scrape_.crl) return;
    gauge("culvert_crl_lists", "certificate revocation lists in force", scrape_.crl->lists);
    gauge("culvert_crl_entries", "revoked certificates that they name", scrape_.crl->entries);
    if (!scrape_.crl->next_update) return;
    out_.family("culvert_crl_next_update_seconds", Type::kGauge, "until the first list is to be replaced");
    out_.sample({}, seconds(*scrape_.crl->next_update - scrape_.now));
  }

  void mesh() {
    gauge("culvert_mesh_known", "1 once every source told its whole mesh", scrape_.mesh_known ? 1 : 0);
    out_.family("culvert_mesh_records", Type::kGauge, "records of the mesh that the agent knows");
    out_.sample({{"kind", "policy"}}, uint64_t{scrape_.mesh.policies});
    out_.sample({{"kind", "service"}}, uint64_t{scrape_.mesh.services});
    out_.sample({{"kind", "workload"}}, uint64_t{scrape_.mesh.workloads});
    counter("culvert_mesh_transactions", "transactions that the data plane acknowledged",
            scrape_.agent.mesh_transactions);
    counter("culvert_mesh_records_sent", "records and removals in those", scrape_.agent.mesh_records_sent);
    out_.family("culvert_mesh_push_duration_seconds", Type::kHistogram,
                "from taking changes up to the data plane's word that they are in force");
    if (!scrape_.agent.mesh_push_seconds.counts.empty()) out_.sample({}, scrape_.agent.mesh_push_seconds);
  }

  void agent() {
    out_.family("culvert_http_connections", Type::kCounter, "connections to the agent's HTTP servers");
    for (const auto& [server, counts] : scrape_.http) out_.sample({{"server", server}}, counts.connections);
    out_.family("culvert_http_connections_refused", Type::kCounter, "those closed to make room for others");
    for (const auto& [server, counts] : scrape_.http) out_.sample({{"server", server}}, counts.refused);
    out_.family("culvert_http_timeouts", Type::kCounter, "those closed because the peer was too slow");
    for (const auto& [server, counts] : scrape_.http) out_.sample({{"server", server}}, counts.timed_out);
    out_.family("culvert_scrape_part_missing", Type::kGauge, "1: the data plane did not tell this part of the scrape");
    const std::pair<const char*, bool> parts[] = {{"attachments", !scrape_.attachments},
                                                  {"certificates", !scrape_.certificates},
                                                  {"counters", !scrape_.counters},
                                                  {"crl", !scrape_.crl},
                                                  {"drops", !scrape_.drops},
                                                  {"status", !scrape_.status},
                                                  {"traffic", !scrape_.traffic}};
    for (const auto& [part, missing] : parts) out_.sample({{"part", part}}, uint64_t{missing ? 1u : 0u});
  }

  void counters() {
    out_.family("culvert_drops", Type::kCounter, "what the data plane refused, by reason");
    if (scrape_.drops) {
      for (const CounterRow& row : *scrape_.drops) out_.sample({{"reason", row.name}, {"room", row.room}}, row.value);
    }
    if (!scrape_.counters) return;
    for (const CounterRow& row : *scrape_.counters) counter("culvert_" + row.name, row.text, row.value);
  }

  const Scrape& scrape_;
  OpenMetricsWriter out_;
};

}  // namespace

bool write_metrics(const Scrape& scrape, const Sink& sink) { return Writer(scrape, sink).run(); }

std::string metrics_content_type(const std::string& accept) {
  return accept.find("application/openmetrics-text") != std::string::npos
             ? "application/openmetrics-text;charset=utf-8;version=1.0.0"
             : "text/plain; charset=utf-8";
}

std::optional<uint64_t> open_descriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), closedir);
  if (folder == nullptr) return std::nullopt;
  uint64_t n = 0;
  while (const dirent* entry = readdir(folder.get())) n += entry->d_name[0] == '.' ? 0 : 1;
  return n - 1;  // without the one that this took
}

std::optional<uint64_t> descriptors_max() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  return limit.rlim_cur;
}

}  // namespace culvert::admin
