// One connection: its state (RFC 9293 3.3.2), what was negotiated, and the two halves that do the work.
//
//   segment_arrives.cc   RFC 9293 3.10.7, check by check
//   transmit.cc          what the next segment looks like
//   connection.cc        opens, closes, timers
//
// Everything that outlives a connection or is shared is in Core. A connection never frees itself: it is retired, and
// the stack takes it away when the turn is over.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "base/timer_wheel.h"
#include "tcp/list.h"
#include "tcp/receiver.h"
#include "tcp/segment.h"
#include "tcp/sender.h"
#include "tcp/stack.h"

namespace culvert::tcp {

class Core;
struct Interface;

enum class State : uint8_t {
  kFree,  // the slot is unused
  kSynSent,
  kSynReceived,
  kEstablished,
  kFinWait1,
  kFinWait2,
  kCloseWait,
  kClosing,
  kLastAck,
  kTimeWait,  // the TIME-WAIT table has taken over; what is left to read is here
  kClosed,    // over; waits for its owner
};

const char* name_of(State state);

class Connection {
 public:
  Connection() { timer.connection = this; }

  // --- opening ---------------------------------------------------------------------------------------------------
  void open_active(Core& core, Interface& interface, const Tuple& tuple, uint32_t hash,
                   const ConnectionOptions& options, Instant now);
  // Answers a SYN. `isn_above`: the new ISN lies beyond it (a TIME-WAIT entry's SND.NXT).
  void open_passive(Core& core, Interface& interface, const Segment& syn, uint32_t hash, std::optional<Seq> isn_above,
                    Instant now);

  // --- events ----------------------------------------------------------------------------------------------------
  void on_segment(Segment& segment, Instant now);
  void on_icmp_error(IcmpErrorKind kind, Seq quoted, uint16_t mtu, Instant now);
  void on_timer(Instant now);
  void on_interface_gone();

  enum class Built : uint8_t { kSent, kNothing, kNoBuffer };
  Built build(OutSegment& out, Instant now);

  // --- application -----------------------------------------------------------------------------------------------
  uint64_t writable_bytes();  // an answer that is small asks for kWritable
  bool write(Packet bytes, Instant now);
  Packet read(uint32_t bytes_max, Instant now);
  ByteQueue* receive_queue();
  void consumed(uint64_t bytes, Instant now);
  bool peer_finished() const { return rcv_.fin_received() && rcv_.queue.empty(); }
  void shutdown_write(Instant now);
  void abort(Instant now);
  void release(Instant now);
  const ConnectionOptions& options() const { return options_; }
  void set_options(const ConnectionOptions& options, Instant now);
  void set_quick_ack(bool on);
  ConnectionInfo info() const;

  // --- what the stack keeps here ---------------------------------------------------------------------------------
  bool same_as(InterfaceId interface, const Tuple& tuple) const;
  State state() const { return state_; }
  bool over() const { return state_ == State::kTimeWait || state_ == State::kClosed; }
  // Ended by both FINs: what was received and not read yet is good.
  bool ended_orderly() const { return ended_orderly_; }
  const Tuple& tuple() const { return tuple_; }
  InterfaceId interface_id() const { return interface_id_; }
  Interface* interface() const { return interface_; }
  uint32_t hash() const { return hash_; }
  bool owned() const { return owned_; }
  uint64_t readable_bytes() const { return rcv_.queue.bytes(); }
  uint64_t unacknowledged_bytes() const { return snd_.queue.bytes(); }
  uint16_t take_pending_events() { return std::exchange(pending_events_, uint16_t{0}); }
  void restore_pending_events(uint16_t events) { pending_events_ = events; }
  // Marks an event for the owner: one of each kind waits at most.
  void emit(EventKind kind);
  // Sums up the memory held since last time.
  void settle();
  void reset_slot();  // back to a fresh slot, generation kept

  uint32_t index = 0;
  uint32_t generation = 0;
  uint64_t cookie = 0;
  bool in_table = false;
  struct Timer : TimerEntry {
    Connection* connection = nullptr;
  };
  Timer timer;
  ListLink<Connection> ready_link, event_link, doomed_link;

 private:
  enum class Check : uint8_t { kPass, kDrop };

