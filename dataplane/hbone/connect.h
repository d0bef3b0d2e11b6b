// The CONNECT exchange as values (reference 5): what a request asks for, what a response says, and the header fields
// both travel in. No state; names and values are HTTP/2 header fields without HPACK.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "hbone/baggage.h"
#include "http2/header.h"

namespace culvert::hbone {

// `:authority`: an address or a host name, and always a port (reference 5.1).
struct Authority {
  std::optional<IpAddress> address;
  std::string host;  // as written, without brackets; set for addresses too
  uint16_t port = 0;

  // "10.0.1.7:8080", "[fd00::7]:8080", "web.shop.svc.cluster.local:80". None: no port, port 0 or beyond 65535, an empty
  // or overlong host (more than 253 bytes), an IPv6 address without brackets, or a byte no host name has.
  static std::optional<Authority> parse(std::string_view text);
  static Authority of(const Endpoint& endpoint);
  std::string to_string() const;
  friend bool operator==(const Authority&, const Authority&) = default;
};

// What a client sends. Empty fields send no header.
struct ConnectHeaders {
  std::string authority;          // Authority::to_string()
  std::string baggage;            // emit_baggage() of the source workload
  std::string forwarded;          // emit_forwarded()
  std::string traceparent;        // emit_traceparent()
  std::string forwarded_network;  // x-forwarded-network, inner CONNECT of double HBONE only
};

// The fields in the order they are sent; views into `headers`. Never :scheme or :path (reference 28.4).
void append_fields(const ConnectHeaders& headers, std::vector<http2::Header>& out);

// `for="10.0.0.1:4242"`, `for="[fd00::1]:4242";host=web.shop.svc.cluster.local` (reference 5.1).
std::string emit_forwarded(const Endpoint& source, std::string_view host);
// The host= parameter of a forwarded header; empty when there is none or the header is not ASCII (reference 5.3).
std::string_view forwarded_host(std::string_view forwarded);

// "00-<32 hex>-<16 hex>-00" from random numbers of the caller.
std::string emit_traceparent(uint64_t trace_high, uint64_t trace_low, uint64_t span);
// Exactly 55 characters in four hex fields (reference 5.3).
bool is_traceparent(std::string_view text);

enum class RequestFault : uint8_t {
  kNone,
  kMethod,     // not CONNECT: 400, "expected method CONNECT, got …"
  kAuthority,  // does not parse: 400, "no valid authority pseudo header: …"
};

// What a server received. Values are bounded by the header list limit of the session.
struct ConnectRequest {
  RequestFault fault = RequestFault::kNone;
  std::string method;
  std::string authority_text;  // as received, for the log
  Authority authority;         // valid when fault is kNone
  Baggage baggage;
  std::string forwarded_host;
  std::string traceparent;        // empty unless is_traceparent()
  std::string forwarded_network;  // x-forwarded-network
};

ConnectRequest parse_request(std::span<const http2::Header> fields);

// Statuses a server answers with (reference 5.4).
inline constexpr uint16_t kStatusOk = 200, kStatusBadRequest = 400, kStatusUnauthorized = 401,
                          kStatusServiceUnavailable = 503;

struct ConnectResponse {
  uint16_t status = 0;  // 0: no valid :status
  Baggage baggage;
};

ConnectResponse parse_response(std::span<const http2::Header> fields);

// "401 Unauthorized", "503 Service Unavailable": for "http status: …" in the log (reference 26.4).
std::string status_text(uint16_t status);

}  // namespace culvert::hbone
