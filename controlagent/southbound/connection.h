// The connection to the data plane: greets it, tells the keepers that a session began, listens to its events until the
// stream ends, and starts over. The watch for events is also what notices that the data plane went away.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "control/api/events.pb.h"
#include "log/log.h"
#include "southbound/keeper.h"
#include "southbound/southbound.h"

namespace culvert::southbound {

class Connection {
 public:
  using OnSession = std::function<void(SessionPtr)>;  // null: it ended
  using OnEvent = std::function<void(const api::Event&)>;

  // The callbacks come from the connection's thread.
  Connection(const Options& options, OnSession on_session, OnEvent on_event, log::Log& log);
  ~Connection() { stop(); }

  void start();
  void stop();
  uint64_t sessions() const { return sessions_; }

 private:
  void run();
  SessionPtr greet();
  void watch(const Session& session);
  void wait(Duration span);
  void failed(const std::string& sentence);

  const Options options_;
  OnSession on_session_;
  OnEvent on_event_;
  log::Log& log_;
  Calls calls_;
  std::atomic<uint64_t> sessions_{0};
  std::string last_failure_;  // told already; another one is worth a line
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace culvert::southbound
