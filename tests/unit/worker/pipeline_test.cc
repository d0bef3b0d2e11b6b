// The path of packets through a worker where it is more than its rooms: by which neighbour answers leave, what a full
// port still holds, for whom an uplink answers.
#include "worker/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "drivers/crypto/openssl/aead.h"
#include "drivers/link/link_port.h"
#include "tests/testkit/host.h"
#include "tests/testkit/packet_builder.h"
#include "worker/worker.h"

namespace culvert::worker {
namespace {

using link::LinkConfig;
using link::LinkPort;
using link::QueueWire;
using testing::Contains;
using testing::Not;
using testkit::ip;
using testkit::PacketBuilder;
using wire::ArpMessage;
using wire::MacAddress;

const MacAddress kOurs = testkit::mac("02:00:00:00:00:01");
const MacAddress kPeer = testkit::mac("02:00:00:00:00:02");

LinkConfig config_of(const MacAddress& mac) {
  LinkConfig config;
  config.mac = mac.bytes;
  config.sleeps = false;
  config.offloads.scatter = true;
  config.offloads.tx_segments_max = 8;
  return config;
}

PacketBuilder arp_request(const char* sender, const char* target) {
  return PacketBuilder()
      .eth(MacAddress::broadcast(), kPeer)
      .arp({ArpMessage::Operation::kRequest, kPeer, ip(sender), MacAddress{}, ip(target)});
}
PacketBuilder arp_reply(const MacAddress& to, const MacAddress& from, const char* sender, const char* target) {
  return PacketBuilder().eth(to, from).arp({ArpMessage::Operation::kReply, from, ip(sender), to, ip(target)});
}

std::vector<std::vector<uint8_t>> taken_from(QueueWire& wire) {
  std::vector<std::vector<uint8_t>> frames;
  for (Packet frame; wire.receive({&frame, 1}) == 1;) frames.push_back(testkit::bytes_of_packet(frame));
  return frames;
}

class PipelineTest : public testing::Test {
 protected:
  std::unique_ptr<testkit::Host> host(const MacAddress& mac, const char* address, const char* gateway, QueueWire& to,
                                      QueueWire& from) {
    testkit::HostConfig config;
    config.name = address;
    config.addresses = {Prefix::host(ip(address))};
    config.gateways = {ip(gateway)};
    config.listening = {80};
    return std::make_unique<testkit::Host>(config, *pool_,
                                           std::make_unique<LinkPort>(config_of(mac), to, from, *pool_, true), now_);
  }
  void puts(QueueWire& wire, const PacketBuilder& frame) {
    Packet packet = frame.packet(*pool_);
    ASSERT_EQ(wire.send({&packet, 1}), 1u);
  }

