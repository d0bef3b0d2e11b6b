// How sessions are told: access-log lines, also of tunnels that never came up (reference 25), and baggage (5.2).
#include "proxy/impl.h"

namespace culvert::proxy {

Party Proxy::Impl::party_of(const snapshot::Workload& record) {
  return {record.name, record.name_space, record.identity().uri(), record.cluster_id};
}

std::string Proxy::Impl::baggage_text(const snapshot::Workload& record) {
  hbone::Baggage b;
  b.cluster = record.cluster_id;
  b.name_space = record.name_space;
  b.workload_type = snapshot::name_of(record.workload_type);
  b.workload = record.workload_name;
  b.service = record.canonical_name;
  b.revision = record.canonical_revision;
  b.region = record.locality.region;
  b.zone = record.locality.zone;
  return hbone::emit_baggage(b);
}

void Proxy::Impl::log(const Session& session, AccessEvent event, std::string_view error, Instant now) {
  if (!log_settings.writes_access(level_of(event, !error.empty()))) return;
  AccessRecord r;
  r.event = event;
  r.unix_us = wall.unix_us(now);
  r.src_addr = session.source;
  r.src_workload = session.src.workload;
  r.src_namespace = session.src.name_space;
  r.src_identity = session.src.identity;
  r.src_cluster = session.src.cluster;
  r.dst_addr = session.next_hop;
  r.dst_hbone_addr = session.authority;
  r.dst_service = session.service;
  r.dst_workload = session.dst.workload;
  r.dst_namespace = session.dst.name_space;
  r.dst_identity = session.dst.identity;
  r.dst_cluster = session.dst.cluster;
  r.direction = session.direction == Direction::kOutbound ? "outbound" : "inbound";
  r.bytes_sent = session.bytes_sent;
  r.bytes_recv = session.bytes_received;
  r.duration = now - session.opened_at;
  r.error = error;
  sink.log_line(format_access(r, log_settings.format.load(std::memory_order_relaxed), line));
}

void Proxy::Impl::log_tunnel_failure(const hbone::TunnelFailure& failure, Instant now) {
  // Clients' failures are told by the sessions that waited for the tunnel, and so is the loss of one that was up.
  if (failure.side != hbone::Side::kServer || failure.was_up) return;
  if (!log_settings.writes_access(level_of(AccessEvent::kFailed, true))) return;
  AccessRecord r;
  r.event = AccessEvent::kFailed;
  r.unix_us = wall.unix_us(now);
  r.src_addr = failure.tuple.remote;
  r.dst_addr = failure.tuple.local;
  r.direction = "inbound";
  r.error = failure.text.empty() ? hbone::name_of(failure.loss) : std::string_view(failure.text);
  sink.log_line(format_access(r, log_settings.format.load(std::memory_order_relaxed), line));
}

}  // namespace culvert::proxy
