// The software half of offloads: what a device of any ability receives, and which path is counted.
#include "port/offload.h"

#include <gtest/gtest.h>

#include "base/endian.h"
#include "base/random.h"
#include "tests/testkit/packet_builder.h"
#include "wire/checksum.h"

namespace culvert::port {
namespace {

using testkit::PacketBuilder;

// A device that takes what it is told to and remembers it.
class FakeDevice final : public Port {
 public:
  size_t rx_burst(std::span<Packet>) override { return 0; }
  size_t tx_burst(std::span<Packet> packets) override {
    size_t taken = 0;
    for (; taken < packets.size() && room > 0; ++taken, --room) {
      EXPECT_LE(packets[taken].segments(), offers.scatter ? offers.tx_segments_max : 1);
      flags.push_back(packets[taken].mbuf()->ol_flags);
      sent.push_back(std::move(packets[taken]));
    }
    return taken;
  }
  const Offloads& offloads() const override { return offers; }
  uint16_t mtu() const override { return 1500; }
  std::array<uint8_t, 6> mac() const override { return {}; }
  bool link_up() const override { return true; }
  Wakeup wakeup() const override { return {}; }
  PortStats stats() const override { return {}; }
  uint16_t queues() const override { return 1; }
  std::string_view driver() const override { return "fake"; }

  Offloads offers;
  size_t room = SIZE_MAX;
  std::vector<Packet> sent;
  std::vector<uint64_t> flags;
};

class OffloadTest : public testing::Test {
 protected:
  ~OffloadTest() override {
    port.reset();
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
      EXPECT_EQ(pool->held(kind), 0u) << "a buffer leaked";
    }
  }
  void make(const Offloads& offers) {
    auto owned = std::make_unique<FakeDevice>();
    device = owned.get();
    device->offers = offers;
    port = std::make_unique<OffloadPort>(std::move(owned), *pool, counters);
  }
  static Offloads everything() {
    Offloads o;
    o.tx_checksum = o.tx_ip_checksum = o.tso = o.scatter = true;
    o.tso_bytes_max = 65'535;
    o.tx_segments_max = 16;
    return o;
  }
  static Offloads chains_only() {
    Offloads o;
    o.scatter = true;
    o.tx_segments_max = 8;
    return o;
  }
  static wire::TcpHeader header(bool fin = false, bool psh = false, bool cwr = false) {
    wire::TcpHeader h;
    h.source_port = 1;
    h.destination_port = 2;
    h.sequence = 0xfffff000;  // wraps on the way
    h.ack = true;
    h.fin = fin;
    h.psh = psh;
    h.cwr = cwr;
    h.options.timestamps = {{1, 2}};
    return h;
  }
  static PacketBuilder tcp(bool v6, size_t payload, const wire::TcpHeader& h) {
    PacketBuilder b;
    b.eth(testkit::mac("02:00:00:00:00:02"), testkit::mac("02:00:00:00:00:01"));
    v6 ? b.ipv6("fd00::1", "fd00::2") : b.ipv4("10.0.0.1", "10.0.0.2").ipv4_header([](auto& x) {
      x.identification = 0xfffe;
      x.dont_fragment = true;
    });
    return b.tcp(h).payload(testkit::pattern(payload));
  }
  // As ip hands it over: header buffer in front, payload in a chain behind.
  Packet request(bool v6, size_t payload, uint16_t segment_bytes, const wire::TcpHeader& h, size_t piece = 10'000) {
    Packet packet = tcp(v6, payload, h).partial_checksum().packet(*pool, piece);
    rte_mbuf* m = packet.mbuf();
    m->ol_flags = (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4) | RTE_MBUF_F_TX_TCP_CKSUM;
    m->l2_len = 14;
    m->l3_len = v6 ? 40 : 20;
    m->l4_len = wire::tcp_header_bytes(h) & 0xff;
    if (segment_bytes) {
      m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (v6 ? 0 : RTE_MBUF_F_TX_IP_CKSUM);
      m->tso_segsz = segment_bytes;
    }
    return packet;
  }
  bool sends(Packet packet) {
    const bool taken = port->tx_burst({&packet, 1}) == 1;
    EXPECT_EQ(static_cast<bool>(packet), !taken);
    return taken;
  }
  uint64_t count(Counter c) const { return counters.value(c); }

