#include "southbound/session_sight.h"

#include "control/api/attachments.grpc.pb.h"
#include "control/api/certificates.grpc.pb.h"
#include "control/api/lifecycle.grpc.pb.h"
#include "control/api/status.grpc.pb.h"

namespace culvert::southbound {
namespace {

IpAddress address_of(const std::string& bytes) { return IpAddress::from_bytes(bytes_of(bytes)).value_or(IpAddress()); }
Endpoint endpoint_of(const api::SocketAddress& one) {
  return {address_of(one.address()), static_cast<uint16_t>(one.port())};
}
std::optional<WallTime> time_of(int64_t ms) { return ms == 0 ? std::nullopt : std::optional(WallTime(Millis(ms))); }

// CONNECT may name a host (reference 5.2); an address says nothing about the service.
std::string host_asked_for(const api::Session& row) {
  const std::string& authority = row.hbone_authority();
  if (row.direction() != "inbound" || authority.empty() || Endpoint::parse(authority)) return {};
  return authority.substr(0, authority.rfind(':'));
}

SessionRow value_of(const api::Session& row) {
  return {.outbound = row.direction() == "outbound",
          .source = endpoint_of(row.source()),
          .destination = endpoint_of(row.destination()),
          .hbone_authority = row.hbone_authority(),
          .source_identity = row.source_identity(),
          .destination_identity = row.destination_identity(),
          .tunnel_peer = row.tunnel_peer(),
          .requested_host = host_asked_for(row)};
}

TrafficPeer value_of(const api::TrafficRow::Peer& peer) {
  return {.workload = peer.workload(),
          .canonical_service = peer.canonical_service(),
          .canonical_revision = peer.canonical_revision(),
          .workload_namespace = peer.workload_namespace(),
          .principal = peer.principal(),
          .cluster = peer.cluster(),
          .region = peer.region(),
          .zone = peer.zone()};
}

TrafficRow value_of(const api::TrafficRow& row) {
  return {.at_source = row.reporter() == api::TrafficRow::SOURCE,
          .source = value_of(row.source()),
          .destination = value_of(row.destination()),
          .destination_service = row.destination_service(),
          .destination_service_namespace = row.destination_service_namespace(),
          .destination_service_name = row.destination_service_name(),
          .response_flags = row.response_flags(),
          .mutual_tls = row.mutual_tls(),
          .localities = row.localities(),
          .opened = row.opened(),
          .closed = row.closed(),
          .failed = row.failed(),
          .received_bytes = row.received_bytes(),
          .sent_bytes = row.sent_bytes()};
}

CertificateRow::State value_of(api::CertificateState::State state) {
  switch (state) {
    case api::CertificateState::VALID:
      return CertificateRow::State::kValid;
    case api::CertificateState::EXPIRED:
      return CertificateRow::State::kExpired;
    case api::CertificateState::REQUESTED:
      return CertificateRow::State::kRequested;
    default:
      return CertificateRow::State::kNeeded;
  }
}

DrainState value_of(const api::LifecycleState& state) {
  return {.draining = state.state() == api::LifecycleState::DRAINING,
          .sessions_left = state.sessions_left(),
          .tunnels_left = state.tunnels_left(),
          .left = Millis(state.left_ms())};
}

std::vector<CounterRow> values_of(const api::CounterRows& rows) {
  std::vector<CounterRow> out;
  out.reserve(static_cast<size_t>(rows.rows_size()));
  for (const api::CounterRow& row : rows.rows()) {
    out.push_back(
        {.name = row.name(), .unit = row.unit(), .room = row.room(), .text = row.text(), .value = row.value()});
  }
  return out;
}

}  // namespace

void SessionSight::set_session(SessionPtr session) {
  const std::lock_guard lock(mutex_);
  session_ = std::move(session);
}

void SessionSight::stop() {
  std::unique_lock lock(mutex_);
  stopped_ = true;
  for (grpc::ClientContext* context : under_way_) context->TryCancel();
  ended_.wait(lock, [this] { return under_way_.empty(); });
}

bool SessionSight::connected() const {
  const std::lock_guard lock(mutex_);
  return session_ != nullptr;
}

Result<void, std::string> SessionSight::run(
    const char* what,
    const std::function<grpc::Status(const std::shared_ptr<grpc::Channel>&, grpc::ClientContext&)>& call) {
  grpc::ClientContext context;
  SessionPtr session;
  {
    const std::lock_guard lock(mutex_);
    if (session_ == nullptr || stopped_) return std::string(kAway);
    session = session_;
    under_way_.insert(&context);
  }
  state_contract(context, *session);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(kSightPatience));
  const grpc::Status status = call(session->channel, context);
  {
    const std::lock_guard lock(mutex_);
    under_way_.erase(&context);
  }
  ended_.notify_all();
  if (status.ok()) return {};
  if (status.error_code() == grpc::StatusCode::CANCELLED) return std::string(kAway);
  return std::string("the data plane does not tell ") + what + ": " + status.error_message();
}

Seen<DataPlaneStatus> SessionSight::status() {
  api::StatusReply reply;
  const auto done = run("its status", [&](const auto& channel, grpc::ClientContext& context) {
    return api::Sight::NewStub(channel)->Status(&context, api::StatusRequest(), &reply);
  });
  if (!done) return done.error();
  DataPlaneStatus out{.build = reply.build(),
                      .node = reply.node(),
                      .instance = reply.instance(),
                      .contract = reply.contract(),
                      .uptime = Millis(reply.uptime_ms()),
                      .snapshot_version = reply.snapshot_version(),
                      .mesh_version = reply.mesh_version(),
                      .workloads = reply.workloads(),
                      .services = reply.services(),
                      .policies = reply.policies(),
                      .attachments = reply.attachments(),
                      .identities = reply.identities(),
                      .connections = reply.connections(),
                      .sessions = reply.sessions(),
                      .tunnels = reply.tunnels(),
                      .workers = {},
                      .strangers_refused = reply.strangers_refused(),
                      .log_lines_lost = reply.log_lines_lost()};
  for (const auto& worker : reply.workers()) {
    out.workers.push_back({.silent = Millis(worker.silent_ms()), .poll = worker.poll()});
  }
  return out;
}

