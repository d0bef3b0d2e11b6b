#include "southbound/crl_keeper.h"

#include "control/api/certificates.grpc.pb.h"

namespace culvert::southbound {

void CrlKeeper::set_wanted(Files files) {
  {
    const std::lock_guard lock(wanted_mutex_);
    wanted_ = std::make_shared<const Files>(std::move(files));
  }
  wake();
}

Instant CrlKeeper::turn(const SessionPtr& session, Instant now) {
  std::shared_ptr<const Files> wanted;
  {
    const std::lock_guard lock(wanted_mutex_);
    wanted = wanted_;
  }
  if (session == nullptr || wanted == nullptr) return kNever;
  if (session->number != session_number_) {
    session_number_ = session->number;
    told_.reset();
  }
  if (told_ == wanted) return kNever;
  api::SetCrlRequest request;
  for (const std::string& file : *wanted) request.add_files(file);
  api::CrlState reply;
  const grpc::Status status = calls().run(*session, [&](grpc::ClientContext& context) {
    return api::Certificates::NewStub(session->channel)->SetCrl(&context, request, &reply);
  });
  if (status.ok()) {
    log_.info("revocation lists in force: " + std::to_string(reply.lists()) + ", " + std::to_string(reply.entries()) +
              " revoked certificates");
  } else if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT) {
    log_.error("the revocation lists are not used, those before stay in force: " + status.error_message());
  } else {
    if (!is_lost(status)) log_.warn("the revocation lists were not taken: " + status.error_message());
    return now + back_off_.next();
  }
  told_ = std::move(wanted);
  back_off_.reset();
  return kNever;
}

}  // namespace culvert::southbound
