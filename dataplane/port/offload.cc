// Decides per packet what the device does and what is done here.
//
//   the device can all that is asked          stays as it is
//   checksum asked, device has none           completed in place
//   chain longer than the device takes        copied into fewer buffers
//   segmentation asked, device has none       cut into segments, which wait in `pending_` until the device takes them
#include "port/offload.h"

#include <algorithm>
#include <optional>

#include "base/endian.h"
#include "wire/checksum.h"

namespace culvert::port {

namespace {

constexpr uint64_t kOffloadFlags =
    RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6;
constexpr uint32_t kIpPacketBytesMax = 65'535;
constexpr uint16_t kTcpHeaderBytesMin = 20;
constexpr uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;
constexpr size_t kTcpSequence = 4, kTcpFlags = 13, kTcpChecksum = 16, kUdpChecksum = 6;
constexpr uint8_t kTcpProtocol = 6;

// What a packet asks for, and where its headers are.
struct Request {
  bool segment = false;
  bool checksum = false;  // of the transport
  bool udp = false;
  bool ip_checksum = false;
  bool v4 = true;
  uint16_t l2 = 0, l3 = 0, l4 = 0;
  uint16_t segment_bytes = 0;

  uint32_t header_bytes() const { return uint32_t{l2} + l3 + l4; }
  uint32_t transport() const { return uint32_t{l2} + l3; }
};

Request request_of(const Packet& packet) {
  const rte_mbuf* m = packet.mbuf();
  Request r;
  const uint64_t flags = m->ol_flags;
  const uint64_t l4 = flags & RTE_MBUF_F_TX_L4_MASK;
  r.segment = (flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  r.udp = l4 == RTE_MBUF_F_TX_UDP_CKSUM;
  r.checksum = r.segment || r.udp || l4 == RTE_MBUF_F_TX_TCP_CKSUM;
  r.ip_checksum = (flags & RTE_MBUF_F_TX_IP_CKSUM) != 0;
  r.v4 = (flags & RTE_MBUF_F_TX_IPV6) == 0;
  r.l2 = static_cast<uint16_t>(m->l2_len);
  r.l3 = static_cast<uint16_t>(m->l3_len);
  r.l4 = static_cast<uint16_t>(m->l4_len);
  r.segment_bytes = m->tso_segsz;
  return r;
}

// Lengths that lie inside the packet and agree with the header bytes themselves. The headers are contiguous then.
bool plausible(Packet& packet, const Request& r) {
  if (!r.segment && !r.checksum && !r.ip_checksum) return true;
  if (r.l2 == 0 || r.l3 < (r.v4 ? 20 : 40)) return false;
  const uint32_t need = r.segment ? r.header_bytes() : r.transport() + (r.checksum ? (r.udp ? 8u : 20u) : 0u);
  if (need > packet.bytes() || need > kSmallRoom || !packet.pull_up(static_cast<uint16_t>(need))) return false;
  if (packet.front()[r.l2] >> 4 != (r.v4 ? 4 : 6)) return false;
  return !r.segment || (r.l4 >= kTcpHeaderBytesMin && r.segment_bytes > 0 && packet.bytes() > need &&
                        packet.bytes() - r.l2 <= kIpPacketBytesMax);
}

void put_offloads(rte_mbuf* m, uint64_t flags, const Request& r) {
  m->ol_flags = (m->ol_flags & ~kOffloadFlags) | flags;
  m->tx_offload = 0;
  m->l2_len = r.l2 & 0x7f;
  m->l3_len = r.l3 & 0x1ff;
  m->l4_len = r.l4 & 0xff;
}

void fill_ipv4_checksum(uint8_t* ip, uint16_t header_bytes) {
  store_be16(ip + 10, 0);
  store_be16(ip + 10, wire::internet_checksum({ip, header_bytes}));
}

// The field holds the pseudo-header's sum, which the sum over everything turns into the checksum.
void fill_transport_checksum(Packet& packet, const Request& r) {
  wire::ChecksumSum sum;
  packet.for_each(r.transport(), packet.bytes() - r.transport(), [&sum](ByteView piece) { sum.add(piece); });
  uint16_t checksum = sum.checksum();
  // RFC 768: a computed zero is sent as all ones, since zero means none.
  if (r.udp && checksum == 0) checksum = 0xffff;
  store_be16(packet.front_mutable().data() + r.transport() + (r.udp ? kUdpChecksum : kTcpChecksum), checksum);
}

uint16_t pseudo_sum(const uint8_t* ip, bool v4, uint32_t transport_bytes) {
  wire::ChecksumSum sum;
  sum.add({ip + (v4 ? 12 : 8), v4 ? 8u : 32u});
  sum.add_be16(static_cast<uint16_t>(transport_bytes >> 16));
  sum.add_be16(static_cast<uint16_t>(transport_bytes));
  sum.add_be16(kTcpProtocol);
  return sum.folded();
}

}  // namespace

struct OffloadPort::Pending {
  std::vector<Packet> frames;
  size_t first = 0;
  bool empty() const { return first == frames.size(); }
};

OffloadPort::OffloadPort(std::unique_ptr<Port> device, BufferPool& pool, Counters& counters)
    : device_(std::move(device)), pool_(pool), counters_(counters), pending_(std::make_unique<Pending>()) {
  offered_ = device_->offloads();
  offered_.tx_ip_checksum = true;
  offered_.tx_checksum = true;
  offered_.tso = true;
  offered_.scatter = true;
  offered_.tso_bytes_max = kIpPacketBytesMax;
  offered_.tx_segments_max = UINT16_MAX;
  // A 64 KB packet in segments of the smallest MSS that hosts must take (RFC 9293 3.7.1: 536).
  pending_->frames.reserve(kIpPacketBytesMax / 536 + 1);
}

OffloadPort::~OffloadPort() = default;

bool OffloadPort::has_pending() const { return !pending_->empty(); }

size_t OffloadPort::rx_burst(std::span<Packet> out) { return device_->rx_burst(out); }

bool OffloadPort::flush_pending() {
  Pending& p = *pending_;
  if (!p.empty()) {
    const auto waiting = std::span(p.frames).subspan(p.first);
    uint64_t hardware = 0;
    for (const Packet& f : waiting) hardware += request_of(f).checksum;
    const size_t taken = device_->tx_burst(waiting);
    for (const Packet& f : waiting.subspan(taken)) hardware -= request_of(f).checksum;
    counters_.add(Counter::kPortChecksumHardware, hardware);
    p.first += taken;
    if (!p.empty()) return false;
  }
  p.frames.clear();
  p.first = 0;
  return true;
}

// Copies the chain into as few buffers as possible. False when the pool is empty; the packet is unchanged.
bool OffloadPort::linearise(Packet& packet) {
  Packet copy;
  for (uint32_t offset = 0; offset < packet.bytes();) {
    const auto piece_bytes = static_cast<uint16_t>(std::min<uint32_t>(packet.bytes() - offset, kLargeRoom));
    Packet piece = pool_.take_exact(piece_bytes);
    if (!piece) return false;
    packet.copy_out(offset, piece.front_mutable());
    copy.join(std::move(piece));
    offset += piece_bytes;
  }
  rte_mbuf* m = copy.mbuf();
  m->ol_flags |= packet.mbuf()->ol_flags & kOffloadFlags;
  m->tx_offload = packet.mbuf()->tx_offload;
  pool_.count_copied(packet.bytes());
  counters_.add(Counter::kPortChainLinearised);
  packet = std::move(copy);
  return true;
}

// RFC 9293 3.7 leaves how to cut to the sender; flags as Linux's GSO has them: PSH and FIN on the last segment only,
// CWR on the first (RFC 3168 6.1.2). False when the pool ran out: nothing of the packet is sent.
bool OffloadPort::cut(Packet packet) {
  const Request r = request_of(packet);
  const Offloads& device = device_->offloads();
  const auto header_bytes = static_cast<uint16_t>(r.header_bytes());
  uint8_t header[kSmallRoom];
  packet.copy_out(0, {header, header_bytes});
  packet.trim_front(header_bytes);
  uint8_t* const ip = header + r.l2;
  uint8_t* const tcp = ip + r.l3;
  const uint32_t sequence = load_be32(tcp + kTcpSequence);
  const uint16_t identification = load_be16(ip + 4);
  const uint8_t flags = tcp[kTcpFlags];
  const size_t before = pending_->frames.size();

  uint32_t offset = 0;
  for (uint16_t index = 0; packet.bytes() > 0; ++index) {
    const uint32_t payload = std::min<uint32_t>(packet.bytes(), r.segment_bytes);
    const bool last = payload == packet.bytes();
    const auto transport_bytes = static_cast<uint16_t>(r.l4 + payload);
    if (r.v4) {
      store_be16(ip + 2, static_cast<uint16_t>(r.l3 + transport_bytes));
      store_be16(ip + 4, static_cast<uint16_t>(identification + index));
      fill_ipv4_checksum(ip, r.l3);
    } else {
      store_be16(ip + 4, static_cast<uint16_t>(r.l3 - 40 + transport_bytes));
    }
    store_be32(tcp + kTcpSequence, sequence + offset);
    tcp[kTcpFlags] = static_cast<uint8_t>(flags & ~((last ? 0 : kFin | kPsh) | (index == 0 ? 0 : kCwr)));
    store_be16(tcp + kTcpChecksum, pseudo_sum(ip, r.v4, transport_bytes));

    Packet segment = pool_.take_small();
    Packet body = packet.split_front(payload);
    if (!segment || !body) {
      pending_->frames.resize(before);
      return false;
    }
    std::memcpy(segment.append(header_bytes), header, header_bytes);
    body.mbuf()->ol_flags &= ~kOffloadFlags;
    segment.join(std::move(body));
    put_offloads(segment.mbuf(), (r.v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) | RTE_MBUF_F_TX_TCP_CKSUM, r);
    if (!device.tx_checksum) complete_checksum(segment);
    if (segment.segments() > segments_max() && !linearise(segment)) {
      pending_->frames.resize(before);
      return false;
    }
    pending_->frames.push_back(std::move(segment));
    offset += payload;
  }
  counters_.add(Counter::kPortGsoSoftware);
  counters_.add(Counter::kPortGsoSegment, pending_->frames.size() - before);
  return true;
}

void OffloadPort::complete_checksum(Packet& packet) {
  const Request r = request_of(packet);
  fill_transport_checksum(packet, r);
  put_offloads(packet.mbuf(), r.ip_checksum ? RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4 : 0, r);
  counters_.add(Counter::kPortChecksumSoftware);
}

uint16_t OffloadPort::segments_max() const {
  const Offloads& device = device_->offloads();
  return device.scatter ? std::max<uint16_t>(device.tx_segments_max, 1) : 1;
}

OffloadPort::Fate OffloadPort::prepare(Packet& packet) {
  const Offloads& device = device_->offloads();
  const Request r = request_of(packet);
  if (!plausible(packet, r)) {
    return Fate::kImpossible;
  }
  if (r.segment) {
    const bool fits =
        packet.segments() <= segments_max() || (packet.bytes() + kLargeRoom - 1) / kLargeRoom <= segments_max();
    if (!device.tso || packet.bytes() - r.l2 > device.tso_bytes_max || !fits) return Fate::kCut;
  } else if (r.checksum && !device.tx_checksum) {
    complete_checksum(packet);
  }
  if (!r.segment && r.ip_checksum && !device.tx_ip_checksum) {
    fill_ipv4_checksum(packet.front_mutable().data() + r.l2, r.l3);
    packet.mbuf()->ol_flags &= ~RTE_MBUF_F_TX_IP_CKSUM;
  }
  if (packet.segments() > segments_max() && !linearise(packet)) return Fate::kNoBuffer;
  return Fate::kReady;
}

// Hands over packets that are ready; returns how many were taken.
size_t OffloadPort::send_ready(std::span<Packet> packets) {
  if (packets.empty()) return 0;
  uint64_t tso = 0, checksum = 0;
  for (const Packet& p : packets) {
    const Request r = request_of(p);
    tso += r.segment;
    checksum += r.checksum;
  }
  const size_t taken = device_->tx_burst(packets);
  for (const Packet& p : packets.subspan(taken)) {
    const Request r = request_of(p);
    tso -= r.segment;
    checksum -= r.checksum;
  }
  counters_.add(Counter::kPortTsoHardware, tso);
  counters_.add(Counter::kPortChecksumHardware, checksum);
  return taken;
}

size_t OffloadPort::tx_burst(std::span<Packet> packets) {
  if (!flush_pending()) return 0;
  size_t begin = 0;  // of the run of packets that are ready
  for (size_t i = 0; i < packets.size(); ++i) {
    const Fate fate = prepare(packets[i]);
    if (fate == Fate::kReady) continue;
    begin += send_ready(packets.subspan(begin, i - begin));
    if (begin < i) return begin;  // the packet at i is looked at again when its turn comes
    if (fate == Fate::kImpossible) {
      counters_.drop(DropReason::kPortOffloadImpossible);
      packets[i].reset();
    } else if (fate == Fate::kNoBuffer || !cut(std::move(packets[i]))) {
      counters_.drop(DropReason::kPortNoBuffer);
      packets[i].reset();
    }
    begin = i + 1;
    if (!flush_pending()) return begin;
  }
  return begin + send_ready(packets.subspan(begin));
}

}  // namespace culvert::port
