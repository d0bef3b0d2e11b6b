// Text from outside made safe for one line of output: control characters escaped, bytes that are no UTF-8 (RFC 3629)
// replaced by U+FFFD.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace culvert::log {

enum class Escape : uint8_t {
  kControl,  // \n, \t and \u001b; everything else as it is
  kJson,     // also quotes and backslashes (RFC 8259 7)
};

void append_escaped(std::string& out, std::string_view text, Escape what);

}  // namespace culvert::log
