#include "istiod/source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>

namespace culvert::istiod {
namespace {

bool is_base64(std::string_view text) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\t ";
  return !text.empty() && text.find_first_not_of(kLetters) == std::string_view::npos;
}

}  // namespace

Result<std::string, FileError> read_file(const std::string& path, size_t bytes_max) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    return Failure{errno == ENOENT || errno == ENOTDIR ? FileError::kMissing : FileError::kUnreadable};
  }
  if (S_ISDIR(status.st_mode)) return Failure{FileError::kUnreadable};
  std::ifstream file(path, std::ios::binary);
  if (!file) return Failure{FileError::kUnreadable};
  std::string text;
  std::array<char, 16384> chunk;
  while (file && text.size() <= bytes_max) {
    file.read(chunk.data(), chunk.size());
    text.append(chunk.data(), static_cast<size_t>(file.gcount()));
  }
  if (text.size() > bytes_max) return Failure{FileError::kTooLong};
  if (!file.eof()) return Failure{FileError::kUnreadable};
  return text;
}

bool is_file_name(const std::string& text) {
  return text.find('/') != std::string::npos || access(text.c_str(), F_OK) == 0;
}

std::string system_root_file() {
  constexpr std::array kFiles = {
      "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Alpine
      "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora
      "/etc/ssl/ca-bundle.pem",                             // SUSE
      "/etc/ssl/cert.pem",                                  // distroless images
  };
  if (const char* named = std::getenv("SSL_CERT_FILE"); named != nullptr && *named != '\0') return named;
  for (const char* file : kFiles) {
    if (access(file, R_OK) == 0) return file;
  }
  return {};
}

bool holds_certificates(std::string_view pem) {
  constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----", kEnd = "-----END CERTIFICATE-----";
  size_t found = 0;
  for (size_t at = pem.find(kBegin); at != std::string_view::npos; at = pem.find(kBegin, at)) {
    at += kBegin.size();
    const size_t end = pem.find(kEnd, at);
    if (end == std::string_view::npos || !is_base64(pem.substr(at, end - at))) return false;
    at = end + kEnd.size();
    ++found;
  }
  return found > 0;
}

}  // namespace culvert::istiod
