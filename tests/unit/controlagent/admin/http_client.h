// A client of raw sockets, so that a test can be slow, rude or wrong.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <string>

#include "base/ip_address.h"
#include "base/unique_fd.h"

namespace culvert::admin {

struct Answer {
  int status = 0;  // 0: none came
  std::string head, body;
  // Value of a header, "" when it is not there.
  std::string header(const std::string& name) const {
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

class Client {
 public:
  explicit Client(const Endpoint& server) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }

  void send(const std::string& text) { ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL); }
  void shrink_window() {
    const int small = 4096;
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  }

  // The next answer; status 0 when the connection ends before its head is whole.
  Answer read(bool head_only = false) {
    Answer out;
    size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return out;
    }
    out.head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    out.status = std::stoi(out.head.substr(out.head.find(' ') + 1));
    if (head_only) return out;
    if (out.header("Transfer-Encoding") == "chunked") {
      read_chunks(out);
    } else if (!out.header("Content-Length").empty()) {
      take(out.body, std::stoul(out.header("Content-Length")));
    } else {
      while (more()) {
      }
      out.body = std::move(buffer_);
    }
    return out;
  }
  Answer get(const std::string& path, const std::string& headers = "") {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n");
    return read();
  }
  Answer post(const std::string& path) {
    send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    return read();
  }
  // The server closes within `patience`.
  bool ends(std::chrono::milliseconds patience = std::chrono::seconds(20)) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (std::chrono::steady_clock::now() < until) {
      pollfd polled{.fd = socket_.get(), .events = POLLIN, .revents = 0};
      if (poll(&polled, 1, 20) > 0 && !more()) return true;
    }
    return false;
  }

 private:
  bool more() {
    char piece[16384];
    const ssize_t length = recv(socket_.get(), piece, sizeof(piece), 0);
    if (length <= 0) return false;
    buffer_.append(piece, static_cast<size_t>(length));
    return true;
  }
  bool take(std::string& into, size_t length) {
    while (buffer_.size() < length) {
      if (!more()) return false;
    }
    into += buffer_.substr(0, length);
    buffer_.erase(0, length);
    return true;
  }
  void read_chunks(Answer& out) {
    for (;;) {
      size_t end = 0;
      while ((end = buffer_.find("\r\n")) == std::string::npos) {
        if (!more()) {
          out.status = -1;  // cut off
          return;
        }
      }
      const size_t length = std::stoul(buffer_.substr(0, end), nullptr, 16);
      buffer_.erase(0, end + 2);
      std::string line_end;
      if (!take(out.body, length) || !take(line_end, 2)) {
        out.status = -1;
        return;
      }
      if (length == 0) return;
    }
  }

  UniqueFd socket_;
  std::string buffer_;
};

}  // namespace culvert::admin
