// Keeps the data plane's mesh equal to the desired one: a full transaction at the start of each session, which the data
// plane applies as a difference, then differences only.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "log/log.h"
#include "reconcile/difference.h"
#include "southbound/keeper.h"
#include "southbound/mesh_stream.h"

namespace culvert::southbound {

class MeshKeeper final : public Keeper {
 public:
  MeshKeeper(Duration retry_max, log::Log& log) : log_(log), back_off_(retry_max) {}

  void set_mesh(std::shared_ptr<const reconcile::Mesh> mesh);
  uint64_t transactions() const { return transactions_; }
  uint64_t records() const { return records_; }

 protected:
  Instant turn(const SessionPtr& session, Instant now) override;

 private:
  // True when the data plane acknowledged the whole of it.
  bool push(const Session& session, const reconcile::Mesh& mesh, bool full);
  void tell_rejections(const api::MeshAck& ack);

  log::Log& log_;
  std::mutex desired_mutex_;
  std::shared_ptr<const reconcile::Mesh> desired_;

  // The keeper's thread only.
  uint64_t session_number_ = 0;
  std::shared_ptr<const reconcile::Mesh> known_;  // null: unknown, the next transaction is a full one
  std::unique_ptr<MeshStream> stream_;
  BackOff back_off_;
  std::string last_failure_;
  std::atomic<uint64_t> transactions_{0}, records_{0};
};

}  // namespace culvert::southbound
