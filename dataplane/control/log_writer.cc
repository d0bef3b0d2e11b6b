#include "control/log_writer.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace culvert::control {

namespace {
constexpr int kPatienceMs = 100;
constexpr auto kLastWrites = std::chrono::seconds(1);

// How much to write at once: as many whole lines as PIPE_BUF holds, or the rest of one that is longer.
size_t whole_lines(const std::string& bytes, size_t from) {
  if (bytes.size() - from <= PIPE_BUF) return bytes.size() - from;
  const size_t last = bytes.rfind('\n', from + PIPE_BUF - 1);
  return last == std::string::npos || last < from ? PIPE_BUF : last + 1 - from;
}
}  // namespace

LogWriter::LogWriter(int fd, size_t queued_bytes_max)
    : fd_(fd), queued_bytes_max_(queued_bytes_max), thread_([this] { run(); }) {}

LogWriter::~LogWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void LogWriter::put(const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& line : lines) {
      if (queued_.size() + line.size() + 1 > queued_bytes_max_) {
        lost_.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      queued_ += line;
      queued_ += '\n';
      ++queued_lines_;
    }
  }
  changed_.notify_all();
}

void LogWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !queued_.empty(); });
    if (queued_.empty()) return;
    std::string batch;
    batch.swap(queued_);
    const uint64_t lines = std::exchange(queued_lines_, 0);
    lock.unlock();
    const bool written = write_all(batch);
    lock.lock();
    if (!written) lost_.fetch_add(lines, std::memory_order_relaxed);
    if (!written && stopping_) return;
  }
}

bool LogWriter::write_all(const std::string& bytes) {
  size_t written = 0;
  std::chrono::steady_clock::time_point give_up{};
  while (written < bytes.size()) {
    // A blocking descriptor that is ready may still block on a large write: PIPE_BUF bytes always fit, and pass in one
    // piece, so that lines of others who write to the same pipe do not come between.
    pollfd ready{fd_, POLLOUT, 0};
    if (::poll(&ready, 1, kPatienceMs) == 0) {
      const std::lock_guard lock(mutex_);
      if (!stopping_) continue;
      const auto now = std::chrono::steady_clock::now();
      if (give_up == std::chrono::steady_clock::time_point{}) give_up = now + kLastWrites;
      if (now >= give_up) return false;
      continue;
    }
    const ssize_t n = ::write(fd_, bytes.data() + written, whole_lines(bytes, written));
    if (n > 0) written += static_cast<size_t>(n);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
  }
  return true;
}

}  // namespace culvert::control
