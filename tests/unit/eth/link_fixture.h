// A link of a node, with everything around it played by the test.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "base/endian.h"
#include "base/random.h"
#include "eth/link.h"
#include "tests/testkit/packet_builder.h"

namespace culvert::eth {

using testkit::ip;
using testkit::mac;
using testkit::PacketBuilder;

class LinkFixture : public testing::Test {
 protected:
  static inline const wire::MacAddress kOurs = mac("02:00:00:00:00:01");
  static inline const wire::MacAddress kPod = mac("02:00:00:00:00:02");
  static inline const wire::MacAddress kOther = mac("02:00:00:00:00:03");

  LinkFixture() {
    config.mac = kOurs;
    config.own = {ip("10.0.0.1"), ip("fd00::1")};
    config.neighbours = {Prefix::host(ip("10.0.0.2")), Prefix::host(ip("fd00::2"))};
  }
  ~LinkFixture() override {
    link.reset();
    out.clear();
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
      EXPECT_EQ(pool->held(kind), 0u) << "a buffer leaked";
    }
  }

  void make() { link = std::make_unique<Link>(config, *pool, counters, 1, now); }

  Received receives(const PacketBuilder& frame) {
    Received r = link->receive(frame.packet(*pool), now);
    collect();
    return r;
  }
  // Frames in pieces of one byte: nothing may depend on where buffers end.
  Received receives_in_pieces(const PacketBuilder& frame, size_t piece) {
    Received r = link->receive(frame.packet(*pool, piece), now);
    collect();
    return r;
  }
  void advance(Duration by) {
    now += by;
    link->poll(now);
    collect();
  }
  void collect() {
    std::array<Packet, 4> burst;
    while (const size_t n = link->take_output(burst)) {
      for (size_t i = 0; i < n; ++i) out.push_back(testkit::bytes_of_packet(burst[i]));
    }
  }
  // The oldest frame sent and not looked at yet.
  std::vector<uint8_t> sent() {
    if (out.empty()) return {};
    auto frame = out.front();
    out.erase(out.begin());
    return frame;
  }
  void expect_sent(const PacketBuilder& frame) { EXPECT_EQ(sent(), frame.bytes()); }
  void expect_nothing_sent() { EXPECT_TRUE(out.empty()); }
  uint64_t drops(DropReason reason) const { return counters.value(reason); }
  uint64_t count(Counter counter) const { return counters.value(counter); }

  Packet ip_packet(std::string_view destination, std::string_view text = "payload") {
    PacketBuilder b;
    ip(destination).is_v4() ? b.ipv4("10.9.9.9", destination) : b.ipv6("fd99::9", destination);
    return b.udp(1, 2).payload(text).packet(*pool);
  }
  Encapsulated sends(std::string_view destination, std::string_view text = "payload") {
    Packet packet = ip_packet(destination, text);
    const Encapsulated result = link->encapsulate(packet, ip(destination), now);
    if (result == Encapsulated::kReady) out.push_back(testkit::bytes_of_packet(packet));
    collect();
    return result;
  }

  static PacketBuilder arp(const wire::MacAddress& to, const wire::MacAddress& from,
                           wire::ArpMessage::Operation operation, std::string_view sender, std::string_view target,
                           wire::MacAddress target_mac = {}) {
    return PacketBuilder().eth(to, from).arp({operation, from, ip(sender), target_mac, ip(target)});
  }
  static PacketBuilder arp_request(const wire::MacAddress& from, std::string_view sender, std::string_view target) {
    return arp(wire::MacAddress::broadcast(), from, wire::ArpMessage::Operation::kRequest, sender, target);
  }
  static PacketBuilder arp_reply(const wire::MacAddress& to, const wire::MacAddress& from, std::string_view sender,
                                 std::string_view target) {
    return arp(to, from, wire::ArpMessage::Operation::kReply, sender, target, to);
  }
  static PacketBuilder solicitation(const wire::MacAddress& from, std::string_view source, std::string_view target) {
    const IpAddress group = wire::solicited_node_group(ip(target));
    return PacketBuilder()
        .eth(wire::MacAddress::multicast_for(group), from)
        .ipv6(source, group.to_string())
        .neighbour(wire::NeighbourSolicitation{ip(target), from});
  }
  static PacketBuilder advertisement(const wire::MacAddress& to, const wire::MacAddress& from, std::string_view target,
                                     std::string_view destination, bool router, bool solicited, bool override_flag) {
    return PacketBuilder()
        .eth(to, from)
        .ipv6(target, destination)
        .neighbour(wire::NeighbourAdvertisement{router, solicited, override_flag, ip(target), from});
  }

  std::unique_ptr<BufferPool> pool = BufferPool::on_heap({.small = 4096, .large = 64, .view = 64});
  Counters counters;
  LinkConfig config;
  Instant now{1h};
  std::unique_ptr<Link> link;
  std::vector<std::vector<uint8_t>> out;
};

}  // namespace culvert::eth
