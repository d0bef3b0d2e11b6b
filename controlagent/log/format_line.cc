#include <cstdio>
#include <ctime>

#include "log/agent_log.h"
#include "log/utf8.h"

namespace culvert::log {
namespace {

std::string rfc3339(LogTime time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const std::time_t unix_time = std::chrono::system_clock::to_time_t(seconds);
  std::tm parts{};
  gmtime_r(&unix_time, &parts);
  char out[40];
  const size_t length = std::strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(out + length, sizeof(out) - length, ".%06dZ", static_cast<int>((time - seconds).count()));
  return out;
}

}  // namespace

std::string format_line(Format format, LogTime time, Level level, std::string_view target, std::string_view message) {
  std::string out;
  if (format == Format::kPlain) {
    out = rfc3339(time) + "\t" + std::string(name_of(level)) + "\t";
    append_escaped(out, target, Escape::kControl);
    out += '\t';
    append_escaped(out, message, Escape::kControl);
    return out;
  }
  out = R"({"level":")" + std::string(name_of(level)) + R"(","time":")" + rfc3339(time) + R"(","scope":")";
  append_escaped(out, target, Escape::kJson);
  out += R"(","message":")";
  append_escaped(out, message, Escape::kJson);
  return out + "\"}";
}

}  // namespace culvert::log
