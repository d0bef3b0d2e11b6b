// The links themselves: when a frame arrives, where, and what a full queue does. The thousand seeds rest on it.
#include "tests/sim/network.h"

#include <gtest/gtest.h>

#include "tests/testkit/packet_builder.h"

namespace culvert::sim {
namespace {

using testkit::PacketBuilder;
using wire::MacAddress;

class NetworkTest : public testing::Test {
 protected:
  // Ports 0, 1, … of one link.
  void make(const LinkTraits& traits, size_t ports = 2) {
    link_ = network_.add_link("link", traits);
    for (size_t i = 0; i < ports; ++i) plugs_.push_back(network_.add_port(link_, *pool_));
  }
  MacAddress mac(size_t port) const { return {plugs_[port].port->mac()}; }
  void send(size_t from, const MacAddress& to, size_t payload = 100) {
    wire::TcpHeader tcp;
    tcp.ack = true;
    Packet frame = PacketBuilder()
                       .eth(to, mac(from))
                       .ipv4("10.0.0.1", "10.0.0.2")
                       .tcp(tcp)
                       .payload(testkit::pattern(payload))
                       .packet(*pool_);
    network_.set_now(now_);
    ASSERT_EQ(plugs_[from].port->tx_burst({&frame, 1}), 1u);
  }
  size_t arrived(size_t at) {
    network_.deliver(now_);
    size_t frames = 0;
    for (Packet frame; plugs_[at].port->rx_burst({&frame, 1}) == 1;) ++frames;
    return frames;
  }
  const LinkCounts& counts() const { return network_.counts(link_); }

  std::unique_ptr<BufferPool> pool_ = BufferPool::on_heap({.small = 4096, .large = 64, .view = 64});
  Network network_{1};
  uint32_t link_ = 0;
  std::vector<Plug> plugs_;
  Instant now_{1s};
};

TEST_F(NetworkTest, AFrameArrivesAfterTheDelayAndNotBefore) {
  make({.delay = 5ms});
  send(0, mac(1));
  EXPECT_EQ(network_.next_arrival(), now_ + 5ms);
  now_ += 5ms - 1us;
  EXPECT_EQ(arrived(1), 0u);
  now_ += 1us;
  EXPECT_EQ(arrived(1), 1u);
  EXPECT_EQ(arrived(0), 0u);
  EXPECT_EQ(network_.next_arrival(), kNever);
}

TEST_F(NetworkTest, ARateSpacesFramesAndItsQueueHoldsSoManyPerSender) {
  // 125 bytes are 1 us at 1,000 Mbit/s: 14 + 20 + 20 + 71.
  make({.rate_mbit = 1'000, .delay = 0us, .queue_packets = 5});
  for (int i = 0; i < 9; ++i) send(0, mac(1), 71);
  EXPECT_EQ(counts().queue_dropped, 3u) << "five wait behind the one that is being sent";
  EXPECT_EQ(counts().payload_bytes_lost, 3u * 71);
  send(1, mac(0), 71);
  EXPECT_EQ(counts().queue_dropped, 3u) << "the other direction has a queue of its own";
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(arrived(1), 0u);
    now_ += 1us;
    EXPECT_EQ(arrived(1), 1u);
  }
  now_ += 1s;
  EXPECT_EQ(arrived(1), 0u);
  EXPECT_EQ(arrived(0), 1u);
}

TEST_F(NetworkTest, ASwitchFloodsWhatItHasNotLearned) {
  make({.delay = 0us}, 3);
  send(0, mac(2));
  EXPECT_EQ(arrived(1) + arrived(2), 2u);
  send(2, mac(0));
  EXPECT_EQ(arrived(0), 1u);
  EXPECT_EQ(arrived(1), 0u);
  send(0, mac(2));
  EXPECT_EQ(arrived(2), 1u);
  EXPECT_EQ(arrived(1), 0u);
  send(1, MacAddress::broadcast());
  EXPECT_EQ(arrived(0) + arrived(2), 2u);
}

TEST_F(NetworkTest, LossBurstsAndBlackoutsAreCountedApart) {
  make({.delay = 0us, .loss_ppm = 1'000'000});
  send(0, mac(1), 70);
  EXPECT_EQ(counts().lost, 1u);
  EXPECT_EQ(counts().payload_bytes_lost, 70u);
  network_.traits(link_).loss_ppm = 0;
  network_.traits(link_).burst_ppm = 1'000'000;
  network_.traits(link_).burst_packets = 2;
  send(0, mac(1), 70);
  network_.traits(link_).burst_ppm = 0;
  send(0, mac(1), 70);
  EXPECT_EQ(counts().lost, 3u) << "a burst goes on";
  network_.traits(link_).blackouts = {{now_, now_ + 1ms}};
  send(0, mac(1), 70);
  EXPECT_EQ(counts().blacked_out, 1u);
  EXPECT_EQ(counts().payload_bytes_lost, 4u * 70);
  now_ += 1ms;
  EXPECT_EQ(arrived(1), 0u);
  send(0, mac(1), 70);
  EXPECT_EQ(arrived(1), 1u) << "the blackout is over";
}

TEST_F(NetworkTest, DuplicatesAndStragglersArriveLater) {
  make({.delay = 1ms, .duplicate_ppm = 1'000'000, .reorder_ppm = 1'000'000, .reorder_delay = 2ms});
  send(0, mac(1));
  now_ += 3ms - 1us;
  EXPECT_EQ(arrived(1), 0u);
  now_ += 1us;
  EXPECT_EQ(arrived(1), 1u);
  now_ += 10us;
  EXPECT_EQ(arrived(1), 1u);
  EXPECT_EQ(counts().duplicated, 1u);
  EXPECT_EQ(counts().reordered, 1u);
}

}  // namespace
}  // namespace culvert::sim
