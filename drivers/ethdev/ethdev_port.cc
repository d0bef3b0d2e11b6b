#include "drivers/ethdev/ethdev_port.h"

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/endian.h"
#include "drivers/ethdev/quirks/quirks.h"

namespace culvert::ethdev {

namespace {

constexpr size_t kBurstMax = 64;
constexpr uint32_t kTsoBytesMax = 65'535;
constexpr uint16_t kSegmentsMax = 64;  // chains longer than this are copied even if a device would take them
constexpr uint32_t kLinkOverheadBytes = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN + RTE_VLAN_HLEN;

constexpr uint64_t kRxOffloadsWanted = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM |
                                       RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_SCATTER;
constexpr uint64_t kTxOffloadsWanted = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                                       RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO |
                                       RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
constexpr uint64_t kRssWanted = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;

std::string sentence(const std::string& devargs, const std::string& what, int error) {
  return "device " + devargs + ": " + what + ": " + rte_strerror(error < 0 ? -error : error);
}

// The started device; its queues' ports share it, the last one closes it.
struct Device {
  uint16_t id = RTE_MAX_ETHPORTS;
  std::string devargs;
  std::string driver;  // "ethdev net_memif"
  uint16_t queues = 1;
  uint16_t mtu = 1500;
  std::array<uint8_t, 6> mac{};
  port::Offloads offloads;
  bool interrupts = false;

  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() {
    if (id == RTE_MAX_ETHPORTS) return;
    rte_eth_dev_info info{};
    rte_device* device = rte_eth_dev_info_get(id, &info) == 0 ? info.device : nullptr;
    rte_eth_dev_stop(id);
    rte_eth_dev_close(id);
    if (device) rte_dev_remove(device);
  }
};

class EthdevPort final : public port::Port {
 public:
  EthdevPort(std::shared_ptr<Device> device, uint16_t queue) : device_(std::move(device)), queue_(queue) {
    if (device_->interrupts) interrupt_fd_ = rte_eth_dev_rx_intr_ctl_q_get_fd(device_->id, queue_);
    // A descriptor that cannot be armed would put a worker to sleep for good.
    if (interrupt_fd_ >= 0 && rte_eth_dev_rx_intr_enable(device_->id, queue_) != 0) interrupt_fd_ = -1;
    armed_ = interrupt_fd_ >= 0;
  }

