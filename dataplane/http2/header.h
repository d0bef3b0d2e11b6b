// One header field of HTTP/2 (RFC 9113 8.2): a view of bytes somebody else owns.
#pragma once

#include <string_view>

namespace culvert::http2 {

struct Header {
  std::string_view name;  // lower case; pseudo-header fields begin with ':' and stand first
  std::string_view value;
};

}  // namespace culvert::http2
