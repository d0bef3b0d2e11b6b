// From one side to the other: bytes with back-pressure, and the ways in which a direction or a session ends.
//
//   pod FIN            ─▶ END_STREAM            END_STREAM           ─▶ FIN
//   pod RST, time-out  ─▶ RST_STREAM(CANCEL)    RST_STREAM, lost tunnel, refusal ─▶ RST
//
// Nothing is held here: bytes are taken from one side only when the other has room for them, so a side that stalls
// fills its own window and nobody else's. Reads are as large as what is there and what there is room for, in one
// packet.
#include <algorithm>

#include "proxy/impl.h"

namespace culvert::proxy {

void Proxy::Impl::queue(Session& session) {
  if (session.queued) return;
  session.queued = true;
  work.push_back(session.handle());
}

uint64_t Proxy::Impl::readable_bytes(const Session& session) const {
  return session.has_tcp ? tcp.readable_bytes(session.tcp) : session.last_bytes.bytes();
}

Packet Proxy::Impl::read(Session& session, uint64_t bytes_max, Instant now) {
  const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes_max, kPacketBytesMax));
  return session.has_tcp ? tcp.read(session.tcp, bytes, now) : session.last_bytes.take_front(bytes);
}

void Proxy::Impl::splice(Session& session, Instant now) {
  if (session.state != SessionState::kOpen) return;
  bool more = false;
  bool empty_pool = false;

  // Pod to tunnel. What a stopped stream does not take any more stays where it is.
  for (uint64_t moved = 0; !session.pod_ended && !session.stream_stopped;) {
    const uint64_t room = std::min(tunnels.writable_bytes(session.stream), readable_bytes(session));
    if (room == 0) break;
    if (moved >= kSpliceBytesPerTurn) {
      more = true;
      break;
    }
    Packet bytes = read(session, std::min(room, kSpliceBytesPerTurn), now);
    if (!bytes) {
      empty_pool = true;
      break;
    }
    const uint32_t n = bytes.bytes();
    // Refused only when the stream is gone; the event that says why is on its way.
    if (!tunnels.write(session.stream, std::move(bytes), now)) break;
    moved += n;
    session.bytes_sent += n;
    (session.direction == Direction::kOutbound ? session.series->received_bytes : session.series->sent_bytes) += n;
    counters.add(Counter::kProxyByteToTunnel, n);
  }
  const bool pod_finished = session.has_tcp ? tcp.peer_finished(session.tcp) : session.last_bytes.empty();
  if (!session.pod_ended && !session.stream_stopped && pod_finished) {
    tunnels.finish(session.stream, now);
    session.pod_ended = true;
    counters.add(Counter::kProxyFinToTunnel);
  }

  // Tunnel to pod.
  for (uint64_t moved = 0; !session.stream_ended;) {
    const uint64_t room = std::min(tcp.writable_bytes(session.tcp), tunnels.readable_bytes(session.stream));
    if (room == 0) break;
    if (moved >= kSpliceBytesPerTurn) {
      more = true;
      break;
    }
    Packet bytes = tunnels.read(session.stream, static_cast<uint32_t>(std::min(room, kSpliceBytesPerTurn)), now);
    if (!bytes) {
      empty_pool = true;
      break;
    }
    const uint32_t n = bytes.bytes();
    if (!tcp.write(session.tcp, std::move(bytes), now)) break;
    moved += n;
    session.bytes_received += n;
    (session.direction == Direction::kOutbound ? session.series->sent_bytes : session.series->received_bytes) += n;
    counters.add(Counter::kProxyByteToPod, n);
  }
  if (!session.stream_ended && tunnels.peer_finished(session.stream)) {
    tcp.shutdown_write(session.tcp, now);
    session.stream_ended = true;
    counters.add(Counter::kProxyFinToPod);
  }

  if (more) queue(session);
  if (empty_pool) {
    counters.add(Counter::kProxySpliceStarved);
    if (starved.empty()) starved_until = now + kStarvedRetry;
    starved.push_back(session.handle());
  }
  settle(session, now);
}

void Proxy::Impl::on_pod_closed(Session& session, Instant now) {
  while (tcp.readable_bytes(session.tcp) > 0) {
    Packet bytes = tcp.read(session.tcp, kPacketBytesMax, now);
    if (!bytes) {
      // Without a buffer view to take them by, these bytes are lost, and their loss must be seen.
      end(session, End::kReset, "io error: no buffer for the pod's last bytes", now);
      return;
    }
    session.last_bytes.append(std::move(bytes));
  }
  forget_pod(session, now);
  queue(session);
}

void Proxy::Impl::settle(Session& session, Instant now) {
  if (session.state != SessionState::kOpen || !session.stream_ended) return;
  if (session.stream_stopped) {
    // The pod has the whole answer and knows that it is whole; only then may it learn, by a reset, that the rest of
    // what it sent was not taken. A connection without an owner does that by itself.
    if (session.has_tcp && !session.fin_acked) return;
    const bool cut = readable_bytes(session) > 0 || tunnels.unsent_bytes(session.stream) > 0;
    end(session, End::kClean, cut ? "send: the peer took no more bytes" : "", now);
    return;
  }
  if (!session.pod_ended) return;
  // TCP delivers what is queued, and its FIN, without an owner. The stream is let go when its last bytes have left.
  if (session.has_tcp) forget_pod(session, now);
  session.state = SessionState::kDraining;
  draining.push_back(session.handle());
}

