// Network namespaces by the path that names them, and work done inside of one.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace culvert::node {

// Which namespace it is, whatever names it. The kernel gives the number to another namespace only after the first is
// gone, so a namespace that is held open keeps its number for itself.
struct NamespaceId {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const NamespaceId&, const NamespaceId&) = default;
};

// None when the path names no network namespace (now). Follows links, so /proc/PID/ns/net does too. "" is our own.
std::optional<NamespaceId> namespace_at(const std::string& path);
std::optional<NamespaceId> namespace_of(int fd);

Result<UniqueFd, std::string> open_namespace(const std::string& path);

// Runs `work` in a thread of its own inside the namespace, and returns what it returned. The caller's namespace is
// never changed. Needs CAP_SYS_ADMIN.
Result<void, std::string> in_namespace(int fd, const std::function<Result<void, std::string>()>& work);

}  // namespace culvert::node
