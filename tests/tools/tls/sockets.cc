#include "tests/tools/tls/sockets.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace culvert::tls_tool {

namespace {

std::string last_error() { return std::strerror(errno); }

// A socket of the address's family, and the address; `error` when the text is not one.
struct Target {
  Socket socket;
  sockaddr_storage address{};
  socklen_t bytes = 0;
};

Target target_of(const std::string& text, std::string& error) {
  Target target;
  const size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (colon == std::string::npos || getaddrinfo(host.c_str(), text.c_str() + colon + 1, &hints, &found) != 0) {
    error = "'" + text + "' is not ADDR:PORT with a numeric address and port";
    return target;
  }
  std::memcpy(&target.address, found->ai_addr, found->ai_addrlen);
  target.bytes = found->ai_addrlen;
  target.socket = Socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  freeaddrinfo(found);
  if (!target.socket) error = "no socket for " + text + ": " + last_error();
  return target;
}

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

Socket listen_at(const std::string& address, std::string& error) {
  Target target = target_of(address, error);
  if (!target.socket) return {};
  const int on = 1;
  setsockopt(target.socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(target.socket.fd(), reinterpret_cast<sockaddr*>(&target.address), target.bytes) != 0 ||
      listen(target.socket.fd(), 128) != 0) {
    error = "cannot listen at " + address + ": " + last_error();
    return {};
  }
  return std::move(target.socket);
}

Socket connect_to(const std::string& address, std::string& error) {
  Target target = target_of(address, error);
  if (!target.socket) return {};
  if (connect(target.socket.fd(), reinterpret_cast<sockaddr*>(&target.address), target.bytes) != 0) {
    error = "cannot connect to " + address + ": " + last_error();
    return {};
  }
  return std::move(target.socket);
}

Socket accept_from(const Socket& listener, std::string& error) {
  for (;;) {
    const int fd = accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) return Socket(fd);
    if (errno == EINTR || errno == ECONNABORTED) continue;
    error = "cannot accept: " + last_error();
    return {};
  }
}

std::string local_address(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  char host[64], port[16];
  if (getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), bytes, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  return address.ss_family == AF_INET6 ? std::string("[") + host + "]:" + port : std::string(host) + ":" + port;
}

bool is_listening(const Socket& socket) {
  int value = 0;
  socklen_t bytes = sizeof value;
  return getsockopt(socket.fd(), SOL_SOCKET, SO_ACCEPTCONN, &value, &bytes) == 0 && value != 0;
}

void prepare(const Socket& socket) {
  const int on = 1;
  // Fails on sockets that are not TCP (a pair made by the test), which is fine.
  setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(socket.fd(), F_SETFL, fcntl(socket.fd(), F_GETFL) | O_NONBLOCK);
}

}  // namespace culvert::tls_tool
