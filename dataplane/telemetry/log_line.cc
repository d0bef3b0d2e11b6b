#include "telemetry/log_line.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>
#include <vector>

#include "base/utf8.h"

namespace culvert {

namespace {

// Of a process's own line.
constexpr size_t kMessageBytesMax = 8192;
constexpr size_t kHeadBytesMax = 160;

constexpr std::string_view kCut = "...";

// Stands for itself in both forms.
bool is_plain(char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; }

}  // namespace

std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kOff:
      return "off";
    case LogLevel::kError:
      return "error";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kTrace:
      return "trace";
  }
  return "";
}

void LogLine::text(std::string_view t) {
  const size_t n = std::min(t.size(), bytes_.size() - used_);
  std::memcpy(bytes_.data() + used_, t.data(), n);
  used_ += n;
}

void LogLine::digits(uint64_t n, int digits_min) {
  char out[20];
  const auto [end, error] = std::to_chars(out, out + sizeof out, n);
  for (auto width = end - out; width < digits_min; ++width) text("0");
  text({out, static_cast<size_t>(end - out)});
}

void LogLine::time(int64_t unix_us) {
  const std::time_t seconds = unix_us / 1'000'000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  digits(static_cast<uint64_t>(utc.tm_year + 1900), 4);
  text("-");
  digits(static_cast<uint64_t>(utc.tm_mon + 1), 2);
  text("-");
  digits(static_cast<uint64_t>(utc.tm_mday), 2);
  text("T");
  digits(static_cast<uint64_t>(utc.tm_hour), 2);
  text(":");
  digits(static_cast<uint64_t>(utc.tm_min), 2);
  text(":");
  digits(static_cast<uint64_t>(utc.tm_sec), 2);
  text(".");
  digits(static_cast<uint64_t>(unix_us % 1'000'000), 6);
  text("Z");
}

// Writes the escaped form of the character at the front of `t` to `out` (at most 8 bytes); returns how many bytes of
// `t` it stands for and sets `bytes`. Plain lines escape as ztunnel's do; a byte that is not UTF-8 has no form in JSON
// and is spelt out in both.
size_t LogLine::escape(std::string_view t, char* out, size_t& bytes) const {
  const auto c = static_cast<uint8_t>(t[0]);
  const auto put = [&](std::string_view s) {
    std::memcpy(out, s.data(), s.size());
    bytes = s.size();
  };
  constexpr char kHex[] = "0123456789abcdef";
  if (c == '"') {
    put("\\\"");
  } else if (c == '\\') {
    put("\\\\");
  } else if (c == '\n') {
    put("\\n");
  } else if (c == '\r') {
    put("\\r");
  } else if (c == '\t') {
    put("\\t");
  } else if (c < 0x20 || c == 0x7f) {
    const char plain[] = {'\\', 'u', '{', kHex[c >> 4], kHex[c & 15], '}'};
    const char quoted[] = {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
    put(json() ? std::string_view{quoted, sizeof quoted} : std::string_view{plain, sizeof plain});
  } else if (const size_t n = utf8_length(t); n > 0) {
    put(t.substr(0, n));
    return n;
  } else {
    const char spelt[] = {'\\', '\\', 'x', kHex[c >> 4], kHex[c & 15]};
    put(std::string_view{spelt, sizeof spelt}.substr(json() ? 0 : 1));
  }
  return 1;
}

void LogLine::escaped(std::string_view value, size_t bytes_max) {
  // Nearly every value is short and needs no escape.
  if (value.size() <= bytes_max && std::all_of(value.begin(), value.end(), is_plain)) return text(value);
  char out[8];
  size_t bytes = 0;
  size_t whole = 0;  // on the line; counted no further than the limit
  for (std::string_view rest = value; !rest.empty() && whole <= bytes_max; whole += bytes) {
    rest.remove_prefix(escape(rest, out, bytes));
  }
  const bool cut = whole > bytes_max;
  size_t room = bytes_max - (cut ? kCut.size() : 0);
  while (!value.empty()) {
    const size_t taken = escape(value, out, bytes);
    if (bytes > room) break;
    text({out, bytes});
    room -= bytes;
    value.remove_prefix(taken);
  }
  if (cut) text(kCut);
}

void LogLine::head(int64_t unix_us, LogLevel level, std::string_view target, std::string_view message,
                   size_t message_bytes_max) {
  if (json()) {
    text("{\"level\":\"");
    text(name_of(level));
    text("\",\"time\":\"");
    time(unix_us);
    text("\",\"scope\":\"");
    text(target);
    text("\",\"message\":\"");
    escaped(message, message_bytes_max);
    text("\"");
    return;
  }
  time(unix_us);
  text("\t");
  text(name_of(level));
  text("\t");
  text(target);
  text("\t");
  // Nobody quotes a plain message, so nothing in it needs an escape but what would break the line or its columns.
  message = message.substr(0, message_bytes_max);
  while (!message.empty()) {
    const size_t plain = std::min(message.size(), message.find_first_of("\n\r\t"));
    text(message.substr(0, plain));
    message.remove_prefix(plain);
    if (message.empty()) break;
    text(message.front() == '\n' ? "\\n" : message.front() == '\r' ? "\\r" : "\\t");
    message.remove_prefix(1);
  }
}

// Plain: key=, preceded by a blank from the second one on.
void LogLine::key(std::string_view name) {
  if (json()) {
    text(",\"");
    text(name);
    text("\":");
    return;
  }
  text(first_ ? "\t" : " ");
  first_ = false;
  text(name);
  text("=");
}

void LogLine::quoted(std::string_view name, std::string_view value) {
  if (value.empty()) return;
  key(name);
  text("\"");
  escaped(value, kLogValueBytesMax - 2);
  text("\"");
}

// Without quotes what could break the line apart becomes "?"; JSON has the same letters in quotes.
void LogLine::bare(std::string_view name, std::string_view value) {
  if (value.empty()) return;
  key(name);
  if (json()) text("\"");
  char safe[kLogBareBytesMax];
  value = value.substr(0, kLogBareBytesMax);
  std::transform(value.begin(), value.end(), safe,
                 [](char c) { return is_plain(c) && c != ' ' && c != '=' ? c : '?'; });
  text({safe, value.size()});
  if (json()) text("\"");
}

void LogLine::address(std::string_view name, const std::optional<Endpoint>& value) {
  if (!value) return;
  key(name);
  char buffer[INET6_ADDRSTRLEN];
  const IpAddress& a = value->address;
  const char* written = inet_ntop(a.is_v4() ? AF_INET : AF_INET6, a.wire().data(), buffer, sizeof buffer);
  if (json()) text("\"");
  if (!a.is_v4()) text("[");
  text(written ? written : "?");
  text(a.is_v4() ? ":" : "]:");
  digits(value->port);
  if (json()) text("\"");
}

void LogLine::number(std::string_view name, uint64_t value) {
  key(name);
  digits(value);
}

void LogLine::milliseconds(std::string_view name, uint64_t value) {
  key(name);
  text("\"");
  digits(value);
  text("ms\"");
}

std::string_view LogLine::end() {
  if (json()) text("}");
  return {bytes_.data(), used_};
}

std::string format_line(LogFormat format, int64_t unix_us, LogLevel level, std::string_view target,
                        std::string_view message) {
  // Plain: a byte becomes at most two. JSON: the escaped message is cut to its bound.
  std::vector<char> bytes(kHeadBytesMax + target.size() + 2 * kMessageBytesMax);
  LogLine line(format, bytes);
  line.head(unix_us, level, target, message, kMessageBytesMax);
  return std::string(line.end());
}

}  // namespace culvert
