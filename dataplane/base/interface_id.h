// An interface of the node: one attachment's link to its pod, an uplink, or one end of the in-node link between two
// pods of the same node. TCP connections belong to an interface, since the node speaks on several of them under the
// same addresses: as the remote client towards a pod, as the pod towards the uplink.
#pragma once

#include <cstdint>

namespace culvert {

enum class InterfaceId : uint16_t {};

inline constexpr InterfaceId kNoInterface{0xffff};

}  // namespace culvert
