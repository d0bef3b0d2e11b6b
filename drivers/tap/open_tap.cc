#include "drivers/tap/open_tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace culvert::tap {

namespace {

using Kind = OpenTapError::Kind;

OpenTapError error_of(Kind kind, const std::string& what) { return {kind, what + ": " + std::strerror(errno)}; }

// Runs `work` on a thread of its own inside the namespace, so that this thread never leaves its own.
template <class Work>
auto inside(int netns_fd, Work&& work) -> decltype(work()) {
  using Outcome = decltype(work());
  if (netns_fd < 0) return work();
  std::optional<Outcome> outcome;
  std::thread thread([&] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      outcome.emplace(error_of(Kind::kNamespace, "cannot enter the network namespace"));
      return;
    }
    outcome.emplace(work());
  });
  thread.join();
  return std::move(*outcome);
}

bool set_name(ifreq& request, const std::string& name) {
  if (name.empty() || name.size() >= sizeof request.ifr_name) {
    errno = ENAMETOOLONG;
    return false;
  }
  std::memcpy(request.ifr_name, name.c_str(), name.size() + 1);
  return true;
}

// Attaches a queue to the device, or makes it. `flags` on top of the fixed ones.
Result<UniqueFd, OpenTapError> attach(const std::string& name, int flags) {
  UniqueFd queue(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!queue) return error_of(Kind::kNoDriver, "cannot open /dev/net/tun");
  ifreq request{};
  if (!set_name(request, name)) return error_of(Kind::kRefused, "TAP name \"" + name + "\"");
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags);
  if (ioctl(queue.get(), TUNSETIFF, &request) != 0) {
    if (errno == EBUSY && (flags & IFF_TUN_EXCL)) return error_of(Kind::kExists, "TAP " + name + " exists already");
    if (errno == EBUSY) return error_of(Kind::kBusy, "TAP " + name + " is open in another process");
    return error_of(Kind::kRefused, "cannot attach to TAP " + name);
  }
  return queue;
}

Result<OpenedTap, OpenTapError> open_here(const TapSpec& spec) {
  OpenedTap tap;
  tap.created = if_nametoindex(spec.name.c_str()) == 0;
  auto queue = attach(spec.name, spec.exclusive ? IFF_TUN_EXCL : 0);
  if (!queue) return queue.error();
  tap.queue = std::move(*queue);

  const UniqueFd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  set_name(request, spec.name);
  auto failed = [&](const char* what) {
    OpenTapError error = error_of(Kind::kRefused, std::string("TAP ") + spec.name + ": cannot set its " + what);
    return error;
  };
  if (ioctl(tap.queue.get(), TUNSETPERSIST, spec.persistent ? 1UL : 0UL) != 0) return failed("persistence");
  if (spec.mac) {
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::memcpy(request.ifr_hwaddr.sa_data, spec.mac->data(), spec.mac->size());
    if (ioctl(control.get(), SIOCSIFHWADDR, &request) != 0) return failed("MAC address");
  }
  request.ifr_mtu = spec.mtu;
  if (ioctl(control.get(), SIOCSIFMTU, &request) != 0) return failed("MTU");
  if (spec.up) {
    if (ioctl(control.get(), SIOCGIFFLAGS, &request) != 0) return failed("state");
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) return failed("state");
  }
  if (ioctl(control.get(), SIOCGIFHWADDR, &request) != 0) return failed("MAC address");
  std::memcpy(tap.mac.data(), request.ifr_hwaddr.sa_data, tap.mac.size());
  return tap;
}

Result<void, OpenTapError> remove_here(const std::string& name) {
  auto queue = attach(name, 0);
  if (!queue) return queue.error();
  if (ioctl(queue->get(), TUNSETPERSIST, 0UL) != 0) return error_of(Kind::kRefused, "cannot remove TAP " + name);
  return {};
}

}  // namespace

Result<OpenedTap, OpenTapError> open_tap(const TapSpec& spec) {
  return inside(spec.netns_fd, [&] { return open_here(spec); });
}

Result<void, OpenTapError> remove_tap(int netns_fd, const std::string& name) {
  return inside(netns_fd, [&] { return remove_here(name); });
}

}  // namespace culvert::tap
