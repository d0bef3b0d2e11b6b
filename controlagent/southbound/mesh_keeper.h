// Keeps the data plane's mesh equal to the desired one: a full transaction at the start of each session, which the data
// plane applies as a difference, then differences only.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "log/log.h"
#include "reconcile/mesh_store.h"
#include "southbound/keeper.h"
#include "southbound/mesh_stream.h"
#include "southbound/sight.h"

namespace culvert::southbound {

class MeshKeeper final : public Keeper {
 public:
  // `mesh` outlives it. Whoever changes the mesh calls wake().
  MeshKeeper(reconcile::MeshStore& mesh, Duration retry_max, log::Log& log);

  uint64_t transactions() const { return transactions_; }
  uint64_t records() const { return records_; }
  // Seconds from taking changes up to the acknowledgement that they are in force.
  Histogram push_seconds() const;

 protected:
  Instant turn(const SessionPtr& session, Instant now) override;

 private:
  // True when the data plane acknowledged the whole of it.
  bool push(const Session& session, const reconcile::MeshDelta& delta, bool full);
  void tell_changes(Instant now);
  std::string in_force() const;
  void tell_rejections(const api::MeshAck& ack);

  reconcile::MeshStore& mesh_;
  reconcile::MeshStore::Feed feed_;
  log::Log& log_;

  // The keeper's thread only.
  uint64_t session_number_ = 0;
  bool synced_ = false;  // false: what the data plane knows is unknown, the next transaction is a full one
  Instant next_push_{};  // changes that come quickly share transactions
  std::unique_ptr<MeshStream> stream_;
  BackOff back_off_;
  std::string last_failure_;
  // Changes acknowledged and not told yet.
  uint64_t untold_records_ = 0;
  api::MeshAck untold_ack_;
  Instant last_told_{};
  std::atomic<uint64_t> transactions_{0}, records_{0};
  mutable std::mutex push_mutex_;
  Histogram push_seconds_;
};

}  // namespace culvert::southbound
