#include "main/node_host.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cstring>

#include "base/random.h"
#include "drivers/ethdev/ethdev_port.h"
#include "drivers/tap/tap_port.h"
#include "main/log.h"

namespace culvert {

namespace {

std::array<uint8_t, 6> device_mac(int queue) {
  std::array<uint8_t, 6> mac{};
  ifreq request{};
  if (ioctl(queue, SIOCGIFHWADDR, &request) == 0) std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

Result<std::unique_ptr<port::Port>, std::string> open_tap_queue(std::vector<UniqueFd> queues, uint16_t mtu,
                                                                BufferPool& pool) {
  if (queues.size() != 1) {
    return "one TAP queue is served, not " + std::to_string(queues.size()) + " descriptors";
  }
  tap::TapSettings settings;
  settings.mac = tap::near_mac(device_mac(queues[0].get()));
  settings.mtu = mtu;
  return tap::make_tap_port(std::move(queues[0]), settings, pool);
}

}  // namespace

PoolLimits buffers_of(const config::Config& config) {
  const uint64_t bytes = (uint64_t{config.memory.buffers_mb} << 20) / config.workers.count;
  constexpr uint64_t kMbufBytes = sizeof(rte_mbuf) + kPrivateBytes;
  constexpr uint64_t kSmallBytes = kMbufBytes + kHeadroom + kSmallRoom;
  constexpr uint64_t kLargeBytes = kMbufBytes + kHeadroom + kLargeRoom;
  PoolLimits limits;
  limits.small = static_cast<uint32_t>(bytes / 4 / kSmallBytes);
  limits.large = static_cast<uint32_t>(bytes * 5 / 8 / kLargeBytes);
  limits.view = static_cast<uint32_t>(bytes / 8 / kMbufBytes);
  return limits;
}

Instant SystemClock::now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant{std::chrono::seconds{t.tv_sec} + Duration{t.tv_nsec}};
}

UnixTime SystemClock::calendar() {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return UnixTime{std::chrono::seconds{t.tv_sec}};
}

Result<std::unique_ptr<NodeHost>, std::string> NodeHost::make(const config::Config& config, worker::Clock& clock,
                                                              tls::AeadBackend& aead) {
  worker::NodeConfig node;
  node.name = config.node.name;
  node.network = config.node.network;
  node.cluster = config.node.cluster;
  for (const config::Route& route : config.routes) node.routes.push_back({route.to, route.via, route.port});
  node.workers = config.workers.count;
  node.seed = kernel_seed();
  node.connections_max = config.limits.connections;
  node.memory_bytes_max = uint64_t{config.limits.memory_mb} << 20;
  node.buffers = buffers_of(config);
  node.log = &log_settings();
  auto made = worker::Node::make(node, clock, aead, true);
  if (!made) return made.error();
  return std::unique_ptr<NodeHost>(new NodeHost(config, std::move(*made)));
}

Result<void, std::string> NodeHost::add_uplink(const config::Port& port, std::unique_ptr<port::Port> device) {
  log_info(describe(port.name, *device));
  worker::UplinkSpec spec;
  spec.name = port.name;
  spec.addresses = port.addresses;
  spec.proxy_neighbours = port.proxy_neighbours;
  spec.mtu = device->mtu();
  const auto added = node_->add_uplink(spec, std::move(device));
  if (!added) return added.error();
  open_[port.name] = true;
  return {};
}

Result<void, std::string> NodeHost::open_ethdev_ports() {
  for (const config::Port& port : config_.ports) {
    if (port.driver != config::Driver::kEthdev) continue;
    ethdev::EthdevSettings settings;
    settings.devargs = port.devargs;
    settings.mtu = port.mtu;
    auto queues = ethdev::open_ethdev(settings, {&node_->port_pool()});
    if (!queues) return "port " + port.name + ": " + queues.error();
    if (const auto added = add_uplink(port, std::move(queues->front())); !added) return added;
  }
  return {};
}

std::vector<std::string> NodeHost::ports_wanted() const {
  std::vector<std::string> wanted;
  for (const config::Port& port : config_.ports) {
    if (port.driver == config::Driver::kTap && !open_.contains(port.name)) wanted.push_back(port.name);
  }
  return wanted;
}

Result<void, std::string> NodeHost::open_port(std::string_view name, std::vector<UniqueFd> queues) {
  for (const config::Port& port : config_.ports) {
    if (port.name != name || port.driver != config::Driver::kTap) continue;
    if (open_.contains(name)) return "port " + port.name + " is open already";
    auto device = open_tap_queue(std::move(queues), port.mtu, node_->port_pool());
    if (!device) return "port " + port.name + ": " + device.error();
    return add_uplink(port, std::move(*device));
  }
  return "port " + std::string(name) + ": culvert.yaml has no tap port of that name";
}

Result<void, std::string> NodeHost::attach(const control::Attachment& attachment, std::vector<UniqueFd> queues) {
  auto device = open_tap_queue(std::move(queues), attachment.mtu, node_->port_pool());
  if (!device) return "attachment " + attachment.spec.id + ": " + device.error();
  log_info(describe("attachment " + attachment.spec.id, **device));
  const auto attached = node_->attach(attachment.spec, std::move(*device));
  if (!attached) return attached.error();
  return {};
}

std::string describe(const std::string& name, const port::Port& port) {
  const port::Offloads& o = port.offloads();
  std::string device;
  std::string software;
  const auto say = [&](bool by_device, const char* what) {
    std::string& list = by_device ? device : software;
    list += (list.empty() ? "" : ", ") + std::string(what);
  };
  say(o.rx_checksum, "receive checksums");
  say(o.tx_checksum, "transmit checksums");
  say(o.tso, "segmentation");
  char mac[18];
  const auto m = port.mac();
  std::snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
  return name + ": driver " + std::string(port.driver()) + ", " + std::to_string(port.queues()) +
         (port.queues() == 1 ? " queue" : " queues") + ", MTU " + std::to_string(port.mtu()) + ", MAC " + mac +
         ", by the device: " + (device.empty() ? "nothing" : device) +
         ", in software: " + (software.empty() ? "nothing" : software) +
         (port.wakeup().fd >= 0 ? ", wakes the worker" : ", no receive interrupt: polled every 500 us when idle");
}

}  // namespace culvert
