#include "drivers/tap/tap_port.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/endian.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/virtio_net.h"

namespace culvert::tap {

using wire::VirtioNetHeader;

namespace {

// A frame of 64 KB with its Ethernet header: 2048 + 4 * 16768 = 69120.
constexpr size_t kLargePerRead = 4;
constexpr uint32_t kTsoBytesMax = 65'535;
constexpr size_t kTcpChecksumOffset = 16;
constexpr size_t kUdpChecksumOffset = 6;
constexpr uint8_t kCwr = 0x80;
// writev takes 1024 pieces (IOV_MAX), one is the virtio-net header.
constexpr uint16_t kSegmentsMax = 64;

class TapPort final : public port::Port {
 public:
  TapPort(UniqueFd queue, const TapSettings& settings, BufferPool& pool)
      : queue_(std::move(queue)), settings_(settings), pool_(pool) {
    offloads_.tx_ip_checksum = false;
    offloads_.tx_checksum = true;
    offloads_.rx_checksum = true;
    offloads_.tso = true;
    offloads_.lro = settings.large_frames;
    offloads_.scatter = true;
    offloads_.tso_bytes_max = kTsoBytesMax;
    offloads_.tx_segments_max = kSegmentsMax;
  }

  size_t rx_burst(std::span<Packet> out) override;
  size_t tx_burst(std::span<Packet> packets) override;
  const port::Offloads& offloads() const override { return offloads_; }
  uint16_t mtu() const override { return settings_.mtu; }
  std::array<uint8_t, 6> mac() const override { return settings_.mac; }
  bool link_up() const override { return up_; }
  port::Wakeup wakeup() const override { return {queue_.get()}; }
  port::PortStats stats() const override { return stats_; }
  uint16_t queues() const override { return 1; }
  std::string_view driver() const override { return "tap"; }

 private:
  enum class ReadResult { kFrame, kSkipped, kEmpty };
  ReadResult read_one(Packet& out);
  bool refill();
  ReadResult shed();
  void note_error(int error);
  Packet assemble(size_t bytes);
  void set_flags(Packet& frame, const VirtioNetHeader& header) const;
  static bool complete_foreign_checksum(Packet& frame, const VirtioNetHeader& header);

