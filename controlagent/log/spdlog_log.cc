// The only place that includes spdlog.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "log/log.h"

namespace culvert::log {
namespace {

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::kError:
      return spdlog::level::err;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kDebug:
      return spdlog::level::debug;
  }
  return spdlog::level::info;
}

class SpdlogLog final : public Log {
 public:
  explicit SpdlogLog(Level least) : logger_("agent", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger_.set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    logger_.set_level(level_of(least));
    logger_.flush_on(spdlog::level::trace);
  }
  void write(Level level, std::string_view line) override {
    logger_.log(level_of(level), spdlog::string_view_t(line.data(), line.size()));
  }

 private:
  spdlog::logger logger_;
};

}  // namespace

std::unique_ptr<Log> make_stderr_log(Level least) { return std::make_unique<SpdlogLog>(least); }

}  // namespace culvert::log
