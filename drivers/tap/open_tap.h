// Making and opening TAP devices, for the process that has the privilege to (CAP_NET_ADMIN in the namespace's owner).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace culvert::tap {

struct TapSpec {
  int netns_fd = -1;  // the namespace in which the device lives; -1: the caller's
  std::string name;   // at most 15 bytes
  uint16_t mtu = 1500;
  std::optional<std::array<uint8_t, 6>> mac;  // of the kernel's device; none: as it is, or the kernel's choice
  bool persistent = true;                     // outlives its descriptors (D19)
  bool exclusive = false;                     // must not exist yet (IFF_TUN_EXCL)
  bool up = true;
};

struct OpenTapError {
  enum class Kind : uint8_t {
    kNamespace,  // cannot be entered
    kNoDriver,   // /dev/net/tun cannot be opened
    kExists,     // exclusive, and it exists
    kBusy,       // another process has its queue open
    kRefused,    // the kernel refuses name, MTU or MAC; or privilege is missing
  };
  Kind kind;
  std::string text;  // one sentence
};

struct OpenedTap {
  UniqueFd queue;                // for make_tap_port; close-on-exec, nonblocking
  std::array<uint8_t, 6> mac{};  // of the kernel's device
  bool created = false;          // false: it was there and keeps its addresses and routes
};

// Opens the device's queue, and makes the device if it is not there. The caller's thread stays in its namespace: a
// short-lived thread enters the other one. The device is single-queue, without packet information, with the
// virtio-net header.
Result<OpenedTap, OpenTapError> open_tap(const TapSpec& spec);

// Removes a persistent device: its addresses and routes go with it.
Result<void, OpenTapError> remove_tap(int netns_fd, const std::string& name);

}  // namespace culvert::tap
