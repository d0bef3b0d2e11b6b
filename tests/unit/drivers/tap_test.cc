// The TAP port against a real kernel: a device in a fresh namespace, the kernel's stack at the other end.
#include "drivers/tap/tap_port.h"

#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "base/endian.h"
#include "drivers/tap/open_tap.h"
#include "eth/link.h"
#include "ip/input.h"
#include "port/offload.h"
#include "tests/testkit/net_namespace.h"
#include "tests/testkit/packet_builder.h"
#include "wire/virtio_net.h"

namespace culvert::tap {
namespace {

using testkit::ip;
using testkit::NetNamespace;
using testkit::PacketBuilder;

constexpr InterfaceId kPod{1};

Instant clock_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant{std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec)};
}

class TapTest : public testing::Test {
 protected:
  void open(TapSettings settings = {}) {
    TapSpec spec;
    spec.netns_fd = netns_.fd();
    spec.name = "eth0";
    auto opened = open_tap(spec);
    ASSERT_TRUE(opened) << opened.error().text;
    device_mac_.bytes = opened->mac;
    settings.mac = near_mac(opened->mac);
    auto port = make_tap_port(std::move(opened->queue), settings, *pool_);
    ASSERT_TRUE(port) << port.error();
    port_ = std::move(*port);
    near_mac_.bytes = port_->mac();
    ASSERT_EQ(netns_.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.disable_ipv6=0"), 0);
    ASSERT_EQ(netns_.run("ip addr add 10.1.0.2/24 dev eth0 && ip -6 addr add fd01::2/64 dev eth0 nodad"), 0);
    ASSERT_EQ(netns_.run("ip route add default via 10.1.0.1"), 0);
  }

  // Receives until `wanted` says so, at most two seconds.
  Packet receive_until(const std::function<bool(const Packet&)>& wanted) {
    const Instant end = clock_now() + 2s;
    while (clock_now() < end) {
      Packet frame;
      if (port_->rx_burst({&frame, 1}) == 1) {
        if (wanted(frame)) return frame;
        continue;
      }
      pollfd waiting{port_->wakeup().fd, POLLIN, 0};
      poll(&waiting, 1, 50);
    }
    return {};
  }

  // One turn of a gateway: everything received is answered.
  void serve_turn(eth::Link& link, ip::Input& input) {
    const Instant now = clock_now();
    std::array<Packet, 32> burst;
    std::vector<Packet> out;
    const size_t n = port_->rx_burst(burst);
    for (size_t i = 0; i < n; ++i) {
      auto received = link.receive(std::move(burst[i]), now);
      if (received.kind == eth::ReceivedKind::kNone) continue;
      auto verdict = input.classify(kPod, std::move(received.packet), received.link_multicast, now);
      if (verdict.kind != ip::VerdictKind::kReply) continue;
      if (link.encapsulate(verdict.packet, verdict.datagram.destination, now) == eth::Encapsulated::kReady) {
        out.push_back(std::move(verdict.packet));
      }
    }
    link.poll(now);
    while (const size_t m = link.take_output(burst)) {
      for (size_t i = 0; i < m; ++i) out.push_back(std::move(burst[i]));
    }
    EXPECT_EQ(port_->tx_burst(out), out.size());
  }

  // A packet socket in the namespace, with or without virtio-net headers.
  UniqueFd packet_socket(bool virtio) {
    UniqueFd socket_fd;
    netns_.enter([&] {
      socket_fd.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
      const int on = 1;
      if (virtio) setsockopt(socket_fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on);
      sockaddr_ll address{};
      address.sll_family = AF_PACKET;
      address.sll_protocol = htons(ETH_P_ALL);
      address.sll_ifindex = static_cast<int>(if_nametoindex("eth0"));
      ASSERT_EQ(bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    });
    return socket_fd;
  }

  NetNamespace netns_;
  std::unique_ptr<BufferPool> pool_ = BufferPool::on_heap({});
  Counters counters_;
  wire::MacAddress device_mac_, near_mac_;
  std::unique_ptr<port::Port> port_;
};

TEST_F(TapTest, KernelPingsTheGatewayOverBothFamilies) {
  open();
  eth::LinkConfig config;
  config.mac = near_mac_;
  config.own = {ip("10.1.0.1"), ip("fd01::1")};
  config.neighbours = {Prefix::host(ip("10.1.0.2")), Prefix::host(ip("fd01::2"))};
  eth::Link link(config, *pool_, counters_, 1, clock_now());
  ip::Input input(*pool_, counters_, {}, clock_now());
  ip::InterfaceConfig interface;
  interface.own = {Prefix::host(ip("10.1.0.1")), Prefix::host(ip("fd01::1"))};
  interface.check_source = true;
  interface.sources = {ip("10.1.0.2"), ip("fd01::2")};
  input.set_interface(kPod, interface);

  int ping4 = -1, ping6 = -1, large = -1;
  std::atomic<bool> done{false};
  std::thread pings([&] {
    ping4 = netns_.run("ping -q -c 3 -i 0.01 -W 2 10.1.0.1 >/dev/null");
    ping6 = netns_.run("ping -q -c 3 -i 0.01 -W 2 fd01::1 >/dev/null");
    large = netns_.run("ping -q -c 3 -i 0.01 -W 2 -s 1400 10.1.0.1 >/dev/null");
    done = true;
  });
  while (!done) {
    pollfd waiting{port_->wakeup().fd, POLLIN, 0};
    poll(&waiting, 1, 10);
    serve_turn(link, input);
  }
  pings.join();
  EXPECT_EQ(ping4, 0);
  EXPECT_EQ(ping6, 0);
  EXPECT_EQ(large, 0);
  EXPECT_EQ(counters_.value(Counter::kIpEchoAnswered), 9u);
  EXPECT_GE(counters_.value(Counter::kEthSolicitationAnswered), 2u);
  const auto pod = link.find(ip("10.1.0.2"), clock_now());
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->mac, device_mac_);
}

TEST_F(TapTest, LargeFrameFromTheKernelArrivesWhole) {
  open();
  const UniqueFd sender = packet_socket(true);
  for (const bool v6 : {false, true}) {
    wire::TcpHeader tcp;
    tcp.source_port = 1111;
    tcp.destination_port = 2222;
    tcp.ack = true;
    PacketBuilder builder;
    builder.eth(near_mac_, device_mac_);
    v6 ? builder.ipv6("fd01::2", "fd01::1") : builder.ipv4("10.1.0.2", "10.1.0.1");
    const auto frame = builder.tcp(tcp).payload(testkit::pattern(60'000)).partial_checksum().bytes();
    wire::VirtioNetHeader header;
    header.flags = wire::virtio::kNeedsChecksum;
    header.gso_type = v6 ? wire::virtio::kGsoTcp6 : wire::virtio::kGsoTcp4;
    header.gso_bytes = 1400;
    header.checksum_start = v6 ? 54 : 34;
    header.checksum_offset = 16;
    header.header_bytes = static_cast<uint16_t>(header.checksum_start + 20);
    std::vector<uint8_t> with_header(wire::kVirtioNetBytesLegacy);
    memcpy(with_header.data(), &header, with_header.size());
    with_header.insert(with_header.end(), frame.begin(), frame.end());
    ASSERT_EQ(write(sender.get(), with_header.data(), with_header.size()), static_cast<ssize_t>(with_header.size()));

    const Packet got = receive_until([](const Packet& p) { return p.bytes() > 50'000; });
    ASSERT_TRUE(got);
    EXPECT_EQ(testkit::bytes_of_packet(got), frame);
    EXPECT_GT(got.segments(), 1);
    EXPECT_TRUE(got.mbuf()->ol_flags & RTE_MBUF_F_RX_LRO);
    EXPECT_EQ(got.mbuf()->tso_segsz, 1400);
    EXPECT_EQ(got.mbuf()->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_NONE);
  }
}

TEST_F(TapTest, LargeFrameReachesTheKernelWhole) {
  open();
  // A raw socket sees what the kernel's IP layer accepted: checksums are asked of the device, so a wrong request
  // would be seen as a frame that the kernel refuses or cuts wrongly.
  const UniqueFd receiver = packet_socket(true);
  for (const bool v6 : {false, true}) {
    wire::TcpHeader tcp;
    tcp.source_port = 1111;
    tcp.destination_port = 2222;
    tcp.ack = true;
    PacketBuilder builder;
    builder.eth(device_mac_, near_mac_);
    v6 ? builder.ipv6("fd01::1", "fd01::2") : builder.ipv4("10.1.0.1", "10.1.0.2");
    builder.tcp(tcp).payload(testkit::pattern(60'000)).partial_checksum();
    const auto frame = builder.bytes();
    Packet packet = builder.packet(*pool_, 9'000);
    rte_mbuf* m = packet.mbuf();
    m->ol_flags = (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4) | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG;
    m->l2_len = 14;
    m->l3_len = v6 ? 40 : 20;
    m->l4_len = 20;
    m->tso_segsz = 1400;
    ASSERT_EQ(port_->tx_burst({&packet, 1}), 1u);
    EXPECT_FALSE(packet);

    std::vector<uint8_t> got(100'000);
    ssize_t n = 0;
    for (int i = 0; i < 50 && n < 50'000; ++i) {
      pollfd waiting{receiver.get(), POLLIN, 0};
      ASSERT_EQ(poll(&waiting, 1, 2000), 1);
      n = read(receiver.get(), got.data(), got.size());
    }
    wire::VirtioNetHeader header;
    memcpy(static_cast<void*>(&header), got.data(), wire::kVirtioNetBytesLegacy);
    got.resize(static_cast<size_t>(n));
    got.erase(got.begin(), got.begin() + wire::kVirtioNetBytesLegacy);
    EXPECT_EQ(got, frame);
    EXPECT_EQ(header.gso_type, v6 ? wire::virtio::kGsoTcp6 : wire::virtio::kGsoTcp4);
    EXPECT_EQ(header.gso_bytes, 1400);
    EXPECT_TRUE(header.flags & wire::virtio::kNeedsChecksum);
  }
  EXPECT_EQ(port_->stats().tx_errors, 0u);
}

TEST_F(TapTest, UnusedLargeBuffersServeTheNextRead) {
  open();
  const UniqueFd sender = packet_socket(false);
  const auto frame = PacketBuilder().eth(near_mac_, device_mac_).ipv4("10.1.0.2", "10.1.0.1").udp(1, 2).bytes();
  for (int i = 0; i < 20; ++i) {
    ASSERT_GT(write(sender.get(), frame.data(), frame.size()), 0);
    ASSERT_TRUE(receive_until([&](const Packet& p) { return testkit::bytes_of_packet(p) == frame; }));
  }
  EXPECT_EQ(pool_->held(BufferKind::kLarge), 4u);
  port_.reset();
  EXPECT_EQ(pool_->held(BufferKind::kLarge), 0u);
  EXPECT_EQ(pool_->held(BufferKind::kSmall), 0u);
}

TEST_F(TapTest, WithoutBuffersFramesAreShedAndTheQueueStillRunsEmpty) {
  pool_ = BufferPool::on_heap({.small = 2, .large = 4, .view = 0});
  open();
  const UniqueFd sender = packet_socket(false);
  const auto frame = PacketBuilder().eth(near_mac_, device_mac_).ipv4("10.1.0.2", "10.1.0.1").udp(1, 2).bytes();
  auto is_ours = [&](const Packet& p) { return testkit::bytes_of_packet(p) == frame; };
  ASSERT_GT(write(sender.get(), frame.data(), frame.size()), 0);
  Packet held = receive_until(is_ours);
  ASSERT_TRUE(held);
  const Packet last = pool_->take_small();
  const uint64_t shed_before = port_->stats().rx_no_buffer;
  for (int i = 0; i < 3; ++i) ASSERT_GT(write(sender.get(), frame.data(), frame.size()), 0);
  Packet none;
  EXPECT_EQ(port_->rx_burst({&none, 1}), 0u);
  EXPECT_GE(port_->stats().rx_no_buffer, shed_before + 3);
  held.reset();
  ASSERT_GT(write(sender.get(), frame.data(), frame.size()), 0);
  EXPECT_TRUE(receive_until(is_ours));
}

TEST_F(TapTest, LinkGoesDownWhenTheDeviceIsDeleted) {
  open();
  EXPECT_TRUE(port_->link_up());
  ASSERT_EQ(netns_.run("ip link del eth0"), 0);
  pollfd waiting{port_->wakeup().fd, POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 1000), 1);  // a sleeper is woken
  Packet frame;
  EXPECT_EQ(port_->rx_burst({&frame, 1}), 0u);
  EXPECT_FALSE(port_->link_up());
}

TEST_F(TapTest, PersistentDeviceKeepsAddressesWhenItsQueueCloses) {
  open();
  port_.reset();
  EXPECT_NE(netns_.output_of("ip addr show dev eth0").find("10.1.0.2/24"), std::string::npos);
  TapSpec spec;
  spec.netns_fd = netns_.fd();
  spec.name = "eth0";
  auto again = open_tap(spec);
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->mac, device_mac_.bytes);
  auto busy = open_tap(spec);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().kind, OpenTapError::Kind::kBusy);
  again->queue.reset();
  spec.exclusive = true;
  auto exists = open_tap(spec);
  ASSERT_FALSE(exists);
  EXPECT_EQ(exists.error().kind, OpenTapError::Kind::kExists);
  ASSERT_TRUE(remove_tap(netns_.fd(), "eth0"));
  EXPECT_NE(netns_.run("ip link show dev eth0 2>/dev/null"), 0);
}

TEST_F(TapTest, DescriptorThatIsNoTapIsRefused) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  const UniqueFd other(pipe_fds[1]);
  auto port = make_tap_port(UniqueFd(pipe_fds[0]), {}, *pool_);
  ASSERT_FALSE(port);
  EXPECT_EQ(port.error().rfind("TAP queue: the descriptor is none", 0), 0u);
}

}  // namespace
}  // namespace culvert::tap
