// The turn: TCP's events go to the tunnel they belong to, bytes up through its transport, what the transport has to say
// down again. pump() reads, advance() draws the consequences; both are called for one tunnel at a time, and nothing
// here calls the user.
#include "hbone/tunnels.h"

#include <algorithm>

#include "hbone/tunnels_impl.h"

namespace culvert::hbone {

namespace {

// Failures kept for the log until somebody takes them.
constexpr size_t kFailuresMax = 256;

}  // namespace

Tunnels::Impl::Impl(const Limits& l, tcp::Stack& t, BufferPool& p, Counters& c, CredentialSource& cs,
                    tls::AeadBackend& a, uint64_t seed)
    : limits(l),
      tcp(t),
      pool(p),
      counters(c),
      credentials(cs),
      aead(a),
      random(seed),
      memory(l.nghttp2_bytes_max),
      revocation(l.issuers_max) {}

// --- tunnels and their slots
// ------------------------------------------------------------------------------------------

Tunnel* Tunnels::Impl::find(tcp::ConnectionId connection) {
  if (connection.index >= tunnel_by_connection.size()) return nullptr;
  const uint32_t index = tunnel_by_connection[connection.index];
  if (index == kNoIndex) return nullptr;
  Tunnel* tunnel = tunnels[index].get();
  return tunnel && tunnel->connection == connection ? tunnel : nullptr;
}

Tunnel& Tunnels::Impl::take_tunnel(tcp::ConnectionId connection, Instant now) {
  if (free_tunnels.empty()) {
    free_tunnels.push_back(static_cast<uint32_t>(tunnels.size()));
    tunnels.emplace_back();
  }
  const uint32_t index = free_tunnels.back();
  free_tunnels.pop_back();
  tunnels[index] = std::make_unique<Tunnel>();
  Tunnel& tunnel = *tunnels[index];
  tunnel.index = index;
  tunnel.connection = connection;
  tunnel.since = now;
  ++tunnel_count;
  if (connection.index >= tunnel_by_connection.size()) tunnel_by_connection.resize(connection.index + 1, kNoIndex);
  tunnel_by_connection[connection.index] = index;
  return tunnel;
}

void Tunnels::Impl::free_tunnel(Tunnel& tunnel) {
  const uint32_t index = tunnel.index;
  timers.cancel(tunnel);
  tunnels[index].reset();
  free_tunnels.push_back(index);
  --tunnel_count;
}

bool Tunnels::Impl::start_transport(Tunnel& tunnel, const tls::SessionConfig& config, Instant now) {
  const identity::Credentials& own = *config.credentials;
  if (own.has_certificate()) tunnel.own_not_after = own.not_after();
  // It was valid when it was asked for; connecting takes its time (D16).
  if (own.has_certificate() && (calendar < own.not_before() || calendar >= own.not_after())) {
    counters.drop(DropReason::kHboneCredentialsExpired);
    lose(tunnel, Loss::kNoCredentials, "no valid certificate for " + tunnel.peer.local_identity.uri(), now);
    return false;
  }
  std::string error;
  auto session = tls::Session::make(config, pool, counters, calendar, error);
  if (!session) {
    lose(tunnel, Loss::kHandshake, "tls handshake error: " + error, now);
    return false;
  }
  const bool client = config.role == tls::Role::kClient;
  TransportConfig stack;
  stack.role = client ? http2::Role::kClient : http2::Role::kServer;
  stack.setup_timeout = limits.setup_timeout;
  stack.seed = random.next();
  stack.http2.streams_max = client ? limits.streams_per_connection_max : limits.server_streams_max;
  stack.http2.header_list_bytes_max = client ? 16'384 : 65'536;  // reference 4.1
  stack.http2.stream_queue_bytes = limits.stream_queue_bytes;
  tunnel.transport = Transport::make(stack, std::move(session), memory, pool, counters, now);
  tunnel.stage = Tunnel::Stage::kRunning;
  return true;
}

void Tunnels::Impl::mark(Tunnel& tunnel) {
  if (tunnel.dirty) return;
  tunnel.dirty = true;
  dirty.push_back(tunnel.index);
}

void Tunnels::Impl::schedule(Tunnel& tunnel) {
  const Instant transport =
      tunnel.transport && tunnel.stage != Tunnel::Stage::kGone ? tunnel.transport->next_deadline() : kNever;
  timers.schedule(tunnel, std::min({transport, tunnel.idle_due, tunnel.close_due, tunnel.goaway_due}));
}

// --- the turn
// ---------------------------------------------------------------------------------------------------------

bool Tunnels::Impl::on_tcp_event(const tcp::Event& event, Instant now) {
  if (event.kind == tcp::EventKind::kAccepted) {
    const tcp::Tuple* tuple = tcp.tuple(event.connection);
    if (!tuple || tuple->local.port != kHbonePort) return false;
    accept(event.connection, now);
    return true;
  }
  Tunnel* tunnel = find(event.connection);
  if (!tunnel) return false;
  switch (event.kind) {
    case tcp::EventKind::kAccepted:
      break;
    case tcp::EventKind::kConnected:
      on_connected(*tunnel, now);
      break;
    case tcp::EventKind::kPeerFin:
      tunnel->fin_received = true;
      [[fallthrough]];
    case tcp::EventKind::kReadable:
      pump(*tunnel, now);
      break;
    case tcp::EventKind::kWritable:
      advance(*tunnel, now);
      break;
    case tcp::EventKind::kSent:
      break;
    case tcp::EventKind::kClosed:
      tunnel->connection = {};
      lose(*tunnel, Loss::kTruncated, "connection closed", now);
      break;
    case tcp::EventKind::kReset:
      tunnel->connection = {};
      lose(*tunnel, Loss::kTcpReset, "io error: connection reset by peer", now);
      break;
    case tcp::EventKind::kRefused:
      tunnel->connection = {};
      lose(*tunnel, Loss::kConnectRefused, "connection failed: connection refused", now);
      break;
    case tcp::EventKind::kTimedOut:
      tunnel->connection = {};
      if (tunnel->stage == Tunnel::Stage::kConnecting) {
        lose(*tunnel, Loss::kConnectTimeout,
             "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed", now);
      } else {
        lose(*tunnel, Loss::kTcpTimeout, "io error: connection timed out", now);
      }
      break;
  }
  return true;
}

void Tunnels::Impl::poll(Instant now) {
  timers.expire(now, [this, now](TimerEntry& entry) {
    auto& tunnel = static_cast<Tunnel&>(entry);
    if (now >= tunnel.close_due) {
      // Whatever the peer still has to say, it had its time.
      drop_connection(tunnel, now);
    }
    if (now >= tunnel.idle_due) leave_pool(tunnel);
    if (tunnel.transport && tunnel.stage != Tunnel::Stage::kGone) tunnel.transport->poll(now);
    pump(tunnel, now);
  });
}

void Tunnels::Impl::flush(Instant now) {
  while (!dirty.empty()) {
    flushing.swap(dirty);
    for (const uint32_t index : flushing) {
      Tunnel* tunnel = tunnels[index].get();
      if (!tunnel || !tunnel->dirty) continue;  // the slot has changed hands
      tunnel->dirty = false;
      advance(*tunnel, now);
    }
    flushing.clear();
  }
}

void Tunnels::Impl::pump(Tunnel& tunnel, Instant now) {
  if (tunnel.transport && (tunnel.stage == Tunnel::Stage::kRunning || tunnel.stage == Tunnel::Stage::kClosing)) {
    if (ByteQueue* in = tcp.receive_queue(tunnel.connection)) {
      const uint64_t taken = tunnel.transport->on_bytes(*in, now, calendar);
      tcp.consumed(tunnel.connection, taken, now);
      take_chain(tunnel);
      if (tunnel.fin_received) tunnel.transport->on_end_of_bytes(*in, now);
    }
  }
  advance(tunnel, now);
}

void Tunnels::Impl::advance(Tunnel& tunnel, Instant now) {
  if (tunnel.stage == Tunnel::Stage::kRunning) {
    Transport& transport = *tunnel.transport;
    if (!tunnel.up && transport.was_up() && !on_up(tunnel, now)) return;
    take_session_events(tunnel);
    if (now >= tunnel.goaway_due || (tunnel.goaway_due != kNever && tunnel.streams_total > 0)) drain(tunnel, now);
    send(tunnel, now);
    take_session_events(tunnel);  // sending may have made room
    if (transport.http2() && transport.state() == Transport::State::kUp) {
      const http2::Session& session = *transport.http2();
      if (session.goaway().received) leave_pool(tunnel);
      // A stream that is over on the wire may still have bytes that nobody has read.
      const bool idle = tunnel.streams == 0 && session.streams_open() == 0;
      const bool leaves = tunnel.peer.side == Side::kClient ? !tunnel.pooled : session.drained();
      if (idle && leaves) return close(tunnel, now);
    }
    if (transport.loss() != Loss::kNone) return lose(tunnel, transport.loss(), transport.failure(), now);
  } else if (tunnel.stage == Tunnel::Stage::kClosing) {
    send(tunnel, now);
    // Both directions are finished: TCP does the rest by itself.
    if (tunnel.fin_sent && tunnel.fin_received) {
      tcp.release(tunnel.connection, now);
      tunnel.connection = {};
      drop_connection(tunnel, now);
    }
  }
  if (tunnel.stage == Tunnel::Stage::kGone && tunnel.streams == 0) return free_tunnel(tunnel);
  schedule(tunnel);
}

void Tunnels::Impl::send(Tunnel& tunnel, Instant now) {
  Transport& transport = *tunnel.transport;
  ByteQueue& out = transport.output();
  while (const uint64_t room = tcp.writable_bytes(tunnel.connection)) {
    transport.produce(room, now);
    if (out.empty()) break;
    // Whole buffers only, so that none has to be shown by a view.
    Packet bytes = out.bytes() <= kPacketBytesMax ? out.take_front(static_cast<uint32_t>(out.bytes()))
                                                  : out.take_front(static_cast<uint32_t>(out.front().size()));
    if (!tcp.write(tunnel.connection, std::move(bytes), now)) break;
  }
  if (transport.state() == Transport::State::kEnded && out.empty() && !tunnel.fin_sent) {
    tunnel.fin_sent = true;
    tcp.shutdown_write(tunnel.connection, now);
  }
}

// --- ends
// -------------------------------------------------------------------------------------------------------------

void Tunnels::Impl::close(Tunnel& tunnel, Instant now) {
  tunnel.refused_by_us = true;
  tunnel.transport->close(now);
  lose(tunnel, Loss::kClosed, "connection closed", now);
}

// The tunnel is over: its streams and waiters learn it, and what the transport has still to say is sent, if TCP stands.
void Tunnels::Impl::lose(Tunnel& tunnel, Loss loss, std::string text, Instant now) {
  const TunnelKey key = tunnel.key;
  const bool was_connecting = tunnel.pooled && !tunnel.up;
  leave_pool(tunnel);
  if (!tunnel.told) {
    tunnel.told = true;
    if (tunnel.stage == Tunnel::Stage::kRunning) take_session_events(tunnel);
    bool harmed = false;
    for (Stream* stream = tunnel.first_stream; stream; stream = stream->next_of_tunnel) {
      harmed = lose(*stream, loss, text) || harmed;
    }
    // The peer said all it had to say and closed in order: nobody has to hear of it.
    const bool quiet = tunnel.refused_by_us || (tunnel.up && !harmed && loss == Loss::kTruncated);
    if (!quiet) record_failure(tunnel, loss, text);
    // Nothing is read or written any more; what had come whole stays readable.
    if (tunnel.transport && tunnel.transport->http2())
      tunnel.transport->http2()->close(http2::ErrorCode::kNoError, text, now);
  }
  // A client drops a silent connection, a server says GOAWAY first (reference 4.2).
  const bool drop = loss == Loss::kPingTimeout && tunnel.peer.side == Side::kClient;
  if (drop || !tunnel.transport || !tcp.tuple(tunnel.connection)) {
    drop_connection(tunnel, now);
  } else if (tunnel.stage == Tunnel::Stage::kRunning) {
    tunnel.stage = Tunnel::Stage::kClosing;
    tunnel.idle_due = tunnel.goaway_due = kNever;
    tunnel.close_due = now + limits.close_timeout;
  }
  if (was_connecting) {
    while (const auto waiter = tunnel_pool.take_waiter(key)) {
      if (Stream* stream = find(*waiter); stream && stream->stage == Stream::Stage::kWaiting) lose(*stream, loss, text);
    }
    tunnel_pool.settle(key);
  }
  advance(tunnel, now);
}

void Tunnels::Impl::drop_connection(Tunnel& tunnel, Instant now) {
  tunnel.stage = Tunnel::Stage::kGone;
  tunnel.close_due = tunnel.idle_due = tunnel.goaway_due = kNever;
  if (tcp.tuple(tunnel.connection)) tcp.abort(tunnel.connection, now);
  tunnel.connection = {};
}

void Tunnels::Impl::record_failure(const Tunnel& tunnel, Loss loss, const std::string& text) {
  if (loss == Loss::kRevoked) {
    counters.add(tunnel.peer.side == Side::kClient ? Counter::kHboneCrlSourceRejected
                                                   : Counter::kHboneCrlDestinationRejected);
  }
  counters.drop(tunnel.up ? DropReason::kHboneTunnelLost
                          : (tunnel.transport ? DropReason::kHboneHandshakeFailed : DropReason::kHboneConnectFailed));
  if (failures.size() == kFailuresMax) {
    failures.pop_front();
    counters.drop(DropReason::kHboneFailureForgotten);
  }
  failures.push_back({tunnel.peer.side, tunnel.up, tunnel.peer.tuple, tunnel.peer.interface, loss, text});
}

void Tunnels::Impl::close_address(const IpAddress& local, Instant now) {
  for (size_t i = 0; i < tunnels.size(); ++i) {
    Tunnel* tunnel = tunnels[i].get();
    if (!tunnel || tunnel->peer.tuple.local.address != local || tunnel->stage == Tunnel::Stage::kGone) continue;
    cut(*tunnel, Loss::kClosed, "connection closed: workload is gone", now);
  }
}

void Tunnels::Impl::cut(Tunnel& tunnel, Loss loss, std::string_view text_in, Instant now) {
  const std::string text(text_in);
  for (Stream* stream = tunnel.first_stream; stream; stream = stream->next_of_tunnel) {
    if (http2::Session* session = session_of(*stream)) session->reset(stream->ref, http2::ErrorCode::kCancel);
    lose(*stream, loss, text);
  }
  tunnel.refused_by_us = true;
  if (tunnel.stage == Tunnel::Stage::kRunning) {
    send(tunnel, now);  // RST_STREAM goes before GOAWAY, behind which nothing is sent
    tunnel.transport->close(now);
  }
  lose(tunnel, loss, text, now);
}

void Tunnels::Impl::drain(Instant now) {
  draining = true;
  for (size_t i = 0; i < tunnels.size(); ++i) {
    Tunnel* tunnel = tunnels[i].get();
    if (!tunnel || !tunnel->up || tunnel->stage != Tunnel::Stage::kRunning) continue;
    drain(*tunnel, now);
    advance(*tunnel, now);
  }
}

void Tunnels::Impl::drain(Tunnel& tunnel, Instant now) {
  tunnel.goaway_due = kNever;
  tunnel.transport->http2()->drain(now);
  leave_pool(tunnel);
}

// --- revocation
// -------------------------------------------------------------------------------------------------------

void Tunnels::Impl::take_chain(Tunnel& tunnel) {
  const tls::Session* tls = tunnel.transport->tls();
  if (tunnel.chain_taken || !tls || tls->state() == tls::State::kHandshaking || tls->state() == tls::State::kFailed) {
    return;
  }
  tunnel.chain_taken = true;
  tls::Session::PeerChain chain = tunnel.transport->take_peer_chain();
  tunnel.chain = std::move(chain.mark);
  if (chain.tracked) return;
  counters.add(tunnel.peer.side == Side::kClient ? Counter::kHboneCrlSourceUntracked
                                                 : Counter::kHboneCrlDestinationUntracked);
}

void Tunnels::Impl::install(std::shared_ptr<const identity::CrlSet> set, Instant now) {
  revocation.install(std::move(set));
  for (size_t i = 0; i < tunnels.size(); ++i) {
    Tunnel* tunnel = tunnels[i].get();
    if (!tunnel || tunnel->stage != Tunnel::Stage::kRunning || !revocation.is_revoked(tunnel->chain)) continue;
    counters.add(tunnel->peer.side == Side::kClient ? Counter::kHboneCrlSourceClosed
                                                    : Counter::kHboneCrlDestinationClosed);
    cut(*tunnel, Loss::kRevoked, "connection closed: peer certificate revoked by CRL", now);
  }
}

TunnelInfo Tunnels::Impl::info(const Tunnel& tunnel, Instant now) const {
  TunnelInfo info;
  info.side = tunnel.peer.side;
  info.tuple = tunnel.peer.tuple;
  info.local_identity = tunnel.peer.local_identity.uri();
  if (!tunnel.peer.identities.empty()) info.peer_identity = tunnel.peer.identities.front().uri();
  info.streams = tunnel.streams;
  info.streams_total = tunnel.streams_total;
  info.age = now - tunnel.since;
  switch (tunnel.stage) {
    case Tunnel::Stage::kConnecting:
      info.state = "connecting";
      break;
    case Tunnel::Stage::kRunning:
      info.state = !tunnel.up ? "handshake" : "open";
      break;
    case Tunnel::Stage::kClosing:
    case Tunnel::Stage::kGone:
      info.state = "closing";
      break;
  }
  if (tunnel.up && tunnel.stage == Tunnel::Stage::kRunning && tunnel.peer.side == Side::kClient && !tunnel.pooled) {
    info.state = "draining";
  }
  if (tunnel.transport) {
    if (const tls::Session* tls = tunnel.transport->tls(); tls && tls->state() != tls::State::kHandshaking) {
      info.cipher = tls->cipher();
      info.group = tls->group();
      info.aead = tls->aead_backend();
      info.records_sealed = tls->counts().records_sealed;
      info.records_opened = tls->counts().records_opened;
      info.bytes_sealed = tls->counts().bytes_sealed;
      info.bytes_opened = tls->counts().bytes_opened;
    }
  }
  return info;
}

// --- the door
// ---------------------------------------------------------------------------------------------------------

Tunnels::Tunnels(const Limits& limits, tcp::Stack& tcp, BufferPool& pool, Counters& counters,
                 CredentialSource& credentials, tls::AeadBackend& aead, uint64_t seed)
    : impl_(std::make_unique<Impl>(limits, tcp, pool, counters, credentials, aead, seed)) {}
Tunnels::~Tunnels() = default;

void Tunnels::set_calendar(UnixTime now) { impl_->calendar = now; }
bool Tunnels::on_tcp_event(const tcp::Event& event, Instant now) { return impl_->on_tcp_event(event, now); }
void Tunnels::poll(Instant now) { impl_->poll(now); }
void Tunnels::flush(Instant now) { impl_->flush(now); }
Instant Tunnels::next_deadline() const { return impl_->timers.next_deadline(); }

size_t Tunnels::take_failures(std::span<TunnelFailure> out) {
  size_t count = 0;
  for (; count < out.size() && !impl_->failures.empty(); ++count) {
    out[count] = std::move(impl_->failures.front());
    impl_->failures.pop_front();
  }
  return count;
}

void Tunnels::close_address(const IpAddress& local, Instant now) { impl_->close_address(local, now); }

void Tunnels::drain(Instant now) { impl_->drain(now); }

void Tunnels::close_all(std::string_view text, Instant now) {
  for (size_t i = 0; i < impl_->tunnels.size(); ++i) {
    Tunnel* tunnel = impl_->tunnels[i].get();
    if (tunnel && tunnel->stage != Tunnel::Stage::kGone) impl_->cut(*tunnel, Loss::kClosed, text, now);
  }
}

void Tunnels::install(std::shared_ptr<const identity::CrlSet> set, Instant now) { impl_->install(std::move(set), now); }

uint32_t Tunnels::tunnels() const { return impl_->tunnel_count; }
uint32_t Tunnels::streams() const { return impl_->stream_count; }

uint32_t Tunnels::server_tunnels() const {
  return static_cast<uint32_t>(std::count_if(impl_->tunnels.begin(), impl_->tunnels.end(),
                                             [](const auto& t) { return t && t->peer.side == Side::kServer; }));
}

void Tunnels::for_each_tunnel(void (*visit)(void* context, const TunnelInfo& info), void* context, Instant now) const {
  for (const auto& tunnel : impl_->tunnels) {
    if (tunnel) visit(context, impl_->info(*tunnel, now));
  }
}

}  // namespace culvert::hbone
