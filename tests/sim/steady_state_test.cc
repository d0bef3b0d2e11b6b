// One gibibyte between two nodes in one process, with buffers from mempools as in a real node: what the nodes copy and
// allocate per byte and per record once the connection runs (D8, D10).
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "drivers/ethdev/eal.h"
#include "tests/testkit/in_process_lab.h"

namespace {

// Every allocation of this process goes through here.
uint64_t allocations = 0;

}  // namespace

extern "C" void* __libc_malloc(size_t bytes);
extern "C" void* __libc_calloc(size_t count, size_t bytes);
extern "C" void* __libc_realloc(void* old, size_t bytes);

extern "C" void* malloc(size_t bytes) {
  ++allocations;
  return __libc_malloc(bytes);
}
extern "C" void* calloc(size_t count, size_t bytes) {
  ++allocations;
  return __libc_calloc(count, bytes);
}
extern "C" void* realloc(void* old, size_t bytes) {
  ++allocations;
  return __libc_realloc(old, bytes);
}

namespace culvert {
namespace {

using testkit::InProcessLab;

constexpr uint64_t kGibibyte = 1ull << 30;
constexpr uint16_t kWriteBytes = 16'000;

class SteadyState : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ethdev::EalSettings settings;
    settings.huge_pages = ethdev::HugePages::kNever;
    settings.limits = testkit::kInProcessBuffers;
    settings.pools = 6;  // two nodes, two hosts, and room for fragmentation
    settings.file_prefix = "culvert-steady-state";
    auto eal = ethdev::Eal::start(settings);
    ASSERT_TRUE(eal.ok()) << eal.error();
    eal_ = std::move(*eal);
  }
  static void TearDownTestSuite() { eal_.reset(); }

  // Moves `bytes` from the client to the server.
  static void transfer(InProcessLab& lab, tcp::ConnectionId client, tcp::ConnectionId server, uint64_t bytes) {
    uint64_t sent = 0;
    uint64_t received = 0;
    std::array<tcp::Event, 64> events;
    uint64_t idle_turns = 0;
    while (received < bytes) {
      while (sent < bytes && lab.client().tcp().writable_bytes(client) > 0) {
        Packet packet = lab.client().pool().take_large();
        if (!packet) break;
        const auto n = static_cast<uint16_t>(std::min<uint64_t>(kWriteBytes, bytes - sent));
        ASSERT_NE(packet.append(n), nullptr);
        ASSERT_TRUE(lab.client().tcp().write(client, std::move(packet), lab.now()));
        sent += n;
      }
      lab.turn();
      const uint64_t before = received;
      while (const Packet packet = lab.server().tcp().read(server, 1 << 20, lab.now())) received += packet.bytes();
      while (lab.client().tcp().take_events(events) > 0) {
      }
      while (lab.server().tcp().take_events(events) > 0) {
      }
      idle_turns = received == before ? idle_turns + 1 : 0;
      ASSERT_LT(idle_turns, 50'000'000u) << "stuck after " << received << " bytes";
    }
  }

  static std::unique_ptr<ethdev::Eal> eal_;
};

std::unique_ptr<ethdev::Eal> SteadyState::eal_;

uint64_t records(InProcessLab& lab) {
  uint64_t sum = 0;
  for (size_t n = 0; n < 2; ++n) {
    for (const Counter c : {Counter::kTlsRecordIpsecMbSealed, Counter::kTlsRecordOpensslSealed}) {
      sum += lab.node(n).value(c);
    }
  }
  return sum;
}

TEST_F(SteadyState, AGibibyteIsNeitherCopiedNorPaidForWithAllocations) {
  InProcessLab lab({.large_segments = true, .mempools = true});
  const auto id = lab.client().connect(lab.server_endpoint(), lab.now());
  ASSERT_TRUE(id.ok());
  tcp::ConnectionId server;
  bool accepted = false;
  std::array<tcp::Event, 16> events;
  for (int i = 0; i < 20'000'000 && !accepted; ++i) {
    lab.turn();
    lab.client().tcp().take_events(events);
    for (size_t n = lab.server().tcp().take_events(events), e = 0; e < n; ++e) {
      if (events[e].kind != tcp::EventKind::kAccepted) continue;
      accepted = true;
      server = events[e].connection;
    }
  }
  ASSERT_TRUE(accepted);
  transfer(lab, *id, server, 64 << 20);  // windows and tables have grown

  const auto copied = [&] { return lab.node(0).pool(0).bytes_copied() + lab.node(1).pool(0).bytes_copied(); };
  const uint64_t copied_before = copied();
  const uint64_t records_before = records(lab);
  const uint64_t allocations_before = allocations;
  transfer(lab, *id, server, kGibibyte);
  const uint64_t made = allocations - allocations_before;
  const uint64_t sealed = records(lab) - records_before;

  ASSERT_GT(sealed, kGibibyte / 16'384);
  EXPECT_LE(static_cast<double>(copied() - copied_before) / kGibibyte, 1.05);
  // nghttp2 allocates for each WINDOW_UPDATE it queues, a few per megabyte; nothing is allocated per record.
  EXPECT_LT(made, sealed / 20) << made << " allocations for " << sealed << " records";
  RecordProperty("allocations", static_cast<int>(made));
  RecordProperty("records", static_cast<int>(sealed));
}

}  // namespace
}  // namespace culvert
