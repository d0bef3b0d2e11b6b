// The end of a core (reference 21.4, RFC 9113 6.8):
//
//   drain()       SYNs are left without an answer, tunnels say GOAWAY, sessions go on
//   each turn     the last session is over: the tail begins, in which tunnels and connections close in order
//   at `due`      what sessions are left are reset towards both sides, and their tunnels closed
//   done          nothing is left, or the tail is over: what TCP still holds is reset
//
// A stream that a peer asked for before it saw the last GOAWAY is served like any other and puts the tail off.
#include "proxy/impl.h"

namespace culvert::proxy {

namespace {

constexpr std::string_view kDrainText = "connection closed due to connection drain";
// How often it is looked whether something came to its end without an event that says so.
constexpr Duration kLookAgain = 20ms;

}  // namespace

void Proxy::Impl::begin_drain(Instant due, Instant now) {
  if (drain) {
    drain->due = std::min(drain->due, due);
  } else {
    drain.emplace().due = due;
    tunnels.drain(now);
  }
  drain->wake = now;
}

bool Proxy::Impl::advance_drain(Instant now) {
  Drain& d = *drain;
  d.wake = kNever;
  if (d.done) return false;
  if (now >= d.due && sessions.live() > 0 && cut_sessions(now)) return true;
  if (sessions.live() > 0) {
    d.tail_due = kNever;
    d.wake = now < d.due ? d.due : now + 1ms;  // after it: the log had no room
    return false;
  }
  if (d.tail_due == kNever) d.tail_due = now + kDrainTail;
  if (now >= d.tail_due) tunnels.close_all(kDrainText, now);
  tunnels.flush(now);
  const bool quiet = tunnels.tunnels() == 0 && tcp.connections() == 0;
  if (quiet || (now >= d.tail_due && (now >= d.due || !pods_wait_for_bytes()))) {
    tcp.abort_all(now);
    d.done = true;
    return false;
  }
  d.wake = now + kLookAgain;
  return false;
}

bool Proxy::Impl::cut_sessions(Instant now) {
  Drain& d = *drain;
  if (!sink.has_room() && now < d.due + kDrainLogPatience) return false;
  const uint32_t slots = sessions.slots();
  uint32_t cut = 0;
  for (uint32_t looked = 0; looked < slots && cut < kDrainCutPerTurn; ++looked) {
    Session& session = sessions.slot(d.next_slot++ % slots);
    if (session.state == SessionState::kFree) continue;
    counters.drop(DropReason::kProxyDrainDeadline);
    end(session, End::kReset, kDrainText, now);
    ++cut;
  }
  tunnels.flush(now);
  return sessions.live() > 0;
}

// A pod that reads slowly has until the deadline for what a finished session left for it.
bool Proxy::Impl::pods_wait_for_bytes() const {
  struct Look {
    const Impl* self;
    bool found;
  } look{this, false};
  tcp.for_each_released(
      [](void* context, InterfaceId interface, uint64_t unacknowledged_bytes) {
        auto& l = *static_cast<Look*>(context);
        l.found = l.found || (unacknowledged_bytes > 0 && l.self->pods.contains(interface));
      },
      &look);
  return look.found;
}

}  // namespace culvert::proxy