Seen<std::vector<SessionRow>> SessionSight::sessions() {
  std::vector<SessionRow> out;
  const auto done = run("its sessions", [&](const auto& channel, grpc::ClientContext& context) {
    const auto stub = api::Sight::NewStub(channel);
    const auto reader = stub->Sessions(&context, api::SessionsRequest());
    for (api::SessionRows rows; reader->Read(&rows);) {
      for (const api::Session& row : rows.rows()) out.push_back(value_of(row));
    }
    return reader->Finish();
  });
  if (!done) return done.error();
  return out;
}

Seen<std::vector<AttachmentRow>> SessionSight::attachments() {
  api::ListAttachmentsReply reply;
  const auto done = run("its attachments", [&](const auto& channel, grpc::ClientContext& context) {
    return api::AttachmentControl::NewStub(channel)->List(&context, api::ListAttachmentsRequest(), &reply);
  });
  if (!done) return done.error();
  std::vector<AttachmentRow> out;
  for (const api::AttachmentState& state : reply.states()) {
    AttachmentRow row{
        .id = state.attachment().id(), .workload = state.attachment().workload(), .addresses = {}, .up = state.up()};
    for (const std::string& bytes : state.attachment().addresses()) row.addresses.push_back(address_of(bytes));
    out.push_back(std::move(row));
  }
  return out;
}

Seen<std::vector<CounterRow>> SessionSight::counters() {
  api::CounterRows rows;
  const auto done = run("its counters", [&](const auto& channel, grpc::ClientContext& context) {
    return api::Sight::NewStub(channel)->Counters(&context, api::CountersRequest(), &rows);
  });
  if (!done) return done.error();
  return values_of(rows);
}

Seen<std::vector<CounterRow>> SessionSight::drops() {
  api::CounterRows rows;
  const auto done = run("its drops", [&](const auto& channel, grpc::ClientContext& context) {
    return api::Sight::NewStub(channel)->Drops(&context, api::CountersRequest(), &rows);
  });
  if (!done) return done.error();
  return values_of(rows);
}

Seen<Traffic> SessionSight::traffic() {
  Traffic out;
  const auto done = run("its traffic", [&](const auto& channel, grpc::ClientContext& context) {
    const auto stub = api::Sight::NewStub(channel);
    const auto reader = stub->Traffic(&context, api::TrafficRequest());
    for (api::TrafficRows rows; reader->Read(&rows);) {
      for (const api::TrafficRow& row : rows.rows()) out.rows.push_back(value_of(row));
      if (!rows.has_totals()) continue;
      out.source_sockets_open = rows.totals().source_sockets_open();
      out.destination_sockets_open = rows.totals().destination_sockets_open();
      out.series = rows.totals().series();
      out.overflowed = rows.totals().overflowed();
    }
    return reader->Finish();
  });
  if (!done) return done.error();
  return out;
}

Seen<std::vector<CertificateRow>> SessionSight::certificates() {
  api::CertificateStates reply;
  const auto done = run("its certificates", [&](const auto& channel, grpc::ClientContext& context) {
    api::ListCertificatesRequest request;
    request.set_pem(true);
    return api::Certificates::NewStub(channel)->List(&context, request, &reply);
  });
  if (!done) return done.error();
  std::vector<CertificateRow> out;
  for (const api::CertificateState& state : reply.states()) {
    out.push_back({.identity = state.identity(),
                   .state = value_of(state.state()),
                   .attached = state.attached(),
                   .not_before = WallTime(Millis(state.not_before_ms())),
                   .not_after = WallTime(Millis(state.not_after_ms())),
                   .serial = state.serial(),
                   .chain_pem = state.chain_pem(),
                   .roots_pem = state.roots_pem()});
  }
  return out;
}

Seen<CrlRow> SessionSight::crl() {
  api::CrlState reply;
  const auto done = run("its revocation lists", [&](const auto& channel, grpc::ClientContext& context) {
    return api::Certificates::NewStub(channel)->GetCrl(&context, api::CrlStateRequest(), &reply);
  });
  if (!done) return done.error();
  return CrlRow{.lists = reply.lists(),
                .entries = reply.entries(),
                .next_update = time_of(reply.next_update_ms()),
                .set_at = time_of(reply.set_at_ms())};
}

Seen<DrainState> SessionSight::drain(std::optional<Millis> deadline) {
  api::LifecycleState reply;
  const auto done = run("that it drains", [&](const auto& channel, grpc::ClientContext& context) {
    api::DrainRequest request;
    if (deadline) request.set_deadline_ms(static_cast<uint64_t>(deadline->count()));
    return api::Lifecycle::NewStub(channel)->Drain(&context, request, &reply);
  });
  if (!done) return done.error();
  return value_of(reply);
}

Seen<DrainState> SessionSight::drain_state() {
  api::LifecycleState reply;
  const auto done = run("how far it has drained", [&](const auto& channel, grpc::ClientContext& context) {
    return api::Lifecycle::NewStub(channel)->State(&context, api::LifecycleStateRequest(), &reply);
  });
  if (!done) return done.error();
  return value_of(reply);
}

}  // namespace culvert::southbound
