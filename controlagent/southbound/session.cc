#include "southbound/session.h"

#include "control/api/contract.h"

namespace culvert::southbound {

void state_contract(grpc::ClientContext& context, const Session& session) {
  context.AddMetadata(api::kContractMetadata, std::to_string(session.contract));
}

bool is_lost(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::CANCELLED;
}

bool Calls::begin(grpc::ClientContext& context) {
  const std::lock_guard lock(mutex_);
  if (cancelled_) return false;
  context_ = &context;
  return true;
}

void Calls::end() {
  const std::lock_guard lock(mutex_);
  context_ = nullptr;
}

void Calls::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (context_ != nullptr) context_->TryCancel();
}

bool Calls::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

}  // namespace culvert::southbound
