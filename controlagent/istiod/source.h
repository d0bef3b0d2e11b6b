// Values that are given as a file or as the text itself.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace culvert::istiod {

enum class FileError : uint8_t { kMissing, kUnreadable, kTooLong };

// The whole file, at most `bytes_max`.
Result<std::string, FileError> read_file(const std::string& path, size_t bytes_max);

// Whether a token is given by its file: it has a slash, or there is such a file. A token itself (base64url and dots,
// RFC 7519 3) has no slash.
bool is_file_name(const std::string& text);

// The machine's trust bundle: SSL_CERT_FILE, else where distributions keep it. Empty: there is none.
std::string system_root_file();

// Whether the text has at least one certificate, and each is whole.
bool holds_certificates(std::string_view pem);

}  // namespace culvert::istiod
