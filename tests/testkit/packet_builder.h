// Packets for tests, built from a description, readable in review:
//
//   auto frame = PacketBuilder().eth(kGateway, kPod).ipv4("10.0.0.2", "10.0.0.1").icmp_echo(7, 1).payload("hello");
//   link.receive(frame.packet(pool), now);
//
// Lengths and checksums are filled in so that the packet is right; what a test wants wrong it says: with tweak(), which
// sees the finished bytes, or with one of the break_ functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "packet/packet.h"
#include "wire/arp.h"
#include "wire/ethernet.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/neighbour_discovery.h"
#include "wire/tcp_header.h"

namespace culvert::testkit {

// Aborts on text that is no address: a test's own mistake.
IpAddress ip(std::string_view text);
wire::MacAddress mac(std::string_view text);

// A repeating pattern that shows misplaced bytes.
std::vector<uint8_t> pattern(size_t bytes, uint8_t seed = 0);

class PacketBuilder {
 public:
  // --- link
  PacketBuilder& eth(const wire::MacAddress& destination, const wire::MacAddress& source, uint16_t vlan = 0);
  PacketBuilder& eth_type(uint16_t type);  // instead of the one that follows from the content
  PacketBuilder& arp(const wire::ArpMessage& message);
  // --- network
  PacketBuilder& ipv4(std::string_view source, std::string_view destination, uint8_t ttl = 64);
  PacketBuilder& ipv4_options(std::vector<uint8_t> options);  // padded to a multiple of four
  PacketBuilder& ipv4_header(const std::function<void(wire::Ipv4Header&)>& change);
  PacketBuilder& ipv6(std::string_view source, std::string_view destination, uint8_t hop_limit = 64);
  PacketBuilder& ipv6_header(const std::function<void(wire::Ipv6Header&)>& change);
  // An extension header: its body behind the next-header byte (length byte included), padded to a multiple of eight.
  PacketBuilder& extension(wire::IpProtocol kind, std::vector<uint8_t> body);
  // --- transport
  PacketBuilder& tcp(const wire::TcpHeader& header);
  PacketBuilder& udp(uint16_t source_port, uint16_t destination_port);
  PacketBuilder& icmp(uint8_t type, uint8_t code = 0, uint32_t rest = 0);  // of the network header's family
  PacketBuilder& icmp_echo(uint16_t identifier, uint16_t sequence);
  PacketBuilder& neighbour(const wire::NeighbourMessage& message);  // hop limit 255
  PacketBuilder& protocol(uint8_t number);                          // a transport without a builder
  PacketBuilder& payload(std::string_view text);
  PacketBuilder& payload(std::vector<uint8_t> bytes);
  // --- behind the datagram
  PacketBuilder& padding(size_t bytes);  // link padding, not counted by IP
  // --- wrong on purpose
  PacketBuilder& break_ip_checksum();
  PacketBuilder& break_transport_checksum();
  PacketBuilder& partial_checksum();  // leaves the pseudo-header's sum in the field, as a sender with offload does
  PacketBuilder& tweak(const std::function<void(std::vector<uint8_t>&)>& change);

  std::vector<uint8_t> bytes() const;
  // In one exact buffer; or cut into pieces of at most `piece` bytes, one buffer each.
  Packet packet(BufferPool& pool, size_t piece = SIZE_MAX) const;

 private:
  enum class Transport : uint8_t { kNone, kTcp, kUdp, kIcmp };
  struct Extension {
    wire::IpProtocol kind;
    std::vector<uint8_t> body;
  };
  std::vector<uint8_t> transport_bytes(const IpAddress& source, const IpAddress& destination) const;

  std::optional<wire::EthernetHeader> eth_;
  std::optional<uint16_t> eth_type_;
  std::optional<wire::ArpMessage> arp_;
  std::optional<wire::Ipv4Header> v4_;
  std::optional<wire::Ipv6Header> v6_;
  std::vector<uint8_t> v4_options_;
  std::vector<std::function<void(wire::Ipv4Header&)>> v4_changes_;
  std::vector<std::function<void(wire::Ipv6Header&)>> v6_changes_;
  std::vector<Extension> extensions_;
  Transport transport_ = Transport::kNone;
  wire::IpProtocol protocol_ = wire::IpProtocol::kTcp;
  wire::TcpHeader tcp_;
  uint16_t udp_source_ = 0, udp_destination_ = 0;
  wire::IcmpHeader icmp_;
  std::vector<uint8_t> payload_;
  size_t padding_ = 0;
  bool break_ip_checksum_ = false;
  bool break_transport_checksum_ = false;
  bool partial_checksum_ = false;
  std::vector<std::function<void(std::vector<uint8_t>&)>> tweaks_;
};

// All bytes of a packet, for comparison.
std::vector<uint8_t> bytes_of_packet(const Packet& packet);

}  // namespace culvert::testkit
