#include <cstdio>
#include <ctime>

#include "log/agent_log.h"

namespace culvert::log {
namespace {

// How many bytes at the start of `text` are one character of UTF-8 (RFC 3629 3); 0: none is.
size_t utf8_length(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto tail = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xbf) { return at(i) >= low && at(i) <= high; };
  const uint8_t first = at(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    return tail(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf) && tail(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    return tail(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

void append_escaped(std::string& out, std::string_view text, bool json) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const char c = text.front();
    if (length == 0) {
      out += "\xef\xbf\xbd";  // U+FFFD
      text.remove_prefix(1);
      continue;
    }
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (json && (c == '"' || c == '\\')) {
      out += {'\\', c};
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
}

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
    append_escaped(out, target, false);
    out += '\t';
    append_escaped(out, message, false);
    return out;
  }
  out = R"({"level":")" + std::string(name_of(level)) + R"(","time":")" + rfc3339(time) + R"(","scope":")";
  append_escaped(out, target, true);
  out += R"(","message":")";
  append_escaped(out, message, true);
  return out + "\"}";
}

}  // namespace culvert::log
