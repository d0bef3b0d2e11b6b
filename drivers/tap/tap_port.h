// A port over one TAP queue in virtio-net mode: segmentation and checksums are left to the other side, so that frames
// of up to 64 KB cross the kernel boundary in one call each (D12).
//
// The descriptor comes from elsewhere (the agent, open_tap.h): the port needs no privilege, and works on a queue of any
// namespace (D19). Receiving reads into [small buffer][large buffers …]: an ordinary frame fills a part of the small
// one, a large one goes on in the large ones; those that were not touched are kept for the next read. Sending writes a
// chain as it is. The file is nonblocking and serves as wake-up.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "port/port.h"

namespace culvert::tap {

struct TapSettings {
  std::array<uint8_t, 6> mac{};  // ours on this link: not that of the kernel's device at the other end
  uint16_t mtu = 1500;           // of the kernel's device
  bool large_frames = true;      // ask the kernel for unsegmented, unchecksummed frames
};

// Takes over the queue. The error is one sentence: not a TAP queue, or one opened without IFF_VNET_HDR or IFF_NO_PI.
// The pool outlives the port.
Result<std::unique_ptr<port::Port>, std::string> make_tap_port(UniqueFd queue, const TapSettings& settings,
                                                               BufferPool& pool);

// A MAC address for our end of the link to a device: the device's own with one bit turned, locally administered
// (IEEE 802 8.4.4). The same device always gets the same neighbour, so a pod's ARP entry outlives the data plane.
std::array<uint8_t, 6> near_mac(const std::array<uint8_t, 6>& device_mac);

}  // namespace culvert::tap
