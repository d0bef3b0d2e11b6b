// Lines of the access log as ztunnel writes them, plain or JSON (reference 25): what people, scripts and dashboards
// already read. log_line.h tells the two forms.
//
// A record is views into what the caller holds; a line is written into the caller's buffer, never longer than
// kAccessLineBytesMax. What is in the values cannot forge or lengthen a line.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/ip_address.h"
#include "base/time.h"
#include "telemetry/log_line.h"

namespace culvert {

enum class AccessEvent : uint8_t {
  kOpened,    // "connection opened", debug
  kComplete,  // "connection complete", info; error when `error` is set
  kFailed,    // "connection failed", warn: refused before anything was known; addresses, direction and error only
};

// Empty views and unset options are left out of the line.
struct AccessRecord {
  AccessEvent event = AccessEvent::kComplete;
  int64_t unix_us = 0;  // microseconds since 1970-01-01 UTC
  std::optional<Endpoint> src_addr;
  std::string_view src_workload, src_namespace, src_identity, src_cluster;
  std::optional<Endpoint> dst_addr;  // next hop; inbound: the local address with port 15008
  std::string_view dst_hbone_addr;   // CONNECT authority
  std::string_view dst_service, dst_workload, dst_namespace, dst_identity, dst_cluster;
  std::string_view direction;               // "inbound", "outbound"
  uint64_t bytes_sent = 0, bytes_recv = 0;  // as the local application sees it
  Duration duration{};
  std::string_view error;
};

// Twelve quoted values at their longest, and under 1.5 KB of names, punctuation, addresses and numbers.
inline constexpr size_t kAccessLineBytesMax = 12 * kLogValueBytesMax + 1536;

using AccessLine = std::array<char, kAccessLineBytesMax>;

// At which level the record's line is written.
LogLevel level_of(AccessEvent event, bool failed);

// The line, without a newline: a view into `line`. Allocates nothing.
std::string_view format_access(const AccessRecord& record, LogFormat format, AccessLine& line);

}  // namespace culvert
