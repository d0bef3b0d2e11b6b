// The neighbours of one link and what is known of each: the state machine of RFC 4861 7.3, used for ARP as well.
//
//            send           answer                 30 s             send        5 s            no answer
//   (none) ───────▶ INCOMPLETE ──────▶ REACHABLE ───────▶ STALE ───────▶ DELAY ─────▶ PROBE ──────────▶ (none)
//                       │ 3 s                                 hint, answer: back to REACHABLE
//                       └──▶ (none), held packets are undeliverable
//
// Entries and the packets they hold live in arrays sized at construction. When all entries are taken, one that nobody
// used since the hand came by last gives way (second chance); entries under resolution never do. REACHABLE ends when it
// is looked at, so only INCOMPLETE, DELAY and PROBE have running timers; those entries are listed.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/random.h"
#include "eth/link.h"

namespace culvert::eth {

// What the table wants done; the link does it.
class NeighbourActions {
 public:
  virtual ~NeighbourActions() = default;
  // Ask the link for `target`: of everybody, or of the one station it was last known at.
  virtual void solicit(const IpAddress& target, const wire::MacAddress* at) = 0;
  // A held packet may go.
  virtual void resolved(Packet packet, const wire::MacAddress& mac) = 0;
  virtual void unreachable(Packet packet) = 0;
};

// How a neighbour made itself known.
enum class Claim : uint8_t {
  kSolicitation,      // it asked for us and named itself: learnt, as stale
  kAdvertised,        // told without being asked; changes a known address
  kAdvertisedWeakly,  // the same without the override flag: never changes a known address
  kAnswered,          // answered our solicitation
  kAnsweredWeakly,    // answered without the override flag
};

class NeighbourTable {
 public:
  NeighbourTable(const LinkLimits& limits, const NeighbourTimes& times, Counters& counters, uint64_t seed);

  // The MAC address to send to, or null: then the packet should be held. Moves STALE to DELAY.
  const wire::MacAddress* use(const IpAddress& address, Instant now);
  // Keeps the packet until `address` is resolved, starting that if need be. False, and counted, without room.
  bool hold(const IpAddress& address, Packet packet, Instant now, NeighbourActions& actions);
  void on_claim(const IpAddress& address, const wire::MacAddress& mac, Claim claim, Instant now,
                NeighbourActions& actions);
  void confirm(const IpAddress& address, Instant now);

  void poll(Instant now, NeighbourActions& actions);
  Instant next_deadline() const { return active_.empty() ? kNever : soonest_; }

  std::optional<Neighbour> find(const IpAddress& address, Instant now) const;
  std::vector<Neighbour> all(Instant now) const;

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  struct Entry {
    IpAddress address;
    wire::MacAddress mac;
    NeighbourState state = NeighbourState::kIncomplete;
    bool taken = false;
    bool used = false;     // since the eviction hand came by
    uint8_t solicits = 0;  // sent in this state
    uint8_t held = 0;
    Instant deadline = kNever;  // REACHABLE: its end; INCOMPLETE, DELAY, PROBE: the next step
    uint32_t next = kNone;      // in the bucket, or in the free list
    uint32_t position = kNone;  // in active_
    uint32_t held_first = kNone, held_last = kNone;
  };
  struct Held {
    Packet packet;
    uint32_t next = kNone;
  };

  size_t bucket_of(const IpAddress& address) const { return hash_of(address, seed_) & (buckets_.size() - 1); }
  uint32_t index_of(const IpAddress& address) const;
  uint32_t make(const IpAddress& address);
  void forget(uint32_t index);
  bool evict();
  void enter(uint32_t index, NeighbourState state, Instant deadline);
  void make_reachable(uint32_t index, Instant now);
  void release(uint32_t index, NeighbourActions& actions);
  Packet pop_held(Entry& entry);
  bool step(uint32_t index, Instant now, NeighbourActions& actions);
  static Neighbour shown(const Entry& entry, Instant now);

  const LinkLimits limits_;
  const NeighbourTimes times_;
  Counters& counters_;
  Random random_;
  const uint64_t seed_;  // of the hash
  std::vector<Entry> entries_;
  std::vector<uint32_t> buckets_;
  std::vector<uint32_t> active_;
  std::vector<Held> held_;
  uint32_t free_entry_ = kNone;
  uint32_t free_held_ = kNone;
  uint32_t hand_ = 0;
  Instant soonest_ = kNever;  // at or before every deadline of an active entry
};

}  // namespace culvert::eth
