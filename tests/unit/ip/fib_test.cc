#include "ip/fib.h"

#include "base/random.h"
#include "tests/unit/ip/ip_fixture.h"

namespace culvert::ip {
namespace {

FibRoute route(const char* to, uint16_t interface, const char* via = nullptr) {
  FibRoute r;
  r.to = *Prefix::parse(to);
  r.interface = InterfaceId{interface};
  if (via) r.via = addr(via);
  return r;
}

TEST(Fib, LongestPrefixWins) {
  Fib fib;
  EXPECT_FALSE(fib.lookup(addr("10.0.0.1")));
  fib.add(route("0.0.0.0/0", 1, "192.168.0.1"));
  fib.add(route("10.0.0.0/8", 2, "192.168.0.2"));
  fib.add(route("10.1.0.0/16", 3));
  fib.add(route("10.1.2.3", 4));
  EXPECT_EQ(fib.lookup(addr("9.9.9.9"))->address, addr("192.168.0.1"));
  EXPECT_EQ(fib.lookup(addr("10.9.9.9"))->address, addr("192.168.0.2"));
  EXPECT_EQ(fib.lookup(addr("10.1.2.4"))->address, addr("10.1.2.4"));  // on link
  EXPECT_EQ(fib.lookup(addr("10.1.2.4"))->interface, InterfaceId{3});
  EXPECT_EQ(fib.lookup(addr("10.1.2.3"))->interface, InterfaceId{4});
  EXPECT_FALSE(fib.lookup(addr("fd00::1"))) << "a default route is of one family";
  fib.add(route("::/0", 5, "fe80::1"));
  EXPECT_EQ(fib.lookup(addr("fd00::1"))->interface, InterfaceId{5});
  EXPECT_EQ(fib.lookup(addr("9.9.9.9"))->interface, InterfaceId{1});
  EXPECT_TRUE(fib.remove(*Prefix::parse("0.0.0.0/0")));
  EXPECT_FALSE(fib.remove(*Prefix::parse("0.0.0.0/0")));
  EXPECT_FALSE(fib.lookup(addr("9.9.9.9")));
}

TEST(Fib, HostBitsAreIgnoredAndTheSamePrefixIsReplaced) {
  Fib fib;
  fib.add(route("10.1.2.3/16", 1));
  fib.add(route("10.1.9.9/16", 2));
  ASSERT_EQ(fib.routes().size(), 1u);
  EXPECT_EQ(fib.routes()[0].to, *Prefix::parse("10.1.0.0/16"));
  EXPECT_EQ(fib.lookup(addr("10.1.0.1"))->interface, InterfaceId{2});
  fib.add(route("fd00::/8", 3));
  fib.remove_interface(InterfaceId{2});
  EXPECT_FALSE(fib.lookup(addr("10.1.0.1")));
  EXPECT_TRUE(fib.lookup(addr("fd00::1")));
}

// Against a search through all routes, with many that enclose each other.
TEST(Fib, AgreesWithAScan) {
  Random random(5);
  Fib fib;
  std::vector<FibRoute> all;
  auto address = [&](bool v4) {
    uint8_t bytes[16];
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.below(3) ? random.below(2) * 0x80 : random.below(256));
    bytes[0] = 0xfd;
    return v4 ? IpAddress::v4(bytes) : IpAddress::v6(bytes);
  };
  for (int step = 0; step < 3000; ++step) {
    const bool v4 = random.below(2);
    const Prefix prefix{address(v4), static_cast<uint8_t>(random.below(10) ? random.below(v4 ? 33 : 129) : 0)};
    if (random.below(4) == 0 && !all.empty()) {
      const size_t at = random.below(all.size());
      EXPECT_TRUE(fib.remove(all[at].to));
      all.erase(all.begin() + static_cast<ptrdiff_t>(at));
    } else if (all.size() < 300) {
      FibRoute r{prefix, InterfaceId{static_cast<uint16_t>(step)}, std::nullopt};
      fib.add(r);
      // The same block under another name is the same route.
      std::erase_if(all, [&](const FibRoute& o) { return o.to.bits == prefix.bits && o.to.contains(prefix.address); });
      all.push_back(r);
    }
    ASSERT_EQ(fib.routes().size(), all.size());
    for (int probe = 0; probe < 10; ++probe) {
      const IpAddress a = address(random.below(2));
      const FibRoute* best = nullptr;
      for (const FibRoute& r : all) {
        if (r.to.contains(a) && (!best || r.to.bits > best->to.bits)) best = &r;
      }
      const auto got = fib.lookup(a);
      ASSERT_EQ(got.has_value(), best != nullptr) << a.to_string();
      if (best) {
        ASSERT_EQ(got->interface, best->interface) << a.to_string();
      }
    }
  }
}

}  // namespace
}  // namespace culvert::ip
