#include "southbound/log_keeper.h"

#include "control/api/log.grpc.pb.h"

namespace culvert::southbound {
namespace {

api::LogLevel level_of(std::optional<log::Level> level) {
  if (!level) return api::LOG_LEVEL_OFF;
  switch (*level) {
    case log::Level::kError:
      return api::LOG_LEVEL_ERROR;
    case log::Level::kWarn:
      return api::LOG_LEVEL_WARN;
    case log::Level::kInfo:
      return api::LOG_LEVEL_INFO;
    case log::Level::kDebug:
      return api::LOG_LEVEL_DEBUG;
    case log::Level::kTrace:
      return api::LOG_LEVEL_TRACE;
  }
  return api::LOG_LEVEL_INFO;
}

}  // namespace

void LogKeeper::set_wanted(LogSettings settings) {
  {
    const std::lock_guard lock(wanted_mutex_);
    wanted_ = std::move(settings);
  }
  wake();
}

Instant LogKeeper::turn(const SessionPtr& session, Instant now) {
  std::optional<LogSettings> wanted;
  {
    const std::lock_guard lock(wanted_mutex_);
    wanted = wanted_;
  }
  if (session == nullptr || !wanted) return kNever;
  if (session->number != session_number_) {
    session_number_ = session->number;
    told_.reset();
  }
  if (told_ == wanted) return kNever;
  api::SetLogRequest request;
  for (const auto& [name, level] : wanted->levels) {
    api::LogTarget& target = *request.add_targets();
    target.set_name(name);
    target.set_level(level_of(level));
  }
  if (wanted->json) request.set_format(*wanted->json ? api::LOG_FORMAT_JSON : api::LOG_FORMAT_PLAIN);
  api::LogSettings reply;
  const grpc::Status status = calls().run(*session, [&](grpc::ClientContext& context) {
    return api::Log::NewStub(session->channel)->Set(&context, request, &reply);
  });
  if (status.ok()) {
    told_ = std::move(wanted);
    back_off_.reset();
    last_failure_.clear();
    return kNever;
  }
  if (!is_lost(status) && status.error_message() != last_failure_) {
    last_failure_ = status.error_message();
    log_.warn("the data plane does not take the levels of its log: " + last_failure_);
  }
  return now + back_off_.next();
}

}  // namespace culvert::southbound
