// Constants of the contract: versions, the metadata that carries the agreed one, and the sizes both sides keep to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace culvert::api {

// Versions this build speaks. A release that changes the contract raises the maximum by one and keeps the one before it
// (D2: one version of skew works).
inline constexpr uint32_t kContractMin = 1;
inline constexpr uint32_t kContractMax = 1;

// Request metadata of every call but Hello: the agreed version in decimal.
inline constexpr char kContractMetadata[] = "culvert-contract";

// Largest message either side sends or accepts. Lists that can be longer are streamed in chunks.
inline constexpr size_t kMessageBytesMax = 4u << 20;

// Rejections listed in one MeshAck; more are only counted.
inline constexpr size_t kRejectionsMax = 1000;

// Events held for a watcher that does not read; older ones are dropped, which shows as a gap in the sequence.
inline constexpr size_t kEventsQueuedMax = 4096;

// One packet of the descriptor socket. SCM_RIGHTS itself allows 253 descriptors; a port has at most 16 queues.
inline constexpr size_t kDescriptorMessageBytesMax = 4096;
inline constexpr size_t kDescriptorsPerMessageMax = 16;

// Names on that socket: an attachment id, or this and a port's name.
inline constexpr std::string_view kPortNamePrefix = "port:";

}  // namespace culvert::api