  UniqueFd queue_;
  const TapSettings settings_;
  BufferPool& pool_;
  port::Offloads offloads_;
  port::PortStats stats_;
  bool up_ = true;
  Packet small_;
  std::array<Packet, kLargePerRead> large_;
};

// --- receive -------------------------------------------------------------------------------------------------------

bool TapPort::refill() {
  if (!small_) small_ = pool_.take_small();
  bool full = static_cast<bool>(small_);
  if (!settings_.large_frames && settings_.mtu + wire::kEthernetBytesMax <= kSmallRoom) return full;
  for (Packet& p : large_) {
    if (!p) p = pool_.take_large();
    full = full && p;
  }
  return full;
}

// Without buffers a frame is taken off the queue and lost, so that an empty read means an empty queue and the wake-up
// keeps its meaning. The kernel cuts a frame that does not fit.
TapPort::ReadResult TapPort::shed() {
  VirtioNetHeader header;
  uint8_t frame[64];
  iovec pieces[2] = {{&header, sizeof header}, {frame, sizeof frame}};
  if (readv(queue_.get(), pieces, 2) < 0) {
    note_error(errno);
    return errno == EINTR ? ReadResult::kSkipped : ReadResult::kEmpty;
  }
  ++stats_.rx_no_buffer;
  return ReadResult::kSkipped;
}

void TapPort::note_error(int error) {
  // EBADFD: the device was deleted. EIO, it is down for the moment, changes nothing.
  if (error == EBADFD) up_ = false;
}

TapPort::ReadResult TapPort::read_one(Packet& out) {
  VirtioNetHeader header;
  if (!refill()) return shed();
  iovec pieces[2 + kLargePerRead];
  size_t count = 0;
  pieces[count++] = {&header, sizeof header};
  auto room = [](const Packet& p) {
    rte_mbuf* m = p.mbuf();
    return iovec{rte_pktmbuf_mtod(m, void*), rte_pktmbuf_tailroom(m)};
  };
  pieces[count++] = room(small_);
  for (const Packet& p : large_) {
    if (p) pieces[count++] = room(p);
  }
  const ssize_t n = readv(queue_.get(), pieces, static_cast<int>(count));
  if (n < 0) {
    if (errno == EINTR) return ReadResult::kSkipped;
    if (errno != EAGAIN) {
      ++stats_.rx_errors;
      note_error(errno);
    }
    return ReadResult::kEmpty;
  }
  if (static_cast<size_t>(n) <= sizeof header) {
    ++stats_.rx_errors;
    return ReadResult::kSkipped;
  }
  out = assemble(static_cast<size_t>(n) - sizeof header);
  set_flags(out, header);
  ++stats_.rx_packets;
  stats_.rx_bytes += out.bytes();
  return ReadResult::kFrame;
}

// Makes a frame of the buffers that the read filled.
Packet TapPort::assemble(size_t bytes) {
  Packet frame = std::move(small_);
  const size_t first = std::min<size_t>(bytes, frame.tailroom());
  DP_CHECK(frame.append(static_cast<uint16_t>(first)));
  bytes -= first;
  for (size_t i = 0; i < large_.size() && bytes > 0; ++i) {
    const size_t take = std::min<size_t>(bytes, large_[i].tailroom());
    DP_CHECK(large_[i].append(static_cast<uint16_t>(take)));
    bytes -= take;
    frame.join(std::move(large_[i]));
  }
  return frame;
}

void TapPort::set_flags(Packet& frame, const VirtioNetHeader& header) const {
  rte_mbuf* m = frame.mbuf();
  if (header.flags & wire::virtio::kNeedsChecksum) {
    // The sum of an encapsulated packet's inner header cannot be told upwards: it is completed here.
    if (!complete_foreign_checksum(frame, header)) m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  } else if (header.flags & wire::virtio::kDataValid) {
    m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  }
  const uint8_t type = header.gso_type & static_cast<uint8_t>(~wire::virtio::kGsoEcn);
  if (type == wire::virtio::kGsoTcp4 || type == wire::virtio::kGsoTcp6) {
    m->ol_flags |= RTE_MBUF_F_RX_LRO;
    m->tso_segsz = header.gso_bytes;
  }
}

// True when the checksum was none of the outer transport's and has been filled in.
bool TapPort::complete_foreign_checksum(Packet& frame, const VirtioNetHeader& header) {
  const auto ethernet = wire::parse_ethernet(frame.front());
  if (!ethernet) return false;
  const ByteView ip = frame.front().subspan(ethernet->header_bytes);
  if (ip.size() < 40) return false;
  uint32_t transport = ethernet->header_bytes;
  transport += ip[0] >> 4 == 4 ? (ip[0] & 0x0fu) * 4 : 40u;
  // IPv6 extension headers stand between; whatever comes after them is the outer transport still.
  const bool extended = ip[0] >> 4 == 6 && ip[6] != 6 && ip[6] != 17;
  if (header.checksum_start == transport || extended) return false;
  const uint32_t field = uint32_t{header.checksum_start} + header.checksum_offset;
  if (field + 2 > frame.bytes() || field + 2 > kSmallRoom || !frame.pull_up(static_cast<uint16_t>(field + 2))) {
    return false;
  }
  wire::ChecksumSum sum;
  frame.for_each(header.checksum_start, frame.bytes() - header.checksum_start,
                 [&sum](ByteView piece) { sum.add(piece); });
  const uint16_t checksum = sum.checksum();
  store_be16(frame.front_mutable().data() + field, checksum ? checksum : 0xffff);
  return true;
}

size_t TapPort::rx_burst(std::span<Packet> out) {
  size_t filled = 0;
  while (filled < out.size()) {
    switch (read_one(out[filled])) {
      case ReadResult::kFrame:
        ++filled;
        break;
      case ReadResult::kSkipped:
        break;
      case ReadResult::kEmpty:
        return filled;
    }
  }
  return filled;
}

// --- send ----------------------------------------------------------------------------------------------------------

VirtioNetHeader header_for(const Packet& packet) {
  const rte_mbuf* m = packet.mbuf();
  VirtioNetHeader h;
  const uint64_t l4 = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
  const bool segment = (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  const auto transport = static_cast<uint16_t>(m->l2_len + m->l3_len);
  if (segment || l4 == RTE_MBUF_F_TX_TCP_CKSUM || l4 == RTE_MBUF_F_TX_UDP_CKSUM) {
    h.flags = wire::virtio::kNeedsChecksum;
    h.checksum_start = transport;
    h.checksum_offset = l4 == RTE_MBUF_F_TX_UDP_CKSUM ? kUdpChecksumOffset : kTcpChecksumOffset;
  }
  if (segment) {
    h.gso_type = m->ol_flags & RTE_MBUF_F_TX_IPV6 ? wire::virtio::kGsoTcp6 : wire::virtio::kGsoTcp4;
    h.gso_bytes = m->tso_segsz;
    h.header_bytes = static_cast<uint16_t>(transport + m->l4_len);
    const ByteView front = packet.front();
    if (front.size() > transport + 13u && (front[transport + 13] & kCwr)) h.gso_type |= wire::virtio::kGsoEcn;
  }
  return h;
}

size_t TapPort::tx_burst(std::span<Packet> packets) {
  iovec pieces[1 + kSegmentsMax];
  for (size_t i = 0; i < packets.size(); ++i) {
    VirtioNetHeader header = header_for(packets[i]);
    size_t count = 0;
    pieces[count++] = {&header, sizeof header};
    DP_DCHECK(packets[i].segments() <= kSegmentsMax);
    packets[i].for_each([&](ByteView piece) {
      if (count < std::size(pieces)) pieces[count++] = {const_cast<uint8_t*>(piece.data()), piece.size()};
    });
    const uint32_t bytes = packets[i].bytes();
    ssize_t n;
    do {
      n = writev(queue_.get(), pieces, static_cast<int>(count));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
      ++stats_.tx_full;
      return i;
    }
    packets[i].reset();
    if (n < 0) {
      ++stats_.tx_errors;
      note_error(errno);
      continue;
    }
    ++stats_.tx_packets;
    stats_.tx_bytes += bytes;
  }
  return packets.size();
}

}  // namespace

Result<std::unique_ptr<port::Port>, std::string> make_tap_port(UniqueFd queue, const TapSettings& settings,
                                                               BufferPool& pool) {
  auto failed = [](const char* what) {
    return Failure{std::string("TAP queue: ") + what + ": " + std::strerror(errno)};
  };
  ifreq request{};
  if (ioctl(queue.get(), TUNGETIFF, &request) != 0) return failed("the descriptor is none");
  const auto flags = static_cast<unsigned>(static_cast<unsigned short>(request.ifr_flags));
  if (!(flags & IFF_TAP) || !(flags & IFF_NO_PI) || !(flags & IFF_VNET_HDR)) {
    return Failure{std::string("TAP queue of ") + request.ifr_name +
                   ": must be opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR"};
  }
  int header_bytes = wire::kVirtioNetBytes;
  if (ioctl(queue.get(), TUNSETVNETHDRSZ, &header_bytes) != 0) return failed("cannot set the virtio-net header's size");
  const unsigned long offloads = settings.large_frames ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0UL;
  if (ioctl(queue.get(), TUNSETOFFLOAD, offloads) != 0) return failed("cannot set offloads");
  const int file_flags = fcntl(queue.get(), F_GETFL);
  if (file_flags < 0 || fcntl(queue.get(), F_SETFL, file_flags | O_NONBLOCK) != 0) return failed("cannot unblock");
  return std::unique_ptr<port::Port>(std::make_unique<TapPort>(std::move(queue), settings, pool));
}

std::array<uint8_t, 6> near_mac(const std::array<uint8_t, 6>& device_mac) {
  std::array<uint8_t, 6> mac = device_mac;
  mac[0] = static_cast<uint8_t>((mac[0] | 0x02) & 0xfe);
  mac[1] ^= 0x80;
  return mac;
}

}  // namespace culvert::tap
