// SEGMENT ARRIVES (RFC 9293 3.10.7), check by check, with the timestamp checks of RFC 7323 5 and the challenge ACKs of
// RFC 5961 in their places. What fails a check is dropped and counted; nothing here ends a connection but an RST that
// stands exactly at RCV.NXT and a FIN in order.
#include <algorithm>

#include "tcp/connection.h"
#include "tcp/core.h"

namespace culvert::tcp {

namespace {

// RFC 7323 5.5: a timestamp of a connection idle for this long says nothing.
constexpr Duration kPawsIdle = 24h * 24;
// RFC 5961 7: ACKs that a segment out of place may provoke, per connection (Linux's tcp_invalid_ratelimit). Per
// connection, since a shared budget can be read from outside (CVE-2016-5696).
constexpr Duration kChallengeInterval = 500ms;

bool before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

}  // namespace

void Connection::on_segment(Segment& segment, Instant now) {
  if (over()) return;
  if (state_ == State::kSynSent) {
    on_segment_syn_sent(segment, now);
  } else if (state_ != State::kSynReceived || on_segment_syn_received(segment, now)) {
    // "First, check sequence number; second, check the RST bit; third, security (not done); fourth, check the SYN bit;
    // fifth, check the ACK field; sixth, check the URG bit; seventh, process the segment text; eighth, check FIN."
    if (check_timestamps(segment, now) == Check::kPass && check_sequence(segment, now) == Check::kPass &&
        check_reset(segment, now) == Check::kPass && check_syn(segment, now) == Check::kPass &&
        check_ack(segment, now) == Check::kPass) {
      take_timestamp(segment, now);
      // URG: RFC 6093 6: the urgent pointer is ignored and the data stays in line.
      take_text_and_fin(segment, now);
    }
  }
  if (over()) return;
  settle();
  ready();
  schedule(now);
}

// --- SYN-SENT (RFC 9293 3.10.7.3) -----------------------------------------------------------------------------------

void Connection::on_segment_syn_sent(Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  const bool acceptable_ack = h.ack && Seq(h.acknowledgment) == snd_.nxt() && syn_sent_count_ > 0;
  if (h.ack && !acceptable_ack) {
    // An answer to an older incarnation: "send a reset (unless the RST bit is set)".
    drop(DropReason::kTcpSynSentUnacceptable);
    if (!h.rst) {
      wire::TcpHeader reset;
      reset.rst = true;
      reset.sequence = h.acknowledgment;
      core_->reply(interface_id_, tuple_, reset);
    }
    return;
  }
  // RFC 7323 3.2: the echo of a SYN-ACK is one of ours, or it answers someone else's SYN.
  if (h.ack && h.options.timestamps && syn_sent_count_ > 0) {
    const uint32_t echo = h.options.timestamps->second;
    const uint32_t newest = timestamp_at(now, ts_offset_);
    const uint32_t oldest = timestamp_at(syn_sent_at_, ts_offset_);
    if (before(newest, echo) || before(echo, oldest)) {
      drop(DropReason::kTcpSynSentUnacceptable);
      return;
    }
  }
  if (h.rst) {
    if (!h.ack) {
      drop(DropReason::kTcpStrayReset);
      return;
    }
    core_->counters.add(Counter::kTcpResetIn);
    core_->counters.add(Counter::kTcpConnectionRefused);
    finish(EventKind::kRefused);
    return;
  }
  if (!h.syn) {
    drop(DropReason::kTcpSynSentUnacceptable);
    return;
  }
  take_syn_options(h.options);
  if (timestamps_) {
    ts_recent_ = h.options.timestamps->first;
    ts_recent_at_ = now;
  }
  rcv_.open(Seq(h.sequence), std::min(rcv_.buffer_bytes(), 0xffffu), rcv_scale_, sack_, mss_for(mtu_), now);
  heard_at_ = now;
  if (!h.ack) {
    // Simultaneous open (RFC 9293 3.5, figure 8): our SYN again, now with an ACK.
    core_->counters.add(Counter::kTcpConnectionSimultaneousOpen);
    state_ = State::kSynReceived;
    ++core_->half_open;
    syn_due_ = true;
    syn_again_at_ = kNever;
    return;
  }
  sample_handshake(h.options, now);
  // The window of a segment with SYN is never scaled (RFC 7323 2.2).
  establish(h.window, Seq(h.sequence), Seq(h.acknowledgment), now);
  rcv_.owe_ack_now();
  segment.header.sequence += 1;
  segment.header.syn = false;
  if (segment.payload.bytes() > 0 || h.fin) take_text_and_fin(segment, now);
}

// --- SYN-RECEIVED: what the general checks would answer less helpfully. True: go on with them. -----------------------

bool Connection::on_segment_syn_received(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  if (!h.syn || h.rst || Seq(h.sequence) != rcv_.irs()) return true;
  if (!h.ack) {
    // The peer did not get our SYN-ACK.
    syn_due_ = true;
    return false;
  }
  // The peer's SYN-ACK of a simultaneous open: its SYN is known, its ACK is what we wait for.
  if (Seq(h.acknowledgment) == snd_.nxt() && complete_handshake(segment, now) == Check::kPass) rcv_.owe_ack_now();
  return false;
}

// --- RFC 7323 5.3
// -----------------------------------------------------------------------------------------------------

Connection::Check Connection::check_timestamps(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  if (!timestamps_ || h.rst) return Check::kPass;  // "an RST segment MUST NOT be subjected to the PAWS check"
  if (!h.options.timestamps) {
    // RFC 7323 3.2: "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the segment."
    drop(DropReason::kTcpTimestampMissing);
    return Check::kDrop;
  }
  if (before(h.options.timestamps->first, ts_recent_) && now - ts_recent_at_ < kPawsIdle) {
    drop(DropReason::kTcpPaws);
    // R1: "send an acknowledgment in reply ... and drop the segment".
    if (segment.payload.bytes() > 0 || h.fin) {
      const Seq seq(h.sequence);
      const Seq end = seq + segment.payload.bytes();
      if (end <= rcv_.nxt() && segment.payload.bytes() > 0)
        rcv_.note_duplicate(seq, end);
      else
        rcv_.owe_ack_now();
    } else {
      acknowledge_now(now);
    }
    return Check::kDrop;
  }
  return Check::kPass;
}

// --- first: sequence number
// -------------------------------------------------------------------------------------------

Connection::Check Connection::check_sequence(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  const Seq seq(h.sequence);
  const uint32_t text = segment.payload.bytes();
  const uint32_t length = text + (h.syn ? 1u : 0u) + (h.fin ? 1u : 0u);
  const Seq nxt = rcv_.nxt();
  const uint32_t window = rcv_.window();

  bool acceptable;
  if (length == 0) {
    // An ACK behind data that filled the window and was lost stands at the right edge itself; RFC 9293's table would
    // refuse it and with it the acknowledgment, so the edge is included, as in Linux.
    acceptable = seq >= nxt && seq <= nxt + window;
  } else if (window > 0) {
    acceptable = seq < nxt + window && seq + length > nxt;
  } else {
    // "special allowance should be made to accept valid ACKs, URGs, and RSTs": the text is cut off later.
    acceptable = seq == nxt;
  }
  if (!acceptable) {
    if (h.rst) {
      drop(DropReason::kTcpResetOutOfWindow);
      return Check::kDrop;
    }
    drop(DropReason::kTcpOutOfWindow);
    // "If an incoming segment is not acceptable, an acknowledgment should be sent in reply."
    if (text > 0 && seq + text <= nxt) {
      rcv_.note_duplicate(seq, seq + text);
    } else if (length > 0 && !h.syn) {
      rcv_.owe_ack_now();
    } else if (h.syn) {
      challenge(now);
    } else {
      acknowledge_now(now);
    }
    // A probe answers ours, too: the peer lives.
    heard_at_ = now;
    keepalive_unanswered_ = 0;
    return Check::kDrop;
  }
  heard_at_ = now;
  keepalive_unanswered_ = 0;
  return Check::kPass;
}

// RFC 7323 4.3: TS.Recent is taken from the segment that the next ACK answers. After the check of the ACK field, so
// that a segment which is refused there leaves no timestamp behind that would shut the right ones out.
void Connection::take_timestamp(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  if (!timestamps_ || !h.options.timestamps || Seq(h.sequence) > rcv_.last_ack_sent()) return;
  if (before(h.options.timestamps->first, ts_recent_) && now - ts_recent_at_ < kPawsIdle) return;
  ts_recent_ = h.options.timestamps->first;
  ts_recent_at_ = now;
}

// --- second: RST (RFC 5961 3) ---------------------------------------------------------------------------------------

Connection::Check Connection::check_reset(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  if (!h.rst) return Check::kPass;
  if (Seq(h.sequence) != rcv_.nxt()) {
    // "If the RST bit is set and the sequence number does not exactly match the next expected sequence value, yet is
    // within the current receive window, TCP endpoints MUST send an acknowledgment (challenge ACK)."
    drop(DropReason::kTcpResetChallenged);
    challenge(now);
    return Check::kDrop;
  }
  core_->counters.add(Counter::kTcpResetIn);
  if (state_ == State::kSynReceived && !passive_) {
    core_->counters.add(Counter::kTcpConnectionRefused);
    finish(EventKind::kRefused);
  } else {
    // From SYN-RECEIVED of a passive open: back to LISTEN, nobody was told yet.
    finish(EventKind::kReset);
  }
  return Check::kDrop;
}

// --- fourth: SYN (RFC 5961 4) ---------------------------------------------------------------------------------------

Connection::Check Connection::check_syn(const Segment& segment, Instant now) {
  if (!segment.header.syn) return Check::kPass;
  drop(DropReason::kTcpSynChallenged);
  challenge(now);
  return Check::kDrop;
}

// --- fifth: ACK
// -------------------------------------------------------------------------------------------------------

Connection::Check Connection::check_ack(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  if (!h.ack) {
    drop(DropReason::kTcpAckMissing);
    return Check::kDrop;
  }
  if (state_ == State::kSynReceived) return complete_handshake(segment, now);

  const Seq ack(h.acknowledgment);
  if (ack > snd_.nxt()) {
    // "If the ACK acks something not yet sent, then send an ACK, drop the segment, and return."
    drop(DropReason::kTcpAckUnsent);
    challenge(now);
    return Check::kDrop;
  }
  if (ack < snd_.una() - std::max(snd_.window_max(), 0xffffu)) {
    // RFC 5961 5.2. At least 64 KB, so that a peer's small first window does not make late ACKs an attack.
    drop(DropReason::kTcpAckTooOld);
    challenge(now);
    return Check::kDrop;
  }
  // An ACK that was overtaken says nothing by its number, but its SACK blocks may be news.
  if (ack >= snd_.una() || h.options.sack_count > 0) take_ack(segment, now);
  return over() ? Check::kDrop : Check::kPass;
}

Connection::Check Connection::complete_handshake(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  if (Seq(h.acknowledgment) != snd_.nxt() || syn_sent_count_ == 0) {
    // "If the segment acknowledgment is not acceptable, form a reset segment <SEQ=SEG.ACK><CTL=RST>".
    drop(DropReason::kTcpAckUnsent);
    wire::TcpHeader reset;
    reset.rst = true;
    reset.sequence = h.acknowledgment;
    core_->reply(interface_id_, tuple_, reset);
    return Check::kDrop;
  }
  sample_handshake(h.options, now);
  const uint32_t window = h.syn ? h.window : static_cast<uint32_t>(h.window) << snd_scale_;
  establish(window, Seq(h.sequence), Seq(h.acknowledgment), now);
  return Check::kPass;
}

void Connection::take_ack(const Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  Sender::Ack ack;
  ack.seq = Seq(h.sequence);
  ack.ack = Seq(h.acknowledgment);
  ack.window = static_cast<uint32_t>(h.window) << snd_scale_;
  if (sack_) ack.sacks = std::span(h.options.sack.data(), h.options.sack_count);
  if (timestamps_ && h.options.timestamps) ack.echo = h.options.timestamps->second;
  ack.carries_text = segment.payload.bytes() > 0 || h.fin;
  const Sender::Acked acked = snd_.on_ack(ack, timestamp_at(now, ts_offset_), now);
  if (acked.queue_bytes > 0) note_writable();
  if (acked.fin) after_fin_acknowledged(now);
}

// --- seventh and eighth: text and FIN
// ---------------------------------------------------------------------------------

void Connection::take_text_and_fin(Segment& segment, Instant now) {
  const wire::TcpHeader& h = segment.header;
  const uint32_t text = segment.payload.bytes();
  if (text == 0 && !h.fin) return;
  if (state_ != State::kEstablished && state_ != State::kFinWait1 && state_ != State::kFinWait2) {
    // "This should not occur since a FIN has been received from the remote side. Ignore the segment text."
    if (text > 0) drop(DropReason::kTcpDataAfterFin);
    rcv_.owe_ack_now();
    return;
  }
  if (released_ && text > 0 && Seq(h.sequence) + text > rcv_.nxt()) {
    // RFC 9293 3.10.4, RFC 2525 2.17: nobody will read it, and the peer must learn that.
    drop(DropReason::kTcpDataAfterClose);
    send_reset(now);
    finish(std::nullopt);
    return;
  }
  if (text > 0 && core_->memory_full()) {
    drop(DropReason::kTcpMemoryFull);
    rcv_.owe_ack_now();
    return;
  }
  const bool out_of_order = Seq(h.sequence) > rcv_.nxt();
  const bool pressed = out_of_order && (core_->pressed() || core_->pool_low());
  on_text(rcv_.take_text(Seq(h.sequence), std::move(segment.payload), h.fin, pressed, now), now);
}

void Connection::on_text(const Receiver::Text& text, Instant now) {
  if (text.refused) drop(*text.refused);
  if (text.data_after_fin) drop(DropReason::kTcpDataAfterFin);
  if (text.delivered_bytes > 0) {
    core_->counters.add(Counter::kTcpPayloadByteIn, text.delivered_bytes);
    queued_seen_ += text.delivered_bytes;
    if (!readable_told_) {
      readable_told_ = true;
      emit(EventKind::kReadable);
    }
  }
  rcv_.compact();
  if (text.fin) take_fin(now);
}

void Connection::take_fin(Instant now) {
  if (owned_) emit(EventKind::kPeerFin);
  switch (state_) {
    case State::kEstablished:
      state_ = State::kCloseWait;
      return;
    case State::kFinWait1:
      state_ = State::kClosing;
      return;  // our FIN is not acknowledged, or we were in FIN-WAIT-2
    case State::kFinWait2:
      enter_time_wait(now);
      return;
    default:
      return;
  }
}

// --- answers
// ----------------------------------------------------------------------------------------------------------

void Connection::challenge(Instant now) {
  if (challenged_at_ != Instant{} && now - challenged_at_ < kChallengeInterval) return;
  challenged_at_ = now;
  challenge_due_ = true;
}

// An ACK for a segment without data out of place: rate-limited, or two ends could answer each other forever.
void Connection::acknowledge_now(Instant now) {
  if (acknowledged_stray_at_ != Instant{} && now - acknowledged_stray_at_ < kChallengeInterval) return;
  acknowledged_stray_at_ = now;
  rcv_.owe_ack_now();
}

// --- ICMP
// -------------------------------------------------------------------------------------------------------------

void Connection::on_icmp_error(IcmpErrorKind kind, Seq quoted, uint16_t mtu, Instant now) {
  // RFC 5927 4.1: the quoted sequence number is one of what is outstanding.
  const bool outstanding = snd_.outstanding() && quoted >= snd_.una() && quoted < snd_.nxt();
  if (over() || !outstanding) {
    drop(DropReason::kTcpIcmpUnmatched);
    return;
  }
  if (kind == IcmpErrorKind::kTooBig) {
    // RFC 1191 3, RFC 8201 4; RFC 5927 7.2: never below what every path carries.
    const bool v4 = tuple_.remote.address.is_v4();
    const uint16_t least = v4 ? 552 : 1280;  // Linux's min_pmtu; IPv6's minimum
    if (mtu == 0 && v4) mtu = 552;           // an old router (RFC 1191 4)
    const uint16_t to = std::max(mtu, least);
    if (to >= mtu_) {
      drop(DropReason::kTcpIcmpBadMtu);
      return;
    }
    core_->counters.add(Counter::kTcpPathMtuReduced);
    mtu_ = to;
    if (snd_.is_open())
      snd_.set_mss(payload_mss(), now);
    else if (state_ == State::kSynSent || state_ == State::kSynReceived)
      syn_due_ = true;
    ready();
    schedule(now);
    return;
  }
  // In SYN-SENT an unreachable destination is final, as for Linux; in every other state each kind is soft (RFC 5461,
  // RFC 5927 5.2, 6): the retransmission timer decides.
  const bool final = kind == IcmpErrorKind::kUnreachable || kind == IcmpErrorKind::kPortUnreachable ||
                     kind == IcmpErrorKind::kProhibited;
  if (state_ == State::kSynSent && final) {
    core_->counters.add(Counter::kTcpConnectionRefused);
    finish(EventKind::kRefused);
  }
}

}  // namespace culvert::tcp
