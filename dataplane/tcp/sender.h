// The sending half of a connection: the send queue, what is outstanding, and when what may leave.
//
// Three machines meet here. The scoreboard with RACK says what was lost; the congestion controller says how much may be
// in flight; this class keeps the phase between them (open, recovery, after a timeout), the peer's window, and the
// timers of RFC 6298, RFC 8985 7 and RFC 9293 3.8.6.1. During a recovery cwnd follows proportional rate reduction
// (RFC 6937), so that each delivery releases its share of a transmission.
//
// next() decides and changes nothing that matters; sent() records that the decision was carried out. Between them the
// segment is built, which fails when the pool is empty, and then the same decision comes again later.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "packet/packet.h"
#include "tcp/congestion.h"
#include "tcp/rack.h"
#include "tcp/rto.h"
#include "tcp/sack_scoreboard.h"
#include "telemetry/counters.h"
#include "wire/tcp_header.h"

namespace culvert::tcp {

class Sender {
 public:
  // One segment to send: [seq, seq + bytes) of the queue, then FIN.
  struct Plan {
    enum class Cause : uint8_t { kNew, kFast, kTimeout, kTailProbe, kWindowProbe };
    Seq seq;
    uint32_t bytes = 0;
    bool fin = false;
    bool push = false;  // nothing is queued behind it
    Cause cause = Cause::kNew;
    bool retransmits() const {
      return cause == Cause::kFast || cause == Cause::kTimeout || (cause == Cause::kTailProbe && again);
    }
    bool again = false;  // a probe that carries old data
  };
  // What an ACK brings, taken from the segment.
  struct Ack {
    Seq seq;              // SEG.SEQ
    Seq ack;              // SEG.ACK, SND.UNA <= or a little before, never beyond SND.NXT
    uint32_t window = 0;  // SEG.WND, scaled
    std::span<const wire::SackBlock> sacks;
    std::optional<uint32_t> echo;  // TSecr, when timestamps are in use
    bool carries_text = false;     // data or FIN: then it is no duplicate ACK (RFC 5681 2)
  };
  struct Acked {
    uint32_t queue_bytes = 0;  // bytes that left the send queue
    bool fin = false;          // our FIN is acknowledged
  };

  // --- set-up ----------------------------------------------------------------------------------------------------
  void start(Seq iss, Counters& counters);
  // The handshake ended: the peer's first window and what it can do. SND.UNA = ISS + 1.
  struct Negotiated {
    uint32_t window;
    uint8_t window_scale;
    uint32_t mss;  // payload of a full segment, options of every segment left out
    bool sack, timestamps, nodelay;
    CongestionAlgorithm congestion;
  };
  void open(const Negotiated& negotiated, Seq window_seq, Seq window_ack);
  void set_nodelay(bool nodelay) { nodelay_ = nodelay; }
  void set_mss(uint32_t mss, Instant now);  // the path became narrower

  // --- queue -----------------------------------------------------------------------------------------------------
  ByteQueue queue;  // data from SND.UNA on
  void queue_fin() { fin_queued_ = true; }
  bool fin_queued() const { return fin_queued_; }
  bool fin_sent() const { return fin_sent_; }
  // Everything queued, and FIN if queued, was sent at least once.
  uint64_t unsent_bytes() const { return queue.bytes() - sent_queue_bytes(); }

  // --- sequence space --------------------------------------------------------------------------------------------
  Seq iss() const { return iss_; }
  Seq una() const { return una_; }
  Seq nxt() const { return nxt_; }
  uint32_t window() const { return wnd_; }
  uint32_t window_max() const { return wnd_max_; }
  uint8_t window_scale() const { return window_scale_; }
  uint32_t mss() const { return mss_; }
  bool outstanding() const { return nxt_ != una_; }

  // --- events ----------------------------------------------------------------------------------------------------
  Acked on_ack(const Ack& ack, uint32_t timestamp_now, Instant now);
  // A sample from the handshake.
  void sample_rtt(Duration rtt, Instant now) { rtt_.sample(rtt, now); }
  // The next segment to send, at most `bytes_max` of payload in multiples of `segment_bytes` unless it ends the queue.
  std::optional<Plan> next(uint32_t segment_bytes, uint32_t bytes_max, Instant now);
  // `timestamp`: the TSval it carried.
  void sent(const Plan& plan, uint32_t timestamp, Instant now);

  // --- time ------------------------------------------------------------------------------------------------------
  Instant deadline() const;
  // Acts on what is due. kGiveUp*: the retries are used up, `retries_max` for either kind.
  enum class Due : uint8_t { kNothing, kGiveUpRetransmit, kGiveUpPersist };
  Due on_time(uint8_t retries_max, Instant now);
  // The last instant at which the peer acknowledged something new, or at which data began to wait: what a user timeout
  // counts from. kNever when nothing waits.
  Instant waiting_since() const { return waiting_since_; }
  void note_waiting(Instant now);
  // The peer answered a probe: it lives, whatever its window.
  void on_probe_answered() { probes_unanswered_ = 0; }

