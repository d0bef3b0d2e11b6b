// The only place of the data plane that includes spdlog.
#include "main/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace culvert {

namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("culvert", std::make_shared<spdlog::sinks::stdout_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%fZ\t%l\tculvert\t%v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

void write(spdlog::level::level_enum level, std::string_view message) {
  logger().log(level, spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace

void set_log_level(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::kError:
      return logger().set_level(spdlog::level::err);
    case config::LogLevel::kWarn:
      return logger().set_level(spdlog::level::warn);
    case config::LogLevel::kInfo:
      return logger().set_level(spdlog::level::info);
    case config::LogLevel::kDebug:
      return logger().set_level(spdlog::level::debug);
  }
}

void log_debug(std::string_view message) { write(spdlog::level::debug, message); }
void log_info(std::string_view message) { write(spdlog::level::info, message); }
void log_warn(std::string_view message) { write(spdlog::level::warn, message); }
void log_error(std::string_view message) { write(spdlog::level::err, message); }

}  // namespace culvert
