// Opening streams: a tunnel from the pool, or one that is being made, or a new one (reference 6).
#include <algorithm>

#include "hbone/tunnels_impl.h"

namespace culvert::hbone {

namespace {

// PING takes the place of TCP's keepalive on tunnels (reference 27).
tcp::ConnectionOptions options_for(const Limits& limits) {
  tcp::ConnectionOptions options;
  options.keepalive = false;
  options.syn_timeout = limits.connect_timeout;
  return options;
}

// For a client's first request, on a tunnel that came up while the node drains.
constexpr Duration kLateGoaway = 250ms;

OpenError open_error(http2::RequestError error) {
  switch (error) {
    case http2::RequestError::kTooLarge:
      return OpenError::kTooLarge;
    case http2::RequestError::kFull:
    case http2::RequestError::kGoaway:
    case http2::RequestError::kEnded:
    case http2::RequestError::kNoMemory:
      break;
  }
  return OpenError::kFull;
}

}  // namespace

Result<StreamId, OpenError> Tunnels::Impl::open(const TunnelKey& key, const ConnectHeaders& headers, Instant now) {
  Pool::Entry* entry = tunnel_pool.find(key);
  if (entry && entry->ready) {
    // Taken out when it can carry one more; a tunnel that cannot has left the pool already.
    Tunnel& tunnel = *tunnels[*entry->ready];
    if (tunnel.transport->http2()->streams_left() > 0) {
      Stream& stream = take_stream();
      if (auto requested = request(stream, tunnel, headers, now); !requested) {
        const OpenError error = requested.error();
        free_stream(stream);
        return error;
      }
      return stream.id();
    }
    leave_pool(tunnel);
    entry = nullptr;
  }
  if (waiting >= limits.waiters_max) {
    counters.drop(DropReason::kHboneWaitersFull);
    return OpenError::kFull;
  }
  entry = tunnel_pool.find(key);
  if (!entry || !entry->connecting) {
    if (auto made = connect(key, now); !made) return made.error();
  }
  Stream& stream = take_stream();
  stream.stage = Stream::Stage::kWaiting;
  stream.pending = std::make_unique<Pending>();
  stream.pending->key = key;
  stream.pending->headers = headers;
  ++waiting;
  counters.add(Counter::kHboneStreamWaited);
  tunnel_pool.find_or_make(key).waiters.push_back(stream.id());
  return stream.id();
}

Result<Tunnel*, OpenError> Tunnels::Impl::connect(const TunnelKey& key, Instant now) {
  if (tunnel_count >= limits.tunnels_max) {
    counters.drop(DropReason::kHboneTunnelsFull);
    return OpenError::kFull;
  }
  // Taken at connect time; a rotation does not touch tunnels that live (reference 6).
  auto proof = credentials.client(key.source_identity);
  if (!proof) {
    counters.drop(DropReason::kHboneNoCredentials);
    return OpenError::kNoCredentials;
  }
  const auto connection = tcp.connect(key.interface, {{key.source, 0}, key.destination}, options_for(limits), now);
  if (!connection) {
    counters.drop(DropReason::kHboneConnectFailed);
    return connection.error() == tcp::Stack::ConnectError::kFull ? OpenError::kFull : OpenError::kNoPort;
  }
  Tunnel& tunnel = take_tunnel(*connection, now);
  tunnel.key = key;
  tunnel.credentials = std::move(proof);
  tunnel.peer.side = Side::kClient;
  tunnel.peer.interface = key.interface;
  tunnel.peer.tuple = *tcp.tuple(*connection);
  tunnel.peer.local_identity = key.source_identity;
  tunnel.pooled = true;
  tunnel_pool.find_or_make(key).connecting = tunnel.index;
  return &tunnel;
}

void Tunnels::Impl::on_connected(Tunnel& tunnel, Instant now) {
  if (tunnel.stage != Tunnel::Stage::kConnecting) return;
  tls::SessionConfig config;
  config.role = tls::Role::kClient;
  config.credentials = std::move(tunnel.credentials);
  config.expected_peers = tunnel.key.expected;
  config.revocation = &revocation;
  config.aead = &aead;
  config.key_update_every_bytes = limits.key_update_every_bytes;
  if (start_transport(tunnel, config, now)) pump(tunnel, now);
}

// SETTINGS came: the server has judged our certificate, we have judged its (D6).
bool Tunnels::Impl::on_up(Tunnel& tunnel, Instant now) {
  if (calendar >= tunnel.own_not_after) {
    counters.drop(DropReason::kHboneCredentialsExpired);
    lose(tunnel, Loss::kNoCredentials, "no valid certificate for " + tunnel.peer.local_identity.uri(), now);
    return false;
  }
  tunnel.up = true;
  if (const tls::Session* tls = tunnel.transport->tls()) tunnel.peer.identities = tls->peer_identities();
  if (tunnel.peer.side == Side::kServer) {
    counters.add(Counter::kHboneTunnelAccepted);
    // A client takes no stream to a connection that says GOAWAY at once: what it made this one for comes first.
    if (draining) tunnel.goaway_due = now + kLateGoaway;
    return true;
  }
  counters.add(Counter::kHboneTunnelConnected);
  if (!tunnel.pooled) return true;
  tunnel_pool.on_up(tunnel.key, tunnel.index);
  tunnel.idle_due = now + limits.idle_release;
  serve_waiters(tunnel.key, now);
  if (draining) leave_pool(tunnel);
  return true;
}

// Hands the ready tunnel to waiters, oldest first, until it is full; then one more is made for the rest. False: the
// rest has been lost.
bool Tunnels::Impl::serve_waiters(const TunnelKey& key_in, Instant now) {
  const TunnelKey key = key_in;  // its tunnel may go
  for (;;) {
    Pool::Entry* entry = tunnel_pool.find(key);
    if (!entry || entry->waiters.empty()) break;
    if (!entry->ready) {
      if (entry->connecting) return true;
      const auto made = connect(key, now);
      if (made) return true;
      while (const auto waiter = tunnel_pool.take_waiter(key)) {
        if (Stream* stream = find(*waiter); stream && stream->stage == Stream::Stage::kWaiting) {
          const bool proof = made.error() == OpenError::kNoCredentials;
          lose(*stream, proof ? Loss::kNoCredentials : Loss::kNoMemory,
               proof ? "no certificate for the source identity" : "no room for another tunnel");
        }
      }
      tunnel_pool.settle(key);
      return false;
    }
    Tunnel& tunnel = *tunnels[*entry->ready];
    const auto waiter = tunnel_pool.take_waiter(key);
    Stream* stream = find(*waiter);
    if (!stream || stream->stage != Stream::Stage::kWaiting) continue;  // withdrawn meanwhile
    if (tunnel.transport->http2()->streams_left() == 0) {
      // A peer that says GOAWAY before it took a stream would have us connect for ever: nothing is tried again.
      if (tunnel.streams_total == 0) {
        lose(*stream, Loss::kGoaway, "h2 failed: peer takes no streams");
        continue;
      }
      tunnel_pool.find_or_make(key).waiters.push_front(*waiter);
      leave_pool(tunnel);
      continue;
    }
    std::unique_ptr<Pending> pending = std::move(stream->pending);
    --waiting;
    const auto requested = request(*stream, tunnel, pending->headers, now);
    if (!requested) {
      const bool large = requested.error() == OpenError::kTooLarge;
      lose(*stream, large ? Loss::kProtocol : Loss::kNoMemory,
           large ? "header fields beyond the peer's limit" : "no memory for another stream");
      continue;
    }
    http2::Session& session = *tunnel.transport->http2();
    while (!pending->written.empty()) {
      const auto bytes = static_cast<uint32_t>(pending->written.front().size());
      session.write(stream->ref, pending->written.take_front(bytes));
    }
    if (pending->finish) session.finish(stream->ref);
  }
  return true;
}

Result<void, OpenError> Tunnels::Impl::request(Stream& stream, Tunnel& tunnel, const ConnectHeaders& headers,
                                               Instant now) {
  std::vector<http2::Header> fields;
  fields.reserve(6);
  append_fields(headers, fields);
  http2::Session& session = *tunnel.transport->http2();
  const uint64_t cookie = uint64_t{stream.generation} << 32 | stream.index;
  const auto ref = session.request(fields, cookie, now);
  if (!ref) return open_error(ref.error());
  stream.stage = Stream::Stage::kActive;
  attach(stream, tunnel, *ref);
  counters.add(Counter::kHboneStreamRequested);
  if (tunnel.pooled) tunnel.idle_due = now + limits.idle_release;
  // "Once taken out it does not return to the pool when streams end" (reference 6).
  if (session.streams_left() == 0) leave_pool(tunnel);
  mark(tunnel);
  return {};
}

void Tunnels::Impl::leave_pool(Tunnel& tunnel) {
  tunnel.idle_due = kNever;
  if (!tunnel.pooled) return;
  tunnel.pooled = false;
  tunnel_pool.remove(tunnel.key, tunnel.index);
  tunnel_pool.settle(tunnel.key);
  mark(tunnel);  // without streams it closes
}

void Tunnels::Impl::on_response(Stream& stream, http2::Session& session) {
  const auto fields = session.headers(stream.ref);
  auto response = std::make_unique<ConnectResponse>(parse_response(fields));
  session.drop_headers(stream.ref);
  if (response->status == kStatusOk) {
    stream.response = std::move(response);
    notify(stream, EventKind::kEstablished);
    return;
  }
  // Any other status ends the attempt (reference 5.4).
  stream.code = response->status;
  end(stream, EventKind::kRefused);
}

}  // namespace culvert::hbone
