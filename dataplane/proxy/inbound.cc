// A tunnel's stream on its way to a pod: the checks of reference 11.2 in their order, policy (12), the connection to
// the pod from the client's own address (11.5), and 200 once that stands. Also deciding again when policies or records
// change (12.5).
#include <algorithm>
#include <cctype>

#include "proxy/impl.h"

namespace culvert::proxy {

namespace {

using routing::InboundRefusal;

bool same_network(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

std::string_view text_of(tcp::Stack::ConnectError error) {
  switch (error) {
    case tcp::Stack::ConnectError::kNoPort:
      return "no local port left";
    case tcp::Stack::ConnectError::kInUse:
      return "address in use";
    case tcp::Stack::ConnectError::kFull:
      return "too many connections";
    case tcp::Stack::ConnectError::kNoInterface:
      return "the pod's interface is gone";
  }
  return "";
}

}  // namespace

void Proxy::Impl::on_request(hbone::StreamId stream, Instant now) {
  const hbone::Peer* peer = tunnels.peer(stream);
  const hbone::ConnectRequest* request = tunnels.request(stream);
  if (!peer || !request) {
    tunnels.release(stream, now);
    return;
  }
  Session* session = sessions.create();
  if (!session) {
    counters.drop(DropReason::kProxySessionsFull);
    tunnels.respond(stream, hbone::kStatusServiceUnavailable, {}, now);
    tunnels.release(stream, now);
    return;
  }
  session->direction = Direction::kInbound;
  session->state = SessionState::kAwaitingRecord;
  session->stream = stream;
  session->has_stream = true;
  session->source = peer->tuple.remote;
  session->next_hop = peer->tuple.local;
  session->destination = peer->tuple.local;
  session->opened_at = now;
  session->authority = request->authority_text;
  if (!peer->identities.empty()) {
    session->peer = peer->identities.front();
    session->has_peer = true;
  }
  tunnels.set_cookie(stream, session->handle());
  counters.add(Counter::kProxyInboundRequested);

  const auto interface = interface_by_address.find(session->next_hop.address);
  if (interface != interface_by_address.end()) session->pod = interface->second;

  // Who asks, for the log: its record, else what it says of itself (reference 5.3).
  const snapshot::Workload* source = source_of(*session, *request);
  if (source) {
    session->src = party_of(*source);
  } else {
    session->src = {request->baggage.service, request->baggage.name_space, {}, request->baggage.cluster};
  }
  session->src.identity = session->has_peer ? session->peer.uri() : std::string();
  start_inbound(*session, now);
}

// By address, unless the request says that it came from another network.
const snapshot::Workload* Proxy::Impl::source_of(const Session& session, const hbone::ConnectRequest& request) const {
  const bool is_remote = !request.forwarded_network.empty() && !same_network(request.forwarded_network, setup.network);
  return is_remote ? nullptr : mesh->workload_at(setup.network, session.source.address);
}

void Proxy::Impl::start_inbound(Session& session, Instant now) {
  const auto pod = pods.find(session.pod);
  const snapshot::Workload* record = pod == pods.end() ? nullptr : record_of(pod->second);
  const hbone::ConnectRequest& request = *tunnels.request(session.stream);

  // Steps 1 to 5.
  const routing::InboundDecision decision = routing::decide_inbound(
      *mesh, {request.method, request.authority_text, session.next_hop.address, setup.network, record});
  if (decision.refusal == InboundRefusal::kNoWorkload && pod != pods.end()) {
    if (!session.timer.scheduled()) {
      timers.schedule(session.timer, now + kRecordPatience);
      awaiting.push_back(session.handle());
    }
    return;
  }
  timers.cancel(session.timer);
  if (!decision.carried()) {
    refuse_inbound(session, routing::status_of(decision.refusal), drop_reason_of(decision.refusal),
                   AccessEvent::kFailed, decision.error, now);
    return;
  }
  session.destination = decision.target;
  session.dst = party_of(*record);
  const snapshot::Service* service =
      decision.service ? decision.service : service_meant(*record, request.forwarded_host, decision.target.port);
  if (service) session.service = service->hostname;
  begin_inbound_traffic(session, *record, service, now);

  // Step 6.
  const policy::Decision verdict = decide(session, *record);
  if (!verdict.allowed()) {
    refuse_inbound(session, hbone::kStatusUnauthorized, DropReason::kProxyPolicyDenied, AccessEvent::kComplete,
                   policy::error_text(verdict), now, ResponseFlag::kDeny);
    return;
  }

  // Step 7. A pod that reached itself through its own service cannot be called from its own address: our address on its
  // link stands in.
  std::optional<IpAddress> from = session.source.address;
  if (*from == decision.target.address || from->is_v4() != decision.target.address.is_v4()) {
    from = address_like(pod->second.attachment.gateways, decision.target.address);
  }
  if (!from) {
    on_pod_unreachable(session, "no source address of the pod's family", now);
    return;
  }
  tcp::ConnectionOptions options = setup.tcp;
  options.syn_timeout = kPodConnectPatience;
  const auto connected = tcp.connect(session.pod, {{*from, 0}, decision.target}, options, now);
  if (!connected) {
    on_pod_unreachable(session, text_of(connected.error()), now);
    return;
  }
  session.tcp = *connected;
  session.has_tcp = true;
  session.state = SessionState::kConnecting;
  owners.set(session.tcp, session.handle());
}

policy::Decision Proxy::Impl::decide(const Session& session, const snapshot::Workload& record) {
  const policy::Connection connection{session.has_peer ? &session.peer : nullptr, session.source.address,
                                      session.destination.address, session.destination.port};
  const policy::Decision decision = policy::decide(*mesh, record, connection);
  counters.add(Counter::kProxyPolicyDecided);
  if (decision.unknown_policies) counters.add(Counter::kProxyPolicyUnknownSkipped, decision.unknown_policies);
  if (decision.dry_run_deny) counters.add(Counter::kProxyPolicyDryRunDenied);
  return decision;
}

void Proxy::Impl::refuse_inbound(Session& session, uint16_t status, DropReason reason, AccessEvent event,
                                 std::string_view error, Instant now, ResponseFlag flag) {
  counters.drop(reason);
  tunnels.respond(session.stream, status, {}, now);
  // The answer has ended the stream; what the client still sends has no reader.
  end(session, End::kClean, error, now, event, flag);
}

void Proxy::Impl::on_pod_connected(Session& session, Instant now) {
  const auto pod = pods.find(session.pod);
  const snapshot::Workload* record = pod == pods.end() ? nullptr : record_of(pod->second);
  if (!tunnels.respond(session.stream, hbone::kStatusOk, record ? baggage_text(*record) : std::string(), now)) {
    end(session, End::kReset, "h2 failed: stream is gone", now);
    return;
  }
  session.state = SessionState::kOpen;
  counters.add(Counter::kProxyInboundOpened);
  queue(session);
}

void Proxy::Impl::on_pod_unreachable(Session& session, std::string_view why, Instant now) {
  refuse_inbound(session, hbone::kStatusServiceUnavailable, DropReason::kProxyPodUnreachable, AccessEvent::kComplete,
                 "connection failed: " + std::string(why), now);
}

bool Proxy::Impl::recheck(Instant now) {
  const uint32_t slots = sessions.slots();
  for (uint32_t looked = 0; recheck_left > 0 && looked < kRecheckPerTurn; ++looked, --recheck_left) {
    Session& session = sessions.slot(recheck_next++ % slots);
    if (session.direction != Direction::kInbound ||
        (session.state != SessionState::kConnecting && session.state != SessionState::kOpen)) {
      continue;
    }
    const auto pod = pods.find(session.pod);
    const snapshot::Workload* record = pod == pods.end() ? nullptr : record_of(pod->second);
    // Without its record there is nothing to decide by. The stream goes on as it was admitted, as with ztunnel.
    if (!record) continue;
    counters.add(Counter::kProxyPolicyRechecked);
    if (decide(session, *record).allowed()) continue;
    counters.drop(DropReason::kProxyPolicyChanged);
    end(session, End::kReset, "connection closed due to policy change", now, AccessEvent::kComplete,
        ResponseFlag::kDeny);
  }
  return recheck_left > 0;
}

}  // namespace culvert::proxy
