// Accepting: a TCP connection to port 15008 becomes a tunnel that shows the certificate of the pod it was addressed to
// (reference 11.1), and each CONNECT on it a stream.
#include "hbone/tunnels_impl.h"

namespace culvert::hbone {

void Tunnels::Impl::accept(tcp::ConnectionId connection, Instant now) {
  if (tunnel_count >= limits.tunnels_max) {
    counters.drop(DropReason::kHboneTunnelsFull);
    tcp.abort(connection, now);
    return;
  }
  Tunnel& tunnel = take_tunnel(connection, now);
  tunnel.peer.side = Side::kServer;
  tunnel.peer.interface = tcp.interface_of(connection);
  tunnel.peer.tuple = *tcp.tuple(connection);

  tls::SessionConfig config;
  config.role = tls::Role::kServer;
  config.credentials = credentials.server(tunnel.peer.interface, tunnel.peer.tuple.local.address);
  if (!config.credentials) {
    counters.drop(DropReason::kHboneNoCredentials);
    lose(tunnel, Loss::kNoCredentials, "no valid certificate for the destination workload", now);
    return;
  }
  config.revocation = &revocation;
  config.client_certificate = tls::ClientCertificate::kRequired;
  if (const auto& own = config.credentials->identities(); !own.empty()) {
    tunnel.peer.local_identity = own.front();
    config.required_trust_domain = own.front().trust_domain;  // reference 3.4
  }
  config.aead = &aead;
  config.key_update_every_bytes = limits.key_update_every_bytes;
  // The ClientHello may have come with the handshake's last ACK.
  if (start_transport(tunnel, config, now)) pump(tunnel, now);
}

void Tunnels::Impl::on_request(Tunnel& tunnel, http2::StreamRef ref) {
  http2::Session& session = *tunnel.transport->http2();
  Stream& stream = take_stream();
  stream.stage = Stream::Stage::kActive;
  attach(stream, tunnel, ref);
  session.set_cookie(ref, uint64_t{stream.generation} << 32 | stream.index);
  const auto fields = session.headers(ref);
  stream.request = std::make_unique<ConnectRequest>(parse_request(fields));
  session.drop_headers(ref);
  counters.add(Counter::kHboneStreamReceived);
  if (stream.request->fault != RequestFault::kNone) counters.drop(DropReason::kHboneRequestInvalid);
  notify(stream, EventKind::kRequest);
}

}  // namespace culvert::hbone
