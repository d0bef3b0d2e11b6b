// What was sent and not yet acknowledged, range by range: the scoreboard of RFC 6675 2 and the transmission times that
// RACK needs (RFC 8985 5.2).
//
// A range is what one transmission carried (up to 64 KB with segmentation offload); it is split where an acknowledgment
// or a loss divides it. Ranges are contiguous from SND.UNA to SND.NXT, so a sequence number finds its range by binary
// search. Each is in one of three states, and the sums over them are kept:
//
//   in flight   sent, or retransmitted, and not judged         -- together they are RFC 6675's pipe
//   sacked      the peer holds it
//   lost        judged lost and not yet retransmitted
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/time.h"
#include "tcp/seq.h"

namespace culvert::tcp {

struct SentRange {
  enum class State : uint8_t { kInFlight, kSacked, kLost };

  Seq begin, end;
  Instant sent_at{};  // of the latest transmission
  State state = State::kInFlight;
  bool retransmitted = false;  // ever
  uint32_t bytes() const { return bytes_between(begin, end); }
};

class SackScoreboard {
 public:
  // More outstanding ranges than this and the sender waits: a stream of one-byte writes must not make the board larger
  // than the data. Enough for 23 MB of ordinary segments.
  static constexpr size_t kRangesMax = 16'384;

  bool empty() const { return head_ == ranges_.size(); }
  size_t size() const { return ranges_.size() - head_; }
  bool full() const { return size() >= kRangesMax; }
  const SentRange& operator[](size_t index) const { return ranges_[head_ + index]; }
  const SentRange& front() const { return ranges_[head_]; }
  const SentRange& back() const { return ranges_.back(); }

  uint32_t in_flight_bytes() const { return in_flight_; }
  uint32_t sacked_bytes() const { return sacked_; }
  uint32_t lost_bytes() const { return lost_; }
  // The right edge of what the peer holds; meaningful when sacked_bytes() > 0.
  Seq highest_sacked() const { return highest_sacked_; }

  // New data, which begins where the last range ended.
  void sent(Seq begin, Seq end, Instant now);
  // [begin, end) left again. `begin` starts a range.
  void retransmitted(Seq begin, Seq end, Instant now);

  // Everything before `una` has arrived. Calls delivered(range) for what was not known to have arrived, in order.
  template <class Delivered>
  void acknowledge(Seq una, Delivered&& delivered) {
    while (!empty() && front().begin < una) {
      if (front().end > una) split(head_, una);
      const SentRange range = front();
      account(range, -1);
      ++head_;
      if (range.state != SentRange::State::kSacked) delivered(range);
    }
    trim();
  }

  // The peer holds [left, right), which lies within what is outstanding. Calls delivered(range) for what is news.
  template <class Delivered>
  void sack(Seq left, Seq right, Delivered&& delivered) {
    for (size_t i = find(left); i < ranges_.size() && ranges_[i].begin < right; ++i) {
      if (ranges_[i].state == SentRange::State::kSacked) continue;
      if (ranges_[i].begin < left) {
        split(i, left);
        continue;
      }
      if (ranges_[i].end > right) split(i, right);
      const SentRange before = ranges_[i];
      set_state(i, SentRange::State::kSacked);
      if (sacked_ == before.bytes() || highest_sacked_ < before.end) highest_sacked_ = before.end;
      delivered(before);
    }
  }

  // Visits ranges in flight from the left; visit(range) says whether it is lost, in flight, or whether to stop.
  enum class Judgment : uint8_t { kLost, kKeep, kStop };
  template <class Judge>
  uint32_t judge(Judge&& visit) {
    uint32_t newly_lost = 0;
    for (size_t i = head_; i < ranges_.size(); ++i) {
      if (ranges_[i].state != SentRange::State::kInFlight) continue;
      const Judgment judgment = visit(ranges_[i]);
      if (judgment == Judgment::kStop) break;
      if (judgment == Judgment::kLost) {
        newly_lost += ranges_[i].bytes();
        mark_lost(i);
      }
    }
    return newly_lost;
  }

  // Judges the first `bytes` outstanding lost, whole or in part, unless they already are. For peers without SACK.
  uint32_t mark_front_lost(uint32_t bytes);
  // A timeout: everything in flight is lost. With `reneged` the peer's SACKs count no more either (RFC 2018 8).
  void mark_all_lost(bool reneged);
  // Nothing was lost after all: what has not been retransmitted is in flight again.
  void forgive_lost();
  // Ranges longer than `bytes` cannot pass (path MTU): they are lost. Returns how many bytes were in them.
  uint32_t mark_longer_lost(uint32_t bytes);

  // The first lost range; null when there is none.
  const SentRange* first_lost();
  // Where the lost bytes that begin at first_lost() end, at most `bytes` further: adjacent small losses leave together.
  Seq lost_end(Seq begin, uint32_t bytes) const;

  // Gives memory back when nothing is outstanding.
  void shrink() {
    if (empty()) {
      ranges_ = {};
      head_ = 0;
    }
  }

 private:
  size_t find(Seq seq) const;  // index of the range that holds seq, or the first behind it
  void split(size_t index, Seq at);
  void set_state(size_t index, SentRange::State state);
  void mark_lost(size_t index);
  void account(const SentRange& range, int sign);
  void trim();

  std::vector<SentRange> ranges_;  // [head_, size) are outstanding
  size_t head_ = 0;
  uint32_t in_flight_ = 0, sacked_ = 0, lost_ = 0;
  Seq highest_sacked_;
  Seq lost_hint_;  // no range before this one is lost
};

}  // namespace culvert::tcp
