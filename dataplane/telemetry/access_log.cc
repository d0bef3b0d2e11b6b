#include "telemetry/access_log.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>

namespace culvert {

namespace {

// Appends to a line. Bounds hold by construction of kAccessLineBytesMax; a byte that would not fit is left out all the
// same.
class Writer {
 public:
  explicit Writer(AccessLine& line) : line_(line) {}

  void text(std::string_view t) {
    const size_t n = std::min(t.size(), line_.size() - used_);
    std::memcpy(line_.data() + used_, t.data(), n);
    used_ += n;
  }
  void number(uint64_t n, int digits_min = 1) {
    char digits[20];
    const auto [end, error] = std::to_chars(digits, digits + sizeof digits, n);
    for (auto width = end - digits; width < digits_min; ++width) text("0");
    text({digits, static_cast<size_t>(end - digits)});
  }
  // key=, preceded by a blank from the second one on.
  void key(std::string_view name) {
    text(first_ ? "\t" : " ");
    first_ = false;
    text(name);
    text("=");
  }
  void quoted(std::string_view name, std::string_view value);
  void bare(std::string_view name, std::string_view value);
  void address(std::string_view name, const std::optional<Endpoint>& value);

  std::string_view written() const { return {line_.data(), used_}; }

 private:
  AccessLine& line_;
  size_t used_ = 0;
  bool first_ = true;
};

// Bytes of the well-formed UTF-8 sequence at the front of `t` (RFC 3629 4), 0 if there is none.
size_t utf8_sequence(std::string_view t) {
  const auto byte = [&](size_t i) { return i < t.size() ? static_cast<uint8_t>(t[i]) : uint8_t{0}; };
  const auto tail = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint8_t a = byte(0);
  if (a < 0x80) return 1;
  if (a >= 0xc2 && a <= 0xdf) return tail(1) ? 2 : 0;
  if (a >= 0xe0 && a <= 0xef) {
    if (!tail(1) || !tail(2)) return 0;
    if ((a == 0xe0 && byte(1) < 0xa0) || (a == 0xed && byte(1) > 0x9f)) return 0;  // overlong, surrogate
    return 3;
  }
  if (a >= 0xf0 && a <= 0xf4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if ((a == 0xf0 && byte(1) < 0x90) || (a == 0xf4 && byte(1) > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

// Writes the escaped form of the character at the front of `t` to `out` (at most 8 bytes); returns how many bytes of
// `t` it stands for and sets `bytes`.
size_t escape(std::string_view t, char* out, size_t& bytes) {
  const auto c = static_cast<uint8_t>(t[0]);
  auto put = [&](std::string_view s) {
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
    const char text[] = {'\\', 'u', '{', kHex[c >> 4], kHex[c & 15], '}'};
    put({text, sizeof text});
  } else if (const size_t n = utf8_sequence(t); n > 0) {
    put(t.substr(0, n));
    return n;
  } else {
    const char text[] = {'\\', 'x', kHex[c >> 4], kHex[c & 15]};
    put({text, sizeof text});
  }
  return 1;
}

void Writer::quoted(std::string_view name, std::string_view value) {
  if (value.empty()) return;
  key(name);
  text("\"");
  char escaped[8];
  size_t bytes = 0;
  size_t whole = 2;  // bytes of the whole value on the line, quotes included; counted no further than the limit
  for (std::string_view rest = value; !rest.empty() && whole <= kAccessValueBytesMax; whole += bytes) {
    rest.remove_prefix(escape(rest, escaped, bytes));
  }
  constexpr std::string_view kCut = "...";
  const bool cut = whole > kAccessValueBytesMax;
  size_t room = kAccessValueBytesMax - 2 - (cut ? kCut.size() : 0);
  while (!value.empty()) {
    const size_t taken = escape(value, escaped, bytes);
    if (bytes > room) break;
    text({escaped, bytes});
    room -= bytes;
    value.remove_prefix(taken);
  }
  if (cut) text(kCut);
  text("\"");
}

// A value that is written without quotes: what could break the line apart becomes "?".
void Writer::bare(std::string_view name, std::string_view value) {
  if (value.empty()) return;
  key(name);
  for (const char c : value.substr(0, 300)) {
    const char safe = c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=' ? c : '?';
    text({&safe, 1});
  }
}

void Writer::address(std::string_view name, const std::optional<Endpoint>& value) {
  if (!value) return;
  key(name);
  char buffer[INET6_ADDRSTRLEN];
  const IpAddress& a = value->address;
  const char* written = inet_ntop(a.is_v4() ? AF_INET : AF_INET6, a.wire().data(), buffer, sizeof buffer);
  if (!a.is_v4()) text("[");
  text(written ? written : "?");
  text(a.is_v4() ? ":" : "]:");
  number(value->port);
}

void write_time(Writer& out, int64_t unix_us) {
  const std::time_t seconds = unix_us / 1'000'000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  out.number(static_cast<uint64_t>(utc.tm_year + 1900), 4);
  out.text("-");
  out.number(static_cast<uint64_t>(utc.tm_mon + 1), 2);
  out.text("-");
  out.number(static_cast<uint64_t>(utc.tm_mday), 2);
  out.text("T");
  out.number(static_cast<uint64_t>(utc.tm_hour), 2);
  out.text(":");
  out.number(static_cast<uint64_t>(utc.tm_min), 2);
  out.text(":");
  out.number(static_cast<uint64_t>(utc.tm_sec), 2);
  out.text(".");
  out.number(static_cast<uint64_t>(unix_us % 1'000'000), 6);
  out.text("Z");
}

std::string_view level_of(const AccessRecord& record) {
  switch (record.event) {
    case AccessEvent::kOpened:
      return "debug";
    case AccessEvent::kComplete:
      return record.error.empty() ? "info" : "error";
    case AccessEvent::kFailed:
      return "warn";
  }
  return "info";
}

std::string_view message_of(AccessEvent event) {
  switch (event) {
    case AccessEvent::kOpened:
      return "connection opened";
    case AccessEvent::kComplete:
      return "connection complete";
    case AccessEvent::kFailed:
      return "connection failed";
  }
  return "";
}

}  // namespace

std::string_view format_access(const AccessRecord& record, AccessLine& line) {
  Writer out(line);
  write_time(out, record.unix_us);
  out.text("\t");
  out.text(level_of(record));
  out.text("\taccess\t");
  out.text(message_of(record.event));

  // An early deny says little: nothing was established about either side.
  const bool full = record.event != AccessEvent::kFailed;
  out.address("src.addr", record.src_addr);
  if (full) {
    out.quoted("src.workload", record.src_workload);
    out.quoted("src.namespace", record.src_namespace);
    out.quoted("src.identity", record.src_identity);
    out.quoted("src.cluster", record.src_cluster);
  }
  out.address("dst.addr", record.dst_addr);
  if (full) {
    out.bare("dst.hbone_addr", record.dst_hbone_addr);
    out.quoted("dst.service", record.dst_service);
    out.quoted("dst.workload", record.dst_workload);
    out.quoted("dst.namespace", record.dst_namespace);
    out.quoted("dst.identity", record.dst_identity);
    out.quoted("dst.cluster", record.dst_cluster);
  }
  out.quoted("direction", record.direction);
  if (record.event == AccessEvent::kComplete) {
    out.key("bytes_sent");
    out.number(record.bytes_sent);
    out.key("bytes_recv");
    out.number(record.bytes_recv);
    out.key("duration");
    out.text("\"");
    out.number(static_cast<uint64_t>(to_ms(record.duration)));
    out.text("ms\"");
  }
  out.quoted("error", record.error);
  return out.written();
}

}  // namespace culvert
