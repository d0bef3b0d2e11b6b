// A turn: wait for what can go on, read, decide, write. Every queue has a bound, and a full one stops the reading that
// would fill it, so that the peer's TCP feels a slow reader.
#include "tests/tools/tls/tunnel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace culvert::tls_tool {

namespace {

constexpr uint64_t kQueueBytesMax = 256 * 1024;
// ztunnel sets no limit, and the reference asks not to be stricter than about this (3.1).
constexpr auto kHandshakeTime = std::chrono::seconds{10};

UnixTime unix_now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

// Reads once into a fresh buffer. The count read(2) gave; the packet when it was above zero.
ssize_t read_into(int fd, BufferPool& pool, Packet& packet) {
  packet = pool.take_large();
  DP_CHECK(packet);  // the queues' bounds lie below the pool's
  uint8_t* room = packet.append(kLargeRoom);
  ssize_t bytes = 0;
  do {
    bytes = read(fd, room, kLargeRoom);
  } while (bytes < 0 && errno == EINTR);
  if (bytes <= 0) {
    packet.reset();
    return bytes;
  }
  packet.trim_back(kLargeRoom - static_cast<uint32_t>(bytes));
  return bytes;
}

bool write_all(int fd, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(wrote));
  }
  return true;
}

}  // namespace

Tunnel::Tunnel(Socket socket, BufferPool& pool, Counters& counters, bool echo)
    : socket_(std::move(socket)), pool_(pool), counters_(counters), echo_(echo), input_ended_(echo) {}

bool Tunnel::run(const tls::SessionConfig& config, std::string& line, std::string& error) {
  session_ = tls::Session::make(config, pool_, counters_, unix_now(), error);
  if (!session_) return false;
  prepare(socket_);
  const auto deadline = std::chrono::steady_clock::now() + kHandshakeTime;
  while (!ended_) {
    write_socket();
    if (ended_) break;
    wait();
    const bool handshaking = session_->state() == tls::State::kHandshaking;
    if (handshaking && std::chrono::steady_clock::now() > deadline) {
      end(CloseReason::kHandshakeTimeout, "the handshake was not over after 10 s");
      break;
    }
    if (wants_socket_input()) read_socket();
    if (session_->on_ciphertext(from_socket_, kQueueBytesMax, unix_now()) > 0) moved_ = true;
    if (wants_input()) read_input();
    move_plaintext();
    decide();
  }
  line = json_line(*session_, config.role, reason_, detail_);
  return true;
}

bool Tunnel::wants_socket_input() { return !socket_ended_ && from_socket_.bytes() < kQueueBytesMax; }

bool Tunnel::wants_input() const {
  return !input_ended_ && from_input_.bytes() < kQueueBytesMax && session_->state() != tls::State::kHandshaking;
}

// Blocks until a descriptor is ready; at most a second, so that the handshake's deadline is looked at. Does not block
// after a turn in which something moved: more may move without a descriptor.
void Tunnel::wait() {
  std::array<pollfd, 2> fds{};
  fds[0].fd = socket_.fd();
  if (wants_socket_input()) fds[0].events |= POLLIN;
  if (!session_->ciphertext().empty()) fds[0].events |= POLLOUT;
  // A descriptor that nothing is wanted of would still report its hang-up, and the loop would spin.
  if (fds[0].events == 0) fds[0].fd = -1;
  fds[1].fd = wants_input() ? STDIN_FILENO : -1;
  fds[1].events = POLLIN;
  poll(fds.data(), fds.size(), std::exchange(moved_, false) ? 0 : 1000);
}

void Tunnel::read_socket() {
  for (int i = 0; i < 8 && wants_socket_input(); ++i) {
    Packet packet;
    const ssize_t bytes = read_into(socket_.fd(), pool_, packet);
    if (bytes > 0) {
      from_socket_.append(std::move(packet));
      moved_ = true;
      continue;
    }
    if (bytes == 0) socket_ended_ = true;
    if (bytes < 0 && errno != EAGAIN) {
      socket_ended_ = true;
      detail_ = std::string("reading from the socket: ") + std::strerror(errno);
    }
    return;
  }
}

