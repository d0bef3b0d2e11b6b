// UTF-8 of texts from outside.
#pragma once

#include <cstddef>
#include <string_view>

namespace culvert {

// How many bytes at the front of `text` are one well-formed character (RFC 3629 4): no overlong form, no surrogate,
// nothing beyond U+10FFFF. 0: none is.
size_t utf8_length(std::string_view text);

}  // namespace culvert
