// Access-log lines on their way from one worker to the control thread: a bounded ring of bytes, one producer, one
// consumer, no lock. A line that does not fit is lost and counted; the worker never waits for the log.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace culvert::worker {

class LogRing {
 public:
  // `bytes`: a power of two.
  explicit LogRing(uint32_t bytes) : mask_(bytes - 1), data_(std::make_unique<uint8_t[]>(bytes)) {}

  // Worker. False: lost.
  bool put(std::string_view line) {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    const uint64_t room = mask_ + 1 - (head - tail_.load(std::memory_order_acquire));
    const auto length = static_cast<uint32_t>(line.size());
    if (room < sizeof length + line.size()) {
      lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return false;
    }
    copy_in(head, {reinterpret_cast<const uint8_t*>(&length), sizeof length});
    copy_in(head + sizeof length, bytes_of(line));
    head_.store(head + sizeof length + line.size(), std::memory_order_release);
    return true;
  }

  // Worker: bytes that put() can take, 4 of them per line for its length.
  uint64_t room() const {
    return mask_ + 1 - (head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire));
  }

  // Control thread. False: empty.
  bool take(std::string& line) {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    uint32_t length = 0;
    copy_out(tail, {reinterpret_cast<uint8_t*>(&length), sizeof length});
    line.resize(length);
    copy_out(tail + sizeof length, {reinterpret_cast<uint8_t*>(line.data()), length});
    tail_.store(tail + sizeof length + length, std::memory_order_release);
    return true;
  }

  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void copy_in(uint64_t at, ByteView from) {
    const uint64_t start = at & mask_;
    const size_t first = std::min<size_t>(from.size(), mask_ + 1 - start);
    std::memcpy(&data_[start], from.data(), first);
    std::memcpy(&data_[0], from.data() + first, from.size() - first);
  }
  void copy_out(uint64_t at, MutableByteView to) const {
    const uint64_t start = at & mask_;
    const size_t first = std::min<size_t>(to.size(), mask_ + 1 - start);
    if (first > 0) std::memcpy(to.data(), &data_[start], first);
    if (to.size() > first) std::memcpy(to.data() + first, &data_[0], to.size() - first);
  }

  const uint64_t mask_;
  std::unique_ptr<uint8_t[]> data_;
  alignas(64) std::atomic<uint64_t> head_{0};  // written by the worker
  std::atomic<uint64_t> lost_{0};              // written by the worker
  alignas(64) std::atomic<uint64_t> tail_{0};  // written by the control thread
};

}  // namespace culvert::worker
