// Whom a link answers, whom it believes, and which frames it takes.
#include "tests/unit/eth/link_fixture.h"

namespace culvert::eth {
namespace {

using Operation = wire::ArpMessage::Operation;

class LinkTest : public LinkFixture {};

// --- frames ----------------------------------------------------------------------------------------------------------

TEST_F(LinkTest, PassesIpPacketsUpWithoutTheirEthernetHeader) {
  make();
  const auto v4 = PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").udp(1, 2).payload("x");
  auto frame = v4;
  auto got = receives(frame.eth(kOurs, kPod));
  EXPECT_EQ(got.kind, ReceivedKind::kIpv4);
  EXPECT_FALSE(got.link_multicast);
  EXPECT_EQ(testkit::bytes_of_packet(got.packet), v4.bytes());

  const auto v6 = PacketBuilder().ipv6("fd00::2", "fd00::1").udp(1, 2).payload("x");
  frame = v6;
  got = receives_in_pieces(frame.eth(wire::MacAddress::broadcast(), kPod), 1);
  EXPECT_EQ(got.kind, ReceivedKind::kIpv6);
  EXPECT_TRUE(got.link_multicast);
  EXPECT_EQ(testkit::bytes_of_packet(got.packet), v6.bytes());
}

TEST_F(LinkTest, RefusesFramesThatItCannotReadAndSaysWhy) {
  make();
  auto frame = [] { return PacketBuilder().eth(kOurs, kPod).ipv4("10.0.0.2", "10.0.0.1").udp(1, 2); };
  EXPECT_EQ(receives(frame().tweak([](auto& b) { b.resize(13); })).kind, ReceivedKind::kNone);
  EXPECT_EQ(drops(DropReason::kEthTooShort), 1u);
  receives(frame().eth_type(0x8100).tweak([](auto& b) { b.resize(15); }));
  EXPECT_EQ(drops(DropReason::kEthTooShort), 2u);
  receives(frame().eth_type(46));
  receives(frame().eth_type(0x88a8));
  EXPECT_EQ(drops(DropReason::kEthUnsupportedFraming), 2u);
  receives(frame().eth_type(0x88cc));
  EXPECT_EQ(drops(DropReason::kEthUnknownType), 1u);
  receives(frame().eth(kOther, kPod));
  EXPECT_EQ(drops(DropReason::kEthNotForUs), 1u);
  receives(frame().eth(kOurs, kOurs));
  receives(frame().eth(kOurs, mac("00:00:00:00:00:00")));
  receives(frame().eth(kOurs, mac("03:00:00:00:00:02")));
  EXPECT_EQ(drops(DropReason::kEthSourceMacInvalid), 3u);
}

TEST_F(LinkTest, SpeaksItsOwnVlanOnly) {
  config.vlan = 7;
  make();
  EXPECT_EQ(receives(PacketBuilder().eth(kOurs, kPod, 7).ipv4("10.0.0.2", "10.0.0.1").udp(1, 2)).kind,
            ReceivedKind::kIpv4);
  receives(PacketBuilder().eth(kOurs, kPod, 8).ipv4("10.0.0.2", "10.0.0.1").udp(1, 2));
  receives(PacketBuilder().eth(kOurs, kPod).ipv4("10.0.0.2", "10.0.0.1").udp(1, 2));
  EXPECT_EQ(drops(DropReason::kEthVlanForeign), 2u);
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.1").eth(wire::MacAddress::broadcast(), kPod, 7));
  expect_sent(arp_reply(kPod, kOurs, "10.0.0.1", "10.0.0.2").eth(kPod, kOurs, 7));
}

TEST_F(LinkTest, BoundToAMacAddressItHearsNoOther) {
  config.peer_mac = kPod;
  make();
  EXPECT_EQ(receives(PacketBuilder().eth(kOurs, kPod).ipv4("10.0.0.2", "10.0.0.1").udp(1, 2)).kind,
            ReceivedKind::kIpv4);
  receives(PacketBuilder().eth(kOurs, kOther).ipv4("10.0.0.2", "10.0.0.1").udp(1, 2));
  // The frame is the pod's, what it says inside is not.
  receives(PacketBuilder().eth(kOurs, kPod).arp({Operation::kRequest, kOther, ip("10.0.0.2"), {}, ip("10.0.0.1")}));
  receives(solicitation(kOther, "fd00::2", "fd00::1").eth(kOurs, kPod));
  receives(advertisement(kOurs, kOther, "fd00::2", "fd00::1", false, true, true).eth(kOurs, kPod));
  EXPECT_EQ(drops(DropReason::kEthSourceMacForeign), 4u);
  expect_nothing_sent();
}

// --- answers ---------------------------------------------------------------------------------------------------------

TEST_F(LinkTest, AnswersArpForTheGatewayAndLearnsWhoAsked) {
  make();
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.1"));
  expect_sent(arp_reply(kPod, kOurs, "10.0.0.1", "10.0.0.2"));
  expect_nothing_sent();
  EXPECT_EQ(count(Counter::kEthSolicitationAnswered), 1u);
  const auto pod = link->find(ip("10.0.0.2"), now);
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->mac, kPod);
  EXPECT_EQ(pod->state, NeighbourState::kStale);
}

TEST_F(LinkTest, AnswersNeighbourSolicitationsForTheGateway) {
  make();
  receives_in_pieces(solicitation(kPod, "fd00::2", "fd00::1"), 7);
  expect_sent(advertisement(kPod, kOurs, "fd00::1", "fd00::2", true, true, true));
  EXPECT_EQ(link->find(ip("fd00::2"), now)->mac, kPod);
  // From a link-local address, which a kernel prefers: always an allowed neighbour.
  receives(solicitation(kPod, "fe80::2", "fd00::1"));
  expect_sent(advertisement(kPod, kOurs, "fd00::1", "fe80::2", true, true, true));
  // For the link-local address that our MAC gives us.
  receives(solicitation(kPod, "fd00::2", "fe80::ff:fe00:1"));
  expect_sent(advertisement(kPod, kOurs, "fe80::ff:fe00:1", "fd00::2", true, true, true));
}

TEST_F(LinkTest, AnswersAProbeForAnOwnAddressToAllNodes) {
  make();
  // RFC 4862 5.4: somebody wants our address.
  const IpAddress group = wire::solicited_node_group(ip("fd00::1"));
  receives(PacketBuilder()
               .eth(wire::MacAddress::multicast_for(group), kPod)
               .ipv6("::", group.to_string())
               .neighbour(wire::NeighbourSolicitation{ip("fd00::1"), std::nullopt}));
  expect_sent(advertisement(mac("33:33:00:00:00:01"), kOurs, "fd00::1", "ff02::1", true, false, true));
  receives(arp_request(kPod, "0.0.0.0", "10.0.0.1"));
  expect_sent(arp_reply(kPod, kOurs, "10.0.0.1", "0.0.0.0"));
  EXPECT_TRUE(link->neighbours(now).empty());
}

TEST_F(LinkTest, AnswersForAddressesBehindTheNode) {
  config.neighbours = {*Prefix::parse("0.0.0.0/0"), *Prefix::parse("::/0")};
  make();
  link->add_proxied(ip("10.0.0.77"));
  link->add_proxied(ip("fd00::77"));
  receives(arp_request(kOther, "10.0.0.9", "10.0.0.77"));
  expect_sent(arp_reply(kOther, kOurs, "10.0.0.77", "10.0.0.9"));
  receives(solicitation(kOther, "fd00::9", "fd00::77"));
  // RFC 4861 7.2.8: a proxy does not override, and is no router for what it stands in for.
  expect_sent(advertisement(kOther, kOurs, "fd00::77", "fd00::9", false, true, false));
  EXPECT_EQ(count(Counter::kEthProxyAnswered), 2u);

  link->remove_proxied(ip("10.0.0.77"));
  link->remove_proxied(ip("fd00::77"));
  receives(arp_request(kOther, "10.0.0.9", "10.0.0.77"));
  receives(solicitation(kOther, "fd00::9", "fd00::77"));
  expect_nothing_sent();
  EXPECT_EQ(count(Counter::kEthSolicitationIgnored), 2u);
}

TEST_F(LinkTest, AnswersForTheRestOfAPodsSubnetButNeverForThePod) {
  config.proxied = {*Prefix::parse("10.0.0.0/24"), *Prefix::parse("fd00::/64")};
  make();
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.99"));
  expect_sent(arp_reply(kPod, kOurs, "10.0.0.99", "10.0.0.2"));
  receives(arp_request(kPod, "0.0.0.0", "10.0.0.2"));   // is my address taken?
  receives(arp_request(kPod, "0.0.0.0", "10.0.0.50"));  // a probe is never answered for a block
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.2"));  // gratuitous
  receives(arp_request(kPod, "10.0.0.2", "10.7.0.1"));  // another subnet
  const IpAddress group = wire::solicited_node_group(ip("fd00::50"));
  receives(PacketBuilder()
               .eth(wire::MacAddress::multicast_for(group), kPod)
               .ipv6("::", group.to_string())
               .neighbour(wire::NeighbourSolicitation{ip("fd00::50"), std::nullopt}));
  expect_nothing_sent();
}

TEST_F(LinkTest, AnnouncesAddresses) {
  make();
  link->announce(ip("10.0.0.1"), now);
  link->announce(ip("fd00::1"), now);
  link->add_proxied(ip("fd00::77"));
  link->announce(ip("fd00::77"), now);
  collect();
  expect_sent(arp_request(kOurs, "10.0.0.1", "10.0.0.1"));
  expect_sent(advertisement(mac("33:33:00:00:00:01"), kOurs, "fd00::1", "ff02::1", true, false, true));
  expect_sent(advertisement(mac("33:33:00:00:00:01"), kOurs, "fd00::77", "ff02::1", false, false, false));
  EXPECT_EQ(count(Counter::kEthAddressAnnounced), 3u);
}

// --- whom we believe -------------------------------------------------------------------------------------------------

TEST_F(LinkTest, DoesNotLearnAddressesThatAreNotAllowedOnTheLink) {
  make();
  receives(arp_request(kPod, "10.0.0.3", "10.0.0.1"));
  receives(arp_request(kPod, "224.0.0.1", "10.0.0.1"));
  receives(solicitation(kPod, "fd00::3", "fd00::1"));
  receives(advertisement(kOurs, kPod, "fd00::3", "fd00::1", false, true, true));
  EXPECT_EQ(drops(DropReason::kEthNeighbourNotAllowed), 4u);
  EXPECT_TRUE(link->neighbours(now).empty());
  expect_nothing_sent();
}

TEST_F(LinkTest, DefendsItsAddressOnceInTenSeconds) {
  make();
  receives(arp_request(kOther, "10.0.0.1", "10.0.0.1"));
  expect_sent(arp_request(kOurs, "10.0.0.1", "10.0.0.1"));
  receives(arp_request(kOther, "10.0.0.1", "10.0.0.1"));
  expect_nothing_sent();
  advance(10s);
  receives(advertisement(kOurs, kOther, "fd00::1", "fd00::9", false, false, true));
  expect_sent(advertisement(mac("33:33:00:00:00:01"), kOurs, "fd00::1", "ff02::1", true, false, true));
  EXPECT_EQ(drops(DropReason::kEthAddressConflict), 3u);
}

TEST_F(LinkTest, AnotherPodsAddressIsAConflictOnTheUplink) {
  config.neighbours = {*Prefix::parse("0.0.0.0/0")};
  make();
  link->add_proxied(ip("10.0.0.77"));
  receives(arp_reply(kOurs, kOther, "10.0.0.77", "10.0.0.1"));
  EXPECT_EQ(drops(DropReason::kEthAddressConflict), 1u);
  EXPECT_FALSE(link->find(ip("10.0.0.77"), now));
}

TEST_F(LinkTest, MalformedArpIsRefused) {
  make();
  const auto good = arp_request(kPod, "10.0.0.2", "10.0.0.1");
  auto damaged = [&](size_t at, uint8_t value) {
    auto b = good;
    receives(b.tweak([=](auto& bytes) { bytes[14 + at] = value; }));
  };
  damaged(1, 6);     // hardware type
  damaged(2, 0x86);  // protocol type
  damaged(4, 8);     // hardware address length
  damaged(5, 16);    // protocol address length
  damaged(7, 3);     // operation
  damaged(8, 0x03);  // sender MAC is a group
  auto shorter = good;
  receives(shorter.tweak([](auto& b) { b.resize(14 + 27); }));
  EXPECT_EQ(drops(DropReason::kEthArpMalformed), 7u);
  auto padded = good;
  receives(padded.padding(18));  // a minimal Ethernet frame
  expect_sent(arp_reply(kPod, kOurs, "10.0.0.1", "10.0.0.2"));
}

TEST_F(LinkTest, NeighbourDiscoveryIsCheckedAsItsStandardSays) {
  make();
  const auto good = solicitation(kPod, "fd00::2", "fd00::1");
  auto variant = [&](const std::function<void(PacketBuilder&)>& change) {
    auto b = good;
    change(b);
    receives(b);
  };
  // RFC 4861 7.1.1: a router must not have forwarded it.
  variant([](auto& b) { b.ipv6_header([](auto& h) { h.hop_limit = 254; }); });
  EXPECT_EQ(drops(DropReason::kEthNdHopLimit), 1u);
  variant([](auto& b) { b.break_transport_checksum(); });
  EXPECT_EQ(drops(DropReason::kEthNdChecksumBad), 1u);

  auto body = [&](std::vector<uint8_t> payload, uint8_t code = 0) {
    receives(PacketBuilder()
                 .eth(kOurs, kPod)
                 .ipv6("fd00::2", "fd00::1", 255)
                 .icmp(wire::icmpv6::kNeighbourSolicitation, code)
                 .payload(std::move(payload)));
  };
  const IpAddress gateway = ip("fd00::1");
  const std::vector<uint8_t> target(gateway.bytes().begin(), gateway.bytes().end());
  auto with = [&](std::vector<uint8_t> option) {
    auto all = target;
    all.insert(all.end(), option.begin(), option.end());
    return all;
  };
  body(target, 1);                           // code
  body({target.begin(), target.end() - 1});  // cut short
  body(with({1, 0, 0, 0, 0, 0, 0, 0}));      // option of length zero
  body(with({1, 2, 0, 0, 0, 0, 0, 0}));      // option past the end
  body(with({1, 1, 3, 0, 0, 0, 0, 2}));      // source link address is a group
  body(std::vector<uint8_t>(16, 0xff));      // target is a group
  body(std::vector<uint8_t>(1200));          // far too long
  // A probe names no link-layer address, and goes to the group.
  variant([](auto& b) {
    b.ipv6_header([](auto& h) { h.source = IpAddress(); }).tweak([](auto& f) {
      // The checksum covers the source address: 0xfd00 + 0x0002 left it.
      const uint32_t sum = load_be16(&f[56]) + 0xfd00u + 0x0002u;
      store_be16(&f[56], static_cast<uint16_t>((sum & 0xffff) + (sum >> 16)));
    });
  });
  // A solicited answer does not go to a group.
  receives(advertisement(mac("33:33:00:00:00:01"), kPod, "fd00::2", "ff02::1", false, true, true));
  EXPECT_EQ(drops(DropReason::kEthNdMalformed), 9u);
  EXPECT_EQ(drops(DropReason::kEthNdChecksumBad), 1u);
  expect_nothing_sent();

  // Unknown options are skipped.
  body(with({14, 1, 1, 2, 3, 4, 5, 6}));
  expect_sent(advertisement(kPod, kOurs, "fd00::1", "fd00::2", true, true, true));
}

TEST_F(LinkTest, RouterDiscoveryAndRedirectsAreNotFollowed) {
  make();
  receives(PacketBuilder()
               .eth(mac("33:33:00:00:00:02"), kPod)
               .ipv6("fe80::2", "ff02::2")
               .neighbour(wire::RouterSolicitation{kPod}));
  for (const uint8_t type : {wire::icmpv6::kRouterAdvertisement, wire::icmpv6::kRedirect}) {
    receives(
        PacketBuilder().eth(kOurs, kPod).ipv6("fe80::2", "fd00::1", 255).icmp(type).payload(std::vector<uint8_t>(32)));
  }
  EXPECT_EQ(drops(DropReason::kEthNdUnsupported), 3u);
}

TEST_F(LinkTest, NeighbourDiscoveryWithABrokenIpHeaderIsLeftToIp) {
  make();
  auto frame = solicitation(kPod, "fd00::2", "fd00::1");
  EXPECT_EQ(receives(frame.tweak([](auto& b) { b[14] = 0x50; })).kind, ReceivedKind::kIpv6);
}

TEST_F(LinkTest, WithoutBuffersAnswersAreLostAndCounted) {
  make();
  pool->fail_take(2);  // the first is the frame itself
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.1"));
  EXPECT_EQ(drops(DropReason::kEthNoBuffer), 1u);
  EXPECT_EQ(count(Counter::kEthSolicitationAnswered), 0u);
  // Scattered frames need a buffer to be read.
  for (const auto& frame : {arp_request(kPod, "10.0.0.2", "10.0.0.1"), solicitation(kPod, "fd00::2", "fd00::1")}) {
    for (size_t take = 1;; ++take) {
      const uint64_t before = drops(DropReason::kEthNoBuffer);
      Packet scattered = frame.packet(*pool, 5);
      pool->fail_take(take);
      link->receive(std::move(scattered), now);
      const bool failed = drops(DropReason::kEthNoBuffer) > before;
      pool->fail_take(0);
      collect();
      if (!failed) break;
      ASSERT_LT(take, 10u);
    }
  }
}

TEST_F(LinkTest, OutputIsBounded) {
  config.limits.output_max = 2;
  make();
  for (int i = 0; i < 3; ++i) link->receive(arp_request(kPod, "10.0.0.2", "10.0.0.1").packet(*pool), now);
  EXPECT_EQ(drops(DropReason::kEthOutputFull), 1u);
  EXPECT_TRUE(link->has_output());
  collect();
  EXPECT_EQ(out.size(), 2u);
  EXPECT_FALSE(link->has_output());
}

TEST_F(LinkTest, GroupsNeedNoResolution) {
  make();
  EXPECT_EQ(sends("ff02::5"), Encapsulated::kReady);
  EXPECT_EQ(sent(), PacketBuilder()
                        .eth(mac("33:33:00:00:00:05"), kOurs)
                        .ipv6("fd99::9", "ff02::5")
                        .udp(1, 2)
                        .payload("payload")
                        .bytes());
  EXPECT_EQ(sends("224.129.2.3"), Encapsulated::kReady);
  EXPECT_EQ(sent(), PacketBuilder()
                        .eth(mac("01:00:5e:01:02:03"), kOurs)
                        .ipv4("10.9.9.9", "224.129.2.3")
                        .udp(1, 2)
                        .payload("payload")
                        .bytes());
  EXPECT_EQ(sends("255.255.255.255"), Encapsulated::kReady);
  EXPECT_EQ(sent()[0], 0xff);
}

TEST_F(LinkTest, PacketWithoutHeadroomIsDropped) {
  make();
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.1"));
  Packet packet = ip_packet("10.0.0.2");
  ASSERT_TRUE(packet.prepend(packet.headroom()));
  EXPECT_EQ(link->encapsulate(packet, ip("10.0.0.2"), now), Encapsulated::kDropped);
  EXPECT_FALSE(packet);
  EXPECT_EQ(drops(DropReason::kEthNoHeadroom), 1u);
}

}  // namespace
}  // namespace culvert::eth
