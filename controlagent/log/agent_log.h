// The agent's own log: lines in the form of reference 25, to standard error, as far as the filter lets them pass.
//
//   plain  2026-11-24T04:05:34.789655Z<TAB>warn<TAB>xds<TAB>stream ended: …
//   json   {"level":"warn","time":"2026-11-24T04:05:34.789655Z","scope":"xds","message":"stream ended: …"}
//
// One line of the log is one line of text: control characters are escaped, and bytes that are no UTF-8 are replaced.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "log/filter.h"
#include "log/log.h"

namespace culvert::log {

enum class Format : uint8_t { kPlain, kJson };

using LogTime = std::chrono::sys_time<std::chrono::microseconds>;

// Without the line's end.
std::string format_line(Format format, LogTime time, Level level, std::string_view target, std::string_view message);

class AgentLog : public Log {
 public:
  virtual void set_filter(const Filter& filter) = 0;
  virtual Filter filter() const = 0;
};

struct AgentLogOptions {
  Filter filter;
  Format format = Format::kPlain;
  std::string target = "agent";  // of lines that were given none
  // Where lines go, each with its end, from any thread but one at a time; empty: standard error.
  std::function<void(std::string_view)> sink;
};

std::unique_ptr<AgentLog> make_agent_log(AgentLogOptions options);

}  // namespace culvert::log
