// The receiving half of a connection: the receive queue, reassembly, the window it offers, and when an ACK is owed.
//
// The window's right edge never moves left: what was offered is kept room for. It moves right as RFC 9293 3.8.6.2.2
// says, in steps worth sending. The buffer behind it starts at 64 KB and doubles per round trip while the application
// keeps up with the peer (dynamic right-sizing, Fisk and Feng 2001), up to its ceiling; under memory pressure it stays
// where it is and the edge stops until the queue has drained.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/time.h"
#include "packet/packet.h"
#include "tcp/compaction.h"
#include "tcp/reassembly.h"
#include "telemetry/counters.h"
#include "wire/tcp_header.h"

namespace culvert::tcp {

class Receiver {
 public:
  // What the window may come to before the path is known, and in a SYN, where it is not scaled.
  static constexpr uint32_t kInitialBuffer = 64u << 10;

  // The shift to offer for a buffer of at most `bytes` (RFC 7323 2.2).
  static uint8_t scale_for(uint32_t bytes);

  void start(uint32_t buffer_bytes_max, Duration delayed_ack, BufferPool& pool, Counters& counters);
  // The peer's SYN: RCV.NXT = IRS + 1. `window_offered`: what our SYN or SYN-ACK said.
  void open(Seq irs, uint32_t window_offered, uint8_t window_scale, bool sack, uint32_t mss, Instant now);

  // New limits for a living connection. A smaller buffer takes nothing back that was offered.
  void set_limits(uint32_t buffer_bytes_max, Duration delayed_ack);

  Seq irs() const { return irs_; }
  Seq nxt() const { return nxt_; }
  // RCV.WND: from RCV.NXT to the right edge that was offered.
  uint32_t window() const { return adv_ > nxt_ ? bytes_between(nxt_, adv_) : 0; }
  bool fin_received() const { return fin_received_; }

  ByteQueue queue;

  // --- text ------------------------------------------------------------------------------------------------------
  struct Text {
    uint32_t delivered_bytes = 0;  // went into the receive queue
    bool fin = false;              // the peer's FIN came in order
    bool data_after_fin = false;
    std::optional<DropReason> refused;
  };
  // [seq, seq + payload) and FIN, at least partly in the window. `pressed`: no room for anything out of order.
  Text take_text(Seq seq, Packet payload, bool fin, bool pressed, Instant now);
  // Data that waits in reassembly for a view from the pool.
  Text retry(Instant now);
  bool blocked() const { return reassembly_.blocked(); }
  // A segment that arrived again entirely: reported by D-SACK, and acknowledged at once.
  void note_duplicate(Seq begin, Seq end);

  // --- acknowledgment --------------------------------------------------------------------------------------------
  void owe_ack_now() { acks_owed_ = acks_owed_ < kAcksOwedMax ? static_cast<uint8_t>(acks_owed_ + 1) : acks_owed_; }
  bool ack_owed_now() const { return acks_owed_ > 0; }
  Instant ack_due() const { return ack_due_; }  // kNever: no delayed ACK runs
  void on_ack_due() {
    ack_due_ = kNever;
    owe_ack_now();
  }
  void quick_ack(bool on);
  // The window field for a segment that leaves now, unscaled; moves the edge. `pressed`: the edge stays.
  uint16_t window_field(bool pressed);
  // Fills `blocks` (D-SACK first) for a segment with room for `blocks_max`.
  uint8_t sack_blocks(std::span<wire::SackBlock> blocks);
  bool dsack_pending() const { return dsack_.has_value(); }
  // A segment with our ACK left: nothing is owed any more.
  void acknowledged();
  Seq last_ack_sent() const { return last_ack_sent_; }

  // The application took bytes out of the queue. True: the window opened enough to tell the peer now.
  bool consumed(uint64_t bytes, bool pressed, Instant now);
  // Copies sparse buffers together where that frees much (D10).
  void compact();

  uint32_t buffer_bytes() const { return buffer_; }
  // For the stack's account.
  uint64_t memory_bytes() const {
    return accounted_bytes(queue.bytes(), queue.memory_bytes()) +
           (reassembly_.empty() ? 0 : accounted_bytes(reassembly_.bytes(), reassembly_.memory_bytes()));
  }
  const Reassembly& reassembly() const { return reassembly_; }
  uint64_t bytes_delivered() const { return bytes_delivered_; }
  void set_rtt(Duration rtt) {
    if (rtt_ == Duration{0}) rtt_ = rtt;
  }
  void clear();

 private:
  static constexpr uint8_t kAcksOwedMax = 16;
  static constexpr uint8_t kQuickAcks = 16;  // Linux's TCP_MAX_QUICKACKS

  void deliver(Packet packet, Text& text);
  void drain(Text& text);
  void owe_for_data(uint32_t bytes, bool gap, Instant now);
  void measure(uint32_t bytes, Instant now);
  void autotune(uint64_t bytes, Instant now);
  Seq window_edge(bool pressed) const;

  BufferPool* pool_ = nullptr;
  Counters* counters_ = nullptr;
  Reassembly reassembly_;
  SparseGuard queue_guard_, reassembly_guard_;
  Seq irs_, nxt_;
  Seq adv_;                    // right edge of the window that was offered
  Seq last_ack_sent_;          // Last.ACK.sent of RFC 7323 4.3
  std::optional<Seq> fin_at_;  // where the stream ends, once a FIN said so
  uint32_t buffer_ = kInitialBuffer;
  uint32_t buffer_max_ = kInitialBuffer;
  uint32_t mss_ = 536;      // the largest segment that the peer is expected to send
  uint32_t segment_ = 536;  // the largest it has sent, at most mss_
  uint8_t scale_ = 0;
  uint8_t acks_owed_ = 0;
  uint8_t quick_acks_ = kQuickAcks;  // segments still acknowledged at once
  bool sack_ = false;
  bool fin_received_ = false;
  bool zero_window_ = false;
  std::optional<wire::SackBlock> dsack_;
  uint32_t unacked_bytes_ = 0;  // received since the last ACK left
  Duration delayed_ack_{0};
  Instant ack_due_ = kNever;

  // Right-sizing: bytes taken by the application per round trip; the round trip is the time in which one window
  // arrives.
  Duration rtt_{0};
  Instant window_began_{};
  Seq window_end_;
  Instant copied_since_{};
  uint64_t copied_ = 0;
  uint64_t bytes_delivered_ = 0;
};

}  // namespace culvert::tcp
