// /logging: shows the filter of the agent's log and changes it (reference 21.1).
#pragma once

#include <functional>
#include <mutex>

#include "admin/http_server.h"
#include "log/agent_log.h"

namespace culvert::admin {

class Logging {
 public:
  // `log` outlives it; the filter that it has now is the one that `reset` goes back to. `changed` may be empty.
  Logging(log::AgentLog& log, std::function<void(const log::Filter&)> changed)
      : log_(log), start_(log.filter()), changed_(std::move(changed)) {}

  // A POST, from any thread.
  HttpReply post(const HttpRequest& request);

 private:
  log::AgentLog& log_;
  const log::Filter start_;
  const std::function<void(const log::Filter&)> changed_;
  std::mutex mutex_;
};

}  // namespace culvert::admin
