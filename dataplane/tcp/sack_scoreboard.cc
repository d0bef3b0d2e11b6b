#include "tcp/sack_scoreboard.h"

#include <algorithm>

namespace culvert::tcp {

void SackScoreboard::sent(Seq begin, Seq end, Instant now) {
  DP_DCHECK(begin < end && (empty() || back().end == begin));
  SentRange range;
  range.begin = begin;
  range.end = end;
  range.sent_at = now;
  ranges_.push_back(range);
  account(range, 1);
}

void SackScoreboard::retransmitted(Seq begin, Seq end, Instant now) {
  size_t i = find(begin);
  DP_DCHECK(i < ranges_.size() && ranges_[i].begin <= begin);
  if (ranges_[i].begin < begin) {
    split(i, begin);
    ++i;
  }
  for (; i < ranges_.size() && ranges_[i].begin < end; ++i) {
    if (ranges_[i].end > end) split(i, end);
    if (ranges_[i].state == SentRange::State::kSacked) continue;
    set_state(i, SentRange::State::kInFlight);
    ranges_[i].retransmitted = true;
    ranges_[i].sent_at = now;
  }
}

uint32_t SackScoreboard::mark_front_lost(uint32_t bytes) {
  uint32_t newly_lost = 0;
  if (empty()) return 0;
  const Seq until = front().begin + bytes;
  for (size_t i = head_; i < ranges_.size() && ranges_[i].begin < until; ++i) {
    if (ranges_[i].state != SentRange::State::kInFlight) continue;
    if (ranges_[i].end > until) split(i, until);
    newly_lost += ranges_[i].bytes();
    mark_lost(i);
  }
  return newly_lost;
}

void SackScoreboard::mark_all_lost(bool reneged) {
  for (size_t i = head_; i < ranges_.size(); ++i) {
    if (ranges_[i].state == SentRange::State::kInFlight || reneged) mark_lost(i);
  }
}

void SackScoreboard::forgive_lost() {
  for (size_t i = head_; i < ranges_.size(); ++i) {
    if (ranges_[i].state == SentRange::State::kLost) set_state(i, SentRange::State::kInFlight);
  }
}

uint32_t SackScoreboard::mark_longer_lost(uint32_t bytes) {
  uint32_t newly_lost = 0;
  for (size_t i = head_; i < ranges_.size(); ++i) {
    if (ranges_[i].state != SentRange::State::kInFlight || ranges_[i].bytes() <= bytes) continue;
    newly_lost += ranges_[i].bytes();
    mark_lost(i);
  }
  return newly_lost;
}

const SentRange* SackScoreboard::first_lost() {
  if (lost_ == 0) return nullptr;
  for (size_t i = lost_hint_ > front().begin ? find(lost_hint_) : head_; i < ranges_.size(); ++i) {
    if (ranges_[i].state != SentRange::State::kLost) continue;
    lost_hint_ = ranges_[i].begin;
    return &ranges_[i];
  }
  DP_CHECK(false);  // lost_ counts ranges that the hint hides
}

Seq SackScoreboard::lost_end(Seq begin, uint32_t bytes) const {
  Seq end = begin;
  for (size_t i = find(begin); i < ranges_.size() && ranges_[i].state == SentRange::State::kLost; ++i) {
    end = ranges_[i].end;
    if (bytes_between(begin, end) >= bytes) return begin + bytes;
  }
  return end;
}

size_t SackScoreboard::find(Seq seq) const {
  const auto first = ranges_.begin() + static_cast<std::ptrdiff_t>(head_);
  const auto at = std::partition_point(first, ranges_.end(), [seq](const SentRange& r) { return r.end <= seq; });
  return static_cast<size_t>(at - ranges_.begin());
}

void SackScoreboard::split(size_t index, Seq at) {
  DP_DCHECK(ranges_[index].begin < at && at < ranges_[index].end);
  SentRange right = ranges_[index];
  right.begin = at;
  ranges_[index].end = at;
  ranges_.insert(ranges_.begin() + static_cast<std::ptrdiff_t>(index) + 1, right);
}

void SackScoreboard::set_state(size_t index, SentRange::State state) {
  account(ranges_[index], -1);
  ranges_[index].state = state;
  account(ranges_[index], 1);
}

void SackScoreboard::mark_lost(size_t index) {
  if (lost_ == 0 || ranges_[index].begin < lost_hint_) lost_hint_ = ranges_[index].begin;
  set_state(index, SentRange::State::kLost);
}

void SackScoreboard::account(const SentRange& range, int sign) {
  uint32_t& sum = range.state == SentRange::State::kInFlight ? in_flight_
                  : range.state == SentRange::State::kSacked ? sacked_
                                                             : lost_;
  sum += sign > 0 ? range.bytes() : 0u - range.bytes();
}

void SackScoreboard::trim() {
  if (empty()) {
    ranges_.clear();
    head_ = 0;
  } else if (head_ >= 64 && head_ * 2 >= ranges_.size()) {
    // Half the vector is history: moving the rest costs less than one step per range that went.
    ranges_.erase(ranges_.begin(), ranges_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
}

}  // namespace culvert::tcp
