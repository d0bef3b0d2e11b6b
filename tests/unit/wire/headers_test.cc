// The small headers: parse of emit is the value, and nothing is read past the end. Damaged input is refused under the
// error that its standard names.
#include <gtest/gtest.h>

#include "base/endian.h"
#include "base/random.h"
#include "tests/testkit/packet_builder.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/neighbour_discovery.h"
#include "wire/udp.h"
#include "wire/virtio_net.h"

namespace culvert::wire {
namespace {

using testkit::ip;

MacAddress random_mac(Random& random) {
  MacAddress m;
  for (uint8_t& b : m.bytes) b = static_cast<uint8_t>(random.next());
  return m;
}

IpAddress random_address(Random& random, bool v4) {
  uint8_t bytes[16];
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.next());
  bytes[0] = 0xfd;  // neither multicast nor mapped
  return v4 ? IpAddress::v4(bytes) : IpAddress::v6(bytes);
}

// An exact copy on the heap, so that the address sanitizer sees a read past its end.
template <class Parse>
auto parse_exact(ByteView bytes, Parse&& parse) {
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return parse(ByteView(copy.get(), bytes.size()));
}

TEST(MacAddress, TextGoesBothWays) {
  const auto mac = MacAddress::parse("02:Fc:00:a0:9f:01");
  ASSERT_TRUE(mac);
  EXPECT_EQ(mac->to_string(), "02:fc:00:a0:9f:01");
  for (const char* bad : {"", "02:fc:00:00:00:0", "02:fc:00:00:00:011", "02-fc-00-00-00-01", "0g:fc:00:00:00:01"}) {
    EXPECT_FALSE(MacAddress::parse(bad)) << bad;
  }
}

TEST(MacAddress, GroupsFollowTheAddress) {
  EXPECT_EQ(MacAddress::multicast_for(ip("224.129.2.3")).to_string(), "01:00:5e:01:02:03");
  EXPECT_EQ(MacAddress::multicast_for(ip("ff02::1:ff00:42")).to_string(), "33:33:ff:00:00:42");
  EXPECT_TRUE(MacAddress::broadcast().is_multicast());
  EXPECT_TRUE(MacAddress::broadcast().is_broadcast());
  EXPECT_FALSE(MacAddress{}.is_multicast());
}

TEST(Ethernet, ParseOfEmitIsTheHeader) {
  Random random(1);
  for (int i = 0; i < 1000; ++i) {
    EthernetHeader h{random_mac(random), random_mac(random), 0, 0, EtherType::kIpv6};
    if (random.below(2)) {
      h.vlan = static_cast<uint16_t>(1 + random.below(4094));
      h.priority = static_cast<uint8_t>(random.below(8));
    }
    h.type = static_cast<EtherType>(1501 + random.below(30'000));
    if (h.type == EtherType::kVlan || h.type == EtherType::kQinQ) continue;
    uint8_t bytes[kEthernetBytesMax];
    emit_ethernet(h, bytes);
    const auto parsed = parse_exact({bytes, ethernet_bytes(h)}, parse_ethernet);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->header, h);
    EXPECT_EQ(parsed->header_bytes, ethernet_bytes(h));
    for (size_t cut = 0; cut < ethernet_bytes(h); ++cut) {
      const auto shorter = parse_exact({bytes, cut}, parse_ethernet);
      ASSERT_FALSE(shorter);
      EXPECT_EQ(shorter.error(), EthernetError::kTooShort);
    }
  }
}

TEST(Ethernet, FramingThatIsNotSpoken) {
  uint8_t frame[22] = {};
  store_be16(frame + 12, 1500);
  EXPECT_EQ(parse_ethernet(frame).error(), EthernetError::kLength);
  store_be16(frame + 12, 0x8100);
  store_be16(frame + 16, 0x8100);
  EXPECT_EQ(parse_ethernet(frame).error(), EthernetError::kTwoTags);
  store_be16(frame + 12, 0x88a8);
  EXPECT_EQ(parse_ethernet(frame).error(), EthernetError::kTwoTags);
  // A tag that carries a priority only.
  store_be16(frame + 12, 0x8100);
  store_be16(frame + 14, 0xe000);
  store_be16(frame + 16, 0x0800);
  const auto parsed = parse_ethernet(frame);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->header.vlan, 0);
  EXPECT_EQ(parsed->header.priority, 7);
  EXPECT_EQ(parsed->header_bytes, 18);
}

TEST(Arp, ParseOfEmitIsTheMessage) {
  Random random(2);
  for (int i = 0; i < 1000; ++i) {
    const ArpMessage m{random.below(2) ? ArpMessage::Operation::kRequest : ArpMessage::Operation::kReply,
                       random_mac(random), random_address(random, true), random_mac(random),
                       random_address(random, true)};
    uint8_t bytes[kArpBytes];
    emit_arp(m, bytes);
    const auto parsed = parse_exact(bytes, parse_arp);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*parsed, m);
  }
}

