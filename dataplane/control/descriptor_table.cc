#include "control/descriptor_table.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "control/api/contract.h"

namespace culvert::control {

Result<void, std::string> check_tap_queue(int fd) {
  ifreq request{};
  if (::ioctl(fd, TUNGETIFF, &request) != 0) {
    // EBADFD: a tun descriptor without a device, which was removed or never attached.
    if (errno == EBADFD) return std::string("is a TAP queue whose device is gone");
    return std::string("is no TAP queue");
  }
  if ((request.ifr_flags & IFF_TAP) == 0) return std::string("is a TUN device, not a TAP");
  if ((request.ifr_flags & IFF_NO_PI) == 0 || (request.ifr_flags & IFF_VNET_HDR) == 0) {
    return std::string("is a TAP queue opened without IFF_NO_PI and IFF_VNET_HDR");
  }
  return {};
}

Result<void, std::string> DescriptorTable::give(const std::string& name, std::vector<UniqueFd> queues) {
  if (queues.empty() || queues.size() > api::kDescriptorsPerMessageMax) {
    return "1 to " + std::to_string(api::kDescriptorsPerMessageMax) + " descriptors are accepted for `" + name +
           "`, not " + std::to_string(queues.size());
  }
  const auto present = entries_.find(name);
  if (present != entries_.end() && present->second.in_use) {
    return "`" + name + "` is in use with the descriptors it has: detach it first";
  }
  if (present == entries_.end() && entries_.size() >= kNamesMax) {
    return "descriptors of " + std::to_string(kNamesMax) + " names are held already: release some first";
  }
  for (size_t i = 0; i < queues.size(); ++i) {
    const Result<void, std::string> checked = check_tap_queue(queues[i].get());
    if (!checked) return "descriptor " + std::to_string(i) + " of `" + name + "` " + checked.error();
  }
  Entry entry;
  entry.queues = std::move(queues);
  entries_[name] = std::move(entry);
  return {};
}

Result<std::vector<UniqueFd>, std::string> DescriptorTable::copies(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return Failure{"no descriptors are held for `" + std::string(name) + "`"};
  std::vector<UniqueFd> out;
  for (const UniqueFd& queue : found->second.queues) {
    UniqueFd copy(::fcntl(queue.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy) return Failure{std::string("cannot copy a descriptor: ") + std::strerror(errno)};
    out.push_back(std::move(copy));
  }
  return out;
}

void DescriptorTable::set_in_use(std::string_view name, bool in_use) {
  const auto found = entries_.find(name);
  if (found != entries_.end()) found->second.in_use = in_use;
}

bool DescriptorTable::in_use(std::string_view name) const {
  const auto found = entries_.find(name);
  return found != entries_.end() && found->second.in_use;
}

bool DescriptorTable::close(std::string_view name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return false;
  entries_.erase(found);
  return true;
}

std::vector<std::string> DescriptorTable::names() const {
  std::vector<std::string> out;
  for (const auto& [name, entry] : entries_) out.push_back(name);
  return out;
}

bool DescriptorTable::is_gone(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return false;
  ifreq request{};
  return ::ioctl(found->second.queues.front().get(), TUNGETIFF, &request) != 0 && errno == EBADFD;
}

}  // namespace culvert::control
