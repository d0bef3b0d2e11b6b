// TIME-WAIT (RFC 9293 3.6.1): connections that are over but whose last ACK may have been lost, kept as small entries.
//
// Every entry lives equally long, so a list in order of arrival is also in order of expiry; an entry whose peer sends
// its FIN again starts anew and moves to the end. Beyond the limit the oldest makes room. A new SYN may take an entry's
// place when its timestamp or sequence number is beyond the old connection's (RFC 6191, RFC 1122 4.2.2.13).
//
// Deviates from RFC 9293 3.10.7.4, because of RFC 1337: an RST does not end TIME-WAIT.
#pragma once

#include <cstdint>
#include <vector>

#include "base/time.h"
#include "tcp/segment.h"
#include "tcp/seq.h"

namespace culvert::tcp {

struct TimeWaitEntry {
  InterfaceId interface = kNoInterface;
  Tuple tuple;
  uint32_t hash = 0;  // in the connection table
  Seq snd_nxt, rcv_nxt;
  uint16_t window = 0;  // field of the last ACK
  bool timestamps = false;
  uint32_t ts_recent = 0;
  uint32_t ts_offset = 0;
  Instant since{};
  Instant expires{};
};

class TimeWait {
 public:
  TimeWait(uint32_t max, Duration lifetime) : max_(max), lifetime_(lifetime) {}

  bool full() const { return count_ >= max_; }
  uint32_t count() const { return count_; }
  uint32_t add(TimeWaitEntry entry, Instant now);  // must not be full
  void remove(uint32_t index);
  const TimeWaitEntry& operator[](uint32_t index) const { return nodes_[index].entry; }

  // The oldest; kNone when there is none.
  static constexpr uint32_t kNone = 0xffffffff;
  uint32_t oldest() const { return first_; }
  uint32_t following(uint32_t index) const { return nodes_[index].next; }
  Instant next_deadline() const { return first_ == kNone ? kNever : nodes_[first_].entry.expires; }

  enum class Verdict : uint8_t {
    kDrop,   // nothing to say
    kAck,    // repeat the last ACK (RFC 9293 3.10.7.4: retransmitted FIN, or anything unacceptable)
    kReuse,  // a new connection may begin in its place
  };
  Verdict on_segment(uint32_t index, const wire::TcpHeader& header, uint32_t payload_bytes, Instant now);
  // A connect() of ours may take the place: the peer, which has timestamps, will see ours continue (RFC 6191 by the
  // active opener, as Linux's tcp_tw_reuse), and a second has passed.
  bool may_reopen(uint32_t index, Instant now) const;

 private:
  struct Node {
    TimeWaitEntry entry;
    uint32_t previous = kNone, next = kNone;
  };
  void link_last(uint32_t index);
  void unlink(uint32_t index);

  std::vector<Node> nodes_;
  std::vector<uint32_t> free_;
  uint32_t first_ = kNone, last_ = kNone;
  uint32_t count_ = 0;
  uint32_t max_;
  Duration lifetime_;
};

}  // namespace culvert::tcp
