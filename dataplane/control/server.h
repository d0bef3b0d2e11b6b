// The contract's server: both Unix sockets, gRPC behind one of them, the control thread, and the writer of access-log
// lines. One object per node; `main` makes it once the node is there.
//
//   Result<std::unique_ptr<Server>, std::string> server = Server::start(options, face, clock);
//
// Threads: the door (accepts, descriptor packets), gRPC's (at most kServerThreadsMax), the control thread, which alone
// calls the node, and the log writer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/node_face.h"
#include "telemetry/log_settings.h"

namespace culvert::control {

struct ServerOptions {
  std::string socket;       // control.socket
  std::string descriptors;  // control.descriptors
  std::vector<uint32_t> allowed_uids = {0};
  std::string node;                             // NODE_NAME
  std::string network;                          // its NETWORK
  std::string build;                            // version of the data plane
  uint32_t contract_min = 0, contract_max = 0;  // 0: this build's (api/contract.h)
  int log_fd = 1;                               // access-log lines; -1: nobody reads them, they stay in the node
  LogSettings* log = nullptr;                   // what the Log service sets; outlives the server; null: its own
  size_t log_queued_bytes_max = 4u << 20;
  Duration drain_deadline = 5s;  // drain.deadline, when whoever asks for the drain names none
  // Told once when a drain begins, on the control thread: the process is to end when the node is drained.
  std::function<void()> drain_begun;
  // One line for the operator's log, without newline. Called from several threads, one at a time.
  std::function<void(const std::string&)> notice;
};

class Server {
 public:
  // `node` and `clock` outlive the server. The error is one sentence that says what to do.
  static Result<std::unique_ptr<Server>, std::string> start(ServerOptions options, NodeFace& node,
                                                            worker::Clock& clock);
  ~Server();  // ends all calls, closes the sockets and the descriptors it kept, writes the last log lines

  // As Lifecycle.Drain does (api/lifecycle.proto); returns when the workers have been told.
  void drain(std::optional<Duration> deadline);

  const std::string& instance() const;
  // Connections of users that may not talk to us, closed.
  uint64_t strangers() const;
  // By workers without room and by the writer whose reader is slow.
  uint64_t log_lines_lost() const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::control
