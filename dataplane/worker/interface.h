// One interface as its worker sees it: the port, the link layer on it, and what waits to be sent.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/interface_id.h"
#include "base/timer_wheel.h"
#include "eth/link.h"
#include "port/offload.h"

namespace culvert::worker {

enum class PortRole : uint8_t { kPods, kUplink, kHost };

// The timer entry is the link's soonest deadline.
struct Interface : TimerEntry {
  InterfaceId id = kNoInterface;
  std::string name;  // the port's, or the attachment's id
  PortRole role = PortRole::kPods;
  std::unique_ptr<port::OffloadPort> port;
  std::unique_ptr<eth::Link> link;
  // Frames that the port has not taken yet, oldest first.
  std::vector<Packet> waiting;
  bool readable = true;  // an edge came and the port has not been found empty since
  bool touched = false;  // sent or received in this turn: flush it, look at its deadline
};

// Frames that may wait for a port that is full. Beyond it they are dropped and counted, TCP sends them again.
inline constexpr size_t kWaitingMax = 1024;
inline constexpr size_t kBurst = 32;

}  // namespace culvert::worker
