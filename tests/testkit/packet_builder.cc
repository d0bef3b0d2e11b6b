#include "tests/testkit/packet_builder.h"

#include <algorithm>

#include "base/endian.h"
#include "wire/checksum.h"
#include "wire/udp.h"

namespace culvert::testkit {

using wire::IpProtocol;

IpAddress ip(std::string_view text) {
  const auto address = IpAddress::parse(text);
  DP_CHECK(address.has_value());
  return *address;
}

wire::MacAddress mac(std::string_view text) {
  const auto address = wire::MacAddress::parse(text);
  DP_CHECK(address.has_value());
  return *address;
}

std::vector<uint8_t> pattern(size_t bytes, uint8_t seed) {
  std::vector<uint8_t> out(bytes);
  // 251 is prime: the pattern does not repeat at any power of two.
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>((i + seed) % 251);
  return out;
}

std::vector<uint8_t> bytes_of_packet(const Packet& packet) {
  std::vector<uint8_t> out(packet.bytes());
  packet.copy_out(0, out);
  return out;
}

PacketBuilder& PacketBuilder::eth(const wire::MacAddress& destination, const wire::MacAddress& source, uint16_t vlan) {
  eth_ = wire::EthernetHeader{destination, source, vlan, 0, wire::EtherType::kIpv4};
  return *this;
}
PacketBuilder& PacketBuilder::eth_type(uint16_t type) {
  eth_type_ = type;
  return *this;
}
PacketBuilder& PacketBuilder::arp(const wire::ArpMessage& message) {
  arp_ = message;
  return *this;
}
PacketBuilder& PacketBuilder::ipv4(std::string_view source, std::string_view destination, uint8_t ttl) {
  v4_ = wire::Ipv4Header{};
  v4_->source = ip(source);
  v4_->destination = ip(destination);
  v4_->ttl = ttl;
  return *this;
}
PacketBuilder& PacketBuilder::ipv4_options(std::vector<uint8_t> options) {
  v4_options_ = std::move(options);
  v4_options_.resize((v4_options_.size() + 3) / 4 * 4);
  return *this;
}
PacketBuilder& PacketBuilder::ipv4_header(const std::function<void(wire::Ipv4Header&)>& change) {
  v4_changes_.push_back(change);
  return *this;
}
PacketBuilder& PacketBuilder::ipv6(std::string_view source, std::string_view destination, uint8_t hop_limit) {
  v6_ = wire::Ipv6Header{};
  v6_->source = ip(source);
  v6_->destination = ip(destination);
  v6_->hop_limit = hop_limit;
  return *this;
}
PacketBuilder& PacketBuilder::ipv6_header(const std::function<void(wire::Ipv6Header&)>& change) {
  v6_changes_.push_back(change);
  return *this;
}
PacketBuilder& PacketBuilder::extension(IpProtocol kind, std::vector<uint8_t> body) {
  body.resize((body.size() + 1 + 7) / 8 * 8 - 1);
  extensions_.push_back({kind, std::move(body)});
  return *this;
}
PacketBuilder& PacketBuilder::tcp(const wire::TcpHeader& header) {
  transport_ = Transport::kTcp;
  protocol_ = IpProtocol::kTcp;
  tcp_ = header;
  return *this;
}
PacketBuilder& PacketBuilder::udp(uint16_t source_port, uint16_t destination_port) {
  transport_ = Transport::kUdp;
  protocol_ = IpProtocol::kUdp;
  udp_source_ = source_port;
  udp_destination_ = destination_port;
  return *this;
}
PacketBuilder& PacketBuilder::icmp(uint8_t type, uint8_t code, uint32_t rest) {
  transport_ = Transport::kIcmp;
  protocol_ = v6_ ? IpProtocol::kIcmpv6 : IpProtocol::kIcmp;
  icmp_ = {type, code, 0, rest};
  return *this;
}
PacketBuilder& PacketBuilder::icmp_echo(uint16_t identifier, uint16_t sequence) {
  return icmp(v6_ ? wire::icmpv6::kEcho : wire::icmp::kEcho, 0, uint32_t{identifier} << 16 | sequence);
}
PacketBuilder& PacketBuilder::neighbour(const wire::NeighbourMessage& message) {
  uint8_t body[wire::kNeighbourMessageBytesMax];
  const uint16_t bytes = wire::emit_neighbour_message(message, body);
  icmp(body[0], body[1], load_be32(body + 4));
  payload_.assign(body + wire::kIcmpBytes, body + bytes);
  v6_->hop_limit = 255;
  return *this;
}
PacketBuilder& PacketBuilder::protocol(uint8_t number) {
  transport_ = Transport::kNone;
  protocol_ = static_cast<IpProtocol>(number);
  return *this;
}
PacketBuilder& PacketBuilder::payload(std::string_view text) {
  payload_.assign(text.begin(), text.end());
  return *this;
}
PacketBuilder& PacketBuilder::payload(std::vector<uint8_t> bytes) {
  payload_ = std::move(bytes);
  return *this;
}
PacketBuilder& PacketBuilder::padding(size_t bytes) {
  padding_ = bytes;
  return *this;
}
PacketBuilder& PacketBuilder::break_ip_checksum() {
  break_ip_checksum_ = true;
  return *this;
}
PacketBuilder& PacketBuilder::break_transport_checksum() {
  break_transport_checksum_ = true;
  return *this;
}
PacketBuilder& PacketBuilder::partial_checksum() {
  partial_checksum_ = true;
  return *this;
}
PacketBuilder& PacketBuilder::tweak(const std::function<void(std::vector<uint8_t>&)>& change) {
  tweaks_.push_back(change);
  return *this;
}

std::vector<uint8_t> PacketBuilder::transport_bytes(const IpAddress& source, const IpAddress& destination) const {
  std::vector<uint8_t> out;
  size_t checksum_at = 0;
  bool pseudo = true;
  switch (transport_) {
    case Transport::kNone:
      return payload_;
    case Transport::kTcp: {
      out.resize(wire::tcp_header_bytes(tcp_));
      wire::TcpHeader h = tcp_;
      h.checksum = 0;
      wire::emit_tcp(h, out);
      checksum_at = 16;
      break;
    }
    case Transport::kUdp:
      out.resize(wire::kUdpBytes);
      wire::emit_udp({udp_source_, udp_destination_, static_cast<uint16_t>(wire::kUdpBytes + payload_.size()), 0},
                     out.data());
      checksum_at = 6;
      break;
    case Transport::kIcmp:
      out.resize(wire::kIcmpBytes);
      wire::emit_icmp(icmp_, out.data());
      checksum_at = 2;
      pseudo = !source.is_v4();
      break;
  }
  out.insert(out.end(), payload_.begin(), payload_.end());
  wire::ChecksumSum sum;
  if (pseudo) {
    sum.add_pseudo_header(source, destination, static_cast<uint8_t>(protocol_), static_cast<uint32_t>(out.size()));
  }
  if (partial_checksum_) {
    store_be16(&out[checksum_at], sum.folded());
    return out;
  }
  sum.add(out);
  const auto checksum = static_cast<uint16_t>(sum.checksum() ^ (break_transport_checksum_ ? 0x5a5a : 0));
  store_be16(&out[checksum_at], checksum);
  return out;
}

std::vector<uint8_t> PacketBuilder::bytes() const {
  std::vector<uint8_t> out;
  uint16_t type = 0;
  if (arp_) {
    type = static_cast<uint16_t>(wire::EtherType::kArp);
    out.resize(wire::kArpBytes);
    wire::emit_arp(*arp_, out.data());
  } else if (v4_) {
    type = static_cast<uint16_t>(wire::EtherType::kIpv4);
    const auto body = transport_bytes(v4_->source, v4_->destination);
    wire::Ipv4Header h = *v4_;
    h.protocol = protocol_;
    const size_t header_bytes = wire::kIpv4Bytes + v4_options_.size();
    h.total_bytes = static_cast<uint16_t>(header_bytes + body.size());
    for (const auto& change : v4_changes_) change(h);
    out.resize(wire::kIpv4Bytes);
    wire::emit_ipv4(h, out.data());
    if (!v4_options_.empty()) {
      out.insert(out.end(), v4_options_.begin(), v4_options_.end());
      out[0] = static_cast<uint8_t>(0x40 | header_bytes / 4);
      store_be16(&out[10], 0);
      store_be16(&out[10], wire::internet_checksum(out));
    }
    if (break_ip_checksum_) out[10] ^= 0x5a;
    out.insert(out.end(), body.begin(), body.end());
  } else if (v6_) {
    type = static_cast<uint16_t>(wire::EtherType::kIpv6);
    const auto body = transport_bytes(v6_->source, v6_->destination);
    std::vector<uint8_t> chain;
    for (size_t i = 0; i < extensions_.size(); ++i) {
      const IpProtocol next = i + 1 < extensions_.size() ? extensions_[i + 1].kind : protocol_;
      chain.push_back(static_cast<uint8_t>(next));
      chain.insert(chain.end(), extensions_[i].body.begin(), extensions_[i].body.end());
    }
    wire::Ipv6Header h = *v6_;
    h.next_header = extensions_.empty() ? protocol_ : extensions_[0].kind;
    h.payload_bytes = static_cast<uint16_t>(chain.size() + body.size());
    for (const auto& change : v6_changes_) change(h);
    out.resize(wire::kIpv6Bytes);
    wire::emit_ipv6(h, out.data());
    out.insert(out.end(), chain.begin(), chain.end());
    out.insert(out.end(), body.begin(), body.end());
  } else {
    out = payload_;
  }
  out.insert(out.end(), padding_, 0);
  if (eth_) {
    wire::EthernetHeader h = *eth_;
    h.type = static_cast<wire::EtherType>(eth_type_.value_or(type));
    uint8_t header[wire::kEthernetBytesMax];
    wire::emit_ethernet(h, header);
    out.insert(out.begin(), header, header + wire::ethernet_bytes(h));
  }
  for (const auto& change : tweaks_) change(out);
  return out;
}

Packet PacketBuilder::packet(BufferPool& pool, size_t piece) const {
  const auto all = bytes();
  Packet out;
  size_t at = 0;
  do {
    const size_t take = std::min(piece, all.size() - at);
    out.join(pool.take_exact_copy(ByteView(all).subspan(at, take)));
    at += take;
  } while (at < all.size());
  return out;
}

}  // namespace culvert::testkit