void Proxy::Impl::on_pod_event(Session& session, tcp::EventKind kind, Instant now) {
  switch (kind) {
    case tcp::EventKind::kAccepted:
      return;
    case tcp::EventKind::kSent:
      session.fin_acked = true;
      if (session.stream_stopped) queue(session);
      return;
    case tcp::EventKind::kConnected:
      if (session.state == SessionState::kConnecting) on_pod_connected(session, now);
      return;
    case tcp::EventKind::kReadable:
    case tcp::EventKind::kWritable:
    case tcp::EventKind::kPeerFin:
      queue(session);
      return;
    case tcp::EventKind::kClosed:
      on_pod_closed(session, now);
      return;
    case tcp::EventKind::kRefused:
    case tcp::EventKind::kReset:
    case tcp::EventKind::kTimedOut:
      break;
  }
  const bool timed_out = kind == tcp::EventKind::kTimedOut;
  forget_pod(session, now);
  if (session.direction == Direction::kInbound && session.state == SessionState::kConnecting) {
    on_pod_unreachable(session, timed_out ? "connection timed out" : "connection refused", now);
    return;
  }
  end(session, End::kReset,
      timed_out ? "io error: connection to the pod timed out" : "io error: connection reset by the pod", now);
}

void Proxy::Impl::on_stream_event(Session& session, const hbone::Event& event, Instant now) {
  switch (event.kind) {
    case hbone::EventKind::kRequest:
      return;
    case hbone::EventKind::kEstablished:
      if (session.state != SessionState::kConnecting) return;
      timers.cancel(session.timer);
      session.state = SessionState::kOpen;
      counters.add(Counter::kProxyOutboundOpened);
      queue(session);
      return;
    case hbone::EventKind::kRefused:
      forget_stream(session, now);
      counters.drop(DropReason::kProxyConnectRefused);
      end(session, End::kReset, "http status: " + hbone::status_text(static_cast<uint16_t>(event.code)), now);
      return;
    case hbone::EventKind::kReadable:
    case hbone::EventKind::kWritable:
    case hbone::EventKind::kEndOfStream:
      queue(session);
      return;
    case hbone::EventKind::kStopped:
      session.stream_stopped = true;
      queue(session);
      return;
    case hbone::EventKind::kReset: {
      forget_stream(session, now);
      const auto code = static_cast<http2::ErrorCode>(event.code);
      end(session, End::kReset, "receive: stream reset by the peer: " + std::string(http2::name_of(code)), now);
      return;
    }
    case hbone::EventKind::kLost: {
      const bool draining_still = session.state == SessionState::kDraining;
      const bool unsent = tunnels.unsent_bytes(session.stream) > 0;
      std::string why(tunnels.failure(session.stream));
      if (why.empty()) why = "connection failed: " + std::string(hbone::name_of(event.loss));
      forget_stream(session, now);
      if (draining_still && !unsent) {
        end(session, End::kClean, {}, now);
        return;
      }
      counters.drop(event.loss == hbone::Loss::kRevoked ? DropReason::kProxyPeerRevoked : DropReason::kProxyTunnelLost);
      end(session, End::kReset, why, now, AccessEvent::kComplete, flag_of(event.loss, why));
      return;
    }
  }
}

void Proxy::Impl::forget_pod(Session& session, Instant now) {
  owners.clear(session.tcp);
  if (session.direction == Direction::kOutbound) --pods_connected;
  tcp.release(session.tcp, now);
  session.has_tcp = false;
}

void Proxy::Impl::forget_stream(Session& session, Instant now) {
  tunnels.set_cookie(session.stream, 0);
  tunnels.release(session.stream, now);
  session.has_stream = false;
}

void Proxy::Impl::end(Session& session, End how, std::string_view error, Instant now, AccessEvent event,
                      ResponseFlag flag) {
  log(session, event, error, now);
  if (session.series) traffic.close(*session.series, error.empty() ? ResponseFlag::kNone : flag, now);
  counters.add(error.empty() ? Counter::kProxySessionCompleted : Counter::kProxySessionFailed);
  timers.cancel(session.timer);
  if (session.has_tcp) {
    if (how == End::kReset) {
      tcp.abort(session.tcp, now);
      counters.add(Counter::kProxyResetToPod);
    }
    forget_pod(session, now);
  }
  if (session.has_stream) {
    if (how == End::kReset) {
      tunnels.reset(session.stream, http2::ErrorCode::kCancel, now);
      counters.add(Counter::kProxyResetToTunnel);
    }
    forget_stream(session, now);
  }
  sessions.destroy(session);
}

}  // namespace culvert::proxy
