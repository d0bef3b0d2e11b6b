#include "admin/config_dump.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "admin/base64.h"
#include "admin/dump_records.h"
#include "ca/texts.h"

namespace culvert::admin {
namespace {

using reconcile::HealthPolicy;
using southbound::CertificateRow;
using southbound::SessionRow;

std::string state_of(const CertificateRow& row, const std::map<std::string, std::string>& errors) {
  if (row.state == CertificateRow::State::kValid) return "Available";
  const auto error = errors.find(row.identity);
  if (error != errors.end()) return "Unavailable: " + error->second;
  if (row.state == CertificateRow::State::kExpired) {
    return "Unavailable: it ended at " + rfc3339(std::chrono::floor<std::chrono::seconds>(row.not_after));
  }
  return "Initializing";
}

class Dumper {
 public:
  Dumper(const Dump& dump, const Sink& sink) : dump_(dump), out_(sink) {}

  bool run() {
    out_.begin_object();
    out_.key("certificates"), certificates();
    out_.key("config"), dump_.config.write(out_);
    out_.key("culvert"), culvert();
    out_.key("policies"), policies();
    index_members();
    out_.key("services"), services();
    out_.key("stagedServices"), staged_services();
    out_.key("staticConfig"), static_config();
    out_.key("version"), version();
    out_.key("workloadState"), workload_state();
    out_.key("workloads"), workloads();
    out_.end_object();
    return out_.finish();
  }

 private:
  void certificates() {
    out_.begin_array();
    std::vector<const CertificateRow*> rows;
    if (dump_.certificates) {
      for (const CertificateRow& row : *dump_.certificates) rows.push_back(&row);
    }
    std::sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) { return a->identity < b->identity; });
    std::map<std::string_view, std::vector<ca::CertificateText>> roots;  // most identities have the same
    for (const CertificateRow* row : rows) {
      out_.begin_object();
      out_.key("certChain"), chain(ca::certificate_texts(row->chain_pem));
      out_.member("identity", std::string_view(row->identity));
      const auto [at, is_new] = roots.try_emplace(row->roots_pem);
      if (is_new) at->second = ca::certificate_texts(row->roots_pem);
      out_.key("rootCerts"), chain(at->second);
      out_.member("state", std::string_view(state_of(*row, dump_.certificate_errors)));
      out_.end_object();
    }
    out_.end_array();
  }

  void chain(const std::vector<ca::CertificateText>& certificates) {
    out_.begin_array();
    for (const ca::CertificateText& one : certificates) {
      out_.begin_object();
      out_.member("expirationTime", std::string_view(rfc3339(one.not_after)));
      out_.member("pem", std::string_view(base64(one.pem)));
      out_.member("serialNumber", std::string_view(one.serial));
      out_.member("validFrom", std::string_view(rfc3339(one.not_before)));
      out_.end_object();
    }
    out_.end_array();
  }

  void culvert() {
    out_.begin_object();
    out_.key("dataPlane"), data_plane();
    out_.key("mesh");
    out_.begin_object();
    out_.member("known", dump_.mesh_known);
    out_.member("policies", dump_.mesh.policies.size());
    out_.member("services", dump_.mesh.services.size());
    out_.member("workloads", dump_.mesh.workloads.size());
    out_.end_object();
    // What is missing above and why: parts that the data plane alone knows.
    std::set<std::string> missing;
    if (!dump_.certificates) missing.insert(dump_.certificates.error());
    if (!dump_.attachments) missing.insert(dump_.attachments.error());
    if (!dump_.sessions) missing.insert(dump_.sessions.error());
    out_.key("missing");
    out_.begin_array();
    for (const std::string& sentence : missing) out_.string(sentence);
    out_.end_array();
    out_.member("version", std::string_view(dump_.version));
    out_.end_object();
  }