void Tunnel::write_socket() {
  ByteQueue& out = session_->ciphertext();
  while (!out.empty()) {
    std::array<iovec, 16> pieces;
    size_t count = 0;
    out.for_each(0, out.bytes(), [&](ByteView piece) {
      if (count < pieces.size()) pieces[count++] = {const_cast<uint8_t*>(piece.data()), piece.size()};
    });
    const ssize_t wrote = writev(socket_.fd(), pieces.data(), static_cast<int>(count));
    if (wrote > 0) {
      out.drop_front(static_cast<uint64_t>(wrote));
      moved_ = true;
      continue;
    }
    if (errno == EAGAIN) return;
    if (errno == EINTR) continue;
    detail_ = std::string("writing to the socket: ") + std::strerror(errno);
    out.clear();
    // The peer may have said why before it went: its alert can still lie in the socket.
    read_socket();
    session_->on_ciphertext(from_socket_, kQueueBytesMax, unix_now());
    if (session_->state() != tls::State::kFailed)
      end(CloseReason::kReset);
    else
      decide();
    return;
  }
}

void Tunnel::read_input() {
  pollfd ready{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, 0) != 1) return;
  moved_ = true;
  Packet packet;
  if (read_into(STDIN_FILENO, pool_, packet) > 0) {
    from_input_.append(std::move(packet));
  } else {
    input_ended_ = true;
  }
}

// Opened bytes go back (echo) or out; bytes of standard input are sealed.
void Tunnel::move_plaintext() {
  ByteQueue& plaintext = session_->plaintext();
  if (!echo_) {
    while (!plaintext.empty()) {
      const ByteView piece = plaintext.front();
      if (!output_gone_ && !write_all(STDOUT_FILENO, piece)) output_gone_ = true;
      plaintext.drop_front(piece.size());
    }
  }
  ByteQueue& from = echo_ ? plaintext : from_input_;
  while (!from.empty() && session_->ciphertext().bytes() < kQueueBytesMax) {
    const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(from.bytes(), 16'384));
    const Packet packet = from.view(0, bytes);
    if (!packet || !session_->seal(packet)) break;
    from.drop_front(bytes);
    moved_ = true;
  }
}

void Tunnel::decide() {
  const tls::State state = session_->state();
  if (state == tls::State::kFailed) {
    write_socket();
    if (ended_) return;
    const bool handshake = session_->failure().reason.starts_with("tls handshake error") ||
                           session_->failure().reason.starts_with("identity verification error");
    // The alert must arrive before the reset that closing with unread bytes would cause.
    shutdown(socket_.fd(), SHUT_WR);
    for (int i = 0; i < 100 && !socket_ended_; ++i) {
      pollfd ready{.fd = socket_.fd(), .events = POLLIN, .revents = 0};
      if (poll(&ready, 1, 20) != 1) break;
      from_socket_.clear();
      read_socket();
    }
    end(handshake ? CloseReason::kHandshakeFailed : CloseReason::kTlsFailed);
    return;
  }
  // Our direction ends with the input, or, when we echo, with the peer's.
  const bool nothing_left = from_input_.empty() && session_->plaintext().empty();
  const bool done_writing = echo_ ? state == tls::State::kClosed : input_ended_;
  if (!closing_ && done_writing && nothing_left && state != tls::State::kHandshaking) {
    session_->close_notify();
    closing_ = true;
  }
  if (closing_ && state == tls::State::kClosed && session_->ciphertext().empty()) {
    end(CloseReason::kCloseNotify);
    return;
  }
  // A FIN behind close_notify is the usual end; without it the stream was cut.
  if (socket_ended_ && state != tls::State::kClosed) {
    const bool waits = !from_socket_.empty() && !session_->plaintext().empty();
    if (!waits) end(detail_.empty() ? CloseReason::kTruncated : CloseReason::kReset, detail_);
  }
}

void Tunnel::end(CloseReason reason, std::string detail) {
  ended_ = true;
  reason_ = reason;
  if (!detail.empty()) detail_ = std::move(detail);
  if (reason == CloseReason::kTruncated && detail_.empty()) detail_ = "the connection ended without close_notify";
}

}  // namespace culvert::tls_tool
