// The only place of the data plane that includes spdlog.
#include "main/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include "telemetry/log_line.h"

namespace culvert {

namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("culvert", std::make_shared<spdlog::sinks::stdout_sink_mt>());
    made->set_pattern("%v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

int64_t unix_us() {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return int64_t{t.tv_sec} * 1'000'000 + t.tv_nsec / 1'000;
}

void write(LogLevel level, std::string_view message) {
  if (!log_settings().writes_own(level)) return;
  const LogFormat format = log_settings().format.load(std::memory_order_relaxed);
  const std::string line = format_line(format, unix_us(), level, kOwnTarget, message);
  logger().info(spdlog::string_view_t(line.data(), line.size()));
}

LogLevel level_of(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::kError:
      return LogLevel::kError;
    case config::LogLevel::kWarn:
      return LogLevel::kWarn;
    case config::LogLevel::kInfo:
      return LogLevel::kInfo;
    case config::LogLevel::kDebug:
      return LogLevel::kDebug;
  }
  return LogLevel::kInfo;
}

}  // namespace

LogSettings& log_settings() {
  static LogSettings settings;
  return settings;
}

void apply(const config::LogSection& section) {
  log_settings().access = log_settings().own = level_of(section.level);
  log_settings().format = section.format == config::LogFormat::kJson ? LogFormat::kJson : LogFormat::kPlain;
}

void log_debug(std::string_view message) { write(LogLevel::kDebug, message); }
void log_info(std::string_view message) { write(LogLevel::kInfo, message); }
void log_warn(std::string_view message) { write(LogLevel::kWarn, message); }
void log_error(std::string_view message) { write(LogLevel::kError, message); }

}  // namespace culvert
