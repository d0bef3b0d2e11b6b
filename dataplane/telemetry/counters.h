// The counters of one worker core. Written by that core only, read by the control thread: relaxed loads and stores, no
// read-modify-write instruction, so counting costs what an ordinary add costs.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "telemetry/drop_reasons.h"

namespace culvert {

enum class Counter : uint16_t {
#define COUNTER(symbol, unit, sentence) k##symbol,
#include "telemetry/counters.def"
#undef COUNTER
  kCount,
};
inline constexpr size_t kCounters = static_cast<size_t>(Counter::kCount);

std::string_view name_of(Counter counter);  // "port_rx_packet"
std::string_view unit_of(Counter counter);
std::string_view text_of(Counter counter);

class Counters {
 public:
  void add(Counter counter, uint64_t n = 1) { bump(counters_[static_cast<size_t>(counter)], n); }
  void drop(DropReason reason, uint64_t n = 1) { bump(drops_[static_cast<size_t>(reason)], n); }
  uint64_t value(Counter counter) const {
    return counters_[static_cast<size_t>(counter)].load(std::memory_order_relaxed);
  }
  uint64_t value(DropReason reason) const {
    return drops_[static_cast<size_t>(reason)].load(std::memory_order_relaxed);
  }

 private:
  static void bump(std::atomic<uint64_t>& cell, uint64_t n) {
    cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::array<std::atomic<uint64_t>, kCounters> counters_{};
  std::array<std::atomic<uint64_t>, kDropReasons> drops_{};
};

}  // namespace culvert
