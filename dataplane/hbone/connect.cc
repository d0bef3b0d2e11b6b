#include "hbone/connect.h"

#include <algorithm>
#include <charconv>

namespace culvert::hbone {

namespace {

constexpr size_t kHostBytesMax = 253;  // RFC 1035 2.3.4, without the root's dot

bool is_host_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); });
}

void append_hex(std::string& out, uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (int shift = 60; shift >= 0; shift -= 4) out += kDigits[(value >> shift) & 0xf];
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
           return lower(x) == lower(y);
         });
}

}  // namespace

std::optional<Authority> Authority::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  if (!port || host.empty()) return std::nullopt;
  if (host.front() == '[') {
    if (host.back() != ']') return std::nullopt;
    host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    if (!address || host.find(':') == std::string_view::npos) return std::nullopt;
    return Authority{address, std::string(host), *port};
  }
  if (host.size() > kHostBytesMax || !std::all_of(host.begin(), host.end(), is_host_byte)) return std::nullopt;
  return Authority{IpAddress::parse(host), std::string(host), *port};
}

Authority Authority::of(const Endpoint& endpoint) {
  return {endpoint.address, endpoint.address.to_string(), endpoint.port};
}

std::string Authority::to_string() const {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? "[" : "") + host + (brackets ? "]:" : ":") + std::to_string(port);
}

void append_fields(const ConnectHeaders& headers, std::vector<http2::Header>& out) {
  out.push_back({":method", "CONNECT"});
  out.push_back({":authority", headers.authority});
  const std::pair<std::string_view, const std::string&> optional[] = {
      {"baggage", headers.baggage},
      {"forwarded", headers.forwarded},
      {"traceparent", headers.traceparent},
      {"x-forwarded-network", headers.forwarded_network},
  };
  for (const auto& [name, value] : optional) {
    if (!value.empty()) out.push_back({name, value});
  }
}

std::string emit_forwarded(const Endpoint& source, std::string_view host) {
  std::string out = "for=\"" + source.to_string() + "\"";
  if (!host.empty()) out.append(";host=").append(host);
  return out;
}

std::string_view forwarded_host(std::string_view forwarded) {
  if (!is_ascii(forwarded)) return {};
  while (!forwarded.empty()) {
    const size_t semicolon = forwarded.find(';');
    const std::string_view pair = trim(forwarded.substr(0, semicolon));
    forwarded = semicolon == std::string_view::npos ? std::string_view{} : forwarded.substr(semicolon + 1);
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || !equal_ignoring_case(pair.substr(0, equals), "host")) continue;
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  return {};
}

std::string emit_traceparent(uint64_t trace_high, uint64_t trace_low, uint64_t span) {
  std::string out;
  out.reserve(55);
  out += "00-";
  append_hex(out, trace_high);
  append_hex(out, trace_low);
  out += '-';
  append_hex(out, span);
  out += "-00";
  return out;
}

bool is_traceparent(std::string_view text) {
  return text.size() == 55 && text[2] == '-' && text[35] == '-' && text[52] == '-' && is_hex(text.substr(0, 2)) &&
         is_hex(text.substr(3, 32)) && is_hex(text.substr(36, 16)) && is_hex(text.substr(53, 2));
}

ConnectRequest parse_request(std::span<const http2::Header> fields) {
  ConnectRequest request;
  std::vector<std::string_view> baggage;
  for (const http2::Header& field : fields) {
    if (field.name == ":method") {
      request.method = field.value;
    } else if (field.name == ":authority") {
      request.authority_text = field.value;
    } else if (field.name == "baggage") {
      baggage.push_back(field.value);
    } else if (field.name == "forwarded" && request.forwarded_host.empty()) {
      request.forwarded_host = forwarded_host(field.value);
    } else if (field.name == "traceparent" && is_traceparent(field.value)) {
      request.traceparent = field.value;
    } else if (field.name == "x-forwarded-network") {
      request.forwarded_network = field.value;
    }
  }
  request.baggage = parse_baggage(baggage);
  if (request.method != "CONNECT") {
    request.fault = RequestFault::kMethod;
  } else if (auto authority = Authority::parse(request.authority_text)) {
    request.authority = std::move(*authority);
  } else {
    request.fault = RequestFault::kAuthority;
  }
  return request;
}

ConnectResponse parse_response(std::span<const http2::Header> fields) {
  ConnectResponse response;
  std::vector<std::string_view> baggage;
  for (const http2::Header& field : fields) {
    if (field.name == ":status" && field.value.size() == 3) {
      // Three digits (RFC 9110 15), or it is none.
      const char* end = field.value.data() + field.value.size();
      uint16_t status = 0;
      const auto [stopped, error] = std::from_chars(field.value.data(), end, status);
      response.status = error == std::errc{} && stopped == end && status >= 100 ? status : 0;
    } else if (field.name == "baggage") {
      baggage.push_back(field.value);
    }
  }
  response.baggage = parse_baggage(baggage);
  return response;
}

std::string status_text(uint16_t status) {
  std::string_view phrase;
  switch (status) {
    case 200:
      phrase = " OK";
      break;
    case 400:
      phrase = " Bad Request";
      break;
    case 401:
      phrase = " Unauthorized";
      break;
    case 403:
      phrase = " Forbidden";
      break;
    case 404:
      phrase = " Not Found";
      break;
    case 405:
      phrase = " Method Not Allowed";
      break;
    case 408:
      phrase = " Request Timeout";
      break;
    case 429:
      phrase = " Too Many Requests";
      break;
    case 431:
      phrase = " Request Header Fields Too Large";
      break;
    case 500:
      phrase = " Internal Server Error";
      break;
    case 502:
      phrase = " Bad Gateway";
      break;
    case 503:
      phrase = " Service Unavailable";
      break;
    case 504:
      phrase = " Gateway Timeout";
      break;
    default:
      break;
  }
  return std::to_string(status).append(phrase);
}

}  // namespace culvert::hbone
