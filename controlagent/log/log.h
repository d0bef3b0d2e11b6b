// Log lines of the agent: one per thing that happened, with the object's name in it. Handed to whoever writes; there is
// no global one. Safe to use from any thread.
//
// A line belongs to a target, the part of the agent that says it ("agent", "xds", "ca" …): levels are set by target
// (filter.h), and the line names it (reference 25). A room is handed a Log and does not choose; whoever wires the rooms
// gives each its Part.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace culvert::log {

enum class Level : uint8_t { kError, kWarn, kInfo, kDebug, kTrace };

class Log {
 public:
  virtual ~Log() = default;
  virtual void write(Level level, std::string_view line) = 0;
  // For a target; a log that knows no targets takes every line alike.
  virtual void write_as(std::string_view target, Level level, std::string_view line);

  void error(std::string_view line) { write(Level::kError, line); }
  void warn(std::string_view line) { write(Level::kWarn, line); }
  void info(std::string_view line) { write(Level::kInfo, line); }
  void debug(std::string_view line) { write(Level::kDebug, line); }
};

inline void Log::write_as(std::string_view, Level level, std::string_view line) { write(level, line); }

// Lines of one target. `root` outlives it.
class Part final : public Log {
 public:
  Part(Log& root, std::string target) : root_(root), target_(std::move(target)) {}
  void write(Level level, std::string_view line) override { root_.write_as(target_, level, line); }
  void write_as(std::string_view target, Level level, std::string_view line) override {
    root_.write_as(target, level, line);
  }

 private:
  Log& root_;
  const std::string target_;
};

// To standard error in the plain form of reference 25, as target "agent"; lines less important than `least` are left
// out. What can be changed later is in agent_log.h.
std::unique_ptr<Log> make_stderr_log(Level least);

}  // namespace culvert::log
