// The only place that includes spdlog: its sink takes the lines, one thread at a time.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <mutex>

#include "log/agent_log.h"

namespace culvert::log {
namespace {

class SpdlogLog final : public AgentLog {
 public:
  explicit SpdlogLog(AgentLogOptions options)
      : format_(options.format),
        target_(std::move(options.target)),
        sink_(std::move(options.sink)),
        filter_(std::move(options.filter)),
        stderr_("agent", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    stderr_.set_pattern("%v");
    stderr_.set_level(spdlog::level::trace);
    stderr_.flush_on(spdlog::level::trace);
  }

  void write(Level level, std::string_view line) override { write_as(target_, level, line); }

  void write_as(std::string_view target, Level level, std::string_view line) override {
    {
      const std::lock_guard lock(mutex_);
      if (!filter_.passes(target, level)) return;
    }
    const auto now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    std::string text = format_line(format_, now, level, target, line);
    if (!sink_) {
      stderr_.log(spdlog::level::info, spdlog::string_view_t(text.data(), text.size()));
      return;
    }
    text += '\n';
    const std::lock_guard lock(mutex_);
    sink_(text);
  }

  void set_filter(const Filter& filter) override {
    const std::lock_guard lock(mutex_);
    filter_ = filter;
  }
  Filter filter() const override {
    const std::lock_guard lock(mutex_);
    return filter_;
  }

 private:
  const Format format_;
  const std::string target_;
  const std::function<void(std::string_view)> sink_;
  mutable std::mutex mutex_;
  Filter filter_;
  spdlog::logger stderr_;
};

}  // namespace

std::unique_ptr<AgentLog> make_agent_log(AgentLogOptions options) {
  return std::make_unique<SpdlogLog>(std::move(options));
}

std::unique_ptr<Log> make_stderr_log(Level least) {
  AgentLogOptions options;
  options.filter = Filter(least);
  return make_agent_log(std::move(options));
}

}  // namespace culvert::log
