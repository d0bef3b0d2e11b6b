#include "tests/tools/hbone/local.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace culvert::hbone_tool {

namespace {

void make_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

std::string peer_address(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  char host[64], port[16];
  if (getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), bytes, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  return address.ss_family == AF_INET6 ? std::string("[") + host + "]:" + port : std::string(host) + ":" + port;
}

Local Local::echo() {
  Local local;
  local.echo_ = true;
  return local;
}

Local Local::standard_io() {
  Local local;
  local.in_ = STDIN_FILENO;
  local.out_ = STDOUT_FILENO;
  make_nonblocking(STDIN_FILENO);
  make_nonblocking(STDOUT_FILENO);
  return local;
}

Local Local::of(Socket socket) {
  Local local;
  tls_tool::prepare(socket);
  local.in_ = local.out_ = socket.fd();
  local.socket_ = std::move(socket);
  return local;
}

Local Local::connecting_to(const std::string& address, std::string& error) {
  Local local;
  local.failed_ = true;
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (colon == std::string::npos || getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found) != 0) {
    error = "'" + address + "' is not ADDR:PORT with a numeric address and port";
    return local;
  }
  Socket socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const bool started = socket && (connect(socket.fd(), found->ai_addr, found->ai_addrlen) == 0 || errno == EINPROGRESS);
  if (!started) error = "cannot connect to " + address + ": " + std::strerror(errno);
  freeaddrinfo(found);
  if (!started) return local;
  local = of(std::move(socket));
  local.connecting_ = true;
  return local;
}

void Local::on_connect_ready() {
  int error = 0;
  socklen_t bytes = sizeof error;
  getsockopt(out_, SOL_SOCKET, SO_ERROR, &error, &bytes);
  connecting_ = false;
  failed_ = error != 0;
}

Packet Local::read(BufferPool& pool) {
  if (in_ < 0 || ended_ || failed_ || connecting_) return {};
  Packet buffer = pool.take_large();
  if (!buffer) return {};
  std::array<uint8_t, 16'384> bytes;  // read first, so that a buffer is only as full as what came
  const ssize_t got = ::read(in_, bytes.data(), bytes.size());
  if (got == 0) ended_ = true;
  if (got < 0 && errno != EAGAIN && errno != EINTR) failed_ = true;
  if (got <= 0) return {};
  std::memcpy(buffer.append(static_cast<uint16_t>(got)), bytes.data(), static_cast<size_t>(got));
  return buffer;
}

void Local::write(Packet bytes) {
  if (!failed_) out_queue_.append(std::move(bytes));
}

bool Local::flush() {
  bool moved = false;
  while (!failed_ && !connecting_ && out_ >= 0 && !out_queue_.empty()) {
    std::array<iovec, 64> pieces;
    size_t count = 0;
    out_queue_.for_each(0, out_queue_.bytes(), [&](ByteView piece) {
      if (count < pieces.size()) pieces[count++] = {const_cast<uint8_t*>(piece.data()), piece.size()};
    });
    const ssize_t put = writev(out_, pieces.data(), static_cast<int>(count));
    if (put < 0) {
      if (errno == EAGAIN || errno == EINTR) break;
      failed_ = true;
      out_queue_.clear();
      break;
    }
    out_queue_.drop_front(static_cast<uint64_t>(put));
    moved = true;
  }
  if (finishing_ && !finished_ && !failed_ && out_queue_.empty()) say_end();
  return moved;
}

void Local::finish() {
  finishing_ = true;
  if (!connecting_) flush();
}

void Local::say_end() {
  finished_ = true;
  if (socket_) {
    shutdown(socket_.fd(), SHUT_WR);
  } else if (out_ >= 0) {
    close(out_);
    out_ = -1;
  }
}

void Local::abort() {
  out_queue_.clear();
  if (socket_) {
    const linger now{1, 0};
    setsockopt(socket_.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    socket_ = Socket();
  }
  in_ = out_ = -1;
  failed_ = true;
  reads_ = false;
}

}  // namespace culvert::hbone_tool