  void data_plane() {
    out_.begin_object();
    if (dump_.status) {
      const southbound::DataPlaneStatus& s = *dump_.status;
      out_.member("attachments", s.attachments);
      out_.member("build", std::string_view(s.build));
      out_.member("connected", dump_.connected);
      out_.member("connections", s.connections);
      out_.member("contract", s.contract);
      out_.member("identities", s.identities);
      out_.member("instance", std::string_view(s.instance));
      out_.member("meshVersion", std::string_view(s.mesh_version));
      out_.member("policies", s.policies);
      out_.member("services", s.services);
      out_.member("sessions", s.sessions);
      out_.member("snapshotVersion", s.snapshot_version);
      out_.member("tunnels", s.tunnels);
      out_.member("uptimeMs", s.uptime.count());
      out_.key("workers");
      out_.begin_array();
      for (const southbound::WorkerStatus& worker : s.workers) {
        out_.begin_object();
        out_.member("poll", std::string_view(worker.poll));
        out_.member("silentMs", worker.silent.count());
        out_.end_object();
      }
      out_.end_array();
      out_.member("workloads", s.workloads);
    } else {
      out_.member("connected", dump_.connected);
      out_.member("problem", std::string_view(dump_.status.error()));
    }
    out_.end_object();
  }

  void policies() {
    out_.begin_array();
    for (const auto& policy : dump_.mesh.policies) dump_policy(*policy, out_);
    out_.end_array();
  }

  // Endpoints are derived, as the data plane does (dataplane/snapshot): workloads that name the service.
  void index_members() {
    for (const auto& workload : dump_.mesh.workloads) {
      for (const auto& [key, ports] : workload->services) members_[key].push_back(workload.get());
    }
  }