  size_t rx_burst(std::span<Packet> out) override;
  size_t tx_burst(std::span<Packet> packets) override;
  const port::Offloads& offloads() const override { return device_->offloads; }
  uint16_t mtu() const override { return device_->mtu; }
  std::array<uint8_t, 6> mac() const override { return device_->mac; }
  bool link_up() const override {
    rte_eth_link link{};
    return rte_eth_link_get_nowait(device_->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
  }
  port::Wakeup wakeup() const override { return {interrupt_fd_}; }
  port::PortStats stats() const override;
  uint16_t queues() const override { return device_->queues; }
  std::string_view driver() const override { return device_->driver; }

 private:
  size_t receive(std::span<Packet> out);

  std::shared_ptr<Device> device_;
  const uint16_t queue_;
  int interrupt_fd_ = -1;
  bool armed_ = false;
  port::PortStats stats_;
};

size_t EthdevPort::receive(std::span<Packet> out) {
  rte_mbuf* burst[kBurstMax];
  const auto wanted = static_cast<uint16_t>(std::min(out.size(), kBurstMax));
  const uint16_t n = rte_eth_rx_burst(device_->id, queue_, burst, wanted);
  for (uint16_t i = 0; i < n; ++i) {
    stats_.rx_bytes += burst[i]->pkt_len;
    out[i] = Packet::adopt(burst[i]);
  }
  stats_.rx_packets += n;
  return n;
}

size_t EthdevPort::rx_burst(std::span<Packet> out) {
  size_t n = receive(out);
  if (interrupt_fd_ < 0) return n;
  if (n > 0 && armed_) {
    rte_eth_dev_rx_intr_disable(device_->id, queue_);
    armed_ = false;
  } else if (n == 0 && !armed_) {
    // A packet between the last look and the arming raises no interrupt on some devices: look once more.
    armed_ = rte_eth_dev_rx_intr_enable(device_->id, queue_) == 0;
    n = receive(out);
  }
  return n;
}

size_t EthdevPort::tx_burst(std::span<Packet> packets) {
  size_t done = 0;
  while (done < packets.size()) {
    rte_mbuf* burst[kBurstMax];
    const auto count = static_cast<uint16_t>(std::min(packets.size() - done, kBurstMax));
    bool prepare = false;
    for (uint16_t i = 0; i < count; ++i) {
      burst[i] = packets[done + i].mbuf();
      prepare = prepare || (burst[i]->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG));
    }
    // Drivers want the pseudo-header's sum in forms of their own.
    uint16_t ready = count;
    if (prepare) ready = rte_eth_tx_prepare(device_->id, queue_, burst, count);
    // Sizes are noted first: what was taken may be gone already.
    std::array<uint32_t, kBurstMax> sizes;
    for (uint16_t i = 0; i < ready; ++i) sizes[i] = burst[i]->pkt_len;
    const uint16_t sent = ready == 0 ? uint16_t{0} : rte_eth_tx_burst(device_->id, queue_, burst, ready);
    for (uint16_t i = 0; i < sent; ++i) {
      stats_.tx_bytes += sizes[i];
      // The driver's now.
      static_cast<void>(packets[done + i].give());
    }
    stats_.tx_packets += sent;
    done += sent;
    if (sent < ready) {
      ++stats_.tx_full;
      return done;
    }
    if (ready < count) {
      // The driver refuses this one for good.
      packets[done].reset();
      ++stats_.tx_errors;
      ++done;
    }
  }
  return done;
}

port::PortStats EthdevPort::stats() const {
  port::PortStats stats = stats_;
  rte_eth_stats device{};
  // The device does not tell its queues' losses apart: they are shown at the first.
  if (queue_ == 0 && rte_eth_stats_get(device_->id, &device) == 0) {
    stats.rx_errors += device.ierrors + device.imissed;
    stats.rx_no_buffer += device.rx_nombuf;
    stats.tx_errors += device.oerrors;
  }
  return stats;
}

// --- opening ---------------------------------------------------------------------------------------------------------

uint16_t find_port(const std::string& devargs) {
  rte_dev_iterator iterator;
  uint16_t id = RTE_MAX_ETHPORTS;
  if (rte_eth_iterator_init(&iterator, devargs.c_str()) != 0) return id;
  id = rte_eth_iterator_next(&iterator);
  if (id != RTE_MAX_ETHPORTS) rte_eth_iterator_cleanup(&iterator);
  return id;
}

port::Offloads offloads_of(const rte_eth_conf& conf, const rte_eth_dev_info& info) {
  port::Offloads o;
  const uint64_t tx = conf.txmode.offloads;
  const uint64_t tcp_and_udp = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
  o.rx_checksum = (conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_CKSUM) != 0;
  o.tx_ip_checksum = (tx & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
  o.tx_checksum = (tx & tcp_and_udp) == tcp_and_udp;
  o.scatter = (tx & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
  o.tso = (tx & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0 && o.tx_checksum && o.tx_ip_checksum && o.scatter;
  o.tso_bytes_max = o.tso ? kTsoBytesMax : 0;
  auto limit = [](uint16_t said) { return said == 0 ? kSegmentsMax : std::min(said, kSegmentsMax); };
  o.tx_segments_max =
      o.scatter ? std::min(limit(info.tx_desc_lim.nb_seg_max), limit(info.tx_desc_lim.nb_mtu_seg_max)) : uint16_t{1};
  return o;
}

// Offers the kernel of the driver less than it claims, never more.
rte_eth_conf configuration(const EthdevSettings& settings, const rte_eth_dev_info& info, const Quirks& quirks,
                           uint16_t queues, uint32_t buffer_bytes, bool interrupts) {
  rte_eth_conf conf{};
  conf.rxmode.mtu = settings.mtu;
  uint64_t rx = kRxOffloadsWanted & info.rx_offload_capa & ~quirks.rx_offloads_refused;
  uint64_t tx = kTxOffloadsWanted & info.tx_offload_capa & ~quirks.tx_offloads_refused;
  if (!settings.offloads) {
    rx = 0;
    tx &= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  }
  // Scattered receive costs some drivers their fast path: only when a frame does not fit one buffer.
  if (settings.mtu + kLinkOverheadBytes <= buffer_bytes) {
    rx &= ~RTE_ETH_RX_OFFLOAD_SCATTER;
  } else {
    rx |= RTE_ETH_RX_OFFLOAD_SCATTER & info.rx_offload_capa;
  }
  conf.rxmode.offloads = rx;
  conf.txmode.offloads = tx;
  const uint64_t rss = kRssWanted & info.flow_type_rss_offloads;
  if (queues > 1 && rss != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = rss;
  }
  conf.intr_conf.rxq = interrupts;
  return conf;
}

// Sizes, queues, start. What the device owns is undone by ~Device when this fails.
Result<void, std::string> start(Device& device, const EthdevSettings& settings, const std::vector<BufferPool*>& pools,
                                bool interrupts) {
  auto failed = [&](const std::string& what, int error) { return Failure{sentence(settings.devargs, what, error)}; };
  rte_eth_dev_info info{};
  if (const int error = rte_eth_dev_info_get(device.id, &info)) return failed("does not describe itself", error);
  device.driver = std::string("ethdev ") + info.driver_name;
  const Quirks quirks = quirks_of(info.driver_name);
  const uint16_t queues_max = std::min(info.max_rx_queues, info.max_tx_queues);
  device.queues = static_cast<uint16_t>(std::clamp<size_t>(pools.size(), 1, std::max<uint16_t>(queues_max, 1)));

  const uint32_t buffer_bytes =
      rte_pktmbuf_data_room_size(pools[0]->mempool(BufferKind::kSmall)) - RTE_PKTMBUF_HEADROOM;
  const rte_eth_conf conf = configuration(settings, info, quirks, device.queues, buffer_bytes, interrupts);
  int error = rte_eth_dev_configure(device.id, device.queues, device.queues, &conf);
  if (error != 0) return failed("refuses " + std::to_string(device.queues) + " queues", error);

  uint16_t rx_descriptors = quirks.rx_descriptors ? quirks.rx_descriptors : settings.rx_descriptors;
  uint16_t tx_descriptors = quirks.tx_descriptors ? quirks.tx_descriptors : settings.tx_descriptors;
  if ((error = rte_eth_dev_adjust_nb_rx_tx_desc(device.id, &rx_descriptors, &tx_descriptors)) != 0) {
    return failed("refuses the number of descriptors", error);
  }
  for (uint16_t q = 0; q < device.queues; ++q) {
    const int socket = rte_eth_dev_socket_id(device.id);
    rte_eth_txconf tx = info.default_txconf;
    // Buffers of one packet may come from several mempools and be shared: never RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE.
    tx.offloads = conf.txmode.offloads;
    error = rte_eth_tx_queue_setup(device.id, q, tx_descriptors, static_cast<unsigned>(socket), &tx);
    if (error != 0) return failed("transmit queue", error);
    rte_eth_rxconf rx = info.default_rxconf;
    rx.offloads = conf.rxmode.offloads;
    error = rte_eth_rx_queue_setup(device.id, q, rx_descriptors, static_cast<unsigned>(socket), &rx,
                                   pools[q]->mempool(BufferKind::kSmall));
    if (error != 0) return failed("receive queue", error);
  }
  if ((error = rte_eth_dev_start(device.id)) != 0) return failed("does not start", error);
  device.interrupts = interrupts;

  // Neighbour solicitations come to groups. A device without a filter hears them anyway.
  if (rte_eth_allmulticast_enable(device.id) != 0) rte_eth_promiscuous_enable(device.id);
  uint16_t mtu = 0;
  if (rte_eth_dev_get_mtu(device.id, &mtu) == 0 && mtu != settings.mtu) {
    error = rte_eth_dev_set_mtu(device.id, settings.mtu);
    if (error != 0 && mtu < settings.mtu) return failed("MTU " + std::to_string(settings.mtu), error);
  }
  device.mtu = settings.mtu;
  rte_ether_addr mac{};
  if ((error = rte_eth_macaddr_get(device.id, &mac)) != 0) return failed("has no MAC address", error);
  std::memcpy(device.mac.data(), mac.addr_bytes, device.mac.size());
  if (settings.mtu + kLinkOverheadBytes > buffer_bytes && !(conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_SCATTER)) {
    return Failure{"device " + settings.devargs + ": frames of MTU " + std::to_string(settings.mtu) +
                   " do not fit one buffer and the driver cannot scatter: use an MTU of at most " +
                   std::to_string(buffer_bytes - kLinkOverheadBytes)};
  }
  device.offloads = offloads_of(conf, info);
  return {};
}

}  // namespace

Result<std::vector<std::unique_ptr<port::Port>>, std::string> open_ethdev(const EthdevSettings& settings,
                                                                          const std::vector<BufferPool*>& pools) {
  if (pools.empty() || std::any_of(pools.begin(), pools.end(), [](const BufferPool* p) { return p->from_heap(); })) {
    return Failure{"device " + settings.devargs + ": needs buffers from mempools"};
  }
  auto device = std::make_shared<Device>();
  device->devargs = settings.devargs;
  device->id = find_port(settings.devargs);  // a PCI device may have been found at start
  if (device->id == RTE_MAX_ETHPORTS) {
    const int error = rte_dev_probe(settings.devargs.c_str());
    if (error != 0) return Failure{sentence(settings.devargs, "is not there or its driver refuses it", error)};
    device->id = find_port(settings.devargs);
    if (device->id == RTE_MAX_ETHPORTS) return Failure{"device " + settings.devargs + ": offers no Ethernet port"};
  }
  rte_eth_dev_info info{};
  rte_eth_dev_info_get(device->id, &info);
  const bool interrupts = quirks_of(info.driver_name ? info.driver_name : "").rx_interrupts;
  auto started = start(*device, settings, pools, interrupts);
  // Some drivers refuse everything for want of receive interrupts, and do not say so before.
  if (!started && interrupts) started = start(*device, settings, pools, false);
  if (!started) return Failure{started.error()};
  std::vector<std::unique_ptr<port::Port>> ports;
  for (uint16_t q = 0; q < device->queues; ++q) ports.push_back(std::make_unique<EthdevPort>(device, q));
  return ports;
}

}  // namespace culvert::ethdev
