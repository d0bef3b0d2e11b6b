#include "node/tap_queue.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace culvert::node {

Result<UniqueFd, std::string> open_tap_queue(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) return "`" + name + "` is not an interface name (1 to 15 bytes)";
  UniqueFd queue(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!queue) {
    return std::string("cannot open /dev/net/tun: ") + std::strerror(errno) +
           "; load the tun module or give this container the device";
  }
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(queue.get(), TUNSETIFF, &request) != 0) {
    if (errno == EBUSY) return "the queue of TAP device " + name + " is open elsewhere";
    if (errno == EINVAL) return "there is an interface " + name + " that is no TAP device of one queue";
    return "cannot make TAP device " + name + ": " + std::strerror(errno);
  }
  if (ioctl(queue.get(), TUNSETPERSIST, 1) != 0) {
    return "cannot make TAP device " + name + " persistent: " + std::strerror(errno);
  }
  return queue;
}

std::optional<std::string> device_of(int queue) {
  ifreq request{};
  if (ioctl(queue, TUNGETIFF, &request) != 0) return std::nullopt;
  return std::string(request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ));
}

Result<UniqueFd, std::string> namespace_of_device(int queue) {
  UniqueFd fd(ioctl(queue, TUNGETDEVNETNS));
  if (!fd) return std::string("cannot tell the namespace of a TAP device: ") + std::strerror(errno);
  fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

Result<UniqueFd, std::string> copy_of(int queue) {
  UniqueFd copy(fcntl(queue, F_DUPFD_CLOEXEC, 3));
  if (!copy) return std::string("cannot copy a descriptor: ") + std::strerror(errno);
  return copy;
}

}  // namespace culvert::node
