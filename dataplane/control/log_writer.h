// Writes access-log lines to a descriptor without ever making the control thread wait for whoever reads it.
//
// The control thread puts batches into a bounded queue, a thread of its own writes them. When the reader is slower than
// the lines come, whole lines are lost and counted; a line is never cut.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace culvert::control {

class LogWriter {
 public:
  // `fd` stays the caller's and outlives the writer.
  LogWriter(int fd, size_t queued_bytes_max);
  ~LogWriter();  // writes what is queued as far as the reader takes it within a second, then ends

  // Lines without their newlines.
  void put(const std::vector<std::string>& lines);
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void run();
  // False when the descriptor is of no use any more.
  bool write_all(const std::string& bytes);

  const int fd_;
  const size_t queued_bytes_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string queued_;
  uint64_t queued_lines_ = 0;
  bool stopping_ = false;
  std::atomic<uint64_t> lost_{0};
  std::thread thread_;
};

}  // namespace culvert::control
