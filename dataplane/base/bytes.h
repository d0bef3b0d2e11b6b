// Views of bytes that somebody else owns. A view does not outlive the turn it was handed out in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace culvert {

using ByteView = std::span<const uint8_t>;
using MutableByteView = std::span<uint8_t>;

// The bytes of a text, and a text of bytes: same memory, no copy.
inline ByteView bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }
inline std::string_view text_of(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

inline bool equal(ByteView a, ByteView b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace culvert
