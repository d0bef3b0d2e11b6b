// Ports on DPDK devices: physical functions, virtual functions, memif, AF_XDP, net_tap, virtio-user (D12).
//
// A device is named by its devargs ("net_memif0,role=client,socket=/run/w.sock,socket-abstract=no", "0000:03:00.1") and
// opened with as many queues as there are workers; each queue is a Port of its own, for one core, with that core's
// pool. Packets and rte_mbuf are the same thing, so nothing is copied. What the device can is asked of the driver, less
// what quirks/ knows to be untrue.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "port/port.h"

namespace culvert::ethdev {

struct EthdevSettings {
  std::string devargs;
  uint16_t mtu = 1500;
  uint16_t rx_descriptors = 1024;  // per queue; drivers round and clamp
  uint16_t tx_descriptors = 1024;
  bool offloads = true;  // off: everything in software, for comparison and for drivers that lie
};

// Opens and starts the device. EAL is up. One port per pool, in their order; fewer when the device has fewer queues,
// but at least one. Each pool is made of mempools, outlives its port, and has room for the descriptors it is to fill.
// The error is one sentence.
Result<std::vector<std::unique_ptr<port::Port>>, std::string> open_ethdev(const EthdevSettings& settings,
                                                                          const std::vector<BufferPool*>& pools);

}  // namespace culvert::ethdev
