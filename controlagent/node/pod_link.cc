#include "node/pod_link.h"

#include "node/interface.h"
#include "node/tap_queue.h"

namespace culvert::node {
namespace {

// A device may have been renamed, or its namespace made anew under the same path.
bool belongs(int queue, const LinkSpec& spec, int namespace_fd) {
  if (device_of(queue) != spec.interface) return false;
  auto inside = namespace_of_device(queue);
  return inside && namespace_of(inside->get()) == namespace_of(namespace_fd);
}

}  // namespace

std::optional<NamespaceId> KernelLinks::namespace_at(const std::string& path) { return node::namespace_at(path); }

Result<bool, std::string> KernelLinks::make(const LinkSpec& spec, UniqueFd& queue) {
  auto space = open_namespace(spec.netns);
  if (!space) {
    queue.reset();
    return spec.name + ": " + space.error();
  }
  // Closed before the device is opened: it has one queue only.
  if (queue && !belongs(queue.get(), spec, space->get())) queue.reset();
  bool opened = false;
  auto done = in_namespace(space->get(), [&]() -> Result<void, std::string> {
    if (!queue) {
      auto fresh = open_tap_queue(spec.interface);
      if (!fresh) return fresh.error();
      queue = std::move(*fresh);
      opened = true;
    }
    const InterfaceSettings settings{.name = spec.interface,
                                     .mac = stable_mac(spec.name + "@" + spec.interface),
                                     .mtu = spec.mtu,
                                     .addresses = spec.addresses,
                                     .gateways = spec.gateways};
    return spec.pod ? configure(settings) : configure_link(settings);
  });
  if (!done) {
    if (opened) queue.reset();
    return spec.name + ": " + done.error();
  }
  return opened;
}

bool KernelLinks::alive(int queue) { return device_of(queue).has_value(); }

Result<void, std::string> KernelLinks::remove(int queue) {
  const auto device = device_of(queue);
  if (!device) return {};
  auto space = namespace_of_device(queue);
  if (!space) return space.error();
  return in_namespace(space->get(), [&]() -> Result<void, std::string> {
    auto removed = remove_interface(*device);
    if (!removed) return removed.error();
    return {};
  });
}

}  // namespace culvert::node