  RttEstimator& rtt() { return rtt_; }
  const RttEstimator& rtt() const { return rtt_; }
  const Congestion& congestion() const { return congestion_; }
  const SackScoreboard& board() const { return board_; }
  uint64_t bytes_acked() const { return bytes_acked_; }
  uint64_t bytes_retransmitted() const { return bytes_retransmitted_; }
  bool in_recovery() const { return phase_ != Phase::kOpen; }
  bool is_open() const { return open_; }
  bool has_deadline() const { return deadline() != kNever; }
  void release_memory() { board_.shrink(); }

 private:
  enum class Phase : uint8_t {
    kOpen,
    kRecovery,  // loss was detected; ends when SND.UNA reaches recovery_point_ (RFC 6675 5)
    kLoss,      // after a timeout: slow start from one segment
  };
  struct Delivery {
    uint32_t bytes = 0;                // newly known to have arrived
    bool retransmitted_acked = false;  // a cumulative ACK covered something retransmitted
    Instant first_sent = kNever;       // of the oldest range newly acknowledged that was sent once
    Instant last_sacked = kNever;      // of the newest range newly SACKed that was sent once
  };

  uint64_t sent_queue_bytes() const;
  uint32_t in_flight() const;
  uint32_t flight_size() const { return bytes_between(una_, nxt_); }
  Rack::Context rack_context() const;
  void take_sacks(const Ack& ack, Delivery& delivery, uint32_t timestamp_now, Instant now);
  void sample(const Ack& ack, const Delivery& delivery, bool advanced, uint32_t timestamp_now, Instant now);
  bool ambiguous(const SentRange& range, const Ack& ack, uint32_t timestamp_now, Instant now) const;
  void take_window(const Ack& ack);
  void begin_episode();
  void count_duplicate_ack(const Ack& ack, bool window_changed, uint32_t acked, Instant now);
  bool spurious(const Ack& ack, bool advanced) const;
  void detect_losses(Instant now);
  void enter_recovery(Instant now);
  void leave_recovery();
  void undo_recovery();
  void reduce_proportionally(uint32_t delivered, bool advanced);
  void take_dsack(const wire::SackBlock& block);
  void end_tail_probe(const Ack& ack, bool advanced, bool dsack, Instant now);
  void arm_retransmit(Instant now);
  void arm_tail_probe(Instant now);
  void arm_persist(Instant now);
  void on_retransmit_timeout(Instant now);
  std::optional<Plan> next_retransmission(uint32_t segment_bytes, uint32_t bytes_max);
  std::optional<Plan> next_tail_probe(uint32_t segment_bytes);
  std::optional<Plan> next_new(uint32_t segment_bytes, uint32_t bytes_max, Instant now);
  void restart_after_idle(Instant now);

  Counters* counters_ = nullptr;
  Seq iss_, una_, nxt_;
  Seq wl1_, wl2_;         // SEG.SEQ and SEG.ACK of the last window update
  uint32_t wnd_ = 0;      // SND.WND: bytes the peer will take, already scaled
  uint32_t wnd_max_ = 0;  // the largest it ever offered
  uint32_t mss_ = 536;
  uint8_t window_scale_ = 0;
  bool sack_ = false, timestamps_ = false, nodelay_ = true;
  bool fin_queued_ = false, fin_sent_ = false;

  SackScoreboard board_;
  Rack rack_;
  RttEstimator rtt_;
  Congestion congestion_;

  Phase phase_ = Phase::kOpen;
  Seq recovery_point_;
  uint32_t dup_acks_ = 0;  // peers without SACK only: segments that left the network (RFC 5681 3.2)
  uint32_t prr_delivered_ = 0, prr_out_ = 0, recover_fs_ = 0;  // RFC 6937 3
  bool retransmit_now_ = false;  // the first retransmission of a recovery does not wait for the window
  bool window_limited_ = false;  // cwnd stopped us since the last ACK
  uint32_t undo_timestamp_ = 0;  // TSval of the recovery's first retransmission
  uint32_t undo_bytes_ = 0;      // retransmitted in this recovery and not reported as duplicate
  bool undo_possible_ = false, undo_stamped_ = false;
  bool open_ = false;       // the handshake is over
  bool recovered_ = false;  // recovery_point_ is that of an earlier recovery (RFC 6582 3.2 step 1)

  // Tail loss probe (RFC 8985 7).
  bool probe_due_ = false, probe_out_ = false, probe_again_ = false;
  Seq probe_end_;

  bool persist_due_ = false;  // a window probe, or a segment smaller than we like, may leave
  uint8_t persist_backoff_ = 0;
  uint8_t timeouts_ = 0;  // without progress in between
  uint8_t probes_unanswered_ = 0;
  Instant waiting_since_ = kNever;
  Instant last_sent_{};

  Instant retransmit_at_ = kNever, probe_at_ = kNever, reorder_at_ = kNever, persist_at_ = kNever;
  uint64_t bytes_acked_ = 0, bytes_retransmitted_ = 0;
};

}  // namespace culvert::tcp
