#include "worker/steering.h"

#include <gtest/gtest.h>

#include <vector>

namespace culvert::worker {
namespace {

tcp::Tuple tuple(uint32_t host, uint16_t port) {
  return {{IpAddress::v4(0x0a010000u + host), port}, {IpAddress::v4(0x0a020001u), 8080}};
}

TEST(Steering, BothDirectionsOfAFlowHaveOneOwner) {
  for (uint32_t host = 0; host < 50; ++host) {
    for (uint16_t port = 40'000; port < 40'020; ++port) {
      const tcp::Tuple there = tuple(host, port);
      EXPECT_EQ(owner_of(there, 7, 4), owner_of({there.remote, there.local}, 7, 4));
    }
  }
}

TEST(Steering, FlowsSpreadOverTheWorkers) {
  std::vector<uint32_t> flows(4);
  for (uint32_t host = 0; host < 100; ++host) {
    for (uint16_t port = 40'000; port < 40'100; ++port) ++flows[owner_of(tuple(host, port), 7, 4)];
  }
  for (const uint32_t n : flows) {
    EXPECT_GT(n, 2'200u);
    EXPECT_LT(n, 2'800u);
  }
}

TEST(Steering, OneWorkerOwnsEverything) { EXPECT_EQ(owner_of(tuple(1, 2), 3, 1), 0u); }

}  // namespace
}  // namespace culvert::worker
