// DPDK ports on devices that need no hardware. The whole program runs in a network namespace of its own; EAL starts
// once: without huge pages, or with them when called with --huge, which reserves some and gives them back.
#include "drivers/ethdev/ethdev_port.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "drivers/ethdev/eal.h"
#include "eth/link.h"
#include "ip/input.h"
#include "port/offload.h"
#include "tests/testkit/net_namespace.h"
#include "tests/testkit/packet_builder.h"

namespace culvert::ethdev {
namespace {

using testkit::ip;
using testkit::NetNamespace;
using testkit::PacketBuilder;

constexpr PoolLimits kLimits{.small = 8191, .large = 511, .view = 4095};

Instant clock_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant{std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec)};
}

class Environment : public testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "needs root";
    if (huge_) {
      std::ifstream(kHugePagesFile) >> huge_pages_before_;
      const uint32_t pages = memory_mb_for(kLimits, 2, true) / 2 + 1;
      std::ofstream(kHugePagesFile) << huge_pages_before_ + pages;
    }
    cpu_set_t before, after;
    sched_getaffinity(0, sizeof before, &before);
    EalSettings settings;
    settings.huge_pages = huge_ ? HugePages::kRequired : HugePages::kNever;
    settings.limits = kLimits;
    settings.pools = 2;
    settings.file_prefix = "culvert-test-" + std::to_string(getpid());
    auto started = Eal::start(settings);
    ASSERT_TRUE(started) << started.error();
    eal_ = std::move(*started);
    EXPECT_EQ(eal_->huge_pages(), huge_);
    sched_getaffinity(0, sizeof after, &after);
    EXPECT_TRUE(CPU_EQUAL(&before, &after)) << "EAL pinned the thread";
  }
  void TearDown() override {
    eal_.reset();
    if (huge_) std::ofstream(kHugePagesFile) << huge_pages_before_;
  }
  static inline bool huge_ = false;

 private:
  static constexpr const char* kHugePagesFile = "/proc/sys/vm/nr_hugepages";
  uint64_t huge_pages_before_ = 0;
  std::unique_ptr<Eal> eal_;
};

class EthdevTest : public testing::Test {
 protected:
  void SetUp() override {
    a_pool_ = BufferPool::on_mempools("a", kLimits, 0);
    b_pool_ = BufferPool::on_mempools("b", kLimits, 0);
    ASSERT_TRUE(a_pool_ && b_pool_) << "memory_mb_for() is too small";
  }
  void TearDown() override {
    a_.reset();
    b_.reset();
    if (!a_pool_ || !b_pool_) return;
    EXPECT_EQ(a_pool_->held(BufferKind::kSmall), 0u);
    EXPECT_EQ(b_pool_->held(BufferKind::kSmall), 0u);
    EXPECT_EQ(a_pool_->held(BufferKind::kView), 0u);
  }

  std::unique_ptr<port::OffloadPort> open(const std::string& devargs, BufferPool& pool, uint16_t mtu = 1500) {
    EthdevSettings settings;
    settings.devargs = devargs;
    settings.mtu = mtu;
    auto ports = open_ethdev(settings, {&pool});
    EXPECT_TRUE(ports) << (ports ? "" : ports.error());
    if (!ports) return nullptr;
    EXPECT_EQ(ports->size(), 1u);
    return std::make_unique<port::OffloadPort>(std::move((*ports)[0]), pool, counters_);
  }

  static bool wait_for_link(const port::Port& port) {
    const Instant end = clock_now() + 3s;
    while (!port.link_up() && clock_now() < end) usleep(1000);
    return port.link_up();
  }

  static std::vector<Packet> receive(port::Port& port, size_t count) {
    std::vector<Packet> got;
    const Instant end = clock_now() + 3s;
    while (got.size() < count && clock_now() < end) {
      Packet burst[32];
      const size_t n = port.rx_burst(burst);
      for (size_t i = 0; i < n; ++i) got.push_back(std::move(burst[i]));
      if (n == 0) usleep(100);
    }
    return got;
  }

