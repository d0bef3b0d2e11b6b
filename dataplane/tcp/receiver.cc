#include "tcp/receiver.h"

#include <algorithm>

namespace culvert::tcp {

uint8_t Receiver::scale_for(uint32_t bytes) {
  uint8_t scale = 0;
  while (scale < 14 && (bytes >> scale) > 0xffff) ++scale;
  return scale;
}

void Receiver::start(uint32_t buffer_bytes_max, Duration delayed_ack, BufferPool& pool, Counters& counters) {
  pool_ = &pool;
  counters_ = &counters;
  // Sequence arithmetic and RFC 7323 2.3 bound a window to 2^30.
  buffer_max_ = std::clamp<uint32_t>(buffer_bytes_max, 1, 1u << 30);
  buffer_ = std::min(kInitialBuffer, buffer_max_);
  delayed_ack_ = delayed_ack;
}

void Receiver::set_limits(uint32_t buffer_bytes_max, Duration delayed_ack) {
  buffer_max_ = std::clamp<uint32_t>(buffer_bytes_max, 1, std::min<uint32_t>(0xffffu << scale_, 1u << 30));
  buffer_ = std::min(buffer_, buffer_max_);
  delayed_ack_ = delayed_ack;
}

void Receiver::open(Seq irs, uint32_t window_offered, uint8_t window_scale, bool sack, uint32_t mss, Instant now) {
  irs_ = irs;
  nxt_ = last_ack_sent_ = irs + 1;
  adv_ = nxt_ + window_offered;
  scale_ = window_scale;
  sack_ = sack;
  mss_ = mss;
  segment_ = std::min(mss, 536u);
  window_end_ = nxt_ + buffer_;
  window_began_ = copied_since_ = now;
}

// --- text
// -------------------------------------------------------------------------------------------------------------

Receiver::Text Receiver::take_text(Seq seq, Packet payload, bool fin, bool pressed, Instant now) {
  Text text;
  const uint32_t segment_bytes = payload.bytes();
  if (fin && !fin_received_ && !fin_at_) {
    // FIN counts once its place is inside the window (trimmed below with the data otherwise).
    const Seq at = seq + segment_bytes;
    if (at >= nxt_ && at <= adv_) fin_at_ = at;
  }
  if (segment_bytes > 0) segment_ = std::clamp(segment_bytes, segment_, std::max(segment_, mss_));

  // Before RCV.NXT: received already.
  if (seq < nxt_) {
    const Seq end = seq + segment_bytes;
    if (segment_bytes > 0) {
      dsack_ = wire::SackBlock{seq.value(), earlier(end, nxt_).value()};
      owe_ack_now();
    }
    if (fin && segment_bytes == 0) owe_ack_now();
    if (end <= nxt_ && segment_bytes > 0) counters_->add(Counter::kTcpSegmentDuplicate);
    payload.trim_front(std::min(bytes_between(seq, nxt_), segment_bytes));
    seq = nxt_;
  }
  // Behind the window, or behind the FIN.
  Seq limit = adv_ > nxt_ ? adv_ : nxt_;
  if (fin_at_ && *fin_at_ < seq + payload.bytes()) {
    text.data_after_fin = true;
    limit = earlier(limit, *fin_at_);
  }
  if (seq + payload.bytes() > limit) {
    const uint32_t room = limit > seq ? bytes_between(seq, limit) : 0;
    payload.trim_back(payload.bytes() - std::min(room, payload.bytes()));
    owe_ack_now();
  }

  const bool had_gap = !reassembly_.empty();
  if (payload.bytes() > 0) {
    if (seq == nxt_) {
      deliver(std::move(payload), text);
    } else if (pressed) {
      text.refused = DropReason::kTcpMemoryFull;
      owe_ack_now();
    } else {
      counters_->add(Counter::kTcpSegmentOutOfOrder);
      const Reassembly::Inserted inserted = reassembly_.insert(seq, std::move(payload));
      if (inserted.duplicate) {
        dsack_ = inserted.duplicate;
        if (inserted.taken_bytes == 0) counters_->add(Counter::kTcpSegmentDuplicate);
      }
      if (inserted.refused_bytes > 0) text.refused = DropReason::kTcpReassemblyFull;
      // RFC 5681 4.2: "send an immediate ACK when it receives an out-of-order segment".
      owe_ack_now();
    }
  } else if (fin && seq != nxt_) {
    owe_ack_now();
  }
  drain(text);
  if (text.delivered_bytes > 0 || text.fin) owe_for_data(text.delivered_bytes, had_gap || text.fin, now);
  measure(text.delivered_bytes, now);
  return text;
}

Receiver::Text Receiver::retry(Instant now) {
  Text text;
  drain(text);
  if (text.delivered_bytes > 0 || text.fin) owe_for_data(text.delivered_bytes, true, now);
  return text;
}

void Receiver::deliver(Packet packet, Text& text) {
  const uint32_t bytes = packet.bytes();
  nxt_ += bytes;
  text.delivered_bytes += bytes;
  bytes_delivered_ += bytes;
  unacked_bytes_ += bytes;
  queue.append(std::move(packet));
}

void Receiver::drain(Text& text) {
  while (!reassembly_.empty()) {
    Packet packet = reassembly_.take(nxt_);
    if (!packet) break;
    deliver(std::move(packet), text);
  }
  if (fin_at_ && *fin_at_ == nxt_ && !fin_received_) {
    fin_received_ = true;
    nxt_ += 1;
    text.fin = true;
    reassembly_.clear();
  }
}

void Receiver::note_duplicate(Seq begin, Seq end) {
  counters_->add(Counter::kTcpSegmentDuplicate);
  dsack_ = wire::SackBlock{begin.value(), end.value()};
  owe_ack_now();
}

// --- acknowledgment
// -----------------------------------------------------------------------------------------------------

// RFC 9293 3.8.6.3, RFC 5681 4.2: at once for every second full segment, for a gap filled, at the start of a connection
// (slow start at the other end lives from ACKs); otherwise within the delay.
void Receiver::owe_for_data(uint32_t bytes, bool gap, Instant now) {
  const bool quick = quick_acks_ > 0;
  if (quick && bytes > 0) --quick_acks_;
  if (gap || quick || unacked_bytes_ > segment_) {
    owe_ack_now();
  } else if (ack_due_ == kNever) {
    ack_due_ = now + delayed_ack_;
  }
}

void Receiver::quick_ack(bool on) {
  quick_acks_ = on ? kQuickAcks : 0;
  if (on && ack_due_ != kNever) on_ack_due();
}

Seq Receiver::window_edge(bool pressed) const {
  // The queue's own bytes are taken; what lies in reassembly has its room inside the window.
  const uint64_t queued = queue.bytes();
  const uint32_t free = queued < buffer_ ? static_cast<uint32_t>(buffer_ - queued) : 0;
  const Seq edge = nxt_ + free;
  if (edge <= adv_) return adv_;
  if (pressed && queued > 0) return adv_;
  // Silly-window avoidance: small steps are not worth telling.
  const uint32_t step = bytes_between(adv_, edge);
  return step >= std::min(mss_, buffer_ / 2) ? edge : adv_;
}

uint16_t Receiver::window_field(bool pressed) {
  const Seq edge = later(window_edge(pressed), nxt_);
  // Rounded up, so that a shift does not pull the edge to the left (RFC 7323 2.4); but not when it lies a unit beyond
  // the buffer already: segments shorter than a unit would carry it along with them for as long as nobody reads. Then
  // less is told than would be taken, by less than a unit.
  const uint64_t window = bytes_between(nxt_, edge);
  const uint64_t unit = uint64_t{1} << scale_;
  const bool up = queue.bytes() + window < buffer_ + unit;
  uint64_t field = (window + (up ? unit - 1 : 0)) >> scale_;
  if (field > 0xffff) field = 0xffff;
  adv_ = later(adv_, nxt_ + static_cast<uint32_t>(field << scale_));
  if (field == 0 && !zero_window_) counters_->add(Counter::kTcpZeroWindowOut);
  zero_window_ = field == 0;
  return static_cast<uint16_t>(field);
}

uint8_t Receiver::sack_blocks(std::span<wire::SackBlock> blocks) {
  if (!sack_ || blocks.empty()) return 0;
  size_t count = 0;
  if (dsack_) blocks[count++] = *dsack_;
  if (!reassembly_.empty()) count += reassembly_.sack_blocks(blocks.subspan(count));
  return static_cast<uint8_t>(count);
}

void Receiver::acknowledged() {
  // A peer with SACK learns everything from the latest ACK; one without counts duplicates, so each is sent.
  if (sack_ || reassembly_.empty()) {
    acks_owed_ = 0;
  } else if (acks_owed_ > 0) {
    --acks_owed_;
  }
  ack_due_ = kNever;
  unacked_bytes_ = 0;
  dsack_.reset();
  last_ack_sent_ = nxt_;
}

bool Receiver::consumed(uint64_t bytes, bool pressed, Instant now) {
  autotune(bytes, now);
  if (fin_received_) return false;
  const Seq edge = window_edge(pressed);
  if (edge == adv_) return false;
  // Linux's rule: worth a segment of its own when it at least doubles what is left.
  return bytes_between(nxt_, edge) >= 2 * uint64_t{window()};
}

void Receiver::compact() {
  uint64_t copied = 0;
  if (queue_guard_.check(queue.bytes(), queue.memory_bytes(), [this] { return queue.memory_share_bytes(); })) {
    copied += compact_queue(queue, *pool_);
  }
  if (reassembly_guard_.check(reassembly_.bytes(), reassembly_.memory_bytes(),
                              [this] { return reassembly_.memory_share_bytes(); })) {
    copied += reassembly_.compact(*pool_);
  }
  if (copied > 0) counters_->add(Counter::kTcpCompactedByte, copied);
}

void Receiver::clear() {
  queue.clear();
  reassembly_.clear();
}

// --- right-sizing
// -------------------------------------------------------------------------------------------------------

void Receiver::measure(uint32_t bytes, Instant now) {
  if (bytes == 0 || nxt_ < window_end_) return;
  // One window has arrived since window_began_; that took a round trip or more.
  const Duration sample = std::max<Duration>(now - window_began_, 1us);
  rtt_ = rtt_ == Duration{0} ? sample : std::min(sample, rtt_ + (sample - rtt_) / 8);
  window_began_ = now;
  window_end_ = nxt_ + std::max(window(), 1u);
}

void Receiver::autotune(uint64_t bytes, Instant now) {
  copied_ += bytes;
  if (rtt_ == Duration{0} || now - copied_since_ < rtt_) return;
  // Twice what the application took in a round trip: room for a sender that doubles its window in the next one.
  if (2 * copied_ > buffer_) buffer_ = static_cast<uint32_t>(std::min<uint64_t>(2 * copied_, buffer_max_));
  copied_ = 0;
  copied_since_ = now;
}

}  // namespace culvert::tcp
