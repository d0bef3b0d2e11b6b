// The loop: one thread, poll(2), any number of tunnels and streams.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/tools/hbone/relay.h"
#include "tests/tools/hbone/tunnel.h"

namespace culvert::hbone_tool {

class Program {
 public:
  explicit Program(const Options& options) : options_(options), shared_(options) {}
  // Until `count` is reached or a signal asks to end. False: could not start or go on, sentence in `error`.
  bool run(std::string& error);
  // Every stream ended clean, and there was one if there had to be.
  bool clean() const { return clean_; }

 private:
  bool start(std::string& error);
  void wait();
  bool accept(std::string& error);
  bool add_tunnel(Socket socket, std::string& error);
  bool open_waiting(std::string& error, Instant now);
  bool turn(std::string& error);
  bool take_events(Tunnel& tunnel, Instant now);
  void reap(Instant now);
  void finish(Instant now);
  bool done() const;
  void print(const std::string& line);

  const Options& options_;
  Shared shared_;
  Socket listener_;
  std::vector<std::unique_ptr<Tunnel>> tunnels_;
  std::vector<std::unique_ptr<Relay>> relays_;
  std::vector<Local> waiting_;  // client: local ends without a stream yet
  uint64_t connections_ = 0, streams_ = 0;
  bool clean_ = true, finishing_ = false;
};

}  // namespace culvert::hbone_tool
