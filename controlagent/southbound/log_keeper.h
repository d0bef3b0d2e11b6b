// Keeps the levels and the form of the data plane's lines as they are wanted: told at the start of each session, since
// a data plane that restarted is back at culvert.yaml, and whenever they change.
#pragma once

#include <optional>

#include "log/log.h"
#include "southbound/keeper.h"
#include "southbound/southbound.h"

namespace culvert::southbound {

class LogKeeper final : public Keeper {
 public:
  explicit LogKeeper(log::Log& log) : log_(log) {}

  void set_wanted(LogSettings settings);

 protected:
  Instant turn(const SessionPtr& session, Instant now) override;

 private:
  log::Log& log_;
  std::mutex wanted_mutex_;
  std::optional<LogSettings> wanted_;

  // The keeper's thread only.
  uint64_t session_number_ = 0;
  std::optional<LogSettings> told_;  // in this session
  BackOff back_off_{5s};
  std::string last_failure_;
};

}  // namespace culvert::southbound
