// An interface of a node, and packets that come in on it.
#pragma once

#include <gtest/gtest.h>

#include "base/endian.h"
#include "base/random.h"
#include "ip/input.h"
#include "tests/testkit/packet_builder.h"

namespace culvert::ip {

using testkit::PacketBuilder;

// `ip` is this room's namespace.
inline IpAddress addr(std::string_view text) { return testkit::ip(text); }

class IpFixture : public testing::Test {
 protected:
  static constexpr InterfaceId kPod{1};

  IpFixture() {
    InterfaceConfig config;
    config.own = {*Prefix::parse("10.0.0.1/24"), *Prefix::parse("fd00::1/64")};
    config.check_source = true;
    config.sources = {addr("10.0.0.2"), addr("fd00::2")};
    input.set_interface(kPod, config);
  }
  ~IpFixture() override {
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
      EXPECT_EQ(pool->held(kind), 0u) << "a buffer leaked";
    }
  }

  Verdict receives(const PacketBuilder& packet, bool link_multicast = false) {
    return input.classify(kPod, packet.packet(*pool), link_multicast, now);
  }
  void expect_drop(const PacketBuilder& packet, DropReason reason, bool link_multicast = false) {
    const uint64_t before = counters.value(reason);
    const Verdict v = receives(packet, link_multicast);
    EXPECT_EQ(v.kind, VerdictKind::kDrop);
    EXPECT_EQ(v.reason, reason) << text_of(v.reason);
    EXPECT_FALSE(v.packet);
    EXPECT_EQ(counters.value(reason), before + 1);
  }
  static PacketBuilder tcp4(std::string_view payload = "data") {
    return PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").tcp(syn()).payload(payload);
  }
  static PacketBuilder tcp6(std::string_view payload = "data") {
    return PacketBuilder().ipv6("fd00::2", "fd99::9").tcp(syn()).payload(payload);
  }
  static wire::TcpHeader syn() {
    wire::TcpHeader h;
    h.source_port = 1000;
    h.destination_port = 80;
    h.sequence = 0x01020304;
    h.syn = true;
    h.options.mss = 1460;
    return h;
  }

  std::unique_ptr<BufferPool> pool = BufferPool::on_heap({.small = 4096, .large = 64, .view = 64});
  Counters counters;
  Instant now{1h};
  Input input{*pool, counters, IcmpLimits{}, now};
};

}  // namespace culvert::ip