  std::unique_ptr<BufferPool> pool_ = BufferPool::on_heap({.small = 2048, .large = 256, .view = 2048});
  Instant now_{1s};
};

TEST_F(PipelineTest, AnAnswerToAFarStationLeavesThroughTheRouter) {
  QueueWire out(64), in(64);
  const auto ours = host(kOurs, "10.0.1.2", "10.0.1.1", out, in);
  ours->turn(now_);
  taken_from(out);  // announcements
  puts(in, PacketBuilder().eth(kOurs, kPeer).ipv4("10.9.9.9", "10.0.1.2").icmp_echo(7, 1).payload("hello"));
  ours->turn(now_);
  EXPECT_THAT(taken_from(out),
              Contains(PacketBuilder()
                           .eth(MacAddress::broadcast(), kOurs)
                           .arp({ArpMessage::Operation::kRequest, kOurs, ip("10.0.1.2"), MacAddress{}, ip("10.0.1.1")})
                           .bytes()));
  puts(in, arp_reply(kOurs, kPeer, "10.0.1.1", "10.0.1.2"));
  ours->turn(now_);
  const auto frames = taken_from(out);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_TRUE(std::equal(kPeer.bytes.begin(), kPeer.bytes.end(), frames[0].begin()));
  EXPECT_EQ(frames[0].at(14 + 20), wire::icmp::kEchoReply);
}

TEST_F(PipelineTest, SegmentsThatAFullPortDidNotTakeLeaveAsSoonAsThereIsRoom) {
  QueueWire there(4), back(64);
  const auto ours = host(kOurs, "10.0.1.2", "10.0.1.1", there, back);
  const auto peer = host(kPeer, "10.0.1.1", "10.0.1.2", back, there);
  const auto connection = ours->connect({ip("10.0.1.1"), 80}, now_);
  ASSERT_TRUE(connection.ok());
  for (int i = 0; i < 8; ++i) {
    ours->turn(now_);
    peer->turn(now_);
  }
  ASSERT_GT(ours->tcp().writable_bytes(*connection), 0u);
  // The initial window of ten segments, in one packet: the port's software half cuts it.
  const auto content = testkit::pattern(10 * 1448);
  ASSERT_TRUE(ours->tcp().write(*connection, pool_->take_copy(content), now_));
  size_t frames = 0;
  for (int turn = 0; turn < 4; ++turn) {
    ours->transmit(now_);
    const size_t taken = taken_from(there).size();
    EXPECT_LE(taken, 4u);
    frames += taken;
  }
  EXPECT_EQ(frames, 10u) << "nothing else touches the interface meanwhile";
}

class VirtualClock final : public Clock {
 public:
  Instant now() override { return Instant{1s}; }
  UnixTime calendar() override { return UnixTime{1'700'000'000s}; }
};

TEST(Uplink, AnswersForAPodOnlyWhileItIsAttached) {
  VirtualClock clock;
  crypto::OpensslAead aead;
  NodeConfig config;
  config.name = "n1";
  config.buffers = {.small = 2048, .large = 256, .view = 2048};
  config.routes = {{*Prefix::parse("10.0.0.0/8"), std::nullopt, "uplink0"}};
  QueueWire out(256), in(64), pod_out(64), pod_in(64);
  auto made = Node::make(config, clock, aead, false);
  ASSERT_TRUE(made.ok());
  Node& node = **made;
  const auto port = [&](const MacAddress& mac, QueueWire& to, QueueWire& from) {
    return std::make_unique<LinkPort>(config_of(mac), to, from, node.port_pool(), true);
  };
  UplinkSpec uplink;
  uplink.name = "uplink0";
  uplink.addresses = {*Prefix::parse("10.255.0.1/32")};
  ASSERT_TRUE(node.add_uplink(uplink, port(kOurs, out, in)).ok());
  const auto answer = [&](const char* pod) {
    Packet question = arp_request("10.255.0.2", pod).packet(node.port_pool());
    EXPECT_EQ(in.send({&question, 1}), 1u);
    node.worker(0).turn(clock.now());
    return taken_from(out);
  };
  const auto yes = [](const char* pod) { return arp_reply(kPeer, kOurs, pod, "10.255.0.2").bytes(); };
  EXPECT_THAT(answer("10.1.0.11"), Not(Contains(yes("10.1.0.11"))));
  for (const char* pod : {"10.1.0.11", "10.1.0.12"}) {
    ASSERT_TRUE(node.attach({.id = pod, .workload = "demo/web", .addresses = {ip(pod)}, .gateways = {ip("10.254.0.1")}},
                            port(testkit::mac("02:00:00:00:00:03"), pod_out, pod_in))
                    .ok());
  }
  EXPECT_THAT(answer("10.1.0.11"), Contains(yes("10.1.0.11")));
  EXPECT_TRUE(node.detach("10.1.0.11"));
  EXPECT_THAT(answer("10.1.0.11"), Not(Contains(yes("10.1.0.11"))));
  EXPECT_THAT(answer("10.1.0.12"), Contains(yes("10.1.0.12")));
  taken_from(pod_out);  // the pool goes with the node
}

}  // namespace
}  // namespace culvert::worker
