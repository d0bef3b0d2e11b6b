// The end of the data plane over gRPC: asked for here, watched here, carried out by `main`.
#include "control/api/lifecycle.grpc.pb.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

// Longer than anything that ends a node would wait.
constexpr uint64_t kDeadlineMsMax = 24ull * 60 * 60 * 1000;

void put(const LifecycleReport& report, api::LifecycleState& out) {
  out.set_state(report.draining ? api::LifecycleState::DRAINING : api::LifecycleState::SERVING);
  out.set_sessions_left(report.sessions);
  out.set_tunnels_left(report.tunnels);
  out.set_left_ms(static_cast<uint64_t>(to_ms(report.left)));
}

class LifecycleService final : public api::Lifecycle::Service {
 public:
  explicit LifecycleService(Desk& desk) : desk_(desk) {}

  grpc::Status Drain(grpc::ServerContext* context, const api::DrainRequest* request,
                     api::LifecycleState* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    std::optional<Duration> deadline;
    if (request->has_deadline_ms()) {
      if (request->deadline_ms() > kDeadlineMsMax) return invalid("deadline_ms: at most a day is accepted");
      deadline = std::chrono::milliseconds(request->deadline_ms());
    }
    const auto report = desk_.thread.call([&] { return desk_.controller.drain(deadline); });
    if (!report) return stopping();
    put(*report, *reply);
    return grpc::Status::OK;
  }

  grpc::Status State(grpc::ServerContext* context, const api::LifecycleStateRequest*,
                     api::LifecycleState* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto report = desk_.thread.call([&] { return desk_.controller.lifecycle(); });
    if (!report) return stopping();
    put(*report, *reply);
    return grpc::Status::OK;
  }

 private:
  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_lifecycle_service(Desk& desk) { return std::make_unique<LifecycleService>(desk); }

}  // namespace culvert::control
