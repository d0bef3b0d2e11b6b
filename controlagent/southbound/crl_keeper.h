// Keeps the certificate revocation lists by which the data plane judges peers as they were read last (reference 16):
// told at the start of each session and whenever they change. A set that the data plane refuses is said once; the one
// before stays in force there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "log/log.h"
#include "southbound/keeper.h"

namespace culvert::southbound {

class CrlKeeper final : public Keeper {
 public:
  using Files = std::vector<std::string>;  // the bytes of each

  explicit CrlKeeper(log::Log& log) : log_(log) {}

  void set_wanted(Files files);

 protected:
  Instant turn(const SessionPtr& session, Instant now) override;

 private:
  log::Log& log_;
  std::mutex wanted_mutex_;
  std::shared_ptr<const Files> wanted_;  // null: nobody has said anything, and the data plane keeps what it has

  // The keeper's thread only.
  uint64_t session_number_ = 0;
  std::shared_ptr<const Files> told_;  // taken or refused in this session
  BackOff back_off_{5s};
};

}  // namespace culvert::southbound
