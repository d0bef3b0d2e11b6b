// One connection of the HTTP server: its socket, and every wait for its peer with a bound on it.
//
// Owned by the server and used by one thread; what the server asks of it meanwhile is under the server's mutex.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "base/unique_fd.h"

namespace culvert::admin {

class Connection {
 public:
  // `waits` is called under `mutex` when the connection begins to wait for its peer.
  Connection(UniqueFd socket, std::mutex& mutex, std::function<void()> waits);

  enum class Head {
    kWhole,
    kNone,     // the peer ended or said nothing, or the connection is to end
    kTooLong,  // more than kHeadBytesMax
    kTooSlow,  // longer than kRequestPatience
  };
  // Reads up to the empty line that ends the next request's head; `patience_before` is for its first byte. Counts as
  // one wait, however many pieces come in it.
  Head read_head(Duration patience_before);
  // Bytes of that head, up to its end: no body is ever handed on.
  ssize_t take(char* out, size_t size);
  void drop_head() { buffer_.erase(0, head_bytes_); }

  // What is sent from now on is one answer: kAnswerPatience.
  void begin_answer();
  // At least one byte, or -1: the peer is gone or too slow.
  ssize_t send_some(const char* bytes, size_t size);
  // An answer of its own, as far as the peer takes it.
  void send_answer(std::string_view text);
  // Says that nothing follows, and reads on for a moment: closing over bytes that nobody read resets the connection,
  // and the answer would be lost with it.
  void linger();

  bool timed_out() const { return timed_out_; }

  // The rest is for the server, under its mutex.
  // None: it is busy, or evicted already.
  std::optional<Instant> waiting_since() const { return evicted_ ? std::nullopt : waiting_since_; }
  // Ends it for another one.
  void evict();
  bool is_evicted() const { return evicted_; }
  void cut();

 private:
  Head read_whole_head(Duration patience_before);
  void begin_wait();
  void end_wait();
  // False: the time is over, or the connection was evicted. An error of the socket is for the next call.
  bool wait(short events, Instant deadline) const;
  bool evicted() const;

  const UniqueFd socket_;
  std::mutex& mutex_;
  const std::function<void()> waits_;
  std::optional<Instant> waiting_since_;  // for the peer; from its arrival on; under the mutex
  bool evicted_ = false;                  // under the mutex
  // The connection's thread only.
  std::string buffer_;
  size_t head_bytes_ = 0, head_read_ = 0;
  Instant answer_by_{};
  bool timed_out_ = false;
};

}  // namespace culvert::admin
