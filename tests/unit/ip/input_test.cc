// Which packets pass, and under which reason the others are dropped.
#include "ip/input.h"

#include "tests/unit/ip/ip_fixture.h"

namespace culvert::ip {
namespace {

using wire::IpProtocol;

class InputTest : public IpFixture {};

TEST_F(InputTest, TcpToAnyDestinationIsForTcp) {
  for (const bool v6 : {false, true}) {
    Verdict v = receives(v6 ? tcp6() : tcp4());
    ASSERT_EQ(v.kind, VerdictKind::kTcp);
    EXPECT_EQ(v.datagram.source, addr(v6 ? "fd00::2" : "10.0.0.2"));
    EXPECT_EQ(v.datagram.destination, addr(v6 ? "fd99::9" : "10.0.9.9"));
    EXPECT_EQ(v.datagram.protocol, IpProtocol::kTcp);
    EXPECT_EQ(v.datagram.transport_bytes, 24u + 4u);
    v.drop_header();
    const auto tcp = wire::parse_tcp(v.packet.front());
    ASSERT_TRUE(tcp);
    EXPECT_EQ(tcp->header.destination_port, 80);
    EXPECT_EQ(v.packet.bytes(), 28u);
  }
  EXPECT_EQ(counters.value(Counter::kIpTcpReceived), 2u);
  EXPECT_EQ(counters.value(Counter::kIpChecksumVerifiedSoftware), 2u);
}

TEST_F(InputTest, NothingDependsOnWhereBuffersEnd) {
  for (const size_t piece : {1, 2, 3, 7, 20, 33, 41, 60}) {
    for (const bool v6 : {false, true}) {
      auto packet = v6 ? tcp6() : tcp4();
      if (v6) packet.extension(IpProtocol::kDestinationOptions, {0, 1, 4, 0, 0, 0, 0});
      packet.payload(testkit::pattern(300)).padding(5);
      Verdict v = input.classify(kPod, packet.packet(*pool, piece), false, now);
      ASSERT_EQ(v.kind, VerdictKind::kTcp) << "piece " << piece << ": " << text_of(v.reason);
      v.drop_header();
      EXPECT_GE(v.packet.front().size(), 60u);
      auto transport = testkit::bytes_of_packet(v.packet);
      ASSERT_EQ(transport.size(), 24u + 300u);
      transport.erase(transport.begin(), transport.begin() + 24);
      EXPECT_EQ(transport, testkit::pattern(300));
    }
  }
}

TEST_F(InputTest, LinkPaddingIsCutOff) {
  auto padded = tcp4("x");
  const Verdict v = receives(padded.padding(30));
  ASSERT_EQ(v.kind, VerdictKind::kTcp);
  EXPECT_EQ(v.packet.bytes(), 20u + 24u + 1u);
}

TEST_F(InputTest, SixtyFourKilobytesInManyBuffers) {
  wire::TcpHeader ack;
  ack.ack = true;
  const auto packet = PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").tcp(ack).payload(testkit::pattern(65'495));
  Verdict v = input.classify(kPod, packet.packet(*pool, 9'001), false, now);
  ASSERT_EQ(v.kind, VerdictKind::kTcp) << text_of(v.reason);
  EXPECT_EQ(v.packet.bytes(), 65'535u);
}

TEST_F(InputTest, BrokenIpv4HeadersAreRefused) {
  auto with = [](auto change) {
    auto b = tcp4();
    b.tweak(change);
    return b;
  };
  expect_drop(with([](auto& b) { b.resize(19); }), DropReason::kIpTooShort);
  expect_drop(with([](auto& b) { b.clear(); }), DropReason::kIpTooShort);
  expect_drop(with([](auto& b) { b[0] = 0x55; }), DropReason::kIpBadVersion);
  expect_drop(with([](auto& b) { b[0] = 0x44; }), DropReason::kIpBadLength);            // header of 16 bytes
  expect_drop(with([](auto& b) { store_be16(&b[2], 19); }), DropReason::kIpBadLength);  // less than the header
  expect_drop(with([](auto& b) { b.pop_back(); }), DropReason::kIpBadLength);           // longer than the frame
  expect_drop(tcp4().break_ip_checksum(), DropReason::kIpHeaderChecksumBad);
  expect_drop(tcp4().ipv4_options({148, 1}), DropReason::kIpBadOption);
  expect_drop(tcp4().ipv4_options({148, 9, 0, 0}), DropReason::kIpBadOption);
  expect_drop(tcp4().ipv4_options({1, 1, 1, 148}), DropReason::kIpBadOption);
  expect_drop(tcp4().ipv4_options({131, 3, 4}), DropReason::kIpSourceRouted);
  expect_drop(tcp4().ipv4_options({137, 3, 4}), DropReason::kIpSourceRouted);
  // Options that are well formed are passed over.
  EXPECT_EQ(receives(tcp4().ipv4_options({148, 4, 0, 0, 1, 1, 0, 99})).kind, VerdictKind::kTcp);
}

TEST_F(InputTest, ChecksumThatTheDeviceVerifiedIsBelieved) {
  Packet packet = tcp4().break_ip_checksum().break_transport_checksum().packet(*pool);
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  EXPECT_EQ(input.classify(kPod, std::move(packet), false, now).kind, VerdictKind::kTcp);
  packet = tcp4().partial_checksum().packet(*pool);
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  EXPECT_EQ(input.classify(kPod, std::move(packet), false, now).kind, VerdictKind::kTcp);
  EXPECT_EQ(counters.value(Counter::kIpChecksumVerifiedHardware), 2u);
  packet = tcp4().packet(*pool);
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_BAD;
  EXPECT_EQ(input.classify(kPod, std::move(packet), false, now).reason, DropReason::kIpTransportChecksumBad);
}

TEST_F(InputTest, BadTcpIsRefused) {
  expect_drop(tcp4().break_transport_checksum(), DropReason::kIpTransportChecksumBad);
  expect_drop(tcp6().break_transport_checksum(), DropReason::kIpTransportChecksumBad);
  expect_drop(PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").protocol(6).payload(std::vector<uint8_t>(19)),
              DropReason::kIpTransportTooShort);
}

TEST_F(InputTest, BrokenIpv6HeadersAreRefused) {
  auto with = [](auto change) {
    auto b = tcp6();
    b.tweak(change);
    return b;
  };
  expect_drop(with([](auto& b) { b.resize(39); }), DropReason::kIpTooShort);
  expect_drop(with([](auto& b) { b.pop_back(); }), DropReason::kIpBadLength);
  expect_drop(PacketBuilder().ipv6("fd00::2", "fd99::9").extension(IpProtocol::kHopByHop, {0}).ipv6_header([](auto& h) {
    h.payload_bytes = 0;  // a jumbogram
  }),
              DropReason::kIpBadLength);
  // An IPv4-mapped address would be taken for IPv4 inside.
  expect_drop(with([](auto& b) {
                std::fill(b.begin() + 8, b.begin() + 18, 0);
                b[18] = b[19] = 0xff;
              }),
              DropReason::kIpSourceMartian);
}

TEST_F(InputTest, ExtensionHeadersAreWalkedWithinLimits) {
  const std::vector<uint8_t> padding = {0, 1, 4, 0, 0, 0, 0};
  auto chain = tcp6();
  chain
      .extension(IpProtocol::kHopByHop, {0, 5, 2, 0, 0, 1, 0})  // router alert
      .extension(IpProtocol::kDestinationOptions, padding)
      .extension(IpProtocol::kRouting, {0, 4, 0, 0, 0, 0, 0});  // no segments left
  const Verdict v = receives(chain);
  ASSERT_EQ(v.kind, VerdictKind::kTcp) << text_of(v.reason);
  EXPECT_EQ(v.datagram.header_bytes, 64);

  auto many = tcp6();
  for (int i = 0; i < 8; ++i) many.extension(IpProtocol::kDestinationOptions, padding);
  EXPECT_EQ(receives(many).kind, VerdictKind::kTcp);
  many.extension(IpProtocol::kDestinationOptions, padding);
  expect_drop(many, DropReason::kIpExtensionHeaderBad);

  auto bad = [&](IpProtocol kind, std::vector<uint8_t> body) {
    auto b = tcp6();
    b.extension(kind, std::move(body));
    expect_drop(b, DropReason::kIpExtensionHeaderBad);
  };
  bad(IpProtocol::kRouting, {0, 0, 1, 0, 0, 0, 0});                // RFC 5095
  bad(IpProtocol::kDestinationOptions, {9, 1, 4, 0, 0, 0, 0});     // length past the end
  bad(IpProtocol::kDestinationOptions, {0, 1, 9, 0, 0, 0, 0});     // option past its header
  bad(IpProtocol::kDestinationOptions, {0, 0x40, 4, 0, 0, 0, 0});  // "discard the packet"
  auto late = tcp6();
  late.extension(IpProtocol::kDestinationOptions, padding).extension(IpProtocol::kHopByHop, padding);
  expect_drop(late, DropReason::kIpExtensionHeaderBad);
  auto options = tcp6();  // nine options of two bytes in one header
  options.extension(IpProtocol::kDestinationOptions,
                    {2, 30, 0, 30, 0, 30, 0, 30, 0, 30, 0, 30, 0, 30, 0, 30, 0, 30, 0});
  expect_drop(options, DropReason::kIpExtensionHeaderBad);
}

TEST_F(InputTest, FragmentsAreDroppedAndAtomicOnesAreWhole) {
  expect_drop(tcp4().ipv4_header([](auto& h) { h.more_fragments = true; }), DropReason::kIpFragment);
  expect_drop(tcp4().ipv4_header([](auto& h) { h.fragment_offset = 8; }), DropReason::kIpFragment);
  auto fragment = [](uint16_t offset_and_flag) {
    auto b = tcp6();
    b.extension(IpProtocol::kFragment,
                {0, static_cast<uint8_t>(offset_and_flag >> 8), static_cast<uint8_t>(offset_and_flag), 1, 2, 3, 4});
    return b;
  };
  expect_drop(fragment(1), DropReason::kIpFragment);
  expect_drop(fragment(8), DropReason::kIpFragment);
  EXPECT_EQ(receives(fragment(0)).kind, VerdictKind::kTcp);
}

TEST_F(InputTest, MartiansAreRefused) {
  auto from = [](std::string_view source) {
    PacketBuilder b;
    testkit::ip(source).is_v4() ? b.ipv4(source, "10.0.9.9") : b.ipv6(source, "fd99::9");
    return b.tcp(syn());
  };
  for (const char* source : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "10.0.0.1",
                             "10.0.0.255", "10.0.0.0", "::", "::1", "ff02::1", "fd00::1"}) {
    SCOPED_TRACE(source);
    expect_drop(from(source), DropReason::kIpSourceMartian);
  }
  auto to = [](std::string_view destination) {
    PacketBuilder b;
    testkit::ip(destination).is_v4() ? b.ipv4("10.0.0.2", destination) : b.ipv6("fd00::2", destination);
    return b.tcp(syn());
  };
  for (const char* destination : {"0.0.0.0", "0.9.9.9", "127.0.0.1", "::", "::1"}) {
    SCOPED_TRACE(destination);
    expect_drop(to(destination), DropReason::kIpDestinationMartian);
  }
  for (const char* destination : {"224.0.0.251", "255.255.255.255", "10.0.0.255", "ff02::16"}) {
    SCOPED_TRACE(destination);
    expect_drop(to(destination), DropReason::kIpMulticast);
  }
}

TEST_F(InputTest, SourceThatIsNotTheAttachmentsIsRefused) {
  expect_drop(PacketBuilder().ipv4("10.0.0.3", "10.0.9.9").tcp(syn()), DropReason::kIpSourceForeign);
  expect_drop(PacketBuilder().ipv6("fd00::3", "fd99::9").tcp(syn()), DropReason::kIpSourceForeign);
  expect_drop(PacketBuilder().ipv6("fe80::2", "fd99::9").tcp(syn()), DropReason::kIpSourceForeign);
  // An uplink has no such list.
  input.set_interface(InterfaceId{2}, {});
  EXPECT_EQ(
      input.classify(InterfaceId{2}, PacketBuilder().ipv4("9.9.9.9", "10.0.0.2").tcp(syn()).packet(*pool), false, now)
          .kind,
      VerdictKind::kTcp);
}

TEST_F(InputTest, UnknownInterfaceIsRefused) {
  auto classify = [&](InterfaceId id) { return input.classify(id, tcp4().packet(*pool), false, now); };
  EXPECT_EQ(classify(InterfaceId{0}).reason, DropReason::kIpInterfaceUnknown);
  EXPECT_EQ(classify(kNoInterface).reason, DropReason::kIpInterfaceUnknown);
  input.remove_interface(kPod);
  EXPECT_EQ(classify(kPod).reason, DropReason::kIpInterfaceUnknown);
}

TEST_F(InputTest, OtherProtocolsToOtherAddressesAreForwarded) {
  EXPECT_EQ(receives(PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").udp(5, 53)).kind, VerdictKind::kForward);
  EXPECT_EQ(receives(PacketBuilder().ipv6("fd00::2", "fd99::9").icmp_echo(1, 1)).kind, VerdictKind::kForward);
  const Verdict v = receives(PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").protocol(50).payload("esp"));
  EXPECT_EQ(v.kind, VerdictKind::kForward);
  EXPECT_EQ(v.datagram.transport_bytes, 3u);
  EXPECT_EQ(v.packet.bytes(), 23u);
}

TEST_F(InputTest, CongestionMarkIsSeen) {
  const Verdict v = receives(tcp4().ipv4_header([](auto& h) { h.tos = 3; }));
  EXPECT_TRUE(v.datagram.ecn_ce());
  const Verdict w = receives(tcp6().ipv6_header([](auto& h) { h.traffic_class = 2; }));
  EXPECT_FALSE(w.datagram.ecn_ce());
}

TEST_F(InputTest, NthBufferMissingLosesThePacketAndNothingElse) {
  for (size_t take = 1;; ++take) {
    auto packet = tcp6();
    packet.extension(IpProtocol::kDestinationOptions, {0, 1, 4, 0, 0, 0, 0}).payload(testkit::pattern(100));
    Packet pieces = packet.packet(*pool, 10);
    pool->fail_take(take);
    const Verdict v = input.classify(kPod, std::move(pieces), false, now);
    pool->fail_take(0);
    if (v.kind == VerdictKind::kTcp) break;
    EXPECT_EQ(v.reason, DropReason::kIpNoBuffer);
    ASSERT_LT(take, 10u);
  }
  EXPECT_GT(counters.value(DropReason::kIpNoBuffer), 0u);
}

// Any damage to any byte ends in a verdict; what still passes as TCP was not damaged where the checksums look.
TEST_F(InputTest, DamagedPacketsNeverPassAsTcp) {
  Random random(3);
  for (int i = 0; i < 20'000; ++i) {
    auto packet = random.below(2) ? tcp4("0123456789") : tcp6("0123456789");
    const auto good = packet.bytes();
    packet.tweak([&](auto& b) {
      const size_t at = random.below(b.size());
      b[at] ^= static_cast<uint8_t>(1 + random.below(255));
      if (random.below(8) == 0) b.resize(random.below(b.size()));
    });
    const auto damaged = packet.bytes();
    Packet p = pool->take_exact_copy(damaged);
    const Verdict v = input.classify(kPod, std::move(p), false, now);
    if (v.kind != VerdictKind::kTcp) continue;
    // Only fields that no checksum covers: IPv6's traffic class, flow label and hop limit.
    ASSERT_EQ(good[0] >> 4, 6);
    for (size_t at = 4; at < damaged.size(); ++at) {
      if (at != 7) {
        ASSERT_EQ(damaged[at], good[at]) << "at " << at;
      }
    }
  }
}

}  // namespace
}  // namespace culvert::ip
