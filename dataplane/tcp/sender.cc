// What leaves next: retransmissions first, then a tail loss probe, then new data as windows, Nagle and silly-window
// avoidance allow (RFC 9293 3.8.6.2.1), then a window probe.
#include "tcp/sender.h"

#include <algorithm>

namespace culvert::tcp {

namespace {

// A tail loss probe waits at least this long: two of Linux's timer ticks; below it a busy peer looks like a lossy one.
constexpr Duration kTailProbeMin = 2ms;
// RFC 8985 7.2: added when a single segment is in flight, whose ACK the peer may delay.
constexpr Duration kPeerAckDelayMax = 200ms;

}  // namespace

void Sender::start(Seq iss, Counters& counters) {
  counters_ = &counters;
  iss_ = una_ = iss;
  nxt_ = iss + 1;
}

void Sender::open(const Negotiated& negotiated, Seq window_seq, Seq window_ack) {
  una_ = iss_ + 1;
  open_ = true;
  wnd_ = wnd_max_ = negotiated.window;
  window_scale_ = negotiated.window_scale;
  wl1_ = window_seq;
  wl2_ = window_ack;
  mss_ = negotiated.mss;
  sack_ = negotiated.sack;
  timestamps_ = negotiated.timestamps;
  nodelay_ = negotiated.nodelay;
  congestion_.start(negotiated.congestion, mss_);
}

void Sender::set_mss(uint32_t mss, Instant now) {
  if (mss >= mss_) return;
  mss_ = mss;
  congestion_.set_mss(mss);
  if (!open_ || board_.empty()) return;
  // RFC 1191 6.5: what was too long is sent again, and this is no sign of congestion.
  if (board_.mark_longer_lost(mss) > 0) {
    retransmit_now_ = true;
    if (phase_ == Phase::kOpen) {
      phase_ = Phase::kRecovery;
      begin_episode();
      // Nothing is reduced: the window stays where it is through the recovery.
      recover_fs_ = std::max(flight_size(), 1u);
      congestion_.hold();
    }
    arm_retransmit(now);
  }
}

uint64_t Sender::sent_queue_bytes() const {
  if (!open_ || una_ == nxt_) return 0;
  return bytes_between(una_, nxt_) - (fin_sent_ ? 1u : 0u);
}

uint32_t Sender::in_flight() const {
  const uint32_t board = board_.in_flight_bytes();
  // Without SACK a duplicate ACK says that some segment arrived, not which (RFC 5681 3.2 step 4).
  const uint32_t arrived = dup_acks_ * mss_;
  return board > arrived ? board - arrived : 0;
}

void Sender::note_waiting(Instant now) {
  if (waiting_since_ == kNever) waiting_since_ = now;
}

std::optional<Sender::Plan> Sender::next(uint32_t segment_bytes, uint32_t bytes_max, Instant now) {
  if (!open_) return std::nullopt;
  if (board_.lost_bytes() > 0) return next_retransmission(segment_bytes, std::max(segment_bytes, bytes_max));
  if (probe_due_) {
    if (auto plan = next_tail_probe(segment_bytes)) return plan;
    probe_due_ = false;
  }
  return next_new(segment_bytes, std::max(segment_bytes, bytes_max), now);
}

std::optional<Sender::Plan> Sender::next_retransmission(uint32_t segment_bytes, uint32_t bytes_max) {
  const SentRange* lost = board_.first_lost();
  const uint32_t cwnd = congestion_.cwnd();
  const uint32_t pipe = in_flight();
  uint32_t room = cwnd > pipe ? cwnd - pipe : 0;
  const uint32_t wanted = std::min(lost->bytes(), segment_bytes);
  if (retransmit_now_) room = std::max(room, segment_bytes);
  if (room < wanted) {
    window_limited_ = true;
    return std::nullopt;
  }
  uint32_t limit = std::min(room, bytes_max);
  if (limit > segment_bytes) limit -= limit % segment_bytes;
  Seq end = board_.lost_end(lost->begin, limit);

  Plan plan;
  plan.seq = lost->begin;
  // FIN takes the last number; it rides on the data before it.
  plan.fin = fin_sent_ && end == nxt_;
  plan.bytes = bytes_between(plan.seq, end) - (plan.fin ? 1u : 0u);
  // A window that shrank since (RFC 9293 3.8.6: robust against it): only the first segment may test it.
  if (plan.seq != una_ && bytes_between(una_, end) > std::max(wnd_, 1u)) return std::nullopt;
  plan.push = plan.seq + plan.bytes == una_ + static_cast<uint32_t>(queue.bytes());
  plan.cause = phase_ == Phase::kLoss ? Plan::Cause::kTimeout : Plan::Cause::kFast;
  return plan;
}

std::optional<Sender::Plan> Sender::next_tail_probe(uint32_t segment_bytes) {
  Plan plan;
  plan.cause = Plan::Cause::kTailProbe;
  const auto unsent = static_cast<uint32_t>(std::min<uint64_t>(unsent_bytes(), segment_bytes));
  const uint32_t used = flight_size();
  if (unsent > 0 && wnd_ > used) {
    plan.seq = nxt_;
    plan.bytes = std::min(unsent, wnd_ - used);
    plan.push = plan.bytes == unsent_bytes();
    return plan;
  }
  if (board_.empty()) return std::nullopt;
  const SentRange& last = board_.back();
  plan.again = true;
  plan.seq = last.bytes() > segment_bytes ? last.end - segment_bytes : last.begin;
  plan.fin = fin_sent_;
  plan.bytes = bytes_between(plan.seq, last.end) - (plan.fin ? 1u : 0u);
  plan.push = true;
  return plan;
}

std::optional<Sender::Plan> Sender::next_new(uint32_t segment_bytes, uint32_t bytes_max, Instant now) {
  const uint64_t unsent = unsent_bytes();
  const bool fin_unsent = fin_queued_ && !fin_sent_;
  if ((unsent == 0 && !fin_unsent) || fin_sent_) return std::nullopt;
  if (!outstanding()) restart_after_idle(now);
  note_waiting(now);

  const uint32_t used = flight_size();
  const uint32_t window_room = wnd_ > used ? wnd_ - used : 0;
  const uint32_t cwnd = congestion_.cwnd();
  const uint32_t pipe = in_flight();
  const uint32_t cwnd_room = cwnd > pipe ? cwnd - pipe : 0;

  Plan plan;
  plan.seq = nxt_;
  uint64_t bytes = std::min({unsent, uint64_t{window_room}, uint64_t{bytes_max}});
  const bool whole_queue_fits = bytes == unsent;

  // The peer's window: send a full segment, or all there is, or half of the largest window it ever offered; anything
  // smaller waits for the window or, when nothing is in flight to bring an ACK, for the persist timer.
  const bool worth = bytes >= segment_bytes || (whole_queue_fits && (unsent > 0 || window_room > 0)) ||
                     (bytes > 0 && bytes >= wnd_max_ / 2);
  if (!worth && !persist_due_) {
    if (!outstanding() && persist_at_ == kNever) arm_persist(now);
    return std::nullopt;
  }
  if (!worth && bytes == 0) {
    plan.seq = una_ - 1;
    plan.cause = Plan::Cause::kWindowProbe;
    return plan;
  }
  // Nagle (RFC 9293 3.7.4): a short segment waits while something is unacknowledged.
  if (!nodelay_ && bytes < segment_bytes && outstanding() && !fin_unsent) return std::nullopt;

  // The network: a segment leaves whole or not at all; one may always be in flight.
  // A bare FIN is let through, as in Linux: the peer can do its part of the close meanwhile.
  const uint64_t least = std::min<uint64_t>(bytes, segment_bytes);
  if (pipe > 0 && cwnd_room < least) {
    window_limited_ = true;
    return std::nullopt;
  }
  if (board_.full()) return std::nullopt;
  bytes = std::min<uint64_t>(bytes, std::max(cwnd_room, segment_bytes));
  // Short segments only at the end of the queue.
  if (bytes < unsent && bytes > segment_bytes) bytes -= bytes % segment_bytes;

  plan.bytes = static_cast<uint32_t>(bytes);
  plan.push = bytes == unsent;
  plan.fin = fin_unsent && plan.push && window_room > bytes;
  if (plan.bytes == 0 && !plan.fin) return std::nullopt;
  return plan;
}

void Sender::restart_after_idle(Instant now) {
  const Duration rto = rtt_.base_rto();
  if (last_sent_ == Instant{} || now - last_sent_ <= rto) return;
  if (congestion_.cwnd() > congestion_.initial_window()) {
    congestion_.on_idle(now - last_sent_, rto, now);
    counters_->add(Counter::kTcpIdleRestart);
  }
  last_sent_ = now;
}

void Sender::sent(const Plan& plan, uint32_t timestamp, Instant now) {
  if (plan.cause == Plan::Cause::kWindowProbe) {
    counters_->add(Counter::kTcpWindowProbe);
    persist_due_ = false;
    ++probes_unanswered_;
    if (persist_backoff_ < 16) ++persist_backoff_;
    arm_persist(now);
    return;
  }
  const Seq end = plan.seq + plan.bytes + (plan.fin ? 1u : 0u);
  last_sent_ = now;
  if (plan.retransmits()) {
    board_.retransmitted(plan.seq, end, now);
    bytes_retransmitted_ += plan.bytes;
    counters_->add(Counter::kTcpRetransmitByte, plan.bytes);
    if (plan.cause == Plan::Cause::kFast) counters_->add(Counter::kTcpFastRetransmit);
    if (plan.cause == Plan::Cause::kTimeout) counters_->add(Counter::kTcpTimeoutRetransmit);
    if (plan.cause != Plan::Cause::kTailProbe) {
      retransmit_now_ = false;
      prr_out_ += plan.bytes;
      undo_bytes_ += bytes_between(plan.seq, end);
      if (!undo_stamped_) {
        undo_stamped_ = true;
        undo_timestamp_ = timestamp;
      }
      arm_retransmit(now);
    }
  } else {
    board_.sent(plan.seq, end, now);
    nxt_ = end;
    fin_sent_ = fin_sent_ || plan.fin;
    if (phase_ == Phase::kRecovery) prr_out_ += plan.bytes;
    counters_->add(Counter::kTcpPayloadByteOut, plan.bytes);
    persist_due_ = false;
    persist_at_ = kNever;
    if (retransmit_at_ == kNever) arm_retransmit(now);
  }
  if (plan.cause == Plan::Cause::kTailProbe) {
    counters_->add(Counter::kTcpTailProbe);
    probe_due_ = false;
    probe_out_ = true;
    probe_again_ = plan.again;
    probe_end_ = nxt_;
    probe_at_ = kNever;
    arm_retransmit(now);
  } else {
    arm_tail_probe(now);
  }
}

// --- time -----------------------------------------------------------------------------------------------------------

Instant Sender::deadline() const { return std::min({retransmit_at_, probe_at_, reorder_at_, persist_at_}); }

void Sender::arm_retransmit(Instant now) { retransmit_at_ = board_.empty() ? kNever : now + rtt_.rto(); }

void Sender::arm_tail_probe(Instant now) {
  probe_at_ = kNever;
  // RFC 8985 7.2: SACK in use, not in recovery, nothing SACKed, and no probe of this episode out.
  if (!sack_ || phase_ != Phase::kOpen || probe_out_ || probe_due_ || board_.empty() || board_.sacked_bytes() > 0)
    return;
  Duration wait = rtt_.has_sample() ? std::max(2 * rtt_.srtt(), kTailProbeMin) : kInitialRto;
  if (board_.in_flight_bytes() <= mss_) wait += kPeerAckDelayMax;
  probe_at_ = std::min(now + wait, retransmit_at_);
}

void Sender::arm_persist(Instant now) {
  const Duration base = rtt_.base_rto();
  persist_at_ =
      now +
      (base.count() > (kRtoMax.count() >> persist_backoff_) ? kRtoMax : Duration{base.count() << persist_backoff_});
}

Sender::Due Sender::on_time(uint8_t retries_max, Instant now) {
  if (reorder_at_ <= now) {
    reorder_at_ = kNever;
    const bool open = phase_ == Phase::kOpen;
    detect_losses(now);
    // No ACK came along: the recovery begins with its one retransmission.
    if (open && phase_ == Phase::kRecovery) reduce_proportionally(0, false);
  }
  if (probe_at_ <= now) {
    probe_at_ = kNever;
    probe_due_ = true;
    // The probe takes the timeout's place; if it brings no ACK either, the timeout follows it.
    arm_retransmit(now);
  }
  if (retransmit_at_ <= now) {
    if (timeouts_ >= retries_max) return Due::kGiveUpRetransmit;
    on_retransmit_timeout(now);
  }
  if (persist_at_ <= now) {
    if (probes_unanswered_ >= retries_max) return Due::kGiveUpPersist;
    persist_at_ = kNever;
    persist_due_ = true;
  }
  return Due::kNothing;
}

}  // namespace culvert::tcp
