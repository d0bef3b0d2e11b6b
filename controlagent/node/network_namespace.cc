#include "node/network_namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace culvert::node {
namespace {

constexpr char kOwn[] = "/proc/self/ns/net";

const char* path_or_own(const std::string& path) { return path.empty() ? kOwn : path.c_str(); }

}  // namespace

std::optional<NamespaceId> namespace_of(int fd) {
  struct stat status {};
  struct statfs system {};
  // A bind mount that was taken away leaves an ordinary file behind; only nsfs holds namespaces.
  if (fstat(fd, &status) != 0 || fstatfs(fd, &system) != 0 || system.f_type != NSFS_MAGIC) return std::nullopt;
  return NamespaceId{status.st_dev, status.st_ino};
}

std::optional<NamespaceId> namespace_at(const std::string& path) {
  const UniqueFd fd(open(path_or_own(path), O_RDONLY | O_CLOEXEC));
  return fd ? namespace_of(fd.get()) : std::nullopt;
}

Result<UniqueFd, std::string> open_namespace(const std::string& path) {
  UniqueFd fd(open(path_or_own(path), O_RDONLY | O_CLOEXEC));
  if (!fd) return "cannot open the network namespace " + path + ": " + std::strerror(errno);
  if (!namespace_of(fd.get())) return path + " is not a network namespace";
  return fd;
}

Result<void, std::string> in_namespace(int fd, const std::function<Result<void, std::string>()>& work) {
  Result<void, std::string> result;
  // setns changes the calling thread only, and there is no way back without privilege: a thread of its own.
  std::thread inside([&] {
    if (setns(fd, CLONE_NEWNET) != 0) {
      result = Result<void, std::string>(std::string("cannot enter a network namespace: ") + std::strerror(errno));
    } else {
      result = work();
    }
  });
  inside.join();
  return result;
}

}  // namespace culvert::node
