// What the control thread owns: mesh, certificates, attachments, descriptors, events. Plain values in, plain values
// out; every call comes from one thread, and none of them waits for more than the node does.
//
// Sockets and gRPC are around it (server.h): they convert, and run their calls here through the control thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/attachment_table.h"
#include "control/certificate_store.h"
#include "control/descriptor_table.h"
#include "control/event_board.h"
#include "control/mesh_feed.h"
#include "control/node_face.h"

namespace culvert::control {

struct ControllerOptions {
  std::string instance;   // random, of this start (make_instance())
  std::string node;       // NODE_NAME, to find the attached workloads' records
  size_t events_max = 0;  // 0: api::kEventsQueuedMax
  Duration drain_deadline = 5s;
  std::function<void(const std::string&)> notice = {};  // one line for the operator's log
  std::function<void()> drain_begun = {};               // once
};

struct CrlReport {
  size_t lists = 0, entries = 0;
  std::optional<UnixTime> next_update;  // the soonest
  std::optional<UnixTime> set_at;       // none: no set has come
};

struct LifecycleReport {
  bool draining = false;
  uint32_t sessions = 0, tunnels = 0;
  Duration left{};  // until what is left is cut
};

// 128 random bits in hexadecimal, from the system.
std::string make_instance();

struct StatusReport {
  worker::StatusRow node;
  Duration uptime{};
  std::string mesh_version;
  size_t identities_valid = 0;
  bool agent_connected = false;
  std::vector<std::string> descriptors_wanted;
};

class Controller {
 public:
  // A worker that has been silent this long is told to the agent (design 2: readiness names it).
  static constexpr Duration kWorkerSilence = 2s;
  // How long a question to the workers may take.
  static constexpr Duration kPatience = 1s;

  // `node` and `clock` outlive the controller. Publishes the empty mesh and no credentials.
  Controller(ControllerOptions options, NodeFace& node, worker::Clock& clock);

  // --- mesh: a stream's thread calls open, then begin, apply and end in order, then close
  // ------------------------------
  uint64_t open_mesh_stream() { return feed_.open_stream(); }
  void close_mesh_stream(uint64_t stream) { feed_.close_stream(stream); }
  const std::shared_ptr<const snapshot::Mesh>& mesh() const { return feed_.mesh(); }  // in force
  Result<void, std::string> begin_mesh(uint64_t stream, std::string version, bool full);
  Result<void, std::string> apply_mesh(uint64_t stream, MeshRecords records);
  Result<MeshApplied, std::string> end_mesh(uint64_t stream);

  // --- certificates ------------------------------------------------------------------------------------------------
  Result<CertificateStore::Csr, std::string> create_csr(const identity::SpiffeId& id);
  Result<CertificateRow, std::string> install(std::string_view csr_id, std::string_view chain_pem,
                                              std::string_view roots_pem);
  bool forget(const identity::SpiffeId& id);
  std::vector<CertificateRow> certificates(bool pem = false) const;
  // Replaces the set; on an error the one before it stays in force.
  Result<CrlReport, std::string> set_crls(const std::vector<std::string_view>& files);
  CrlReport crls() const;

  // --- attachments and descriptors -----------------------------------------------------------------------------------
  std::vector<AttachmentState> reconcile(const std::vector<WantedAttachment>& wanted);
  AttachmentState attach(const WantedAttachment& wanted);
  bool detach(std::string_view id);
  std::vector<AttachmentState> attachments() const { return attachments_.states(); }
  Result<void, std::string> give_descriptors(const std::string& name, std::vector<UniqueFd> queues);
  Result<std::vector<UniqueFd>, std::string> take_descriptors(std::string_view name) const;
  Result<void, std::string> release_descriptors(std::string_view name);
  std::vector<std::string> descriptors_held() const { return descriptors_.names(); }
  std::vector<std::string> descriptors_wanted() const;  // "port:<name>", in order

  // --- the end -----------------------------------------------------------------------------------------------------
  // Begins the drain, or brings its end nearer. Without a mesh so far there is nothing to wait for.
  LifecycleReport drain(std::optional<Duration> deadline);
  LifecycleReport lifecycle();

  // --- sight -------------------------------------------------------------------------------------------------------
  StatusReport status();
  std::vector<worker::SessionRow> sessions() { return node_.sessions(kPatience); }
  std::vector<worker::TunnelRow> tunnels() { return node_.tunnels(kPatience); }
  std::vector<worker::PortRow> ports() { return node_.ports(kPatience); }
  worker::TrafficReport traffic() { return node_.traffic(kPatience); }
  NodeFace& node() { return node_; }

  // What a watcher has to know when it comes, and where it goes on from there.
  struct Present {
    std::vector<Event> events;
    uint64_t sequence = 0;
  };
  Present present() const;
  EventBoard& board() { return board_; }  // safe from any thread
  const std::string& instance() const { return options_.instance; }

  // Every quarter of a second: expiry, lost devices; every second the workers' heartbeats.
  void tick();

 private:
  void after_change();  // passes on what the parts changed: identities, credentials, events
  void watch_workers();
  void notice(const std::string& line) const;
  void notice_certificate(const Event& event) const;

  ControllerOptions options_;
  NodeFace& node_;
  worker::Clock& clock_;
  const Instant started_;
  MeshFeed feed_;
  DescriptorTable descriptors_;
  AttachmentTable attachments_;
  CertificateStore certificates_;
  EventBoard board_;
  std::shared_ptr<const identity::CrlSet> crls_;
  std::optional<UnixTime> crls_set_at_;
  bool mesh_seen_ = false;
  std::optional<Instant> drain_due_;
  Instant workers_watched_;
  std::vector<bool> silent_;  // by worker
  std::vector<Duration> silence_;
};

}  // namespace culvert::control
