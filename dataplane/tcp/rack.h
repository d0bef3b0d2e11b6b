// RACK: loss detection by time (RFC 8985 6). A segment is lost when one that was sent later has arrived and the time
// for reordering is over; with three segments' worth of SACK and no reordering ever seen, at once (RFC 6675's
// DupThresh).
//
// Works on the scoreboard; knows nothing of congestion. Names follow RFC 8985 5.
#pragma once

#include <cstdint>

#include "base/time.h"
#include "tcp/sack_scoreboard.h"

namespace culvert::tcp {

class Rack {
 public:
  // Segments that have to be SACKed before reordering is ruled out (RFC 8985 3.3.1).
  static constexpr uint32_t kDupThresh = 3;

  // `range` arrived. `ambiguous`: it was retransmitted, and this ACK may be for the earlier transmission (RFC 8985 6.2
  // step 2).
  void on_delivered(const SentRange& range, bool ambiguous, Duration min_rtt, Instant now);
  // A D-SACK says that a retransmission was for nothing: wait longer next time, once per round trip.
  void on_dsack(Seq una, Seq nxt);
  // A recovery ended (RFC 8985 6.2 step 4: the longer wait lasts 16 recoveries).
  void on_recovery_end();
  bool reordering_seen() const { return reordering_seen_; }

  struct Context {
    Duration srtt, min_rtt;
    uint32_t mss;
    bool in_recovery;
  };
  struct Detection {
    uint32_t lost_bytes = 0;    // newly judged
    Instant again_at = kNever;  // when the rest of the wait for reordering is over
  };
  Detection detect(SackScoreboard& board, const Context& context, Instant now);

  Duration reordering_window(const SackScoreboard& board, const Context& context) const;

 private:
  static bool sent_after(Instant a_at, Seq a_end, Instant b_at, Seq b_end) {
    return a_at > b_at || (a_at == b_at && a_end > b_end);
  }

  Instant sent_at_{Duration::min()};  // RACK.xmit_ts: of the latest-sent range that arrived
  Seq end_;                           // RACK.end_seq
  Duration rtt_{0};                   // RACK.rtt
  Seq fack_;                          // RACK.fack: highest arrived
  Seq dsack_round_;                   // no second D-SACK counts before SND.UNA has passed this
  uint32_t reo_wnd_mult_ = 1;
  uint32_t reo_wnd_persist_ = 16;
  bool valid_ = false;
  bool reordering_seen_ = false;
  bool dsack_round_valid_ = false;
};

}  // namespace culvert::tcp
