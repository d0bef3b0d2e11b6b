// The sender's half that listens: what an ACK says about arrival, round-trip time, loss and window, and what a timeout
// does. Loss with SACK is RACK's judgment (RFC 8985); without SACK it is NewReno's (RFC 6582).
#include <algorithm>

#include "tcp/sender.h"

namespace culvert::tcp {

Sender::Acked Sender::on_ack(const Ack& ack, uint32_t timestamp_now, Instant now) {
  Acked result;
  Delivery delivery;
  const bool advanced = ack.ack > una_;
  const uint32_t prior_in_flight = in_flight();
  const bool window_changed = ack.window != wnd_;
  const uint32_t acked = advanced ? bytes_between(una_, ack.ack) : 0;
  const bool dsack = !ack.sacks.empty() && (Seq(ack.sacks[0].right) <= ack.ack ||
                                            (ack.sacks.size() > 1 && Seq(ack.sacks[0].left) >= Seq(ack.sacks[1].left) &&
                                             Seq(ack.sacks[0].right) <= Seq(ack.sacks[1].right)));  // RFC 2883 4
  if (advanced) {
    board_.acknowledge(ack.ack, [&](const SentRange& range) {
      delivery.bytes += range.bytes();
      if (range.retransmitted) {
        delivery.retransmitted_acked = true;
      } else {
        delivery.first_sent = std::min(delivery.first_sent, range.sent_at);
      }
      if (sack_) rack_.on_delivered(range, ambiguous(range, ack, timestamp_now, now), rtt_.min_rtt(), now);
    });
    result.fin = fin_sent_ && ack.ack == nxt_;
    result.queue_bytes = acked - (result.fin ? 1u : 0u);
    queue.drop_front(result.queue_bytes);
    bytes_acked_ += result.queue_bytes;
    una_ = ack.ack;
    timeouts_ = 0;
    waiting_since_ = outstanding() || unsent_bytes() > 0 ? now : kNever;
  }
  if (sack_ && !ack.sacks.empty()) take_sacks(ack, delivery, timestamp_now, now);
  // An ACK that reports a duplicate may have been lost before and provoked again: it measures our own patience, not the
  // path. (The receiver does not take the duplicate's timestamp, RFC 7323 5.3 R2, so the echo does not tell either.)
  if (!dsack) sample(ack, delivery, advanced, timestamp_now, now);
  take_window(ack);
  // A peer that answers with a closed window is not to be given up (RFC 9293 3.8.6.1).
  if (wnd_ == 0) timeouts_ = 0;
  probes_unanswered_ = 0;
  if (dsack) take_dsack(ack.sacks[0]);
  end_tail_probe(ack, advanced, dsack, now);

  if (phase_ != Phase::kOpen && spurious(ack, advanced)) undo_recovery();
  if (phase_ != Phase::kOpen && una_ >= recovery_point_) leave_recovery();
  // Bytes that this ACK says have arrived.
  uint32_t delivered = delivery.bytes;
  if (sack_) {
    if (delivery.bytes > 0) detect_losses(now);
  } else {
    // Without SACK a duplicate ACK stands for one segment, which a later cumulative ACK must not count again.
    const uint32_t before = dup_acks_;
    count_duplicate_ack(ack, window_changed, acked, now);
    delivered += dup_acks_ > before ? (dup_acks_ - before) * mss_ : 0;
    delivered -= before > dup_acks_ ? std::min(delivered, (before - dup_acks_) * mss_) : 0;
  }
  if (phase_ == Phase::kOpen && board_.lost_bytes() > 0) enter_recovery(now);

  if (phase_ == Phase::kRecovery) {
    reduce_proportionally(delivered, advanced);
  } else if (advanced) {
    // Only a cumulative ACK grows the window (RFC 5681 3.1, RFC 3042 2), and only a window that was in use (RFC 7661
    // 4): in slow start half of it is use enough, as in Linux.
    const bool in_use =
        window_limited_ || (congestion_.slow_start() && congestion_.cwnd() < 2 * uint64_t{prior_in_flight});
    if (in_use && delivered > 0) congestion_.on_ack(delivered, rtt_.srtt(), now);
    window_limited_ = false;
  }

  if (board_.empty()) {
    retransmit_at_ = probe_at_ = reorder_at_ = kNever;
    probe_due_ = probe_out_ = false;
  } else if (advanced) {
    arm_retransmit(now);  // RFC 6298 5.3
  }
  if (delivery.bytes > 0) {
    probe_due_ = false;
    arm_tail_probe(now);
  }
  return result;
}

// RFC 8985 6.2 step 2: the timestamp says whether the ACK is for the transmission before the latest.
bool Sender::ambiguous(const SentRange& range, const Ack& ack, uint32_t timestamp_now, Instant now) const {
  if (!range.retransmitted || !ack.echo) return false;
  const auto sent_ms = static_cast<uint32_t>(to_ms(now.time_since_epoch()) - to_ms(range.sent_at.time_since_epoch()));
  return static_cast<int32_t>(*ack.echo - (timestamp_now - sent_ms)) < 0;
}

void Sender::take_sacks(const Ack& ack, Delivery& delivery, uint32_t timestamp_now, Instant now) {
  counters_->add(Counter::kTcpSackIn);
  for (const wire::SackBlock& block : ack.sacks) {
    const Seq left = later(Seq(block.left), una_);
    const Seq right(block.right);
    // RFC 2018 3, RFC 2883: what is not between SND.UNA and SND.NXT is a D-SACK or nonsense.
    if (Seq(block.left) < una_ || right > nxt_ || left >= right) continue;
    board_.sack(left, right, [&](const SentRange& range) {
      delivery.bytes += range.bytes();
      if (!range.retransmitted) {
        delivery.last_sacked =
            delivery.last_sacked == kNever ? range.sent_at : std::max(delivery.last_sacked, range.sent_at);
      }
      rack_.on_delivered(range, ambiguous(range, ack, timestamp_now, now), rtt_.min_rtt(), now);
    });
  }
}

void Sender::take_dsack(const wire::SackBlock& block) {
  counters_->add(Counter::kTcpDsackIn);
  rack_.on_dsack(una_, nxt_);
  const uint32_t bytes = block.right - block.left;
  undo_bytes_ -= std::min(undo_bytes_, bytes);
}

void Sender::sample(const Ack& ack, const Delivery& delivery, bool advanced, uint32_t timestamp_now, Instant now) {
  std::optional<Duration> rtt;
  if (delivery.first_sent != kNever && !delivery.retransmitted_acked) {
    rtt = now - delivery.first_sent;
  } else if (delivery.last_sacked != kNever) {
    rtt = now - delivery.last_sacked;
  }
  if (ack.echo && delivery.bytes > 0 && (advanced || rtt)) {
    // RFC 7323 4.1: the echo names the transmission that this ACK answers. Where ACKs were lost in between, the ranges'
    // own times say how long we waited for one that came through; the smaller is the path's.
    const uint32_t ms = timestamp_now - *ack.echo;
    const Duration echoed = std::chrono::milliseconds{ms + (rtt ? 1 : 0)};
    if (ms < 1u << 20 && (!rtt || echoed < *rtt)) rtt = echoed;
  }
  if (!rtt) return;
  const uint32_t samples = std::clamp(flight_size() / (2 * mss_), 1u, 16u);
  rtt_.sample(*rtt, now, samples);
  rtt_.reset_backoff();
}

void Sender::take_window(const Ack& ack) {
  // RFC 9293 3.10.7.4: an old segment must not bring an old window.
  if (!(wl1_ < ack.seq || (wl1_ == ack.seq && wl2_ <= ack.ack))) return;
  wl1_ = ack.seq;
  wl2_ = ack.ack;
  if (ack.window == 0 && wnd_ > 0) counters_->add(Counter::kTcpZeroWindowIn);
  if (ack.window > wnd_) {
    persist_at_ = kNever;
    persist_backoff_ = 0;
    persist_due_ = false;
  }
  wnd_ = ack.window;
  wnd_max_ = std::max(wnd_max_, wnd_);
}

// --- peers without SACK
// -----------------------------------------------------------------------------------------------

void Sender::count_duplicate_ack(const Ack& ack, bool window_changed, uint32_t acked, Instant now) {
  if (acked > 0) {
    // The segment at the left edge and those behind it that had arrived are acknowledged now.
    const uint32_t segments = (acked + mss_ - 1) / mss_;
    dup_acks_ -= std::min(dup_acks_, segments - 1);
    // RFC 6582 3.2 step 3, partial ACK: the next hole begins where it ends.
    if (phase_ == Phase::kRecovery && !board_.empty() && board_.front().state == SentRange::State::kInFlight &&
        !board_.front().retransmitted) {
      board_.mark_front_lost(mss_);
      retransmit_now_ = true;
    }
    if (board_.empty()) dup_acks_ = 0;
    return;
  }
  // RFC 5681 2: what counts as a duplicate ACK.
  if (ack.ack != una_ || ack.carries_text || window_changed || board_.empty()) return;
  const uint32_t segments = (flight_size() + mss_ - 1) / mss_;
  dup_acks_ = std::min(dup_acks_ + 1, segments - 1);
  if (phase_ != Phase::kOpen || (recovered_ && una_ <= recovery_point_)) return;
  // RFC 5827 3.1: with fewer than four segments outstanding and nothing to send, three duplicates cannot come.
  const bool nothing_to_send = unsent_bytes() == 0 || wnd_ <= flight_size();
  const uint32_t threshold = nothing_to_send && segments < 4 ? std::max(segments, 2u) - 1 : 3;
  if (dup_acks_ < threshold) return;  // RFC 3042: the smaller pipe lets new segments out meanwhile
  board_.mark_front_lost(mss_);
  enter_recovery(now);
}

// --- recovery
// -----------------------------------------------------------------------------------------------------------

Rack::Context Sender::rack_context() const { return {rtt_.srtt(), rtt_.min_rtt(), mss_, phase_ != Phase::kOpen}; }

void Sender::detect_losses(Instant now) {
  const Rack::Detection detection = rack_.detect(board_, rack_context(), now);
  reorder_at_ = detection.again_at;
  if (detection.lost_bytes > 0 && phase_ == Phase::kOpen) enter_recovery(now);
}

void Sender::begin_episode() {
  recovery_point_ = nxt_;
  recovered_ = true;
  prr_delivered_ = prr_out_ = 0;
  retransmit_now_ = true;
  undo_possible_ = true;
  undo_stamped_ = false;
  undo_bytes_ = 0;
  probe_at_ = kNever;
  probe_due_ = probe_out_ = false;
}

void Sender::enter_recovery(Instant now) {
  counters_->add(Counter::kTcpRecovery);
  phase_ = Phase::kRecovery;
  begin_episode();
  recover_fs_ = std::max(flight_size(), 1u);
  congestion_.on_loss(flight_size(), now);
}

void Sender::leave_recovery() {
  if (phase_ == Phase::kRecovery) congestion_.set_cwnd(congestion_.ssthresh_or_cwnd());
  phase_ = Phase::kOpen;
  dup_acks_ = 0;
  retransmit_now_ = false;
  undo_possible_ = false;
  rack_.on_recovery_end();
}

// RFC 3522 3.2 (Eifel): the ACK that lifts SND.UNA answers the original, not the retransmission. Or D-SACKs say that
// everything sent again had arrived before.
bool Sender::spurious(const Ack& ack, bool advanced) const {
  if (!undo_possible_ || !undo_stamped_) return false;
  if (advanced && ack.echo && static_cast<int32_t>(*ack.echo - undo_timestamp_) < 0) return true;
  return undo_bytes_ == 0;
}

void Sender::undo_recovery() {
  counters_->add(Counter::kTcpRecoveryUndone);
  congestion_.undo();
  board_.forgive_lost();
  phase_ = Phase::kOpen;
  dup_acks_ = 0;
  retransmit_now_ = false;
  undo_possible_ = false;
  recovered_ = false;
  rack_.on_recovery_end();
}

// RFC 6937 3: while more is in flight than ssthresh, send in proportion to what arrives; below it, catch up in slow
// start.
void Sender::reduce_proportionally(uint32_t delivered, bool advanced) {
  if (delivered == 0 && !retransmit_now_) return;
  prr_delivered_ += delivered;
  const uint32_t pipe = in_flight();
  const uint32_t ssthresh = congestion_.ssthresh_or_cwnd();
  int64_t send;
  if (pipe > ssthresh) {
    send = static_cast<int64_t>((uint64_t{prr_delivered_} * ssthresh + recover_fs_ - 1) / recover_fs_) - prr_out_;
  } else {
    int64_t limit = std::max<int64_t>(int64_t{prr_delivered_} - prr_out_, delivered);
    if (advanced) limit += mss_;
    send = std::min<int64_t>(int64_t{ssthresh} - pipe, limit);
  }
  send = std::max<int64_t>(send, retransmit_now_ ? mss_ : 0);
  congestion_.set_cwnd(pipe + static_cast<uint32_t>(send));
}

void Sender::end_tail_probe(const Ack& ack, bool advanced, bool dsack, Instant now) {
  if (!probe_out_ || ack.ack < probe_end_) return;
  // RFC 8985 7.4.2. A probe that carried new data, or that arrived beside the original, is no sign of loss.
  if (!probe_again_ || dsack || (!advanced && !ack.carries_text)) {
    probe_out_ = false;
    return;
  }
  if (ack.ack == probe_end_) return;  // not clear yet whether the original arrived as well
  probe_out_ = false;
  if (phase_ == Phase::kOpen) {
    congestion_.on_loss(flight_size() + mss_, now);
    congestion_.set_cwnd(congestion_.ssthresh());
  }
}

void Sender::on_retransmit_timeout(Instant now) {
  if (board_.empty()) {
    retransmit_at_ = kNever;
    return;
  }
  counters_->add(Counter::kTcpRecoveryTimeout);
  // A peer that leaves SND.UNA where it SACKed took its SACK back (RFC 2018 8).
  const bool reneged = board_.front().state == SentRange::State::kSacked;
  if (reneged) counters_->add(Counter::kTcpSackReneged);
  const bool again = phase_ != Phase::kOpen;
  congestion_.on_timeout(flight_size(), again, now);
  const uint32_t stamp = undo_timestamp_;
  const bool stamped = again && undo_stamped_;
  begin_episode();
  if (stamped) {
    undo_stamped_ = true;
    undo_timestamp_ = stamp;
  }
  undo_bytes_ = stamped ? undo_bytes_ + 1 : 0;  // only timestamps can undo what goes on over several timeouts
  phase_ = Phase::kLoss;
  if (sack_ && !reneged) {
    // RFC 8985 6.3: the first range, and those old enough; what was sent a moment ago may still arrive.
    board_.mark_front_lost(board_.front().bytes());
    const Instant old = now - rtt_.srtt() - rack_.reordering_window(board_, rack_context());
    board_.judge([old](const SentRange& range) {
      return range.sent_at <= old ? SackScoreboard::Judgment::kLost : SackScoreboard::Judgment::kKeep;
    });
  } else {
    board_.mark_all_lost(reneged);
  }
  dup_acks_ = 0;
  reorder_at_ = kNever;
  rtt_.back_off();
  ++timeouts_;
  arm_retransmit(now);
}

}  // namespace culvert::tcp
