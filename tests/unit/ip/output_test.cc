// The header in front of what we send, and packets on their way through.
#include "ip/output.h"

#include "tests/unit/ip/ip_fixture.h"

namespace culvert::ip {
namespace {

using wire::IpProtocol;

class OutputTest : public IpFixture {
 protected:
  // A TCP segment as tcp hands it over: header with a free checksum field, then payload.
  Packet segment(size_t payload) {
    std::vector<uint8_t> bytes(wire::tcp_header_bytes(syn()));
    wire::emit_tcp(syn(), bytes);
    const auto data = testkit::pattern(payload);
    bytes.insert(bytes.end(), data.begin(), data.end());
    return pool->take_copy(bytes);
  }
};

TEST_F(OutputTest, HeaderIsWhatABuilderMakes) {
  Packet packet = segment(100);
  OutDatagram out;
  out.source = addr("10.0.0.1");
  out.destination = addr("10.0.0.2");
  out.transport_header_bytes = 24;
  ASSERT_TRUE(prepend_header(packet, out));
  EXPECT_EQ(testkit::bytes_of_packet(packet), PacketBuilder()
                                                  .ipv4("10.0.0.1", "10.0.0.2")
                                                  .ipv4_header([](auto& h) { h.dont_fragment = true; })
                                                  .tcp(syn())
                                                  .payload(testkit::pattern(100))
                                                  .partial_checksum()
                                                  .bytes());
  const rte_mbuf* m = packet.mbuf();
  EXPECT_EQ(m->ol_flags, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM);
  EXPECT_EQ(m->l3_len, 20);
  EXPECT_EQ(m->l4_len, 24);
}

TEST_F(OutputTest, Ipv6CarriesAFlowLabelThatIsTheFlows) {
  auto label_of = [&](const char* destination, size_t payload) {
    Packet packet = segment(payload);
    OutDatagram out;
    out.source = addr("fd00::1");
    out.destination = addr(destination);
    out.transport_header_bytes = 24;
    out.ecn = 2;
    EXPECT_TRUE(prepend_header(packet, out));
    EXPECT_EQ(packet.mbuf()->ol_flags, RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM);
    const auto h = wire::parse_ipv6(packet.front(), packet.bytes());
    EXPECT_TRUE(h);
    EXPECT_EQ(h->traffic_class, 2);
    auto expected = PacketBuilder()
                        .ipv6("fd00::1", destination)
                        .ipv6_header([&](auto& x) {
                          x.flow_label = h->flow_label;
                          x.traffic_class = 2;
                        })
                        .tcp(syn())
                        .payload(testkit::pattern(payload))
                        .partial_checksum();
    EXPECT_EQ(testkit::bytes_of_packet(packet), expected.bytes());
    return h->flow_label;
  };
  const uint32_t label = label_of("fd00::2", 10);
  EXPECT_NE(label, 0u);
  EXPECT_EQ(label_of("fd00::2", 500), label);
  EXPECT_NE(label_of("fd00::3", 10), label);
}

TEST_F(OutputTest, LargePacketsAskToBeCut) {
  Packet packet = segment(60'000);
  OutDatagram out;
  out.source = addr("10.0.0.1");
  out.destination = addr("10.0.0.2");
  out.transport_header_bytes = 24;
  out.segment_bytes = 1448;
  ASSERT_TRUE(prepend_header(packet, out));
  EXPECT_TRUE(packet.mbuf()->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
  EXPECT_EQ(packet.mbuf()->tso_segsz, 1448);
  packet = segment(1448);
  ASSERT_TRUE(prepend_header(packet, out));
  EXPECT_FALSE(packet.mbuf()->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
}

TEST_F(OutputTest, WhatDoesNotFitIsRefusedUnchanged) {
  OutDatagram out;
  out.source = addr("10.0.0.1");
  out.destination = addr("10.0.0.2");
  Packet packet = segment(65'535 - 20 - 24);
  EXPECT_TRUE(prepend_header(packet, out));
  packet = segment(65'535 - 20 - 24 + 1);
  EXPECT_FALSE(prepend_header(packet, out));
  EXPECT_EQ(packet.bytes(), 65'516u);
  packet = segment(10);
  ASSERT_TRUE(packet.prepend(packet.headroom()));
  EXPECT_FALSE(prepend_header(packet, out));
}

TEST_F(OutputTest, ForwardingCountsDownAndKeepsTheChecksumRight) {
  for (int ttl = 2; ttl < 256; ++ttl) {
    Verdict v =
        receives(PacketBuilder().ipv4("10.0.0.2", "10.0.9.9", static_cast<uint8_t>(ttl)).udp(1, 2).payload("x"));
    ASSERT_EQ(prepare_forward(v.packet, v.datagram, 1500), Forwarding::kReady);
    EXPECT_EQ(
        testkit::bytes_of_packet(v.packet),
        PacketBuilder().ipv4("10.0.0.2", "10.0.9.9", static_cast<uint8_t>(ttl - 1)).udp(1, 2).payload("x").bytes());
    EXPECT_EQ(v.packet.mbuf()->ol_flags, 0u);
  }
  Verdict v = receives(PacketBuilder().ipv6("fd00::2", "fd99::9", 2).udp(1, 2));
  ASSERT_EQ(prepare_forward(v.packet, v.datagram, 1500), Forwarding::kReady);
  EXPECT_EQ(v.packet.front()[7], 1);
}

TEST_F(OutputTest, ForwardingRefusesTheExpiredAndTheTooBig) {
  for (const uint8_t ttl : {uint8_t{0}, uint8_t{1}}) {
    Verdict v = receives(PacketBuilder().ipv4("10.0.0.2", "10.0.9.9", ttl).udp(1, 2));
    EXPECT_EQ(prepare_forward(v.packet, v.datagram, 1500), Forwarding::kExpired);
    EXPECT_EQ(v.packet.front()[8], ttl);
  }
  const auto big = PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").udp(1, 2).payload(testkit::pattern(1473));
  Verdict v = receives(big);
  EXPECT_EQ(prepare_forward(v.packet, v.datagram, 1500), Forwarding::kTooBig);
  EXPECT_EQ(prepare_forward(v.packet, v.datagram, 1501), Forwarding::kReady);
}

TEST_F(OutputTest, UnfinishedPacketsAskTheNextPortToFinishThem) {
  Packet packet = tcp4().payload(testkit::pattern(20'000)).partial_checksum().packet(*pool, 15'000);
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_LRO;
  packet.mbuf()->tso_segsz = 1400;
  Verdict v = input.classify(kPod, std::move(packet), false, now);
  ASSERT_EQ(v.kind, VerdictKind::kTcp);
  EXPECT_EQ(prepare_forward(v.packet, v.datagram, 1400), Forwarding::kTooBig);  // each segment would be
  ASSERT_EQ(prepare_forward(v.packet, v.datagram, 1500), Forwarding::kReady);
  const rte_mbuf* m = v.packet.mbuf();
  EXPECT_TRUE(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
  EXPECT_TRUE(m->ol_flags & RTE_MBUF_F_TX_IPV4);
  EXPECT_EQ(m->ol_flags & RTE_MBUF_F_TX_L4_MASK, RTE_MBUF_F_TX_TCP_CKSUM);
  EXPECT_EQ(m->tso_segsz, 1400);
  EXPECT_EQ(m->l3_len, 20);
  EXPECT_EQ(m->l4_len, 24);

  packet = PacketBuilder().ipv6("fd00::2", "fd99::9").udp(1, 2).payload("x").partial_checksum().packet(*pool);
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  v = input.classify(kPod, std::move(packet), false, now);
  ASSERT_EQ(prepare_forward(v.packet, v.datagram, 1500), Forwarding::kReady);
  EXPECT_EQ(v.packet.mbuf()->ol_flags & RTE_MBUF_F_TX_L4_MASK, RTE_MBUF_F_TX_UDP_CKSUM);
}

}  // namespace
}  // namespace culvert::ip
