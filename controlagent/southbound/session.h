// One agreement with one instance of the data plane: the channel, the contract version both speak, and the calls made
// under it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "base/time.h"

namespace culvert::southbound {

struct Session {
  uint64_t number = 0;   // ours, from 1
  std::string instance;  // the data plane's start
  uint32_t contract = 0;
  std::shared_ptr<grpc::Channel> channel;
};
using SessionPtr = std::shared_ptr<const Session>;

// No call waits longer for its answer.
inline constexpr Duration kCallPatience = 5s;

// States the agreed version on a call.
void state_contract(grpc::ClientContext& context, const Session& session);

// A data plane that went away ends its session, which is logged once, by the connection; calls that fail for that
// reason are not worth another line.
bool is_lost(const grpc::Status& status);

// The call that a thread is waiting for, so that another can cancel it.
class Calls {
 public:
  // Runs `call(context)` and returns its status.
  template <class Call>
  grpc::Status run(const Session& session, Call&& call) {
    grpc::ClientContext context;
    state_contract(context, session);
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(kCallPatience));
    if (!begin(context)) return {grpc::StatusCode::CANCELLED, "stopping"};
    const grpc::Status status = call(context);
    end();
    return status;
  }
  // For a call that runs by itself: false when cancelled already. `context` lives until end().
  bool begin(grpc::ClientContext& context);
  void end();
  // The present call and all later ones.
  void cancel();
  bool cancelled() const;

 private:
  mutable std::mutex mutex_;
  grpc::ClientContext* context_ = nullptr;
  bool cancelled_ = false;
};

}  // namespace culvert::southbound
