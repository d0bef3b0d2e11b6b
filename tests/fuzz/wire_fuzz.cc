// Every parser of the wire room over the same bytes, each in an exact heap copy; and what was parsed, emitted again,
// says the same.
#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/check.h"
#include "wire/arp.h"
#include "wire/ethernet.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/neighbour_discovery.h"
#include "wire/tcp_header.h"
#include "wire/udp.h"

namespace culvert::wire {
namespace {

void ethernet(ByteView bytes) {
  const auto parsed = parse_ethernet(bytes);
  if (!parsed) return;
  uint8_t again[kEthernetBytesMax];
  emit_ethernet(parsed->header, again);
  const auto second = parse_ethernet({again, ethernet_bytes(parsed->header)});
  DP_CHECK(second && (second->header == parsed->header || parsed->header.vlan == 0));
}

void arp(ByteView bytes) {
  const auto parsed = parse_arp(bytes);
  if (!parsed) return;
  uint8_t again[kArpBytes];
  emit_arp(*parsed, again);
  DP_CHECK(equal({again, kArpBytes}, bytes.first(kArpBytes)));
}

void ipv4(ByteView bytes) {
  const auto parsed = parse_ipv4(bytes, static_cast<uint32_t>(bytes.size()));
  if (!parsed) return;
  DP_CHECK(parsed->header_bytes <= parsed->total_bytes && parsed->total_bytes <= bytes.size());
  static_cast<void>(verify_ipv4_checksum(bytes, parsed->header_bytes));
}

void ipv6(ByteView bytes) {
  const auto parsed = parse_ipv6(bytes, static_cast<uint32_t>(bytes.size()));
  if (!parsed) return;
  uint8_t again[kIpv6Bytes];
  emit_ipv6(*parsed, again);
  DP_CHECK(equal({again, kIpv6Bytes}, bytes.first(kIpv6Bytes)));
  const auto chain = walk_ipv6_chain(bytes, *parsed);
  if (chain) DP_CHECK(chain->header_bytes <= kIpv6Bytes + parsed->payload_bytes);
}

void neighbour(ByteView bytes) {
  const auto parsed = parse_neighbour_message(bytes);
  if (!parsed) return;
  uint8_t again[kNeighbourMessageBytesMax];
  const uint16_t n = emit_neighbour_message(*parsed, again);
  const auto second = parse_neighbour_message({again, n});
  DP_CHECK(second && *second == *parsed);
}

void tcp(ByteView bytes) {
  const auto parsed = parse_tcp(bytes);
  if (parsed) DP_CHECK(parsed->header_bytes >= kTcpHeaderBytesMin && parsed->header_bytes <= bytes.size());
}

}  // namespace
}  // namespace culvert::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace culvert;
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes]);
  std::copy(data, data + bytes, copy.get());
  const ByteView exact(copy.get(), bytes);
  for (auto* parser : {wire::ethernet, wire::arp, wire::ipv4, wire::ipv6, wire::neighbour, wire::tcp}) parser(exact);
  static_cast<void>(wire::parse_icmp(exact));
  static_cast<void>(wire::parse_udp(exact, static_cast<uint32_t>(bytes)));
  return 0;
}
