// What is written to the log and how: levels by target, and the form of the lines. One object per node, owned by
// whoever starts it; control writes it at run time, every worker and the process's own log read it per line.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace culvert {

// A line is written when its level is at most its target's.
enum class LogLevel : uint8_t { kOff, kError, kWarn, kInfo, kDebug, kTrace };
// "off", "error", "warn", "info", "debug", "trace"
std::string_view name_of(LogLevel level);

enum class LogFormat : uint8_t { kPlain, kJson };

struct LogSettings {
  std::atomic<LogLevel> access{LogLevel::kInfo};  // target "access"
  std::atomic<LogLevel> own{LogLevel::kInfo};     // target "culvert": the process's lines about itself
  std::atomic<LogFormat> format{LogFormat::kPlain};

  bool writes_access(LogLevel level) const { return level <= access.load(std::memory_order_relaxed); }
  bool writes_own(LogLevel level) const { return level <= own.load(std::memory_order_relaxed); }
};

inline constexpr std::string_view kAccessTarget = "access";
inline constexpr std::string_view kOwnTarget = "culvert";

}  // namespace culvert
