// The header that precedes each frame on a TAP queue or an AF_PACKET socket in virtio-net mode (virtio 1.1 5.1.6,
// legacy layout: integers in the host's byte order). It says what a checksum or segmentation offload would have said.
#pragma once

#include <cstdint>

namespace culvert::wire {

struct VirtioNetHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t header_bytes = 0;     // Ethernet to end of TCP header, a hint
  uint16_t gso_bytes = 0;        // payload bytes per segment (MSS)
  uint16_t checksum_start = 0;   // where summing begins, from the start of the frame
  uint16_t checksum_offset = 0;  // where the sum goes, from checksum_start
  uint16_t buffers = 0;          // with VIRTIO_NET_F_MRG_RXBUF only; TAP writes 0 or 1
};
static_assert(sizeof(VirtioNetHeader) == 12);

inline constexpr uint16_t kVirtioNetBytes = 12;        // with `buffers`
inline constexpr uint16_t kVirtioNetBytesLegacy = 10;  // without

namespace virtio {
inline constexpr uint8_t kNeedsChecksum =
    1;                                    // checksum_start and _offset say where; the field holds the pseudo-header sum
inline constexpr uint8_t kDataValid = 2;  // the device has verified the checksum
inline constexpr uint8_t kGsoNone = 0;
inline constexpr uint8_t kGsoTcp4 = 1;
inline constexpr uint8_t kGsoUdp = 3;
inline constexpr uint8_t kGsoTcp6 = 4;
inline constexpr uint8_t kGsoUdpL4 = 5;
inline constexpr uint8_t kGsoEcn = 0x80;  // or'ed to the type: the first segment carries CWR
}  // namespace virtio

}  // namespace culvert::wire