  std::unique_ptr<BufferPool> pool = BufferPool::on_heap({.small = 2048, .large = 256, .view = 2048});
  Counters counters;
  FakeDevice* device = nullptr;
  std::unique_ptr<OffloadPort> port;
};

TEST_F(OffloadTest, AbleDeviceGetsPacketsAsTheyAre) {
  make(everything());
  EXPECT_TRUE(sends(request(false, 60'000, 1448, header())));
  EXPECT_TRUE(sends(request(true, 100, 0, header())));
  ASSERT_EQ(device->sent.size(), 2u);
  EXPECT_EQ(testkit::bytes_of_packet(device->sent[0]), tcp(false, 60'000, header()).partial_checksum().bytes());
  EXPECT_TRUE(device->flags[0] & RTE_MBUF_F_TX_TCP_SEG);
  EXPECT_EQ(count(Counter::kPortTsoHardware), 1u);
  EXPECT_EQ(count(Counter::kPortChecksumHardware), 2u);
  EXPECT_EQ(count(Counter::kPortGsoSoftware), 0u);
  EXPECT_EQ(count(Counter::kPortChecksumSoftware), 0u);
  EXPECT_EQ(pool->bytes_copied(), 60'000u + 66 + 186) << "only what the test itself copied in";
}

TEST_F(OffloadTest, ChecksumsAreCompletedForADeviceThatCannot) {
  make(chains_only());
  for (const bool v6 : {false, true}) {
    for (const size_t piece : {size_t{7}, size_t{64}, size_t{10'000}}) {
      if (piece == 7) device->offers.tx_segments_max = 64;
      EXPECT_TRUE(sends(request(v6, 101, 0, header(), piece)));
      EXPECT_EQ(testkit::bytes_of_packet(device->sent.back()), tcp(v6, 101, header()).bytes());
      EXPECT_EQ(device->flags.back() & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IP_CKSUM), 0u);
    }
  }
  EXPECT_EQ(count(Counter::kPortChecksumSoftware), 6u);
  EXPECT_EQ(count(Counter::kPortChecksumHardware), 0u);
}

TEST_F(OffloadTest, UdpChecksumOfZeroIsSentAsOnes) {
  make(chains_only());
  // A payload word that makes the sum come out as zero.
  PacketBuilder b;
  b.eth({}, {}).ipv4("10.0.0.1", "10.0.0.2").udp(1, 2).payload(std::vector<uint8_t>{0, 0});
  const auto plain = b.bytes();
  const uint16_t checksum = load_be16(&plain[40]);
  b.payload(std::vector<uint8_t>{static_cast<uint8_t>(checksum >> 8), static_cast<uint8_t>(checksum)});
  Packet packet = b.partial_checksum().packet(*pool);
  packet.mbuf()->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_UDP_CKSUM;
  packet.mbuf()->l2_len = 14;
  packet.mbuf()->l3_len = 20;
  EXPECT_TRUE(sends(std::move(packet)));
  EXPECT_EQ(load_be16(testkit::bytes_of_packet(device->sent[0]).data() + 40), 0xffff);
}

// Cuts as Linux does: every segment right by itself, payload in order, flags where they belong.
TEST_F(OffloadTest, LargePacketsAreCutForADeviceThatCannot) {
  for (const bool device_checksums : {false, true}) {
    Offloads offers = chains_only();
    offers.tx_checksum = device_checksums;
    make(offers);
    const uint64_t checksums_before = count(Counter::kPortChecksumSoftware);
    const uint64_t packets_before = count(Counter::kPortGsoSoftware);
    for (const bool v6 : {false, true}) {
      device->sent.clear();
      EXPECT_TRUE(sends(request(v6, 10'001, 1000, header(true, true, true))));
      ASSERT_EQ(device->sent.size(), 11u);
      std::vector<uint8_t> payload;
      for (size_t i = 0; i < 11; ++i) {
        SCOPED_TRACE(i);
        const bool last = i == 10;
        auto h = header(last, last, i == 0);
        h.sequence += static_cast<uint32_t>(i * 1000);
        auto expected = tcp(v6, 0, h);
        const auto all = testkit::pattern(10'001);
        expected.payload({all.begin() + static_cast<ptrdiff_t>(i * 1000),
                          last ? all.end() : all.begin() + static_cast<ptrdiff_t>(i * 1000 + 1000)});
        if (!v6) expected.ipv4_header([i](auto& x) { x.identification = static_cast<uint16_t>(0xfffe + i); });
        if (device_checksums) expected.partial_checksum();
        EXPECT_EQ(testkit::bytes_of_packet(device->sent[i]), expected.bytes());
        EXPECT_EQ(device->sent[i].mbuf()->l2_len, 14);
      }
    }
    EXPECT_EQ(count(Counter::kPortGsoSoftware), packets_before + 2);
    EXPECT_EQ(count(Counter::kPortGsoSegment), (packets_before + 2) * 11);
    EXPECT_EQ(count(Counter::kPortTsoHardware), 0u);
    EXPECT_EQ(count(Counter::kPortChecksumHardware), device_checksums ? 22u : 0u);
    EXPECT_EQ(count(Counter::kPortChecksumSoftware), checksums_before + (device_checksums ? 0 : 22));
    EXPECT_EQ(count(Counter::kPortChainLinearised), 0u);
  }
}

TEST_F(OffloadTest, CuttingCopiesNoPayload) {
  make(chains_only());
  Packet packet = request(false, 60'000, 1448, header());
  const uint64_t before = pool->bytes_copied();
  EXPECT_TRUE(sends(std::move(packet)));
  EXPECT_EQ(device->sent.size(), 42u);
  EXPECT_EQ(pool->bytes_copied(), before);
}

TEST_F(OffloadTest, DeviceWithoutChainsGetsOneBufferEach) {
  make({});
  Packet packet = request(true, 5'000, 1400, header(), 333);
  EXPECT_TRUE(sends(std::move(packet)));
  ASSERT_EQ(device->sent.size(), 4u);
  EXPECT_EQ(count(Counter::kPortChainLinearised), 4u);
  // A packet that needs no cutting, in pieces.
  EXPECT_TRUE(sends(request(false, 1000, 0, header(), 100)));
  EXPECT_EQ(testkit::bytes_of_packet(device->sent.back()), tcp(false, 1000, header()).bytes());
  EXPECT_EQ(device->sent.back().segments(), 1);
}

TEST_F(OffloadTest, LongChainsAreShortenedForTheDeviceThatSegments) {
  Offloads offers = everything();
  offers.tx_segments_max = 5;
  make(offers);
  EXPECT_TRUE(sends(request(false, 60'000, 1448, header(), 1'000)));
  ASSERT_EQ(device->sent.size(), 1u);
  EXPECT_LE(device->sent[0].segments(), 5);
  EXPECT_EQ(testkit::bytes_of_packet(device->sent[0]), tcp(false, 60'000, header()).partial_checksum().bytes());
  EXPECT_EQ(device->sent[0].mbuf()->tso_segsz, 1448);
  // Five buffers do not hold it: cut here instead.
  offers.tx_segments_max = 3;
  device->offers = offers;
  EXPECT_TRUE(sends(request(false, 60'000, 1448, header(), 1'000)));
  EXPECT_EQ(count(Counter::kPortGsoSoftware), 1u);
  // Beyond what the device says it segments.
  offers.tx_segments_max = 16;
  offers.tso_bytes_max = 32'000;
  device->offers = offers;
  EXPECT_TRUE(sends(request(false, 60'000, 1448, header())));
  EXPECT_EQ(count(Counter::kPortGsoSoftware), 2u);
}

TEST_F(OffloadTest, FullDeviceLeavesPacketsWithTheCallerAndSegmentsHere) {
  make(chains_only());
  device->room = 2;
  std::vector<Packet> burst;
  burst.push_back(request(false, 10, 0, header()));
  burst.push_back(request(false, 5'000, 1000, header()));
  burst.push_back(request(false, 20, 0, header()));
  EXPECT_EQ(port->tx_burst(burst), 2u);  // the large one is ours now, cut
  EXPECT_EQ(device->sent.size(), 2u);
  EXPECT_TRUE(port->has_pending());
  EXPECT_TRUE(burst[2]);
  auto rest = std::span(burst).subspan(2);
  EXPECT_EQ(port->tx_burst(rest), 0u);  // nothing overtakes
  device->room = 3;
  EXPECT_EQ(port->tx_burst({}), 0u);
  EXPECT_TRUE(port->has_pending());
  device->room = 10;
  EXPECT_EQ(port->tx_burst(rest), 1u);
  EXPECT_FALSE(port->has_pending());
  ASSERT_EQ(device->sent.size(), 7u);
  EXPECT_EQ(testkit::bytes_of_packet(device->sent[6]), tcp(false, 20, header()).bytes());
  EXPECT_EQ(count(Counter::kPortChecksumSoftware), 7u) << "each once, however often it was offered";
}

TEST_F(OffloadTest, FullDeviceBeforeALargePacketLeavesItUncut) {
  make(chains_only());
  device->room = 0;
  std::vector<Packet> burst;
  burst.push_back(request(false, 10, 0, header()));
  burst.push_back(request(false, 5'000, 1000, header()));
  EXPECT_EQ(port->tx_burst(burst), 0u);
  EXPECT_FALSE(port->has_pending());
  EXPECT_TRUE(burst[1]);
  EXPECT_EQ(count(Counter::kPortGsoSoftware), 0u);
}

TEST_F(OffloadTest, HardwareIsCountedWhenTheDeviceTookThePacket) {
  make(everything());
  device->room = 0;
  Packet packet = request(false, 60'000, 1448, header());
  EXPECT_EQ(port->tx_burst({&packet, 1}), 0u);
  EXPECT_EQ(count(Counter::kPortTsoHardware), 0u);
  device->room = 1;
  EXPECT_EQ(port->tx_burst({&packet, 1}), 1u);
  EXPECT_EQ(count(Counter::kPortTsoHardware), 1u);
}

TEST_F(OffloadTest, SegmentsThatWaitAreCountedAsTheDeviceTakesThem) {
  Offloads offers = everything();
  offers.tso = false;
  make(offers);
  device->room = 2;
  EXPECT_TRUE(sends(request(false, 5'000, 1000, header())));
  EXPECT_EQ(count(Counter::kPortChecksumHardware), 2u);
  device->room = 1;
  port->tx_burst({});
  EXPECT_EQ(count(Counter::kPortChecksumHardware), 3u);
  device->room = 9;
  port->tx_burst({});
  EXPECT_EQ(count(Counter::kPortChecksumHardware), 5u);
  EXPECT_EQ(device->sent.size(), 5u);
}

TEST_F(OffloadTest, RequestsThatContradictTheirPacketsAreDropped) {
  make(chains_only());
  auto with = [&](auto change) {
    Packet packet = request(false, 3'000, 1000, header());
    change(packet.mbuf());
    EXPECT_TRUE(sends(std::move(packet)));
  };
  with([](rte_mbuf* m) { m->l2_len = 0; });
  with([](rte_mbuf* m) { m->l3_len = 8; });
  with([](rte_mbuf* m) { m->l4_len = 8; });
  with([](rte_mbuf* m) { m->tso_segsz = 0; });
  with([](rte_mbuf* m) {
    m->ol_flags |= RTE_MBUF_F_TX_IPV6;
    m->ol_flags &= ~RTE_MBUF_F_TX_IPV4;
    m->l3_len = 40;
  });

  Packet bare = request(false, 0, 1000, header());  // nothing to cut
  EXPECT_TRUE(sends(std::move(bare)));
  EXPECT_EQ(counters.value(DropReason::kPortOffloadImpossible), 6u);
  EXPECT_TRUE(device->sent.empty());
}

TEST_F(OffloadTest, NthBufferMissingLosesAWholePacketAndNothingElse) {
  for (const bool chains : {true, false}) {
    make(chains ? chains_only() : Offloads{});
    for (uint64_t take = 1;; ++take) {
      Packet packet = request(false, 5'000, 1000, header(), 700);
      const uint64_t before = counters.value(DropReason::kPortNoBuffer);
      device->sent.clear();
      pool->fail_take(take);
      EXPECT_TRUE(sends(std::move(packet)));
      pool->fail_take(0);
      EXPECT_FALSE(port->has_pending());
      if (counters.value(DropReason::kPortNoBuffer) == before) {
        EXPECT_EQ(device->sent.size(), 5u);
        break;
      }
      EXPECT_TRUE(device->sent.empty());
      ASSERT_LT(take, 100u);
    }
  }
}

// Any mixture through any device: whatever arrives is complete, in order and right.
TEST_F(OffloadTest, RandomMixturesArriveWhole) {
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    Offloads offers;
    offers.scatter = random.below(2);
    offers.tx_segments_max = static_cast<uint16_t>(offers.scatter ? 2 + random.below(10) : 1);
    make(offers);
    std::vector<uint8_t> expected, got;
    std::vector<Packet> waiting;
    for (int i = 0; i < 20; ++i) {
      const size_t bytes = 1 + random.below(random.below(3) ? 1400 : 30'000);
      const auto piece = 200 + random.below(9'000);
      waiting.push_back(request(random.below(2), bytes, 1400, header(), piece));
      if (bytes <= 1400) {
        waiting.back().mbuf()->ol_flags &= ~RTE_MBUF_F_TX_TCP_SEG;
      }
      const auto p = testkit::pattern(bytes);
      expected.insert(expected.end(), p.begin(), p.end());
    }
    while (!waiting.empty() || port->has_pending()) {
      device->room = random.below(8);
      const size_t n = port->tx_burst(waiting);
      waiting.erase(waiting.begin(), waiting.begin() + static_cast<ptrdiff_t>(n));
    }
    for (const Packet& p : device->sent) {
      const auto b = testkit::bytes_of_packet(p);
      const bool v6 = b[12] == 0x86;
      const size_t transport = v6 ? 54 : 34;
      wire::ChecksumSum sum;
      const IpAddress source = v6 ? IpAddress::v6(&b[22]) : IpAddress::v4(&b[26]);
      const IpAddress destination = v6 ? IpAddress::v6(&b[38]) : IpAddress::v4(&b[30]);
      sum.add_pseudo_header(source, destination, 6, static_cast<uint32_t>(b.size() - transport));
      sum.add(ByteView(b).subspan(transport));
      ASSERT_EQ(sum.checksum(), 0);
      ASSERT_LE(b.size(), transport + 32 + 1400);
      got.insert(got.end(), b.begin() + static_cast<ptrdiff_t>(transport + 32), b.end());
    }
    ASSERT_EQ(got, expected);
    port.reset();
  }
}

}  // namespace
}  // namespace culvert::port
