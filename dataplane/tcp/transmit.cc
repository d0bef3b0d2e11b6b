// What leaves: SYNs, what the sender planned, probes and bare ACKs, built in front of views of the send queue.
//
// Built when the pipeline asks, not when data was written: windows, timestamps and acknowledgments are those of the
// moment. A build that finds the pool empty changes nothing; the connection stays in line.
#include <algorithm>

#include "tcp/connection.h"
#include "tcp/core.h"

namespace culvert::tcp {

namespace {

// The longest IP packet that a length field can say, less a margin that no header reaches (IPv6 40, TCP 60).
constexpr uint32_t kPayloadBytesMax = 65'535 - 100;

}  // namespace

uint32_t Connection::header_overhead() const {
  return (tuple_.remote.address.is_v4() ? 20u : 40u) + wire::kTcpHeaderBytesMin;
}

// What a SYN announces, and the most that one packet of the path carries (RFC 9293 3.7.1, RFC 6691: options not
// counted).
uint16_t Connection::mss_for(uint16_t mtu) const {
  const uint32_t overhead = header_overhead();
  uint32_t mss = mtu > overhead + 64 ? mtu - overhead : 64;
  if (options_.mss_clamp) mss = std::min<uint32_t>(mss, options_.mss_clamp);
  return static_cast<uint16_t>(mss);
}

uint32_t Connection::payload_mss() const {
  const uint32_t mss = std::min(mss_for(mtu_), peer_mss_);
  return mss - (timestamps_ ? 12u : 0u);
}

uint32_t Connection::bytes_max(uint16_t header_bytes) const {
  const uint32_t ip = tuple_.remote.address.is_v4() ? 20 : 40;
  const uint32_t tso = interface_->limits.tso_bytes_max;
  return tso > ip + header_bytes ? std::min(tso - ip - header_bytes, kPayloadBytesMax) : 0;
}

Connection::Built Connection::build(OutSegment& out, Instant now) {
  if (over()) return Built::kNothing;
  if (state_ == State::kSynSent || state_ == State::kSynReceived) {
    return syn_due_ ? build_syn(out, now) : Built::kNothing;
  }
  if (rcv_.blocked()) on_text(rcv_.retry(now), now);
  if (over()) return Built::kNothing;
  if (rcv_.blocked()) return Built::kNoBuffer;  // what was reassembled needs a view first

  wire::TcpHeader probe;
  fill_sacks(probe);
  const uint32_t sack_bytes = probe.options.sack_count ? 4u + 8u * probe.options.sack_count : 0u;
  const uint32_t segment_bytes = snd_.mss() - std::min(sack_bytes, snd_.mss() - 1);
  const auto header_bytes = static_cast<uint16_t>(wire::kTcpHeaderBytesMin + (timestamps_ ? 12u : 0u) + sack_bytes);
  const auto plan = snd_.next(segment_bytes, bytes_max(header_bytes), now);
  Built built = Built::kNothing;
  if (plan && plan->cause != Sender::Plan::Cause::kWindowProbe) {
    built = build_planned(out, *plan, now);
  } else if (plan) {
    built = build_ack(out, plan->seq, now);
    if (built == Built::kSent) snd_.sent(*plan, 0, now);
  } else if (keepalive_due_) {
    // RFC 9293 3.8.4: the byte before the window makes the peer answer.
    built = build_ack(out, snd_.nxt() - 1, now);
    if (built == Built::kSent) {
      keepalive_due_ = false;
      core_->counters.add(Counter::kTcpKeepaliveProbe);
    }
  } else if (rcv_.ack_owed_now() || challenge_due_ || window_update_due_) {
    const bool update = window_update_due_ && !rcv_.ack_owed_now() && !challenge_due_;
    const bool delayed = delayed_ack_due_;
    const bool challenge = challenge_due_;
    built = build_ack(out, snd_.nxt(), now);
    if (built == Built::kSent) {
      if (update) core_->counters.add(Counter::kTcpWindowUpdate);
      if (delayed) core_->counters.add(Counter::kTcpDelayedAck);
      if (challenge) core_->counters.add(Counter::kTcpChallengeAck);
    }
  }
  if (built != Built::kNoBuffer) schedule(now);
  return built;
}

Connection::Built Connection::build_syn(OutSegment& out, Instant now) {
  wire::TcpHeader header;
  header.syn = true;
  header.sequence = snd_.iss().value();
  header.options.mss = mss_for(mtu_);
  header.options.sack_permitted = sack_;
  if (scaling_) header.options.window_scale = rcv_scale_;
  if (timestamps_) header.options.timestamps = {timestamp_at(now, ts_offset_), ts_recent_};
  header.window = static_cast<uint16_t>(std::min(rcv_.buffer_bytes(), 0xffffu));
  if (state_ == State::kSynReceived) {
    header.ack = true;
    header.acknowledgment = rcv_.nxt().value();
  }
  const Built built = emit_segment(out, header, {});
  if (built != Built::kSent) return built;
  syn_due_ = false;
  if (syn_sent_count_ == 0) {
    syn_sent_at_ = now;
  } else {
    core_->counters.add(Counter::kTcpSynRetransmit);
  }
  if (syn_sent_count_ < 255) ++syn_sent_count_;
  syn_again_at_ = now + snd_.rtt().rto();
  schedule(now);
  return built;
}

Connection::Built Connection::build_planned(OutSegment& out, const Sender::Plan& plan, Instant now) {
  wire::TcpHeader header;
  header.sequence = plan.seq.value();
  header.fin = plan.fin;
  header.psh = plan.push && plan.bytes > 0;
  Packet payload;
  if (plan.bytes > 0) {
    payload = snd_.queue.view(bytes_between(snd_.una(), plan.seq), plan.bytes);
    if (!payload) return Built::kNoBuffer;
  }
  fill_acknowledgment(header, now);
  const uint8_t sacks = fill_sacks(header);
  const Built built = emit_segment(out, header, std::move(payload));
  if (built != Built::kSent) return built;
  const uint32_t segment = snd_.mss() - (sacks ? 4u + 8u * sacks : 0u);
  if (plan.bytes > segment) out.segment_bytes = static_cast<uint16_t>(segment);
  snd_.sent(plan, header.options.timestamps ? header.options.timestamps->first : 0, now);
  sent_acknowledgment(header);
  return built;
}

Connection::Built Connection::build_ack(OutSegment& out, Seq seq, Instant now) {
  wire::TcpHeader header;
  header.sequence = seq.value();
  fill_acknowledgment(header, now);
  fill_sacks(header);
  const Built built = emit_segment(out, header, {});
  if (built == Built::kSent) sent_acknowledgment(header);
  return built;
}

void Connection::fill_acknowledgment(wire::TcpHeader& header, Instant now) {
  header.ack = true;
  header.acknowledgment = rcv_.nxt().value();
  header.window = rcv_.window_field(core_->pressed());
  if (timestamps_) header.options.timestamps = {timestamp_at(now, ts_offset_), ts_recent_};
}

uint8_t Connection::fill_sacks(wire::TcpHeader& header) {
  // 40 bytes of options hold four blocks, or three beside timestamps (RFC 2018 3).
  const size_t room = timestamps_ ? 3 : 4;
  header.options.sack_count = rcv_.sack_blocks(std::span(header.options.sack.data(), room));
  return header.options.sack_count;
}

void Connection::sent_acknowledgment(const wire::TcpHeader& header) {
  if (header.options.sack_count > 0) {
    core_->counters.add(Counter::kTcpSackOut);
    if (rcv_.dsack_pending()) core_->counters.add(Counter::kTcpDsackOut);
  }
  rcv_.acknowledged();
  challenge_due_ = window_update_due_ = delayed_ack_due_ = false;
}

Connection::Built Connection::emit_segment(OutSegment& out, const wire::TcpHeader& header, Packet payload) {
  wire::TcpHeader h = header;
  h.source_port = tuple_.local.port;
  h.destination_port = tuple_.remote.port;
  const uint16_t header_bytes = wire::tcp_header_bytes(h);
  Packet packet = core_->pool.take_small();
  if (!packet) return Built::kNoBuffer;
  uint8_t* at = packet.append(header_bytes);
  wire::emit_tcp(h, {at, header_bytes});
  if (payload) packet.join(std::move(payload));
  out = OutSegment{};
  out.interface = interface_id_;
  out.source = tuple_.local.address;
  out.destination = tuple_.remote.address;
  out.packet = std::move(packet);
  out.header_bytes = header_bytes;
  core_->counters.add(Counter::kTcpSegmentOut);
  return Built::kSent;
}

}  // namespace culvert::tcp
