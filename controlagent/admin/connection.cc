#include "admin/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "admin/http_server.h"

namespace culvert::admin {
namespace {

constexpr size_t kLingerBytesMax = 64 << 10;
constexpr Duration kLingerPatience = 1s;

Instant now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }

// Rounded up: a wake-up just before the time would come again at once.
int poll_ms(Duration left) {
  return static_cast<int>(std::clamp<int64_t>(std::chrono::ceil<std::chrono::milliseconds>(left).count(), 0, 600'000));
}

}  // namespace

Connection::Connection(UniqueFd socket, std::mutex& mutex, std::function<void()> waits)
    : socket_(std::move(socket)), mutex_(mutex), waits_(std::move(waits)), waiting_since_(now()) {}

Connection::Head Connection::read_head(Duration patience_before) {
  begin_wait();
  const Head head = read_whole_head(patience_before);
  end_wait();
  return head;
}

Connection::Head Connection::read_whole_head(Duration patience_before) {
  Instant deadline = now() + (buffer_.empty() ? patience_before : kRequestPatience);
  for (;;) {
    if (const size_t end = buffer_.find("\r\n\r\n"); end != std::string::npos && end + 4 <= kHeadBytesMax) {
      head_bytes_ = end + 4;
      head_read_ = 0;
      return Head::kWhole;
    }
    if (buffer_.size() >= kHeadBytesMax) return Head::kTooLong;
    if (!wait(POLLIN, deadline)) {
      timed_out_ = !evicted();
      return buffer_.empty() || evicted() ? Head::kNone : Head::kTooSlow;
    }
    char piece[2048];
    const ssize_t length = recv(socket_.get(), piece, sizeof(piece), MSG_DONTWAIT);
    if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) return Head::kNone;
    if (length < 0) continue;
    if (buffer_.empty()) deadline = now() + kRequestPatience;
    buffer_.append(piece, static_cast<size_t>(length));
  }
}

ssize_t Connection::take(char* out, size_t size) {
  size = std::min(size, head_bytes_ - head_read_);
  std::copy_n(buffer_.data() + head_read_, size, out);
  head_read_ += size;
  return static_cast<ssize_t>(size);
}

void Connection::begin_answer() { answer_by_ = now() + kAnswerPatience; }

ssize_t Connection::send_some(const char* bytes, size_t size) {
  for (;;) {
    const ssize_t sent = send(socket_.get(), bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return -1;
    begin_wait();
    const bool ready = wait(POLLOUT, std::min(now() + kStallPatience, answer_by_));
    end_wait();
    if (!ready) {
      timed_out_ = !evicted();
      return -1;
    }
  }
}

void Connection::send_answer(std::string_view text) {
  begin_answer();
  while (!text.empty()) {
    const ssize_t sent = send_some(text.data(), text.size());
    if (sent <= 0) return;
    text.remove_prefix(static_cast<size_t>(sent));
  }
}

void Connection::linger() {
  shutdown(socket_.get(), SHUT_WR);
  begin_wait();
  const Instant deadline = now() + kLingerPatience;
  size_t left = kLingerBytesMax;
  while (left > 0 && wait(POLLIN, deadline)) {
    char piece[4096];
    const ssize_t length = recv(socket_.get(), piece, sizeof(piece), MSG_DONTWAIT);
    if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) return;
    left -= std::min<size_t>(left, length > 0 ? static_cast<size_t>(length) : 0);
  }
}

void Connection::evict() {
  evicted_ = true;
  cut();
}

void Connection::cut() { shutdown(socket_.get(), SHUT_RDWR); }

void Connection::begin_wait() {
  const std::lock_guard lock(mutex_);
  if (!waiting_since_) waiting_since_ = now();
  waits_();
}

void Connection::end_wait() {
  const std::lock_guard lock(mutex_);
  waiting_since_.reset();
}

bool Connection::wait(short events, Instant deadline) const {
  pollfd polled{.fd = socket_.get(), .events = events, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&polled, 1, poll_ms(deadline - now()));
  } while ((ready < 0 && errno == EINTR) || (ready == 0 && now() < deadline));
  return ready > 0 && !evicted();
}

bool Connection::evicted() const {
  const std::lock_guard lock(mutex_);
  return evicted_;
}

}  // namespace culvert::admin
