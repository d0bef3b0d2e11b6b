// A pod's connection on its way out: its record (reference 9.1), routing (9.2), a tunnel and a stream in it (5.1, 6),
// and the answer to CONNECT. A refusal is a reset towards the pod and a line in the log; nothing is tried twice (26.3).
#include "proxy/impl.h"

namespace culvert::proxy {

void Proxy::Impl::on_accepted(tcp::ConnectionId connection, InterfaceId interface, Instant now) {
  const tcp::Tuple* tuple = tcp.tuple(connection);
  Session* session = tuple ? sessions.create() : nullptr;
  if (!session) {
    // The filter let more SYNs in than there was room left.
    counters.drop(DropReason::kProxySessionsFull);
    tcp.abort(connection, now);
    return;
  }
  session->direction = Direction::kOutbound;
  session->state = SessionState::kAwaitingRecord;
  session->pod = interface;
  session->tcp = connection;
  session->has_tcp = true;
  session->source = tuple->remote;
  session->destination = tuple->local;
  session->next_hop = tuple->local;
  session->opened_at = now;
  const uint64_t handle = session->handle();
  owners.set(connection, handle);
  counters.add(Counter::kProxyOutboundAccepted);
  ++pods_connected;
  try_outbound(*session, now);
  if (sessions.find(handle) && session->state == SessionState::kAwaitingRecord) awaiting.push_back(handle);
}

void Proxy::Impl::try_outbound(Session& session, Instant now) {
  const Pod& pod = pods.at(session.pod);
  const snapshot::Workload* record = record_of(pod);
  if (record && (!is_fresh(pod, now) || is_ready(pod))) {
    start_outbound(session, *record, now);
    return;
  }
  if (!session.timer.scheduled()) {
    timers.schedule(session.timer, record ? pod.attached_at + kRecordPatience : now + kRecordPatience);
  }
}

void Proxy::Impl::start_outbound(Session& session, const snapshot::Workload& record, Instant now) {
  timers.cancel(session.timer);
  session.src = party_of(record);
  const routing::OutboundRequest request{&record, session.source.address, session.destination, setup.network};
  const routing::OutboundDecision decision = routing::decide_outbound(*mesh, request, random);
  session.service = decision.service_hostname;
  if (!decision.carried()) {
    refuse_outbound(session, drop_reason_of(decision.refusal), AccessEvent::kFailed, decision.error, now);
    return;
  }
  session.next_hop = decision.hbone;
  session.authority = decision.authority.to_string();
  session.dst = {decision.workload, decision.workload_namespace, decision.workload_identity.uri(),
                 decision.workload_cluster};
  begin_outbound_traffic(session, record, decision, now);

  // The tunnel leaves from the pod's own address: it is what policy at the other end sees (reference 28.6).
  std::optional<IpAddress> source = session.source.address;
  if (source->is_v4() != decision.hbone.address.is_v4()) {
    source = address_like(pods.at(session.pod).attachment.addresses, decision.hbone.address);
  }
  if (!source) {
    refuse_outbound(session, DropReason::kProxyNoAddress, AccessEvent::kComplete,
                    "connection failed: the pod has no address of the endpoint's family", now);
    return;
  }
  const InterfaceId interface =
      pod_at(decision.hbone.address) ? setup.link_out : egress.interface_for(decision.hbone.address);
  if (interface == kNoInterface) {
    refuse_outbound(session, DropReason::kProxyNoRoute, AccessEvent::kComplete, "connection failed: no route to host",
                    now);
    return;
  }

  // Also when a tunnel is up: what it proved when it was made is not proved now (D16).
  if (!client(record.identity())) {
    refuse_outbound(session, DropReason::kProxyNoMeshAccess, AccessEvent::kComplete,
                    "no valid certificate for " + session.src.identity, now, ResponseFlag::kIdentityError);
    return;
  }

  hbone::ConnectHeaders headers;
  headers.authority = session.authority;
  headers.baggage = baggage_text(record);
  headers.forwarded = hbone::emit_forwarded(session.source, session.service);
  const uint64_t trace_high = random.next();
  const uint64_t trace_low = random.next();
  headers.traceparent = hbone::emit_traceparent(trace_high, trace_low, random.next());
  const hbone::TunnelKey key{record.identity(), *source, decision.expected_identities, decision.hbone, interface};
  const auto opened = tunnels.open(key, headers, now);
  if (!opened) {
    switch (opened.error()) {
      case hbone::OpenError::kNoCredentials:
        refuse_outbound(session, DropReason::kProxyNoMeshAccess, AccessEvent::kComplete,
                        "no valid certificate for " + session.src.identity, now, ResponseFlag::kIdentityError);
        return;
      case hbone::OpenError::kFull:
        refuse_outbound(session, DropReason::kProxyTunnelsFull, AccessEvent::kComplete,
                        "connection failed: too many tunnels", now);
        return;
      case hbone::OpenError::kNoPort:
        refuse_outbound(session, DropReason::kProxyNoRoute, AccessEvent::kComplete,
                        "connection failed: no local port or interface", now);
        return;
      case hbone::OpenError::kTooLarge:
        refuse_outbound(session, DropReason::kProxyHeadersTooLarge, AccessEvent::kComplete,
                        "connection failed: CONNECT headers beyond the limit", now);
        return;
    }
  }
  session.stream = *opened;
  session.has_stream = true;
  session.state = SessionState::kConnecting;
  tunnels.set_cookie(session.stream, session.handle());
  timers.schedule(session.timer, now + kConnectPatience);
}

void Proxy::Impl::refuse_outbound(Session& session, DropReason reason, AccessEvent event, std::string_view error,
                                  Instant now, ResponseFlag flag) {
  counters.drop(reason);
  // A failed or refused connection is a reset for the pod, never an end of data (D23).
  end(session, End::kReset, error, now, event, flag);
}

}  // namespace culvert::proxy