  // RFC 9293 3.10.7.3 and 3.10.7.4, in order.
  void on_segment_syn_sent(Segment& segment, Instant now);
  bool on_segment_syn_received(const Segment& segment, Instant now);
  Check check_timestamps(const Segment& segment, Instant now);
  Check check_sequence(const Segment& segment, Instant now);
  Check check_reset(const Segment& segment, Instant now);
  Check check_syn(const Segment& segment, Instant now);
  Check check_ack(const Segment& segment, Instant now);
  Check complete_handshake(const Segment& segment, Instant now);
  void take_timestamp(const Segment& segment, Instant now);
  void take_ack(const Segment& segment, Instant now);
  void take_text_and_fin(Segment& segment, Instant now);
  void on_text(const Receiver::Text& text, Instant now);
  void take_fin(Instant now);

  void take_syn_options(const wire::TcpOptions& options);
  void establish(uint32_t window, Seq seq, Seq ack, Instant now);
  void sample_handshake(const wire::TcpOptions& options, Instant now);
  void challenge(Instant now);
  void acknowledge_now(Instant now);
  void drop(DropReason reason);
  void after_fin_acknowledged(Instant now);
  void enter_time_wait(Instant now);
  void finish(std::optional<EventKind> event);
  void give_up(Counter cause, bool with_reset, Instant now);
  void send_reset(Instant now);
  void ready();
  void schedule(Instant now);
  Instant deadline() const;
  Instant keepalive_deadline() const;
  Instant user_deadline() const;
  bool on_syn_timer(Instant now);
  bool on_keepalive_timer(Instant now);
  uint64_t room_to_write() const;
  void note_writable();

  uint32_t header_overhead() const;
  uint16_t mss_for(uint16_t mtu) const;
  uint32_t payload_mss() const;
  uint32_t bytes_max(uint16_t header_bytes) const;
  Built build_syn(OutSegment& out, Instant now);
  Built build_planned(OutSegment& out, const Sender::Plan& plan, Instant now);
  Built build_ack(OutSegment& out, Seq seq, Instant now);
  void fill_acknowledgment(wire::TcpHeader& header, Instant now);
  uint8_t fill_sacks(wire::TcpHeader& header);
  void sent_acknowledgment(const wire::TcpHeader& header);
  Built emit_segment(OutSegment& out, const wire::TcpHeader& header, Packet payload);

  Core* core_ = nullptr;
  Interface* interface_ = nullptr;
  InterfaceId interface_id_ = kNoInterface;
  Tuple tuple_;
  uint32_t hash_ = 0;
  State state_ = State::kFree;
  bool passive_ = false;
  bool owned_ = false;     // somebody holds the handle and wants events
  bool released_ = false;  // its owner has gone; closes by itself
  bool ended_orderly_ = false;
  ConnectionOptions options_;

  Sender snd_;
  SparseGuard snd_guard_;
  Receiver rcv_;
  uint64_t queued_seen_ = 0;  // bytes in the receive queue after the last arrival or read

  // Negotiated (RFC 7323, RFC 2018), or wished for while the SYN is out.
  bool timestamps_ = true, sack_ = true, scaling_ = true;
  uint8_t rcv_scale_ = 0, snd_scale_ = 0;
  uint16_t peer_mss_ = 0;
  uint16_t mtu_ = 1500;  // of the path, as far as known
  uint32_t ts_offset_ = 0;
  uint32_t ts_recent_ = 0;  // TS.Recent
  Instant ts_recent_at_{};

  // Handshake.
  bool syn_due_ = false;
  uint8_t syn_sent_count_ = 0;
  Instant syn_sent_at_{};  // of the first
  Instant syn_again_at_ = kNever;
  Instant give_up_at_ = kNever;  // SYN timeout, FIN-WAIT-2 of an orphan

  // Keepalive (RFC 9293 3.8.4).
  Instant heard_at_{};
  uint8_t keepalive_unanswered_ = 0;
  bool keepalive_due_ = false;

  Instant challenged_at_{};          // when the last challenge ACK was owed
  Instant acknowledged_stray_at_{};  // when the last ACK for an empty segment out of place was
  bool challenge_due_ = false, window_update_due_ = false, delayed_ack_due_ = false;
  bool readable_told_ = false, writable_wanted_ = false;
  uint16_t pending_events_ = 0;
  uint64_t memory_settled_ = 0;
};

}  // namespace culvert::tcp
