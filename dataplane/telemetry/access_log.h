// Lines of the access log in ztunnel's plain format (reference 25): what people, scripts and dashboards already read.
//
//   2026-01-31T10:00:00.000000Z	info	access	connection complete	src.addr=10.0.0.1:4242 src.workload="a"
//   …
//
// A record is views into what the caller holds; a line is written into the caller's buffer, never longer than
// kAccessLineBytesMax: a value that would be longer than kAccessValueBytesMax on the line is cut and ends in "...".
// Values may come from peers: quotes, backslashes, control characters and bytes that are not UTF-8 are escaped, so one
// record is always one line of well-formed text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/ip_address.h"
#include "base/time.h"

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

inline constexpr size_t kAccessValueBytesMax = 512;
// Twelve quoted values at their longest, and under 1 KB of names, addresses and numbers.
inline constexpr size_t kAccessLineBytesMax = 12 * kAccessValueBytesMax + 1024;

using AccessLine = std::array<char, kAccessLineBytesMax>;

// The line, without a newline: a view into `line`. Allocates nothing.
std::string_view format_access(const AccessRecord& record, AccessLine& line);

}  // namespace culvert
