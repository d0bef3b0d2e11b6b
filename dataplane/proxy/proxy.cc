// The public face, and the order of a turn.
#include "proxy/proxy.h"

#include <algorithm>
#include <array>

#include "proxy/impl.h"

namespace culvert::proxy {

Proxy::Impl::Impl(const Setup& setup_in, tcp::Stack& tcp_in, BufferPool& pool_in, Counters& counters_in,
                  tls::AeadBackend& aead, Egress& egress_in, LogSink& log_in, Instant start)
    : setup(setup_in),
      log_settings(setup_in.log ? *setup_in.log : default_log),
      tcp(tcp_in),
      pool(pool_in),
      counters(counters_in),
      egress(egress_in),
      sink(log_in),
      random(setup_in.seed),
      timers(start),
      sessions(setup_in.sessions_max),
      traffic(setup_in.traffic, setup_in.seed ^ 0x74726166666963),
      tunnels(setup_in.hbone, tcp_in, pool_in, counters_in, *this, aead, setup_in.seed ^ 0x68626f6e65) {}

void Proxy::Impl::on_tcp_event(const tcp::Event& event, Instant now) {
  last_now = now;
  if (Session* session = sessions.find(owners.find(event.connection))) {
    on_pod_event(*session, event.kind, now);
    return;
  }
  if (event.kind == tcp::EventKind::kAccepted) {
    // A pod may dial any port, also 15008; on a pod's interface nothing is a tunnel.
    const InterfaceId interface = tcp.interface_of(event.connection);
    if (pods.contains(interface)) {
      on_accepted(event.connection, interface, now);
      return;
    }
    if (!tunnels.on_tcp_event(event, now)) tcp.abort(event.connection, now);
    return;
  }
  tunnels.on_tcp_event(event, now);
}

void Proxy::Impl::take_tunnel_events(Instant now) {
  std::array<hbone::Event, 64> events;
  size_t n;
  do {
    n = tunnels.take_events(events);
    for (size_t i = 0; i < n; ++i) {
      const hbone::Event& event = events[i];
      if (event.kind == hbone::EventKind::kRequest) {
        on_request(event.stream, now);
      } else if (Session* session = sessions.find(tunnels.cookie(event.stream))) {
        on_stream_event(*session, event, now);
      }
    }
  } while (n == events.size());

  std::array<hbone::TunnelFailure, 8> failures;
  do {
    n = tunnels.take_failures(failures);
    for (size_t i = 0; i < n; ++i) log_tunnel_failure(failures[i], now);
  } while (n == failures.size());
}

void Proxy::Impl::on_timer(Session& session, Instant now) {
  switch (session.state) {
    case SessionState::kAwaitingRecord: {
      const auto pod = pods.find(session.pod);
      const std::string name = pod == pods.end() ? std::string() : pod->second.attachment.workload;
      // The record may be there, and only the certificate missing: then routing goes on and the refusal says so.
      const snapshot::Workload* record = pod == pods.end() ? nullptr : record_of(pod->second);
      if (record && session.direction == Direction::kOutbound) {
        start_outbound(session, *record, now);
        return;
      }
      const std::string error = "failed to fetch information about local workload: " + name;
      if (session.direction == Direction::kOutbound) {
        refuse_outbound(session, DropReason::kProxyNoWorkload, AccessEvent::kFailed, error, now);
      } else {
        refuse_inbound(session, hbone::kStatusServiceUnavailable, DropReason::kProxyNoWorkload, AccessEvent::kFailed,
                       error, now);
      }
      return;
    }
    case SessionState::kConnecting:
      refuse_outbound(session, DropReason::kProxyConnectTimeout, AccessEvent::kComplete,
                      "connection failed: no answer to CONNECT", now);
      return;
    case SessionState::kFree:
    case SessionState::kOpen:
    case SessionState::kDraining:
      return;
  }
}

void Proxy::Impl::retry_awaiting(Instant now) {
  std::vector<uint64_t> waiting;
  waiting.swap(awaiting);
  for (const uint64_t handle : waiting) {
    Session* session = sessions.find(handle);
    if (!session || session->state != SessionState::kAwaitingRecord) continue;
    if (session->direction == Direction::kInbound) {
      start_inbound(*session, now);
    } else {
      try_outbound(*session, now);
    }
    session = sessions.find(handle);
    if (session && session->state == SessionState::kAwaitingRecord) awaiting.push_back(handle);
  }
}

bool Proxy::Impl::poll(Instant now, UnixTime calendar) {
  last_now = now;
  calendar_now = calendar;
  wall.observe(now, calendar);
  tunnels.set_calendar(calendar);
  tunnels.poll(now);
  take_tunnel_events(now);
  timers.expire(now, [&](TimerEntry& entry) { on_timer(*static_cast<SessionTimer&>(entry).session, now); });
  const bool rechecking = recheck(now);

  if (now >= starved_until) {
    starved_until = kNever;
    std::vector<uint64_t> again;
    again.swap(starved);
    for (const uint64_t handle : again) {
      if (Session* session = sessions.find(handle)) queue(*session);
    }
  }
  // Those that want more after their share stand behind the others, in the next turn.
  working.swap(work);
  for (const uint64_t handle : working) {
    Session* session = sessions.find(handle);
    if (!session) continue;
    session->queued = false;
    splice(*session, now);
  }
  working.clear();
  tunnels.flush(now);

  // What the flush made room for, and streams whose last bytes it took.
  take_tunnel_events(now);
  std::erase_if(draining, [&](uint64_t handle) {
    Session* session = sessions.find(handle);
    if (!session) return true;
    if (!session->stream_stopped && tunnels.unsent_bytes(session->stream) > 0) return false;
    end(*session, End::kClean, {}, now);
    return true;
  });
  const bool cutting = drain && advance_drain(now);
  return !work.empty() || rechecking || cutting;
}

// --- public ----------------------------------------------------------------------------------------------------------

Proxy::Proxy(const Setup& setup, tcp::Stack& tcp, BufferPool& pool, Counters& counters, tls::AeadBackend& aead,
             Egress& egress, LogSink& log, Instant start)
    : impl_(std::make_unique<Impl>(setup, tcp, pool, counters, aead, egress, log, start)) {}
Proxy::~Proxy() = default;

tcp::SynFilter Proxy::pod_filter() {
  return {[](void* context, InterfaceId interface, const tcp::Tuple& tuple) {
            return static_cast<Impl*>(context)->filter_pod(interface, tuple);
          },
          impl_.get()};
}

tcp::SynFilter Proxy::uplink_filter() {
  return {[](void* context, InterfaceId interface, const tcp::Tuple& tuple) {
            return static_cast<Impl*>(context)->filter_uplink(interface, tuple);
          },
          impl_.get()};
}

void Proxy::attach(InterfaceId interface, const Attachment& attachment, Instant now) {
  impl_->detach(interface, now);
  impl_->attach(interface, attachment, now);
}
void Proxy::detach(InterfaceId interface, Instant now) { impl_->detach(interface, now); }

InterfaceId Proxy::attachment_of(const IpAddress& address) const {
  const auto found = impl_->interface_by_address.find(address);
  return found == impl_->interface_by_address.end() ? kNoInterface : found->second;
}

void Proxy::install(std::shared_ptr<const snapshot::Mesh> mesh, Instant now) {
  if (!mesh) return;
  // What a decision depends on: policies, and the records of this core's pods. The rest of the mesh may change as often
  // as it likes.
  bool changed = mesh->policy_generation() != impl_->mesh->policy_generation();
  for (auto pod = impl_->pods.begin(); !changed && pod != impl_->pods.end(); ++pod) {
    changed = mesh->local_workload(pod->second.name_space, pod->second.name, impl_->setup.node) !=
              impl_->record_of(pod->second);
  }
  impl_->mesh = std::move(mesh);
  // One whole round from here on; a round under way is not started over, so that a busy control plane starves nobody.
  if (changed) impl_->recheck_left = impl_->sessions.slots();
  impl_->retry_awaiting(now);
}

void Proxy::install(std::shared_ptr<const CredentialMap> credentials, Instant now) {
  if (!credentials) return;
  impl_->credentials = std::move(credentials);
  impl_->retry_awaiting(now);
}

void Proxy::install(std::shared_ptr<const identity::CrlSet> crls, Instant now) {
  impl_->tunnels.install(std::move(crls), now);
}

void Proxy::drain(Instant due, Instant now) { impl_->begin_drain(due, now); }
bool Proxy::drained() const { return impl_->drain && impl_->drain->done; }

void Proxy::on_tcp_event(const tcp::Event& event, Instant now) { impl_->on_tcp_event(event, now); }
bool Proxy::poll(Instant now, UnixTime calendar) { return impl_->poll(now, calendar); }

Instant Proxy::next_deadline() const {
  const Instant drain = impl_->drain ? impl_->drain->wake : kNever;
  return std::min({impl_->timers.next_deadline(), impl_->tunnels.next_deadline(), impl_->starved_until, drain});
}

uint32_t Proxy::sample_traffic(uint32_t slot, uint32_t slots_max, Instant now, std::vector<TrafficSample>& out) {
  return impl_->traffic.sample(slot, slots_max, now, out);
}

Proxy::TrafficTotals Proxy::traffic_totals() const {
  return {impl_->pods_connected, impl_->tunnels.server_tunnels(), impl_->traffic.series(), impl_->traffic.overflowed()};
}

hbone::Tunnels& Proxy::tunnels() { return impl_->tunnels; }
uint32_t Proxy::sessions() const { return impl_->sessions.live(); }

namespace {

std::string_view text_of(const Session& session) {
  switch (session.state) {
    case SessionState::kFree:
      return "free";
    case SessionState::kAwaitingRecord:
      return "waiting for record";
    case SessionState::kConnecting:
      return "connecting";
    case SessionState::kOpen:
      return session.pod_ended ? "pod ended" : session.stream_ended ? "peer ended" : "open";
    case SessionState::kDraining:
      return "closing";
  }
  return "";
}

}  // namespace

void Proxy::for_each_session(void (*visit)(void* context, const SessionInfo& info), void* context, Instant now) const {
  const SessionTable& sessions = impl_->sessions;
  for (uint32_t i = 0; i < sessions.slots(); ++i) {
    const Session& s = sessions.slot(i);
    if (s.state == SessionState::kFree) continue;
    SessionInfo info;
    info.direction = s.direction == Direction::kOutbound ? "outbound" : "inbound";
    info.source = s.source;
    info.destination = s.destination;
    info.hbone_authority = s.authority;
    info.source_identity = s.src.identity;
    info.destination_identity = s.dst.identity;
    info.tunnel_peer = (s.direction == Direction::kOutbound ? s.next_hop : s.source).to_string();
    info.state = text_of(s);
    info.bytes_sent = s.bytes_sent;
    info.bytes_received = s.bytes_received;
    info.age = now - s.opened_at;
    visit(context, info);
  }
}

}  // namespace culvert::proxy
