// Sight over the present session.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>

#include "southbound/session.h"
#include "southbound/sight.h"

namespace culvert::southbound {

class SessionSight final : public Sight {
 public:
  // Null: the data plane is away.
  void set_session(SessionPtr session);
  // Cancels calls under way and waits for them; later ones fail at once.
  void stop();

  bool connected() const override;
  Seen<DataPlaneStatus> status() override;
  Seen<std::vector<SessionRow>> sessions() override;
  Seen<std::vector<AttachmentRow>> attachments() override;
  Seen<std::vector<CounterRow>> counters() override;
  Seen<std::vector<CounterRow>> drops() override;
  Seen<Traffic> traffic() override;
  Seen<std::vector<CertificateRow>> certificates() override;
  Seen<CrlRow> crl() override;
  Seen<DrainState> drain(std::optional<Millis> deadline) override;
  Seen<DrainState> drain_state() override;

 private:
  // Runs `call(channel, context)` under a deadline; the error is a sentence about `what`.
  Result<void, std::string> run(
      const char* what,
      const std::function<grpc::Status(const std::shared_ptr<grpc::Channel>&, grpc::ClientContext&)>& call);

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  SessionPtr session_;
  std::set<grpc::ClientContext*> under_way_;
  bool stopped_ = false;
};

}  // namespace culvert::southbound
