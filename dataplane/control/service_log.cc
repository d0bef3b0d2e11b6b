// Levels and format of the data plane's lines, at run time.
#include <array>

#include "control/api/log.grpc.pb.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

// By their numbers; what has none is not a level.
constexpr std::array<LogLevel, 6> kLevels = {LogLevel::kOff,  LogLevel::kError, LogLevel::kWarn,
                                             LogLevel::kInfo, LogLevel::kDebug, LogLevel::kTrace};

class LogService final : public api::Log::Service {
 public:
  explicit LogService(Desk& desk) : desk_(desk) {}

  grpc::Status Get(grpc::ServerContext* context, const api::GetLogRequest*, api::LogSettings* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    tell(*reply);
    return grpc::Status::OK;
  }

  grpc::Status Set(grpc::ServerContext* context, const api::SetLogRequest* request, api::LogSettings* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    for (const api::LogTarget& target : request->targets()) {
      if (!find(target.name())) {
        return invalid("no log target `" + target.name().substr(0, 64) + "`: `access` and `culvert` are known");
      }
      if (target.level() <= api::LOG_LEVEL_UNSPECIFIED || target.level() > api::LOG_LEVEL_TRACE) {
        return invalid("log target `" + target.name() + "`: " + std::to_string(target.level()) + " is no level");
      }
    }
    if (request->format() < api::LOG_FORMAT_UNSPECIFIED || request->format() > api::LOG_FORMAT_JSON) {
      return invalid("log format " + std::to_string(request->format()) + " is not known");
    }
    for (const api::LogTarget& target : request->targets()) {
      find(target.name())->store(kLevels[static_cast<size_t>(target.level()) - 1], std::memory_order_relaxed);
    }
    if (request->format() != api::LOG_FORMAT_UNSPECIFIED) {
      desk_.log->format.store(request->format() == api::LOG_FORMAT_JSON ? LogFormat::kJson : LogFormat::kPlain,
                              std::memory_order_relaxed);
    }
    tell(*reply);
    return grpc::Status::OK;
  }

 private:
  std::atomic<LogLevel>* find(std::string_view target) const {
    if (target == kAccessTarget) return &desk_.log->access;
    if (target == kOwnTarget) return &desk_.log->own;
    return nullptr;
  }

  void tell(api::LogSettings& out) const {
    for (const std::string_view name : {kAccessTarget, kOwnTarget}) {
      api::LogTarget& target = *out.add_targets();
      target.set_name(std::string(name));
      target.set_level(static_cast<api::LogLevel>(static_cast<int>(find(name)->load(std::memory_order_relaxed)) + 1));
    }
    const bool json = desk_.log->format.load(std::memory_order_relaxed) == LogFormat::kJson;
    out.set_format(json ? api::LOG_FORMAT_JSON : api::LOG_FORMAT_PLAIN);
  }

  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_log_service(Desk& desk) { return std::make_unique<LogService>(desk); }

}  // namespace culvert::control
