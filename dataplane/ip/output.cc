#include "ip/output.h"

#include <algorithm>

#include "base/endian.h"
#include "wire/checksum.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace culvert::ip {

using wire::IpProtocol;

namespace {

constexpr uint32_t kIpLengthMax = 0xffff;
constexpr uint16_t kTcpChecksumOffset = 16;

// RFC 6437 3: the same for all packets of a flow, uniformly spread.
uint32_t flow_label(const OutDatagram& out, ByteView transport) {
  const uint64_t ports = transport.size() >= 4 ? load_be32(transport.data()) : 0;
  return static_cast<uint32_t>(hash_of(out.source, hash_of(out.destination, ports))) & 0xfffff;
}

}  // namespace

bool prepend_header(Packet& packet, const OutDatagram& out) {
  const bool v4 = out.destination.is_v4();
  const uint16_t header_bytes = v4 ? wire::kIpv4Bytes : wire::kIpv6Bytes;
  const uint32_t transport_bytes = packet.bytes();
  if (transport_bytes + (v4 ? header_bytes : 0u) > kIpLengthMax) return false;
  const uint32_t label = v4 ? 0 : flow_label(out, packet.front());
  uint8_t* at = packet.prepend(header_bytes);
  if (!at) return false;
  rte_mbuf* m = packet.mbuf();
  m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  m->tx_offload = 0;
  m->l3_len = header_bytes & 0x1ff;
  if (v4) {
    wire::Ipv4Header h;
    h.tos = out.ecn & 3;
    h.total_bytes = static_cast<uint16_t>(packet.bytes());
    h.dont_fragment = true;
    h.ttl = out.hop_limit;
    h.protocol = out.protocol;
    h.source = out.source;
    h.destination = out.destination;
    wire::emit_ipv4(h, at);
    m->ol_flags |= RTE_MBUF_F_TX_IPV4;
  } else {
    wire::Ipv6Header h;
    h.traffic_class = out.ecn & 3;
    h.flow_label = label;
    h.payload_bytes = static_cast<uint16_t>(transport_bytes);
    h.next_header = out.protocol;
    h.hop_limit = out.hop_limit;
    h.source = out.source;
    h.destination = out.destination;
    wire::emit_ipv6(h, at);
    m->ol_flags |= RTE_MBUF_F_TX_IPV6;
  }
  if (out.protocol != IpProtocol::kTcp) return true;

  const bool cut = out.segment_bytes != 0 && transport_bytes > uint32_t{out.transport_header_bytes} + out.segment_bytes;
  m->l4_len = out.transport_header_bytes & 0xff;
  m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
  if (cut) {
    m->tso_segsz = out.segment_bytes;
    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    // A device that cuts writes each header's checksum.
    if (v4) m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  }
  wire::ChecksumSum pseudo;
  pseudo.add_pseudo_header(out.source, out.destination, static_cast<uint8_t>(IpProtocol::kTcp), transport_bytes);
  store_be16(at + header_bytes + kTcpChecksumOffset, pseudo.folded());
  return true;
}

Forwarding prepare_forward(Packet& packet, const Datagram& d, uint16_t mtu) {
  if (d.hop_limit <= 1) return Forwarding::kExpired;
  rte_mbuf* m = packet.mbuf();
  const bool large = (m->ol_flags & RTE_MBUF_F_RX_LRO) != 0 && m->tso_segsz != 0 && d.protocol == IpProtocol::kTcp;
  const bool partial = (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
  const uint16_t segment_bytes = m->tso_segsz;
  uint8_t* ip = packet.front_mutable().data();
  uint32_t largest = d.header_bytes + d.transport_bytes;
  uint8_t tcp_bytes = 0;
  if (large) {
    tcp_bytes = static_cast<uint8_t>((ip[d.header_bytes + 12] >> 4) * 4);
    largest = std::min<uint32_t>(largest, uint32_t{d.header_bytes} + tcp_bytes + segment_bytes);
  }
  if (largest > mtu) return Forwarding::kTooBig;

  if (d.is_v4()) {
    // RFC 1141: only the word with the TTL changes.
    const uint16_t before = load_be16(ip + 8);
    --ip[8];
    store_be16(ip + 10, wire::updated_checksum(load_be16(ip + 10), before, load_be16(ip + 8)));
  } else {
    --ip[7];
  }
  m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  m->tx_offload = 0;
  if (partial || large) {
    m->ol_flags |= d.is_v4() ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
    m->ol_flags |= d.protocol == IpProtocol::kUdp ? RTE_MBUF_F_TX_UDP_CKSUM : RTE_MBUF_F_TX_TCP_CKSUM;
    m->l3_len = d.header_bytes & 0x1ff;
  }
  if (large) {
    m->l4_len = tcp_bytes;
    m->tso_segsz = segment_bytes;
    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (d.is_v4() ? RTE_MBUF_F_TX_IP_CKSUM : 0);
  }
  return Forwarding::kReady;
}

}  // namespace culvert::ip
