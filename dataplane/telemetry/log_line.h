// One line of a log in ztunnel's plain or JSON form (reference 25), written into the caller's bytes:
//
//   2026-01-31T10:00:00.000000Z	info	access	connection complete	src.addr=10.0.0.1:4242 src.workload="a"
//   {"level":"info","time":"2026-01-31T10:00:00.000000Z","scope":"access","message":"…","src.addr":"10.0.0.1:4242"}
//
// Values may come from peers: quotes, backslashes, control characters and bytes that are not UTF-8 are escaped, so one
// line is always one line of well-formed text, and in JSON one well-formed object.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "telemetry/log_settings.h"

namespace culvert {

// The longest a quoted value gets on the line, quotes included; a longer one is cut and ends in "...".
inline constexpr size_t kLogValueBytesMax = 512;
// Of a value without quotes (plain), or its content (JSON).
inline constexpr size_t kLogBareBytesMax = 300;

// Writes head, fields and end in this order. What would not fit is left out: bounds are the caller's, by the size of
// its buffer.
class LogLine {
 public:
  LogLine(LogFormat format, std::span<char> bytes) : format_(format), bytes_(bytes) {}

  // `message` is at most `message_bytes_max` long on the line.
  void head(int64_t unix_us, LogLevel level, std::string_view target, std::string_view message,
            size_t message_bytes_max = kLogValueBytesMax);
  // Empty values are left out, and so are addresses that are not set.
  void quoted(std::string_view name, std::string_view value);
  void bare(std::string_view name, std::string_view value);
  void address(std::string_view name, const std::optional<Endpoint>& value);
  void number(std::string_view name, uint64_t value);
  void milliseconds(std::string_view name, uint64_t value);  // "12ms"
  // The line without a newline, a view into the bytes.
  std::string_view end();

 private:
  void text(std::string_view t);
  void digits(uint64_t n, int digits_min = 1);
  void time(int64_t unix_us);
  void key(std::string_view name);
  void escaped(std::string_view value, size_t bytes_max);
  size_t escape(std::string_view t, char* out, size_t& bytes) const;
  bool json() const { return format_ == LogFormat::kJson; }

  const LogFormat format_;
  const std::span<char> bytes_;
  size_t used_ = 0;
  bool first_ = true;
};

// A line of a process about itself, without fields and without a newline. Long messages are cut.
std::string format_line(LogFormat format, int64_t unix_us, LogLevel level, std::string_view target,
                        std::string_view message);

}  // namespace culvert
