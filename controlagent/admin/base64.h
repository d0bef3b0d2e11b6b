// Base64 with padding (RFC 4648 4), as Go reads bytes in JSON.
#pragma once

#include <string>
#include <string_view>

namespace culvert::admin {

std::string base64(std::string_view bytes);

}  // namespace culvert::admin
