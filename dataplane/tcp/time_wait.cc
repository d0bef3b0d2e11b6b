#include "tcp/time_wait.h"

namespace culvert::tcp {

uint32_t TimeWait::add(TimeWaitEntry entry, Instant now) {
  uint32_t index;
  if (free_.empty()) {
    index = static_cast<uint32_t>(nodes_.size());
    nodes_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  entry.since = now;
  entry.expires = now + lifetime_;
  nodes_[index].entry = entry;
  link_last(index);
  ++count_;
  return index;
}

void TimeWait::remove(uint32_t index) {
  unlink(index);
  free_.push_back(index);
  --count_;
}

void TimeWait::link_last(uint32_t index) {
  Node& node = nodes_[index];
  node.previous = last_;
  node.next = kNone;
  (last_ == kNone ? first_ : nodes_[last_].next) = index;
  last_ = index;
}

void TimeWait::unlink(uint32_t index) {
  Node& node = nodes_[index];
  (node.previous == kNone ? first_ : nodes_[node.previous].next) = node.next;
  (node.next == kNone ? last_ : nodes_[node.next].previous) = node.previous;
}

TimeWait::Verdict TimeWait::on_segment(uint32_t index, const wire::TcpHeader& header, uint32_t payload_bytes,
                                       Instant now) {
  TimeWaitEntry& entry = nodes_[index].entry;
  if (header.rst) return Verdict::kDrop;
  const auto& ts = header.options.timestamps;
  const bool newer_ts = entry.timestamps && ts && static_cast<int32_t>(ts->first - entry.ts_recent) > 0;
  const bool older_ts = entry.timestamps && ts && static_cast<int32_t>(ts->first - entry.ts_recent) < 0;
  if (header.syn && !header.ack) {
    // RFC 6191 2: with timestamps on both, a later one decides; equal or none, the sequence number does.
    const bool beyond = Seq(header.sequence) > entry.rcv_nxt;
    if (newer_ts || (!older_ts && beyond)) return Verdict::kReuse;
    return Verdict::kAck;
  }
  if (header.fin && !older_ts && Seq(header.sequence) + payload_bytes + 1 == entry.rcv_nxt) {
    // "The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge it, and restart
    // the 2 MSL timeout."
    unlink(index);
    entry.expires = now + lifetime_;
    link_last(index);
    return Verdict::kAck;
  }
  // A bare ACK in its place needs no answer; anything else is out of the window.
  if (payload_bytes == 0 && !header.fin && !header.syn && Seq(header.sequence) == entry.rcv_nxt && !older_ts) {
    return Verdict::kDrop;
  }
  return Verdict::kAck;
}

bool TimeWait::may_reopen(uint32_t index, Instant now) const {
  const TimeWaitEntry& entry = nodes_[index].entry;
  return entry.timestamps && now - entry.since > 1s;
}

}  // namespace culvert::tcp