  Packet tcp_packet(BufferPool& pool, size_t payload, uint16_t segment_bytes) {
    wire::TcpHeader tcp;
    tcp.ack = true;
    PacketBuilder builder;
    builder.eth(testkit::mac("02:00:00:00:00:02"), testkit::mac("02:00:00:00:00:01"))
        .ipv4("10.0.0.1", "10.0.0.2")
        .tcp(tcp)
        .payload(testkit::pattern(payload))
        .partial_checksum();
    Packet packet = builder.packet(pool);
    rte_mbuf* m = packet.mbuf();
    m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IP_CKSUM;
    m->l2_len = 14;
    m->l3_len = 20;
    m->l4_len = 20;
    if (segment_bytes) {
      m->tso_segsz = segment_bytes;
      m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    }
    return packet;
  }

  // What arrives must be `count` segments with right checksums that make up the pattern.
  void expect_segments(const std::vector<Packet>& got, size_t count, size_t bytes) {
    ASSERT_EQ(got.size(), count);
    ip::Input input(*b_pool_, counters_, {}, Instant{});
    input.set_interface(InterfaceId{0}, {});
    std::vector<uint8_t> all;
    for (const Packet& p : got) {
      auto whole = testkit::bytes_of_packet(p);
      whole.erase(whole.begin(), whole.begin() + 14);
      auto verdict = input.classify(InterfaceId{0}, b_pool_->take_copy(whole), false, Instant{});
      ASSERT_EQ(verdict.kind, ip::VerdictKind::kTcp) << text_of(verdict.reason);
      verdict.drop_header();
      const auto segment = testkit::bytes_of_packet(verdict.packet);
      all.insert(all.end(), segment.begin() + 20, segment.end());
    }
    EXPECT_EQ(all, testkit::pattern(bytes));
  }

  // Serves as 10.3.0.1 / fd03::1 on `port` while the kernel in `netns` pings it.
  void expect_ping(port::Port& port, const NetNamespace& netns, const char* device) {
    wire::MacAddress mac{port.mac()};
    ASSERT_EQ(netns.run(std::string("ip addr add 10.3.0.2/24 dev ") + device + " && ip -6 addr add fd03::2/64 dev " +
                        device + " nodad && ip link set " + device + " up"),
              0);
    eth::LinkConfig config;
    config.mac = mac;
    config.own = {ip("10.3.0.1"), ip("fd03::1")};
    config.neighbours = {*Prefix::parse("0.0.0.0/0"), *Prefix::parse("::/0")};
    eth::Link link(config, *a_pool_, counters_, 1, clock_now());
    ip::Input input(*a_pool_, counters_, {}, clock_now());
    ip::InterfaceConfig interface;
    interface.own = {Prefix::host(ip("10.3.0.1")), Prefix::host(ip("fd03::1"))};
    input.set_interface(InterfaceId{0}, interface);
    int ping4 = -1, ping6 = -1;
    std::atomic<bool> done{false};
    std::thread pings([&] {
      ping4 = netns.run("ping -q -c 3 -i 0.01 -W 2 10.3.0.1 >/dev/null");
      ping6 = netns.run("ping -q -c 3 -i 0.01 -W 2 fd03::1 >/dev/null");
      done = true;
    });
    while (!done) {
      const Instant now = clock_now();
      Packet burst[32];
      std::vector<Packet> out;
      const size_t n = port.rx_burst(burst);
      for (size_t i = 0; i < n; ++i) {
        auto received = link.receive(std::move(burst[i]), now);
        if (received.kind == eth::ReceivedKind::kNone) continue;
        auto verdict = input.classify(InterfaceId{0}, std::move(received.packet), received.link_multicast, now);
        if (verdict.kind == ip::VerdictKind::kReply &&
            link.encapsulate(verdict.packet, verdict.datagram.destination, now) == eth::Encapsulated::kReady) {
          out.push_back(std::move(verdict.packet));
        }
      }
      link.poll(now);
      while (const size_t m = link.take_output(burst)) {
        for (size_t i = 0; i < m; ++i) out.push_back(std::move(burst[i]));
      }
      port.tx_burst(out);
      if (n > 0) continue;
      if (port.wakeup().fd < 0) {
        usleep(200);
        continue;
      }
      // Asleep until a frame comes: without a wake-up the pings would time out.
      pollfd waiting{port.wakeup().fd, POLLIN, 0};
      poll(&waiting, 1, 3000);
    }
    pings.join();
    EXPECT_EQ(ping4, 0);
    EXPECT_EQ(ping6, 0);
  }

