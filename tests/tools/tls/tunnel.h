// One connection: a socket on one side of a Session, the echo or standard input and output on the other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "packet/packet.h"
#include "telemetry/counters.h"
#include "tests/tools/tls/report.h"
#include "tests/tools/tls/sockets.h"
#include "tls/session.h"

namespace culvert::tls_tool {

class Tunnel {
 public:
  Tunnel(Socket socket, BufferPool& pool, Counters& counters, bool echo);
  // Carries until the end. False: OpenSSL refused the credentials, sentence in `error`. Otherwise `line` is the JSON.
  bool run(const tls::SessionConfig& config, std::string& line, std::string& error);
  // Both directions ended in order.
  bool clean() const { return reason_ == CloseReason::kCloseNotify; }

 private:
  void wait();
  void read_socket();
  void write_socket();
  void read_input();
  void move_plaintext();
  void decide();
  void end(CloseReason reason, std::string detail = {});
  bool wants_socket_input();
  bool wants_input() const;

  Socket socket_;
  BufferPool& pool_;
  Counters& counters_;
  bool echo_;
  std::unique_ptr<tls::Session> session_;
  ByteQueue from_socket_;
  ByteQueue from_input_;       // of standard input, waiting to be sealed
  bool socket_ended_ = false;  // the peer's FIN
  bool input_ended_ = false;
  bool output_gone_ = false;  // whoever read our standard output has left
  bool closing_ = false;      // our close_notify is queued
  bool moved_ = false;        // since the last wait
  bool ended_ = false;
  CloseReason reason_ = CloseReason::kCloseNotify;
  std::string detail_;
};

}  // namespace culvert::tls_tool
