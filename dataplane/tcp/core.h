// What the connections of one stack share: pool, counters, timers, the lists of those that want to send or to tell, and
// the memory account. Private to the room.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/random.h"
#include "base/timer_wheel.h"
#include "packet/packet.h"
#include "tcp/connection.h"
#include "tcp/connection_table.h"
#include "tcp/isn.h"
#include "tcp/list.h"
#include "tcp/stack.h"
#include "tcp/time_wait.h"
#include "telemetry/counters.h"

namespace culvert::tcp {

// An attached interface. Stays where it is while connections point at it.
struct Interface {
  InterfaceId id = kNoInterface;
  InterfaceLimits limits;
  SynFilter filter;
  ConnectionOptions accepted;
};

// An answer without a connection behind it: RST, or an ACK out of TIME-WAIT. Kept as values until it is sent, so that
// an empty pool loses nothing.
struct Reply {
  InterfaceId interface;
  Tuple tuple;
  wire::TcpHeader header;  // ports are filled in when it is built
};

class Core {
 public:
  Core(const StackLimits& limits_, BufferPool& pool_, Counters& counters_, uint64_t seed, Instant start)
      : limits(limits_),
        pool(pool_),
        counters(counters_),
        random(seed),
        wheel(start),
        numbers(random),
        table(HashKey::draw(random)),
        time_wait(limits_.time_wait_max, limits_.time_wait) {
    replies.reserve(kRepliesMax);
  }

  // RSTs and TIME-WAIT ACKs that wait; a flood beyond it is not answered.
  static constexpr size_t kRepliesMax = 1024;
  void reply(InterfaceId interface, const Tuple& tuple, const wire::TcpHeader& header) {
    if (replies.size() >= kRepliesMax) {
      counters.drop(DropReason::kTcpReplyQueueFull);
      return;
    }
    if (header.rst) counters.add(Counter::kTcpResetOut);
    replies.push_back({interface, tuple, header});
  }

  // Beyond three quarters of the memory, or with the pool nearly empty: windows stop growing.
  bool pressed() const { return pressed_; }
  // Nothing more may be held.
  bool memory_full() const { return memory_held >= limits.memory_bytes_max; }
  void account(int64_t delta) { memory_held = static_cast<uint64_t>(static_cast<int64_t>(memory_held) + delta); }
  // Less than an eighth of the buffers is left. Segments that fill a hole must find one, or what waits behind the hole
  // would hold the pool for ever; so nothing out of order is kept then.
  bool pool_low() const {
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge}) {
      const uint32_t limit = pool.limit(kind);
      if (limit > 0 && pool.held(kind) > limit - limit / 8) return true;
    }
    return false;
  }
  // Looks at memory and pool, at most once a millisecond: a mempool's count is not free.
  void review_memory(Instant now) {
    if (now < reviewed_at_ + 1ms && reviewed_at_ != Instant{}) return;
    reviewed_at_ = now;
    const bool pressed = memory_held > limits.memory_bytes_max / 4 * 3 || pool_low();
    if (pressed && !pressed_) counters.add(Counter::kTcpMemoryPressure);
    pressed_ = pressed;
  }

  StackLimits limits;
  BufferPool& pool;
  Counters& counters;
  Random random;
  TimerWheel wheel;
  InitialNumbers numbers;
  ConnectionTable table;
  TimeWait time_wait;
  std::vector<Reply> replies;                         // first in, first out
  List<Connection, &Connection::ready_link> ready;    // may have something to send; taken in turn
  List<Connection, &Connection::event_link> telling;  // have events pending
  List<Connection, &Connection::doomed_link> doomed;  // over, and nobody wants to know: freed when the turn ends
  uint64_t memory_held = 0;
  uint32_t half_open = 0;

 private:
  bool pressed_ = false;
  Instant reviewed_at_{};
};

}  // namespace culvert::tcp
