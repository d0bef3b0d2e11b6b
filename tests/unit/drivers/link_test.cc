// Two ports of one process.
#include "drivers/link/link_port.h"

#include <gtest/gtest.h>
#include <poll.h>

#include "tests/testkit/packet_builder.h"

namespace culvert::link {
namespace {

using testkit::PacketBuilder;

class LinkPortTest : public testing::Test {
 protected:
  ~LinkPortTest() override {
    pair = {};
    for (const auto& pool : {a_pool.get(), b_pool.get()}) {
      EXPECT_EQ(pool->held(BufferKind::kSmall), 0u);
      EXPECT_EQ(pool->held(BufferKind::kLarge), 0u);
    }
  }
  void make(bool one_pool, size_t frames_max = 4) {
    pair = make_link_pair(a, *a_pool, b, one_pool ? *a_pool : *b_pool, frames_max);
  }
  Packet frame(size_t bytes, size_t piece = SIZE_MAX) {
    return PacketBuilder().payload(testkit::pattern(bytes)).packet(*a_pool, piece);
  }
  Packet arrives() {
    Packet got;
    pair.b->rx_burst({&got, 1});
    return got;
  }

  std::unique_ptr<BufferPool> a_pool = BufferPool::on_heap({});
  std::unique_ptr<BufferPool> b_pool = BufferPool::on_heap({});
  LinkConfig a, b;
  LinkPair pair;
};

TEST_F(LinkPortTest, FramesArriveInTheReceiversPoolInOrder) {
  make(false);
  std::vector<Packet> burst;
  for (size_t i = 1; i <= 4; ++i) burst.push_back(frame(i * 100, 30));
  EXPECT_EQ(pair.a->tx_burst(burst), 4u);
  const uint64_t copied = b_pool->bytes_copied();
  for (size_t i = 1; i <= 4; ++i) {
    const Packet got = arrives();
    ASSERT_EQ(testkit::bytes_of_packet(got), testkit::pattern(i * 100));
    EXPECT_EQ(BufferPool::tag(got.mbuf()).pool, b_pool.get());
    EXPECT_EQ(got.segments(), 1) << "in one exact buffer";
    EXPECT_EQ(got.tailroom(), 0);
  }
  EXPECT_FALSE(arrives());
  EXPECT_EQ(a_pool->held(BufferKind::kSmall), 0u);
  EXPECT_EQ(b_pool->bytes_copied(), copied) << "the wire's copy is not the node's";
  EXPECT_EQ(pair.a->stats().tx_packets, 4u);
  EXPECT_EQ(pair.b->stats().rx_bytes, 1000u);
}

TEST_F(LinkPortTest, SixtyFourKilobytesArriveInFewBuffers) {
  make(false);
  Packet large = frame(65'549, 1'000);
  EXPECT_EQ(pair.a->tx_burst({&large, 1}), 1u);
  const Packet got = arrives();
  EXPECT_EQ(testkit::bytes_of_packet(got), testkit::pattern(65'549));
  EXPECT_EQ(got.segments(), 4);
}

TEST_F(LinkPortTest, OnePoolMovesBuffers) {
  make(true);
  Packet sent = frame(100);
  const rte_mbuf* buffer = sent.mbuf();
  EXPECT_EQ(pair.a->tx_burst({&sent, 1}), 1u);
  EXPECT_EQ(arrives().mbuf(), buffer);
}

TEST_F(LinkPortTest, FullWireLeavesFramesWithTheCaller) {
  make(false, 2);
  std::vector<Packet> burst;
  for (int i = 0; i < 3; ++i) burst.push_back(frame(10));
  EXPECT_EQ(pair.a->tx_burst(burst), 2u);
  EXPECT_FALSE(burst[1]);
  EXPECT_TRUE(burst[2]);
  EXPECT_EQ(pair.a->stats().tx_full, 1u);
  EXPECT_EQ(pair.a->stats().tx_bytes, 20u);
}

TEST_F(LinkPortTest, WhatWasLeftToTheDeviceArrivesAsLeftOver) {
  for (const bool one_pool : {false, true}) {
    make(one_pool);
    Packet sent = frame(3000);
    sent.mbuf()->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
    sent.mbuf()->tso_segsz = 1400;
    EXPECT_EQ(pair.a->tx_burst({&sent, 1}), 1u);
    Packet got = arrives();
    EXPECT_EQ(got.mbuf()->ol_flags, RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_LRO);
    EXPECT_EQ(got.mbuf()->tso_segsz, 1400);
    sent = frame(100);
    EXPECT_EQ(pair.a->tx_burst({&sent, 1}), 1u);
    got = arrives();
    EXPECT_EQ(got.mbuf()->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
  }
}

TEST_F(LinkPortTest, WithoutBuffersFramesAreLostAndTheWireStillRunsEmpty) {
  make(false);
  std::vector<Packet> burst;
  for (int i = 0; i < 3; ++i) burst.push_back(frame(10));
  EXPECT_EQ(pair.a->tx_burst(burst), 3u);
  b_pool->fail_take(1);
  const Packet got = arrives();
  EXPECT_TRUE(got) << "the second one";
  EXPECT_EQ(pair.b->stats().rx_no_buffer, 1u);
  EXPECT_TRUE(arrives());
  EXPECT_FALSE(arrives());
}

TEST_F(LinkPortTest, PulledCableLosesFrames) {
  QueueWire ab(4), ba(4);
  LinkPort near(a, ab, ba, *a_pool, false);
  LinkPort far(b, ba, ab, *b_pool, false);
  near.set_link_up(false);
  EXPECT_FALSE(near.link_up());
  Packet sent = frame(10);
  EXPECT_EQ(near.tx_burst({&sent, 1}), 1u);
  EXPECT_FALSE(sent);
  EXPECT_TRUE(ab.empty());
  EXPECT_EQ(near.stats().tx_errors, 1u);
  near.set_link_up(true);
  sent = frame(10);
  EXPECT_EQ(near.tx_burst({&sent, 1}), 1u);
  far.set_link_up(false);
  Packet got;
  EXPECT_EQ(far.rx_burst({&got, 1}), 0u);
  EXPECT_TRUE(ab.empty());
}

TEST_F(LinkPortTest, WakeUpNeverFiresOrIsNotThere) {
  b.sleeps = false;
  make(false);
  EXPECT_EQ(pair.b->wakeup().fd, -1);
  Packet sent = frame(10);
  EXPECT_EQ(pair.b->tx_burst({&sent, 1}), 1u);
  pollfd waiting{pair.a->wakeup().fd, POLLIN, 0};
  EXPECT_GE(waiting.fd, 0);
  EXPECT_EQ(poll(&waiting, 1, 0), 0);
}

}  // namespace
}  // namespace culvert::link