TEST(Arp, ErrorsAreTold) {
  uint8_t bytes[kArpBytes];
  emit_arp({ArpMessage::Operation::kRequest, {}, ip("1.2.3.4"), {}, ip("1.2.3.5")}, bytes);
  EXPECT_EQ(parse_exact({bytes, 27}, parse_arp).error(), ArpError::kTooShort);
  bytes[7] = 8;
  EXPECT_EQ(parse_arp(bytes).error(), ArpError::kUnknownOperation);
  bytes[5] = 16;
  EXPECT_EQ(parse_arp(bytes).error(), ArpError::kNotEthernetIpv4);
}

TEST(Ipv4, ParseOfEmitIsTheHeader) {
  Random random(3);
  for (int i = 0; i < 1000; ++i) {
    Ipv4Header h;
    h.tos = static_cast<uint8_t>(random.next());
    h.total_bytes = static_cast<uint16_t>(20 + random.below(65'516));
    h.identification = static_cast<uint16_t>(random.next());
    h.dont_fragment = random.below(2);
    h.more_fragments = random.below(2);
    h.fragment_offset = static_cast<uint16_t>(random.below(8192) * 8);
    h.ttl = static_cast<uint8_t>(random.next());
    h.protocol = static_cast<IpProtocol>(random.below(256));
    h.source = random_address(random, true);
    h.destination = random_address(random, true);
    uint8_t bytes[kIpv4Bytes];
    emit_ipv4(h, bytes);
    EXPECT_TRUE(verify_ipv4_checksum(bytes, kIpv4Bytes));
    const auto parsed = parse_exact(bytes, [](ByteView b) { return parse_ipv4(b, 65'535); });
    ASSERT_TRUE(parsed);
    h.checksum = parsed->checksum;
    EXPECT_EQ(*parsed, h);
    EXPECT_EQ(parsed->is_fragment(), h.more_fragments || h.fragment_offset != 0);
  }
}

TEST(Ipv4, OptionsAreWalkedInsideTheHeaderOnly) {
  Random random(4);
  int good = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto packet = testkit::PacketBuilder().ipv4("10.0.0.1", "10.0.0.2");
    std::vector<uint8_t> options(4 + random.below(36));
    for (uint8_t& b : options) b = static_cast<uint8_t>(random.below(2) ? random.below(5) : random.next());
    const auto bytes = packet.ipv4_options(options).bytes();
    const auto parsed = parse_exact(bytes, [&](ByteView b) { return parse_ipv4(b, static_cast<uint32_t>(b.size())); });
    if (!parsed) {
      EXPECT_EQ(parsed.error(), Ipv4Error::kBadOption);
      continue;
    }
    ++good;
    EXPECT_EQ(parsed->header_bytes, bytes.size());
  }
  EXPECT_GT(good, 1000);
  EXPECT_LT(good, 19'000);
}

TEST(Ipv6, ParseOfEmitIsTheHeader) {
  Random random(5);
  for (int i = 0; i < 1000; ++i) {
    Ipv6Header h;
    h.traffic_class = static_cast<uint8_t>(random.next());
    h.flow_label = static_cast<uint32_t>(random.below(1 << 20));
    h.payload_bytes = static_cast<uint16_t>(1 + random.below(65'535));
    h.next_header = static_cast<IpProtocol>(random.below(256));
    h.hop_limit = static_cast<uint8_t>(random.next());
    h.source = random_address(random, false);
    h.destination = random_address(random, false);
    uint8_t bytes[kIpv6Bytes];
    emit_ipv6(h, bytes);
    const auto parsed = parse_exact(bytes, [](ByteView b) { return parse_ipv6(b, 70'000); });
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*parsed, h);
    EXPECT_EQ(parse_ipv6(bytes, kIpv6Bytes + h.payload_bytes - 1u).error(), Ipv6Error::kBadLength);
  }
}

TEST(Ipv6, AnyChainIsWalkedInsideThePacketAndEnds) {
  Random random(6);
  int good = 0, fragments = 0;
  const uint8_t kinds[] = {0, 43, 44, 60, 6, 17, 59};
  for (int i = 0; i < 50'000; ++i) {
    std::vector<uint8_t> bytes(kIpv6Bytes + random.below(120));
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.below(3) ? random.below(3) : random.next());
    Ipv6Header h;
    h.payload_bytes = static_cast<uint16_t>(bytes.size() - kIpv6Bytes);
    h.next_header = static_cast<IpProtocol>(kinds[random.below(std::size(kinds))]);
    for (size_t at = kIpv6Bytes; at < bytes.size(); at += 8) bytes[at] = kinds[random.below(std::size(kinds))];
    const auto chain = parse_exact(bytes, [&](ByteView b) { return walk_ipv6_chain(b, h); });
    if (!chain) {
      EXPECT_LT(chain.error().pointer, kIpv6Bytes + kExtensionBytesMax + 8);
      continue;
    }
    ++good;
    fragments += chain->fragment;
    EXPECT_LE(chain->header_bytes, bytes.size());
    EXPECT_EQ((chain->header_bytes - kIpv6Bytes) % 8, 0);
    // The field that names the transport lies before it.
    EXPECT_LT(chain->protocol_offset, chain->header_bytes);
  }
  EXPECT_GT(good, 1000);
  EXPECT_GT(fragments, 100);
}

TEST(NeighbourDiscovery, ParseOfEmitIsTheMessage) {
  Random random(7);
  for (int i = 0; i < 1000; ++i) {
    const auto link = random.below(2) ? std::optional(random_mac(random)) : std::nullopt;
    const IpAddress target = random_address(random, false);
    const bool a = random.below(2), b = random.below(2), c = random.below(2);
    for (const NeighbourMessage& m : {NeighbourMessage(NeighbourSolicitation{target, link}),
                                      NeighbourMessage(NeighbourAdvertisement{a, b, c, target, link}),
                                      NeighbourMessage(RouterSolicitation{link})}) {
      uint8_t bytes[kNeighbourMessageBytesMax];
      const uint16_t n = emit_neighbour_message(m, bytes);
      const auto parsed = parse_exact({bytes, n}, parse_neighbour_message);
      ASSERT_TRUE(parsed);
      EXPECT_EQ(*parsed, m);
      for (size_t cut = 0; cut < n; ++cut) {
        // Cut between fixed part and option it is a message still.
        const bool whole = link && cut == static_cast<size_t>(n - 8);
        EXPECT_EQ(parse_exact({bytes, cut}, parse_neighbour_message).ok(), whole) << cut;
      }
    }
  }
}

TEST(NeighbourDiscovery, AnyBytesAreEitherParsedOrRefused) {
  Random random(8);
  int good = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::vector<uint8_t> bytes(8 + random.below(60));
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.below(3));
    bytes[0] = static_cast<uint8_t>(133 + random.below(5));
    bytes[1] = 0;
    good += parse_exact(bytes, parse_neighbour_message).ok();
  }
  EXPECT_GT(good, 100);
}

TEST(NeighbourDiscovery, GroupsOfAnAddress) {
  EXPECT_EQ(solicited_node_group(ip("fd00::12:3456")), ip("ff02::1:ff12:3456"));
  EXPECT_EQ(all_nodes_group(), ip("ff02::1"));
}

TEST(Icmp, ParseOfEmitIsTheHeader) {
  uint8_t bytes[kIcmpBytes];
  const IcmpHeader h{3, 4, 0xabcd, 0x01020304};
  emit_icmp(h, bytes);
  EXPECT_EQ(parse_icmp(bytes), h);
  EXPECT_FALSE(parse_icmp({bytes, 7}));
  EXPECT_TRUE(icmp::is_error(3) && icmp::is_error(5) && icmp::is_error(12));
  EXPECT_FALSE(icmp::is_error(0) || icmp::is_error(8) || icmp::is_error(13));
  EXPECT_TRUE(icmpv6::is_error(127));
  EXPECT_FALSE(icmpv6::is_error(128));
}

TEST(Udp, LengthMustFit) {
  uint8_t bytes[kUdpBytes];
  const UdpHeader h{1, 2, 20, 0x1234};
  emit_udp(h, bytes);
  EXPECT_EQ(parse_udp(bytes, 20), h);
  EXPECT_FALSE(parse_udp(bytes, 19));
  EXPECT_FALSE(parse_udp({bytes, 7}, 20));
  store_be16(bytes + 4, 7);
  EXPECT_FALSE(parse_udp(bytes, 20));
}

// What a builder makes, the parsers take apart: the builder is what the other rooms' tests stand on.
TEST(PacketBuilder, MakesPacketsWhoseChecksumsAreRight) {
  for (const bool v6 : {false, true}) {
    testkit::PacketBuilder b;
    v6 ? b.ipv6("fd00::1", "fd00::2") : b.ipv4("10.0.0.1", "10.0.0.2");
    const auto bytes = b.udp(7, 8).payload(testkit::pattern(33)).bytes();
    const size_t header = v6 ? 40 : 20;
    ChecksumSum sum;
    sum.add_pseudo_header(ip(v6 ? "fd00::1" : "10.0.0.1"), ip(v6 ? "fd00::2" : "10.0.0.2"), 17,
                          static_cast<uint32_t>(bytes.size() - header));
    sum.add(ByteView(bytes).subspan(header));
    EXPECT_EQ(sum.checksum(), 0);
    if (!v6) {
      EXPECT_TRUE(verify_ipv4_checksum(bytes, 20));
    }
  }
}

}  // namespace
}  // namespace culvert::wire