  Counters counters_;
  std::unique_ptr<BufferPool> a_pool_, b_pool_;
  std::unique_ptr<port::OffloadPort> a_, b_;
};

TEST_F(EthdevTest, MemifPairCarriesSegmentsThatSoftwareCut) {
  const std::string socket =
      (std::filesystem::temp_directory_path() / ("culvert-memif-" + std::to_string(getpid()))).string();
  b_ = open("net_memif0,role=server,socket=" + socket + ",socket-abstract=no", *b_pool_);
  a_ = open("net_memif1,role=client,socket=" + socket + ",socket-abstract=no", *a_pool_);
  ASSERT_TRUE(a_ && b_);
  EXPECT_EQ(a_->driver(), "ethdev net_memif");
  EXPECT_EQ(a_->wakeup().fd, -1);
  EXPECT_FALSE(a_->device().offloads().tso);
  ASSERT_TRUE(wait_for_link(*a_));
  ASSERT_TRUE(wait_for_link(*b_));

  Packet large = tcp_packet(*a_pool_, 60'000, 1448);
  ASSERT_EQ(a_->tx_burst({&large, 1}), 1u);
  while (a_->has_pending()) a_->tx_burst({});
  expect_segments(receive(*b_, 42), 42, 60'000);
  EXPECT_EQ(counters_.value(Counter::kPortGsoSoftware), 1u);
  EXPECT_EQ(counters_.value(Counter::kPortGsoSegment), 42u);
  EXPECT_EQ(counters_.value(Counter::kPortChecksumSoftware), 42u);
  EXPECT_EQ(counters_.value(Counter::kPortTsoHardware), 0u);
  EXPECT_EQ(a_->stats().tx_packets, 42u);
  EXPECT_EQ(b_->stats().rx_packets, 42u);
}

TEST_F(EthdevTest, AfXdpOverVethAnswersTheKernelsPing) {
  const NetNamespace peer;
  ASSERT_EQ(system("ip link add culvx0 type veth peer name culvx1 && ip link set culvx0 up"), 0);
  ASSERT_EQ(
      system(
          ("ip link set culvx1 netns /proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(peer.fd())).c_str()),
      0);
  // A veth leaves checksums to a device that does not exist; whoever reads it through XDP sees them missing.
  ASSERT_EQ(peer.run("ethtool -K culvx1 tx off >/dev/null && ip link set culvx1 up"), 0);
  a_ = open("net_af_xdp0,iface=culvx0", *a_pool_);
  ASSERT_TRUE(a_);
  EXPECT_EQ(a_->driver(), "ethdev net_af_xdp");
  EXPECT_EQ(a_->wakeup().fd, -1);
  expect_ping(*a_, peer, "culvx1");
  a_.reset();
  EXPECT_EQ(system("ip link del culvx0"), 0);
  // The driver never gives back what it put into its fill ring.
  EXPECT_GE(a_pool_->held(BufferKind::kSmall), 2048u);
  a_pool_.reset();
}

TEST_F(EthdevTest, NetTapAnswersTheKernelsPingAndWakesTheSleeper) {
  a_ = open("net_tap0,iface=culvt0", *a_pool_);
  ASSERT_TRUE(a_);
  EXPECT_EQ(a_->driver(), "ethdev net_tap");
  const NetNamespace peer;
  ASSERT_EQ(
      system(
          ("ip link set culvt0 netns /proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(peer.fd())).c_str()),
      0);
  // The driver gives the kernel's device its own address: as if a station talked to itself.
  ASSERT_EQ(peer.run("ip link set culvt0 address 02:00:00:00:77:01"), 0);
  expect_ping(*a_, peer, "culvt0");
}

TEST_F(EthdevTest, NetTapIsTrustedNeitherWithChecksumsNorToSegment) {
  a_ = open("net_tap1,iface=culvt1", *a_pool_);
  ASSERT_TRUE(a_);
  ASSERT_FALSE(a_->device().offloads().tso);
  ASSERT_FALSE(a_->device().offloads().tx_checksum);
  ASSERT_EQ(system("ip link set culvt1 up"), 0);
  const UniqueFd seen(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_IP)));
  Packet large = tcp_packet(*a_pool_, 30'000, 1448);
  ASSERT_EQ(a_->tx_burst({&large, 1}), 1u);
  EXPECT_EQ(counters_.value(Counter::kPortGsoSoftware), 1u);
  EXPECT_EQ(counters_.value(Counter::kPortChecksumHardware), 0u);
  EXPECT_EQ(counters_.value(Counter::kPortChecksumSoftware), 21u);
  std::vector<Packet> got;
  const Instant end = clock_now() + 3s;
  while (got.size() < 21 && clock_now() < end) {
    uint8_t frame[2048];
    const ssize_t n = recv(seen.get(), frame, sizeof frame, 0);
    if (n > 1000 || (n > 0 && got.size() == 20)) got.push_back(b_pool_->take_copy({frame, static_cast<size_t>(n)}));
  }
  expect_segments(got, 21, 30'000);
}

TEST_F(EthdevTest, QueuesAreOnePortEach) {
  EthdevSettings settings;
  settings.devargs = "net_tap2,iface=culvt2";
  auto ports = open_ethdev(settings, {a_pool_.get(), b_pool_.get()});
  ASSERT_TRUE(ports) << ports.error();
  ASSERT_EQ(ports->size(), 2u);
  EXPECT_EQ((*ports)[0]->queues(), 2u);
  EXPECT_EQ((*ports)[0]->mac(), (*ports)[1]->mac());
  ports->erase(ports->begin());  // the device stays as long as one port does
  EXPECT_EQ(system("ip link show culvt2 >/dev/null"), 0);
  Packet frame = PacketBuilder()
                     .eth(testkit::mac("ff:ff:ff:ff:ff:ff"), {(*ports)[0]->mac()})
                     .ipv4("10.0.0.1", "10.0.0.2")
                     .udp(1, 2)
                     .packet(*b_pool_);
  EXPECT_EQ((*ports)[0]->tx_burst({&frame, 1}), 1u);
  EXPECT_EQ((*ports)[0]->stats().tx_packets, 1u);
  ports->clear();
  EXPECT_NE(system("ip link show culvt2 >/dev/null 2>&1"), 0);
}

TEST_F(EthdevTest, FramesBeyondOneBufferNeedADriverThatScatters) {
  // A ring gives back what it was given, of any size.
  a_ = open("net_ring0", *a_pool_, 9000);
  ASSERT_TRUE(a_);
  EXPECT_EQ(a_->mtu(), 9000);
  Packet large = tcp_packet(*a_pool_, 8'000, 0);
  const auto sent = testkit::bytes_of_packet(large);
  ASSERT_EQ(a_->tx_burst({&large, 1}), 1u);
  const auto got = receive(*a_, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].bytes(), sent.size());
}

TEST_F(EthdevTest, ErrorsNameTheDeviceAndWhatIsWrong) {
  EthdevSettings settings;
  settings.devargs = "net_nosuch0";
  auto ports = open_ethdev(settings, {a_pool_.get()});
  ASSERT_FALSE(ports);
  EXPECT_EQ(ports.error().rfind("device net_nosuch0: is not there or its driver refuses it", 0), 0u) << ports.error();
  const auto heap = BufferPool::on_heap({});
  settings.devargs = "net_null0";
  ports = open_ethdev(settings, {heap.get()});
  ASSERT_FALSE(ports);
  EXPECT_EQ(ports.error(), "device net_null0: needs buffers from mempools");
}

}  // namespace
}  // namespace culvert::ethdev

#if defined(__SANITIZE_ADDRESS__)
// net_af_xdp forgets its libxdp handle when it is closed (80 bytes per device); nothing of ours is allocated there.
extern "C" const char* __lsan_default_suppressions() { return "leak:xsk_umem__create\n"; }
#endif

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  culvert::ethdev::Environment::huge_ = argc > 1 && std::string_view(argv[1]) == "--huge";
  testing::AddGlobalTestEnvironment(new culvert::ethdev::Environment);
  return RUN_ALL_TESTS();
}
