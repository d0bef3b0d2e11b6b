// /metrics: ztunnel's metrics under their names and labels (reference 24), then ours under culvert_.
//
// Counters of traffic live in the data plane, so they go on over a restart of the agent; when the data plane restarts
// they begin at 0, which Prometheus takes as a reset. What the data plane does not tell is left out, never shown as 0.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "admin/http_server.h"
#include "admin/open_metrics.h"
#include "reconcile/mesh_store.h"
#include "southbound/sight.h"

namespace culvert::admin {

// What the agent counts itself.
struct AgentCounts {
  // istio_xds_connection_terminations_total by reason: ConnectionError, Error, Reconnect, Complete.
  std::map<std::string, uint64_t> xds_terminations;
  struct Messages {
    uint64_t count = 0, bytes = 0;
  };
  std::map<std::string, Messages> xds_messages;   // by url
  std::optional<bool> xds_connected;              // none: no istiod is configured
  std::map<std::string, uint64_t> xds_resources;  // by result: "taken", "removed", "refused"
  std::map<std::string, uint64_t> ca_requests;    // by result: "issued", "failed"
  uint64_t proxies_started = 0, proxies_stopped = 0;
  // Of the data plane's sessions with this agent.
  uint64_t sessions = 0, mesh_transactions = 0, mesh_records_sent = 0, certificates_installed = 0;
  Histogram mesh_push_seconds;  // from taking changes up to the data plane's word that they are in force
};

// One moment. Each part of the data plane with its error when it does not tell.
struct Scrape {
  std::string version;
  southbound::WallTime now{};
  AgentCounts agent;
  bool mesh_known = false;
  reconcile::MeshStore::Counts mesh;
  uint64_t pods_wanted = 0;
  std::optional<uint64_t> open_fds, max_fds;
  std::map<std::string, HttpCounts> http;  // by server
  bool connected = false;
  southbound::Seen<southbound::DataPlaneStatus> status{std::string()};
  southbound::Seen<southbound::Traffic> traffic{std::string()};
  southbound::Seen<std::vector<southbound::CounterRow>> counters{std::string()}, drops{std::string()};
  southbound::Seen<std::vector<southbound::CertificateRow>> certificates{std::string()};
  southbound::Seen<std::vector<southbound::AttachmentRow>> attachments{std::string()};
  southbound::Seen<southbound::CrlRow> crl{std::string()};
};

// False: the sink wants no more.
bool write_metrics(const Scrape& scrape, const Sink& sink);

// By the Accept header (reference 24); the text is OpenMetrics either way.
std::string metrics_content_type(const std::string& accept);

// Of this process; none when the system does not tell.
std::optional<uint64_t> open_descriptors();
std::optional<uint64_t> descriptors_max();

}  // namespace culvert::admin
