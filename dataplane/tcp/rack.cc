#include "tcp/rack.h"

#include <algorithm>

namespace culvert::tcp {

void Rack::on_delivered(const SentRange& range, bool ambiguous, Duration min_rtt, Instant now) {
  const Duration rtt = now - range.sent_at;
  // RFC 8985 6.2 step 3: something not retransmitted arrived behind something sent later.
  if (!valid_ || range.end > fack_) {
    fack_ = range.end;
  } else if (range.end < fack_ && !range.retransmitted) {
    reordering_seen_ = true;
  }
  // Step 2: "If RACK.segment.retransmitted ... and either the timestamp says it was the original or the RTT is smaller
  // than the smallest": the ACK is for the earlier transmission.
  if (range.retransmitted && (ambiguous || rtt < min_rtt)) return;
  if (!valid_ || sent_after(range.sent_at, range.end, sent_at_, end_)) {
    sent_at_ = range.sent_at;
    end_ = range.end;
    rtt_ = rtt;
    valid_ = true;
  }
}

void Rack::on_dsack(Seq una, Seq nxt) {
  if (dsack_round_valid_ && una < dsack_round_) return;
  dsack_round_ = nxt;
  dsack_round_valid_ = true;
  reo_wnd_mult_ = std::min<uint32_t>(reo_wnd_mult_ + 1, 255);
  reo_wnd_persist_ = 16;
}

void Rack::on_recovery_end() {
  if (--reo_wnd_persist_ == 0) {
    reo_wnd_mult_ = 1;
    reo_wnd_persist_ = 16;
  }
}

Duration Rack::reordering_window(const SackScoreboard& board, const Context& context) const {
  if (!reordering_seen_) {
    if (context.in_recovery || board.sacked_bytes() >= kDupThresh * context.mss) return Duration{0};
    // Short writes: three ranges count as three segments, whatever their length.
    if (board.sacked_bytes() > 0) {
      uint32_t sacked = 0;
      for (size_t i = 0; i < board.size() && sacked < kDupThresh; ++i) {
        sacked += board[i].state == SentRange::State::kSacked ? 1 : 0;
      }
      if (sacked >= kDupThresh) return Duration{0};
    }
  }
  return std::min(reo_wnd_mult_ * context.min_rtt / 4, context.srtt);
}

Rack::Detection Rack::detect(SackScoreboard& board, const Context& context, Instant now) {
  Detection detection;
  if (!valid_ || board.empty()) return detection;
  const Duration window = reordering_window(board, context);
  detection.lost_bytes = board.judge([&](const SentRange& range) {
    if (!sent_after(sent_at_, end_, range.sent_at, range.end)) {
      // Ranges further right that were sent once were sent later still, and their retransmissions even later.
      return range.retransmitted ? SackScoreboard::Judgment::kKeep : SackScoreboard::Judgment::kStop;
    }
    const Instant due = range.sent_at + rtt_ + window;
    if (due <= now) return SackScoreboard::Judgment::kLost;
    detection.again_at = std::min(detection.again_at, due);
    return SackScoreboard::Judgment::kKeep;
  });
  return detection;
}

}  // namespace culvert::tcp