  void services() {
    std::vector<const reconcile::Service*> sorted;
    for (const auto& service : dump_.mesh.services) sorted.push_back(service.get());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto* a, const auto* b) { return a->hostname < b->hostname; });
    out_.begin_array();
    for (const reconcile::Service* service : sorted) {
      const auto found = members_.find(service->key());
      dump_service(*service, found == members_.end() ? nullptr : &found->second, out_);
      if (!out_.ok()) break;
    }
    out_.end_array();
  }

  void staged_services() {
    std::set<std::string> known;
    for (const auto& service : dump_.mesh.services) known.insert(service->key());
    out_.begin_object();
    for (const auto& [key, workloads] : members_) {
      if (known.contains(std::string(key))) continue;
      out_.key(key);
      // Filtered once the service is there and says how.
      dump_endpoints(key, workloads, HealthPolicy::kAllowAll, out_);
    }
    out_.end_object();
  }

  void static_config() {
    out_.begin_object();
    out_.key("policies");
    out_.begin_array();
    if (dump_.static_config) {
      for (const auto& [key, policy] : dump_.static_config->policies) dump_policy(policy, out_);
    }
    out_.end_array();
    out_.key("services");
    out_.begin_array();
    if (dump_.static_config) {
      for (const auto& [key, service] : dump_.static_config->services) dump_service(service, nullptr, out_);
    }
    out_.end_array();
    out_.key("workloads");
    out_.begin_array();
    if (dump_.static_config) {
      for (const auto& [uid, workload] : dump_.static_config->workloads) dump_static_workload(workload, out_);
    }
    out_.end_array();
    out_.end_object();
  }

  void version() {
    out_.begin_object();
#ifdef NDEBUG
    out_.member("buildProfile", "release");
#else
    out_.member("buildProfile", "debug");
#endif
    out_.member("buildStatus", "unknown");
    out_.member("cryptoProvider", "openssl");
    out_.member("gitRevision", std::string_view(dump_.git_revision));
    out_.member("istioVersion", "unknown");
    out_.member("rustVersion", "none");
    out_.member("version", std::string_view(dump_.version));
    out_.end_object();
  }

  struct Pod {
    std::string workload, service_account;
    bool up = false;
    std::vector<const SessionRow*> inbound, outbound;
  };

  void workload_state() {
    std::map<std::string, Pod> pods;
    for (const PodRow& row : dump_.pods) pods[row.id] = {row.workload, row.service_account, false, {}, {}};
    std::map<IpAddress, Pod*> by_address;
    if (dump_.attachments) {
      for (const southbound::AttachmentRow& row : *dump_.attachments) {
        Pod& pod = pods[row.id];
        pod.workload = row.workload;
        pod.up = row.up;
        for (const IpAddress& address : row.addresses) by_address[address] = &pod;
      }
    }
    find_service_accounts(pods);
    if (dump_.sessions) {
      for (const SessionRow& row : *dump_.sessions) {
        const auto found = by_address.find(row.outbound ? row.source.address : row.destination.address);
        if (found == by_address.end()) continue;
        (row.outbound ? found->second->outbound : found->second->inbound).push_back(&row);
      }
    }
    out_.begin_object();
    for (auto& [id, pod] : pods) out_.key(id), write_pod(pod);
    out_.end_object();
  }

  // The mesh knows them, where nobody said so before.
  void find_service_accounts(std::map<std::string, Pod>& pods) const {
    std::map<std::string, std::vector<Pod*>> wanted;
    for (auto& [id, pod] : pods) {
      if (pod.service_account.empty()) wanted[pod.workload].push_back(&pod);
    }
    if (wanted.empty()) return;
    for (const auto& workload : dump_.mesh.workloads) {
      const auto found = wanted.find(workload->name_space + "/" + workload->name);
      if (found == wanted.end()) continue;
      for (Pod* pod : found->second) pod->service_account = workload->service_account;
    }
  }

  void write_pod(Pod& pod) {
    out_.begin_object();
    if (pod.up) {
      out_.key("connections");
      out_.begin_object();
      out_.key("inbound"), write_connections(pod.inbound);
      out_.key("outbound"), write_connections(pod.outbound);
      out_.end_object();
    }
    const size_t slash = pod.workload.find('/');
    const std::string_view whole = pod.workload;
    out_.key("info");
    out_.begin_object();
    out_.member("name", slash == std::string::npos ? whole : whole.substr(slash + 1));
    out_.member("namespace", slash == std::string::npos ? std::string_view() : whole.substr(0, slash));
    out_.member("serviceAccount", std::string_view(pod.service_account));
    out_.end_object();
    out_.member("state", pod.up ? "Up" : "Pending");
    out_.end_object();
  }

  void write_connections(std::vector<const SessionRow*>& rows) {
    std::sort(rows.begin(), rows.end(), [](const SessionRow* a, const SessionRow* b) {
      return std::tie(a->source, a->destination) < std::tie(b->source, b->destination);
    });
    out_.begin_array();
    for (const SessionRow* row : rows) {
      out_.begin_object();
      if (row->outbound) {
        const bool tunnel = !row->hbone_authority.empty();
        out_.member("actualDst",
                    std::string_view(row->tunnel_peer.empty() ? row->destination.to_string() : row->tunnel_peer));
        out_.member("originalDst", std::string_view(row->destination.to_string()));
        out_.member("protocol", tunnel ? "HBONE" : "TCP");
      } else {
        out_.member("actualDst", std::string_view(row->destination.to_string()));
        out_.key("originalDst");
        row->requested_host.empty() ? out_.null() : out_.string(row->requested_host);
        out_.member("protocol", row->source_identity.empty() ? "TCP" : "HBONE");
      }
      out_.member("src", std::string_view(row->source.to_string()));
      out_.end_object();
    }
    out_.end_array();
  }

  void workloads() {
    out_.begin_array();
    for (const auto& workload : dump_.mesh.workloads) {
      dump_workload(*workload, out_);
      if (!out_.ok()) break;
    }
    out_.end_array();
  }

  const Dump& dump_;
  JsonWriter out_;
  Members members_;
};

}  // namespace

bool write_config_dump(const Dump& dump, const Sink& sink) { return Dumper(dump, sink).run(); }

}  // namespace culvert::admin
