#include "control/mesh_feed.h"

#include "control/api/contract.h"

namespace culvert::control {

namespace {
constexpr std::string_view kReplaced = "a newer mesh stream took this one's place";
}

MeshFeed::MeshFeed() : mesh_(builder_.publish()) {}

uint64_t MeshFeed::open_stream() {
  stream_open_ = true;
  stream_synced_ = false;
  in_transaction_ = false;
  return ++stream_;
}

void MeshFeed::close_stream(uint64_t stream) {
  if (!is_open(stream)) return;
  stream_open_ = false;
  in_transaction_ = false;
}

Result<void, std::string> MeshFeed::begin(uint64_t stream, std::string version, bool full) {
  if (!is_open(stream)) return std::string(kReplaced);
  if (in_transaction_) return std::string("a transaction begins before the one before it has ended");
  if (!full && !stream_synced_) return std::string("the first transaction of a stream has to be a full one");
  if (full) builder_.begin_sync();
  stream_synced_ = true;
  in_transaction_ = true;
  full_ = full;
  pending_ = MeshApplied{};
  pending_.version = std::move(version);
  return {};
}

Result<void, std::string> MeshFeed::apply(uint64_t stream, MeshRecords records) {
  if (!is_open(stream)) return std::string(kReplaced);
  if (!in_transaction_) return std::string("records outside of a transaction");
  for (const std::string& uid : records.removed_workloads) builder_.remove_workload(uid);
  for (const std::string& key : records.removed_services) builder_.remove_service(key);
  for (const std::string& key : records.removed_policies) builder_.remove_policy(key);
  for (snapshot::Service& service : records.services) builder_.upsert(std::move(service));
  for (snapshot::Workload& workload : records.workloads) builder_.upsert(std::move(workload));
  for (snapshot::Policy& policy : records.policies) builder_.upsert(std::move(policy));
  for (Rejection& rejection : records.rejections) {
    if (full_) keep_former(rejection);
    if (pending_.rejections.size() < api::kRejectionsMax) {
      pending_.rejections.push_back(std::move(rejection));
    } else {
      ++pending_.rejections_left_out;
    }
  }
  return {};
}

// A refused record was named, so a full transaction must not remove what stands under its key.
void MeshFeed::keep_former(const Rejection& rejection) {
  if (rejection.kind == "workload") {
    if (const snapshot::Workload* former = mesh_->workload(rejection.name)) builder_.upsert(*former);
  } else if (rejection.kind == "service") {
    if (const snapshot::Service* former = mesh_->service(rejection.name)) builder_.upsert(*former);
  } else if (const snapshot::Policy* former = mesh_->policy(rejection.name)) {
    builder_.upsert(*former);
  }
}

Result<MeshApplied, std::string> MeshFeed::end(uint64_t stream) {
  if (!is_open(stream)) return Failure{std::string(kReplaced)};
  if (!in_transaction_) return Failure{std::string("an end without a transaction")};
  in_transaction_ = false;
  if (full_) builder_.end_sync();
  mesh_ = builder_.publish();
  version_ = pending_.version;
  pending_.mesh = mesh_;
  return std::move(pending_);
}

}  // namespace culvert::control
