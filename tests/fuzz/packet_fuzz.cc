// Frames of any bytes through Ethernet, ARP, neighbour discovery, IP and ICMP, as they come from a port: parsers and
// the machines right behind them.
//
// The input is a sequence of records: one byte of flags, two of length, then the frame; between frames time moves.
// Each frame lies in exact heap buffers of its own, cut where the flags say, so that the sanitizers see every read past
// an end. Checked besides: a verdict's lengths agree with its packet, answers of ours are valid packets themselves,
// bounds of the neighbour table hold, and every buffer comes back.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "base/check.h"
#include "eth/link.h"
#include "ip/input.h"
#include "ip/output.h"
#include "wire/tcp_header.h"

namespace culvert {
namespace {

constexpr InterfaceId kPod{1};
constexpr InterfaceId kUplink{2};

IpAddress address(const char* text) { return *IpAddress::parse(text); }

struct Bench {
  std::unique_ptr<BufferPool> pool = BufferPool::on_heap({.small = 512, .large = 32, .view = 512});
  Counters counters;
  Instant now{1h};
  std::unique_ptr<eth::Link> link;
  std::unique_ptr<ip::Input> input;

  Bench() {
    eth::LinkConfig config;
    config.mac.bytes = {0x02, 0, 0, 0, 0, 0x01};
    config.own = {address("10.0.0.1"), address("fd00::1")};
    config.neighbours = {*Prefix::parse("10.0.0.0/24"), *Prefix::parse("fd00::/64")};
    config.limits = {.neighbours_max = 8, .held_per_neighbour_max = 2, .held_max = 8, .output_max = 16};
    link = std::make_unique<eth::Link>(config, *pool, counters, 1, now);
    link->add_proxied(address("10.0.0.77"));
    link->add_proxied(address("fd00::77"));
    input = std::make_unique<ip::Input>(*pool, counters, ip::IcmpLimits{}, now);
    ip::InterfaceConfig pod;
    pod.own = {*Prefix::parse("10.0.0.1/24"), *Prefix::parse("fd00::1/64")};
    pod.check_source = true;
    pod.sources = {address("10.0.0.2"), address("fd00::2")};
    input->set_interface(kPod, pod);
    input->set_interface(kUplink, {});
  }

  ~Bench() {
    link.reset();
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
      DP_CHECK(pool->held(kind) == 0);
    }
  }

  Packet frame(ByteView bytes, size_t piece) {
    Packet out;
    do {
      const size_t take = std::min(piece, bytes.size());
      Packet part = pool->take_exact_copy(bytes.first(take));
      if (!part) return {};
      out.join(std::move(part));
      bytes = bytes.subspan(take);
    } while (!bytes.empty());
    return out;
  }

  // What we send must be acceptable to a neighbour that checks everything.
  void check_answer(Packet packet) {
    ip::Verdict v = input->classify(kUplink, std::move(packet), false, now);
    DP_CHECK(v.kind == ip::VerdictKind::kForward || v.kind == ip::VerdictKind::kIcmpError ||
             v.reason == DropReason::kIpNoBuffer || v.reason == DropReason::kIpIcmpMalformed);
  }

  void drain_link() {
    std::array<Packet, 8> out;
    while (link->take_output(out) > 0) {
    }
    while (link->take_undeliverable(out) > 0) {
    }
    DP_CHECK(link->neighbours(now).size() <= 8);
  }

  void on_packet(eth::Received received) {
    const uint32_t bytes = received.packet.bytes();
    ip::Verdict v = input->classify(kPod, std::move(received.packet), received.link_multicast, now);
    DP_CHECK(v.packet.bytes() <= std::max(bytes, 1280u));
    DP_CHECK((v.kind == ip::VerdictKind::kDrop) == !v.packet);
    if (v.kind == ip::VerdictKind::kDrop) return;
    DP_CHECK(v.packet.bytes() == v.datagram.header_bytes + v.datagram.transport_bytes);
    switch (v.kind) {
      case ip::VerdictKind::kTcp:
        v.drop_header();
        if (const auto tcp = wire::parse_tcp(v.packet.front())) DP_CHECK(tcp->header_bytes <= v.packet.bytes());
        break;
      case ip::VerdictKind::kReply: {
        Packet again = v.packet.view(0, v.packet.bytes());
        link->encapsulate(v.packet, v.datagram.destination, now);
        if (again) check_answer(std::move(again));
        break;
      }
      case ip::VerdictKind::kForward: {
        ip::Verdict error = input->make_error(kPod, v.packet, v.datagram, {ip::IcmpError::Kind::kTimeExceeded}, now);
        if (error.kind == ip::VerdictKind::kReply) check_answer(std::move(error.packet));
        static_cast<void>(ip::prepare_forward(v.packet, v.datagram, 1500));
        break;
      }
      default:
        break;
    }
  }

  void run(ByteView program) {
    while (program.size() >= 3) {
      const uint8_t flags = program[0];
      const size_t bytes = std::min<size_t>(program[1] << 8 | program[2], program.size() - 3);
      const ByteView body = program.subspan(3, bytes);
      program = program.subspan(3 + bytes);
      static constexpr size_t kPieces[] = {SIZE_MAX, 1, 7, 40};
      Packet packet = frame(body, kPieces[flags & 3]);
      if (!packet) continue;
      if (flags & 4) pool->fail_take(1 + (flags >> 5));
      if (flags & 8) {
        on_packet({eth::ReceivedKind::kIpv4, std::move(packet), (flags & 16) != 0});
      } else {
        eth::Received received = link->receive(std::move(packet), now);
        if (received.kind != eth::ReceivedKind::kNone) on_packet(std::move(received));
      }
      pool->fail_take(0);
      now += std::chrono::milliseconds(flags >> 4) * 100;
      link->poll(now);
      drain_link();
    }
  }
};

}  // namespace
}  // namespace culvert

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  culvert::Bench bench;
  bench.run({data, bytes});
  return 0;
}
