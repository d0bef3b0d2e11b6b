// The far end of a stream outside the tunnel: a socket, standard input and output, or an echo. Bytes in and out, ends
// and errors; nothing of HTTP/2.
#pragma once

#include <cstdint>
#include <string>

#include "packet/packet.h"
#include "tests/tools/tls/sockets.h"

namespace culvert::hbone_tool {

using tls_tool::Socket;

class Local {
 public:
  static Local echo();
  static Local standard_io();
  static Local of(Socket socket);
  // Non-blocking connect under way. An empty Local's failed() is true, with `error`.
  static Local connecting_to(const std::string& address, std::string& error);

  // Which readiness it waits for, for poll(2); -1: none.
  int input() const { return reads_ ? in_ : -1; }
  int output() const { return connecting_ || !out_queue_.empty() ? out_ : -1; }
  bool is_echo() const { return echo_; }

  bool connecting() const { return connecting_; }
  void on_connect_ready();                 // poll said so: connected, or failed()
  bool failed() const { return failed_; }  // reset or another error: nothing more can be read or written

  // One read of at most a large buffer; empty: nothing there, ended or failed.
  Packet read(BufferPool& pool);
  bool ended() const { return ended_; }  // end of input
  void write(Packet bytes);
  bool flush();  // true: something was written
  uint64_t unwritten() const { return out_queue_.bytes(); }
  void finish();                               // end of output behind what is queued
  bool finished() const { return finished_; }  // it has been said
  void abort();                                // RST where that exists
  void set_reads(bool reads) { reads_ = reads && !ended_ && !failed_ && !connecting_; }

 private:
  void say_end();

  Socket socket_;
  int in_ = -1, out_ = -1;
  bool echo_ = false, connecting_ = false, failed_ = false, ended_ = false, finishing_ = false, finished_ = false;
  bool reads_ = false;
  ByteQueue out_queue_;
};

// "ADDR:PORT" of the other end.
std::string peer_address(const Socket& socket);

}  // namespace culvert::hbone_tool
