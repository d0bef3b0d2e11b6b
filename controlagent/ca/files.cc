// Files of the CA directory, over plain system calls: the modes and the order of the steps matter here.
#include "ca/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace culvert::ca {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr mode_t kOwnerOnly = 0600;

std::string failed(std::string_view doing, const std::string& path) {
  return std::string(doing) + " " + path + ": " + std::strerror(errno);
}

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    content.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

Result<void, std::string> write_private_file(const std::string& path, std::string_view content, Existing existing) {
  const std::string target = existing == Existing::kReplace ? path + ".new" : path;
  if (existing == Existing::kReplace) unlink(target.c_str());
  const UniqueFd file(open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kOwnerOnly));
  if (file.get() < 0) {
    if (errno == EEXIST) return path + " exists and is not overwritten; choose another place or remove it";
    return failed("cannot create", target);
  }
  // fchmod: a umask may have taken the owner's own bits.
  if (fchmod(file.get(), kOwnerOnly) != 0 || !write_all(file.get(), content) || fsync(file.get()) != 0 ||
      (existing == Existing::kReplace && rename(target.c_str(), path.c_str()) != 0)) {
    std::string error = failed("cannot write", path);
    unlink(target.c_str());
    return error;
  }
  return {};
}

Result<std::string, std::string> read_file(const std::string& path, bool owner_only) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0) return Failure{failed("cannot read", path)};
  if (owner_only && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Failure{path + " holds a private key and may be read by others; run: chmod 600 " + path};
  }
  std::string content;
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t n = read(file.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failure{failed("cannot read", path)};
    if (n == 0) return content;
    content.append(chunk.data(), static_cast<size_t>(n));
    if (content.size() > kFileBytesMax) return Failure{path + " is longer than 1 MiB"};
  }
}

}  // namespace culvert::ca
