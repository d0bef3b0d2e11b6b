// Log lines of the agent: one per thing that happened, with the object's name in it. Handed to whoever writes; there is
// no global one. Safe to use from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace culvert::log {

enum class Level : uint8_t { kError, kWarn, kInfo, kDebug };

class Log {
 public:
  virtual ~Log() = default;
  virtual void write(Level level, std::string_view line) = 0;

  void error(std::string_view line) { write(Level::kError, line); }
  void warn(std::string_view line) { write(Level::kWarn, line); }
  void info(std::string_view line) { write(Level::kInfo, line); }
  void debug(std::string_view line) { write(Level::kDebug, line); }
};

// To standard error, with time and level; lines less important than `least` are left out.
std::unique_ptr<Log> make_stderr_log(Level least);

}  // namespace culvert::log
