#include "eth/neighbour_table.h"

#include <algorithm>
#include <bit>

namespace culvert::eth {

NeighbourTable::NeighbourTable(const LinkLimits& limits, const NeighbourTimes& times, Counters& counters, uint64_t seed)
    : limits_(limits), times_(times), counters_(counters), random_(seed), seed_(random_.next()) {
  entries_.resize(limits.neighbours_max);
  buckets_.assign(std::bit_ceil(std::max<size_t>(limits.neighbours_max, 1)), kNone);
  active_.reserve(limits.neighbours_max);
  held_.resize(limits.held_max);
  for (uint32_t i = limits.neighbours_max; i-- > 0;) {
    entries_[i].next = free_entry_;
    free_entry_ = i;
  }
  for (uint32_t i = limits.held_max; i-- > 0;) {
    held_[i].next = free_held_;
    free_held_ = i;
  }
}

uint32_t NeighbourTable::index_of(const IpAddress& address) const {
  uint32_t i = buckets_[bucket_of(address)];
  while (i != kNone && entries_[i].address != address) i = entries_[i].next;
  return i;
}

uint32_t NeighbourTable::make(const IpAddress& address) {
  if (free_entry_ == kNone && !evict()) {
    counters_.drop(DropReason::kEthNeighbourTableFull);
    return kNone;
  }
  const uint32_t index = free_entry_;
  Entry& e = entries_[index];
  free_entry_ = e.next;
  uint32_t& bucket = buckets_[bucket_of(address)];
  e = Entry{};
  e.address = address;
  e.taken = true;
  e.next = bucket;
  bucket = index;
  return index;
}

void NeighbourTable::forget(uint32_t index) {
  Entry& e = entries_[index];
  enter(index, NeighbourState::kStale, kNever);  // off the active list
  uint32_t* link = &buckets_[bucket_of(e.address)];
  while (*link != index) link = &entries_[*link].next;
  *link = e.next;
  e.taken = false;
  e.next = free_entry_;
  free_entry_ = index;
}

bool NeighbourTable::evict() {
  // Two rounds: the first may only take away second chances.
  for (size_t i = 0; i < 2 * entries_.size(); ++i) {
    const uint32_t index = hand_;
    hand_ = (hand_ + 1) % static_cast<uint32_t>(entries_.size());
    Entry& e = entries_[index];
    if (!e.taken || e.position != kNone) continue;
    if (std::exchange(e.used, false)) continue;
    forget(index);
    return true;
  }
  return false;
}

void NeighbourTable::enter(uint32_t index, NeighbourState state, Instant deadline) {
  Entry& e = entries_[index];
  e.state = state;
  e.deadline = deadline;
  const bool timed =
      state == NeighbourState::kIncomplete || state == NeighbourState::kDelay || state == NeighbourState::kProbe;
  if (timed) {
    if (active_.empty()) soonest_ = kNever;
    if (e.position == kNone) {
      e.position = static_cast<uint32_t>(active_.size());
      active_.push_back(index);
    }
    soonest_ = std::min(soonest_, deadline);
  } else if (e.position != kNone) {
    const uint32_t last = active_.back();
    active_[e.position] = last;
    entries_[last].position = e.position;
    active_.pop_back();
    e.position = kNone;
  }
}

void NeighbourTable::make_reachable(uint32_t index, Instant now) {
  // RFC 4861 6.3.2: "a uniformly distributed random value between MIN_RANDOM_FACTOR and MAX_RANDOM_FACTOR times
  // BaseReachableTime".
  const auto base = static_cast<uint64_t>(times_.reachable.count());
  const Duration own{static_cast<int64_t>(base / 2 + random_.below(base + 1))};
  enter(index, NeighbourState::kReachable, now + own);
}

const wire::MacAddress* NeighbourTable::use(const IpAddress& address, Instant now) {
  const uint32_t index = index_of(address);
  if (index == kNone) return nullptr;
  Entry& e = entries_[index];
  e.used = true;
  if (e.state == NeighbourState::kIncomplete) return nullptr;
  if (e.state == NeighbourState::kReachable && e.deadline <= now) enter(index, NeighbourState::kStale, kNever);
  if (e.state == NeighbourState::kStale) {
    e.solicits = 0;
    enter(index, NeighbourState::kDelay, now + times_.delay_first_probe);
  }
  return &e.mac;
}

bool NeighbourTable::hold(const IpAddress& address, Packet packet, Instant now, NeighbourActions& actions) {
  uint32_t index = index_of(address);
  if (index == kNone) {
    index = make(address);
    if (index == kNone) return false;
    entries_[index].solicits = 1;
    enter(index, NeighbourState::kIncomplete, now + times_.retransmit);
    actions.solicit(address, nullptr);
  }
  Entry& e = entries_[index];
  e.used = true;
  // RFC 4861 7.2.2: "When a queue overflows, the new arrival SHOULD replace the oldest entry."
  if (e.held > 0 && (e.held >= limits_.held_per_neighbour_max || free_held_ == kNone)) {
    pop_held(e).reset();
    counters_.drop(DropReason::kEthNeighbourQueueFull);
  }
  if (free_held_ == kNone) {
    counters_.drop(DropReason::kEthNeighbourQueueFull);
    return false;
  }
  const uint32_t slot = free_held_;
  free_held_ = held_[slot].next;
  held_[slot].packet = std::move(packet);
  held_[slot].next = kNone;
  (e.held_first == kNone ? e.held_first : held_[e.held_last].next) = slot;
  e.held_last = slot;
  ++e.held;
  return true;
}

Packet NeighbourTable::pop_held(Entry& entry) {
  const uint32_t slot = entry.held_first;
  entry.held_first = held_[slot].next;
  if (entry.held_first == kNone) entry.held_last = kNone;
  --entry.held;
  held_[slot].next = free_held_;
  free_held_ = slot;
  return std::move(held_[slot].packet);
}

void NeighbourTable::release(uint32_t index, NeighbourActions& actions) {
  Entry& e = entries_[index];
  while (e.held > 0) actions.resolved(pop_held(e), e.mac);
}

void NeighbourTable::on_claim(const IpAddress& address, const wire::MacAddress& mac, Claim claim, Instant now,
                              NeighbourActions& actions) {
  uint32_t index = index_of(address);
  if (index == kNone) {
    // RFC 4861 7.2.5: "If no entry exists, the advertisement SHOULD be silently discarded."
    if (claim != Claim::kSolicitation) return;
    index = make(address);
    if (index == kNone) return;
    entries_[index].mac = mac;
    enter(index, NeighbourState::kStale, kNever);
    return;
  }
  Entry& e = entries_[index];
  const bool answered = claim == Claim::kAnswered || claim == Claim::kAnsweredWeakly;
  const bool weak = claim == Claim::kAdvertisedWeakly || claim == Claim::kAnsweredWeakly;
  if (e.state == NeighbourState::kIncomplete) {
    e.mac = mac;
    if (answered) {
      make_reachable(index, now);
    } else {
      enter(index, NeighbourState::kStale, kNever);
    }
    counters_.add(Counter::kEthNeighbourResolved);
    release(index, actions);
    return;
  }
  const bool changed = e.mac != mac;
  if (changed && weak) {
    // RFC 4861 7.2.5 I: "If the state of the entry is REACHABLE, set it to STALE, but do not update the entry in any
    // other way."
    if (e.state == NeighbourState::kReachable) enter(index, NeighbourState::kStale, kNever);
    return;
  }
  e.mac = mac;
  if (answered) {
    make_reachable(index, now);
  } else if (changed) {
    enter(index, NeighbourState::kStale, kNever);
  }
}

void NeighbourTable::confirm(const IpAddress& address, Instant now) {
  const uint32_t index = index_of(address);
  if (index != kNone && entries_[index].state != NeighbourState::kIncomplete) make_reachable(index, now);
}

// The entry's timer ran out. True when the entry stays on the active list.
bool NeighbourTable::step(uint32_t index, Instant now, NeighbourActions& actions) {
  Entry& e = entries_[index];
  if (e.state == NeighbourState::kIncomplete && e.solicits < times_.multicast_solicits_max) {
    ++e.solicits;
    enter(index, NeighbourState::kIncomplete, now + times_.retransmit);
    actions.solicit(e.address, nullptr);
    return true;
  }
  if (e.state == NeighbourState::kDelay ||
      (e.state == NeighbourState::kProbe && e.solicits < times_.unicast_solicits_max)) {
    ++e.solicits;
    enter(index, NeighbourState::kProbe, now + times_.retransmit);
    actions.solicit(e.address, &e.mac);
    return true;
  }
  counters_.add(Counter::kEthNeighbourFailed);
  while (e.held > 0) {
    counters_.drop(DropReason::kEthNeighbourUnreachable);
    actions.unreachable(pop_held(e));
  }
  forget(index);
  return false;
}

void NeighbourTable::poll(Instant now, NeighbourActions& actions) {
  if (now < next_deadline()) return;
  for (size_t i = 0; i < active_.size();) {
    const uint32_t index = active_[i];
    // An entry that leaves the list is replaced by the last one: look at this place again.
    if (entries_[index].deadline > now || step(index, now, actions)) ++i;
  }
  soonest_ = kNever;
  for (const uint32_t index : active_) soonest_ = std::min(soonest_, entries_[index].deadline);
}

Neighbour NeighbourTable::shown(const Entry& entry, Instant now) {
  const bool over = entry.state == NeighbourState::kReachable && entry.deadline <= now;
  return {entry.address, entry.mac, over ? NeighbourState::kStale : entry.state};
}

std::optional<Neighbour> NeighbourTable::find(const IpAddress& address, Instant now) const {
  const uint32_t index = index_of(address);
  if (index == kNone) return std::nullopt;
  return shown(entries_[index], now);
}

std::vector<Neighbour> NeighbourTable::all(Instant now) const {
  std::vector<Neighbour> out;
  for (const Entry& e : entries_) {
    if (e.taken) out.push_back(shown(e, now));
  }
  std::sort(out.begin(), out.end(), [](const Neighbour& a, const Neighbour& b) { return a.address < b.address; });
  return out;
}

}  // namespace culvert::eth
