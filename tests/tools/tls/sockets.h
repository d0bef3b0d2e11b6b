// TCP sockets by "ADDR:PORT" and "[ADDR6]:PORT", numeric.
#pragma once

#include <string>
#include <utility>

namespace culvert::tls_tool {

// Owns a descriptor.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket();
  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

// Each returns an empty Socket and one sentence in `error` when it fails.
Socket listen_at(const std::string& address, std::string& error);
Socket connect_to(const std::string& address, std::string& error);
Socket accept_from(const Socket& listener, std::string& error);

// Where a socket is bound: with port 0 asked for, the port it got.
std::string local_address(const Socket& socket);
bool is_listening(const Socket& socket);
// Non-blocking, no delay.
void prepare(const Socket& socket);

}  // namespace culvert::tls_tool
