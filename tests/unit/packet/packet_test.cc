// Packets and byte queues against plain strings, on heap buffers.
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "base/random.h"
#include "packet/packet.h"

namespace culvert {
namespace {

std::string text(const Packet& packet) {
  std::string out(packet.bytes(), 0);
  packet.copy_out(0, {reinterpret_cast<uint8_t*>(out.data()), out.size()});
  return out;
}

// Whether the chain's own numbers agree with its segments.
void expect_sound(const Packet& packet) {
  uint32_t bytes = 0;
  uint16_t segments = 0;
  for (const rte_mbuf* m = packet.mbuf(); m; m = m->next) {
    bytes += m->data_len;
    ++segments;
    ASSERT_LE(uint32_t{m->data_off} + m->data_len, m->buf_len);
  }
  ASSERT_EQ(packet.bytes(), bytes);
  ASSERT_EQ(packet.segments(), segments);
}

class PacketTest : public testing::Test {
 protected:
  ~PacketTest() override {
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
      EXPECT_EQ(pool->held(kind), 0u) << "a buffer leaked";
    }
  }
  Packet make(std::string_view bytes, size_t piece = SIZE_MAX) {
    Packet out;
    do {
      const size_t take = std::min(piece, bytes.size());
      out.join(pool->take_exact_copy(bytes_of(bytes.substr(0, take))));
      bytes.remove_prefix(take);
    } while (!bytes.empty());
    return out;
  }
  std::unique_ptr<BufferPool> pool = BufferPool::on_heap({.small = 4096, .large = 128, .view = 4096});
};

TEST_F(PacketTest, FreshBufferHasItsRoomOnBothSides) {
  Packet p = pool->take_small();
  ASSERT_TRUE(p);
  EXPECT_EQ(p.bytes(), 0u);
  EXPECT_EQ(p.headroom(), kHeadroom);
  EXPECT_EQ(p.tailroom(), kSmallRoom);
  EXPECT_EQ(pool->held(BufferKind::kSmall), 1u);
  Packet large = pool->take_large();
  EXPECT_EQ(large.tailroom(), kLargeRoom);
  ASSERT_TRUE(p.append(kSmallRoom));
  EXPECT_EQ(p.append(1), nullptr);
  ASSERT_TRUE(p.prepend(kHeadroom));
  EXPECT_EQ(p.prepend(1), nullptr);
  EXPECT_EQ(p.bytes(), kSmallRoom + kHeadroom);
}

TEST_F(PacketTest, EmptyPacketIsHarmless) {
  Packet p;
  EXPECT_FALSE(p);
  EXPECT_EQ(p.bytes(), 0u);
  EXPECT_EQ(p.segments(), 0u);
  EXPECT_EQ(p.front().size(), 0u);
  EXPECT_EQ(p.prepend(1), nullptr);
  EXPECT_EQ(p.append(1), nullptr);
  p.join({});
  EXPECT_FALSE(p);
  p.join(make("x"));
  EXPECT_EQ(text(p), "x");
}

TEST_F(PacketTest, ViewKeepsTheBytesAliveAndTheBufferUnshareable) {
  Packet p = make("hello world");
  Packet v = p.view(6, 5);
  EXPECT_EQ(p.prepend(4), nullptr) << "a view shows this buffer";
  EXPECT_EQ(p.append(1), nullptr);
  EXPECT_EQ(p.memory_bytes(), v.memory_bytes());
  p.reset();
  EXPECT_EQ(text(v), "world");
  EXPECT_EQ(pool->held(BufferKind::kSmall), 1u);
  Packet w = v.view(1, 3);  // a view of a view
  v.reset();
  EXPECT_EQ(text(w), "orl");
  w.reset();
  EXPECT_EQ(pool->held(BufferKind::kSmall), 0u);
}

TEST_F(PacketTest, ViewAsksNothingOfTheDevice) {
  Packet p = make("hello");
  p.mbuf()->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  const Packet v = p.view(0, 5);
  EXPECT_FALSE(v.mbuf()->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
}

TEST_F(PacketTest, PullUpKeepsWhatTheDeviceWasAsked) {
  Packet p = make("0123456789", 3);
  p.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  p.mbuf()->l3_len = 20;
  ASSERT_TRUE(p.pull_up(8));
  EXPECT_EQ(p.front().size(), 8u);
  EXPECT_EQ(text(p), "0123456789");
  EXPECT_TRUE(p.mbuf()->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  EXPECT_EQ(p.mbuf()->l3_len, 20);
  expect_sound(p);
  EXPECT_FALSE(p.pull_up(11)) << "longer than the packet";
  ASSERT_TRUE(p.pull_up(10));
  EXPECT_EQ(p.segments(), 1);
  pool->fail_take(1);
  Packet q = make("");
  EXPECT_FALSE(q);
}

TEST_F(PacketTest, PullUpIsRefusedWhenTheRoomIsTooSmall) {
  Packet p = make(std::string(4000, 'x'), 1000);
  EXPECT_FALSE(p.pull_up(kSmallRoom + 1));
  EXPECT_EQ(text(p), std::string(4000, 'x'));
  EXPECT_TRUE(p.pull_up(kSmallRoom));
  expect_sound(p);
}

TEST_F(PacketTest, CopyUsesAsFewBuffersAsPossible) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{kSmallRoom}, size_t{kSmallRoom + 1}, size_t{kLargeRoom},
                             size_t{kLargeRoom + 1}, size_t{65'535}, size_t{3 * kLargeRoom}}) {
    std::string s(bytes, 0);
    for (size_t i = 0; i < bytes; ++i) s[i] = static_cast<char>(i * 7);
    const Packet p = pool->take_copy(bytes_of(s));
    ASSERT_TRUE(p);
    EXPECT_EQ(text(p), s);
    EXPECT_EQ(p.segments(), std::max<size_t>((bytes + kLargeRoom - 1) / kLargeRoom, 1));
    expect_sound(p);
  }
}

TEST_F(PacketTest, LimitsHold) {
  auto tight = BufferPool::on_heap({.small = 2, .large = 1, .view = 1});
  Packet a = tight->take_small(), b = tight->take_small();
  EXPECT_FALSE(tight->take_small());
  EXPECT_EQ(tight->refused(), 1u);
  ASSERT_TRUE(a.append(10));
  Packet v = a.view(0, 5);
  EXPECT_TRUE(v);
  EXPECT_FALSE(a.view(0, 5));
  EXPECT_FALSE(a.split_front(5));
  EXPECT_EQ(a.bytes(), 10u) << "unchanged when there was no view";
  EXPECT_FALSE(tight->take_copy(bytes_of(std::string(3 * kLargeRoom, 'x'))));
  EXPECT_EQ(tight->held(BufferKind::kLarge), 0u);
  b.reset();
  EXPECT_TRUE(tight->take_small());
}

TEST_F(PacketTest, CopiesAreCounted) {
  const uint64_t before = pool->bytes_copied();
  Packet p = pool->take_copy(bytes_of("12345"));
  Packet q = pool->take_exact_copy(bytes_of("678"));
  EXPECT_EQ(pool->bytes_copied(), before + 8);
  Packet r = pool->take_exact(100);
  EXPECT_EQ(r.bytes(), 100u);
  EXPECT_EQ(r.tailroom(), 0u);
  pool->count_copied(2);
  EXPECT_EQ(pool->bytes_copied(), before + 10);
}

TEST_F(PacketTest, MovedPacketsLeaveNothingBehind) {
  Packet a = make("a");
  Packet b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT: that is what is tested
  Packet& alias = b;
  b = std::move(alias);
  EXPECT_EQ(text(b), "a");
  b = make("b");
  EXPECT_EQ(text(b), "b");
  rte_mbuf* raw = b.give();
  EXPECT_FALSE(b);
  EXPECT_EQ(text(Packet::adopt(raw)), "b");
}

// Everything a packet can do, at random, beside a string that does the same.
TEST_F(PacketTest, RandomOperationsAgreeWithAString) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    std::vector<std::pair<Packet, std::string>> all;
    for (int step = 0; step < 200; ++step) {
      if (all.empty() || (all.size() < 6 && random.below(4) == 0)) {
        std::string s(random.below(3) ? 1 + random.below(60) : 1 + random.below(20'000), 0);
        for (char& c : s) c = static_cast<char>(random.next());
        Packet p = make(s, s.size() > 1000 ? 2000 + random.below(9000) : 1 + random.below(30));
        all.emplace_back(std::move(p), std::move(s));
      }
      const size_t i = random.below(all.size());
      auto& [packet, model] = all[i];
      const auto n = static_cast<uint32_t>(random.below(model.size() + 1));
      switch (random.below(9)) {
        case 0:
          packet.trim_front(n);
          model.erase(0, n);
          break;
        case 1:
          packet.trim_back(n);
          model.resize(model.size() - n);
          break;
        case 2: {
          Packet front = packet.split_front(n);
          ASSERT_EQ(front.bytes(), n);
          std::string s = model.substr(0, n);
          model.erase(0, n);
          if (front) all.emplace_back(std::move(front), std::move(s));
          break;
        }
        case 3: {
          const auto m = static_cast<uint32_t>(random.below(model.size() - n + 1));
          Packet v = packet.view(n, m);
          ASSERT_EQ(v.bytes(), m);
          if (v) all.emplace_back(std::move(v), model.substr(n, m));
          break;
        }
        case 4: {
          const size_t j = random.below(all.size());
          if (j == i || packet.bytes() + all[j].first.bytes() > kPacketBytesMax || !packet || packet.segments() > 5000)
            break;
          model += all[j].second;
          packet.join(std::move(all[j].first));
          all.erase(all.begin() + static_cast<ptrdiff_t>(j));
          break;
        }
        case 5: {
          const auto want = static_cast<uint16_t>(std::min<uint32_t>(n, kSmallRoom));
          if (packet) {
            ASSERT_TRUE(packet.pull_up(want));
            ASSERT_GE(packet.front().size(), want);
          }
          break;
        }
        case 6:
          if (uint8_t* at = packet.prepend(3)) {
            std::memcpy(at, "abc", 3);
            model.insert(0, "abc");
          }
          break;
        case 7:
          if (uint8_t* at = packet.append(2)) {
            std::memcpy(at, "yz", 2);
            model += "yz";
          }
          break;
        default: {
          std::string part;
          const auto m = static_cast<uint32_t>(random.below(model.size() - n + 1));
          packet.for_each(n, m, [&part](ByteView piece) {
            EXPECT_FALSE(piece.empty());
            part += text_of(piece);
          });
          ASSERT_EQ(part, model.substr(n, m));
        }
      }
      for (size_t k = 0; k < all.size();) {
        if (all[k].second.empty() || all.size() > 8) {
          ASSERT_EQ(all[k].first.bytes(), all[k].second.size());
          all.erase(all.begin() + static_cast<ptrdiff_t>(k));
        } else {
          ++k;
        }
      }
      for (const auto& [p, s] : all) {
        ASSERT_EQ(text(p), s) << "seed " << seed << " step " << step;
        expect_sound(p);
      }
    }
  }
}

TEST_F(PacketTest, RandomQueueOperationsAgreeWithAString) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    ByteQueue queue;
    std::string model;
    std::vector<std::pair<Packet, std::string>> shown;
    for (int step = 0; step < 300; ++step) {
      const uint64_t at = random.below(model.size() + 1);
      const uint64_t n = std::min<uint64_t>(random.below(model.size() - at + 1), 5000);
      switch (random.below(8)) {
        case 0:
        case 1: {
          std::string s(random.below(3000), 0);
          for (char& c : s) c = static_cast<char>(random.next());
          queue.append(make(s, 1 + random.below(1500)));
          model += s;
          break;
        }
        case 2: {
          const uint64_t drop = random.below(std::min<uint64_t>(model.size(), 2000) + 1);
          queue.drop_front(drop);
          model.erase(0, drop);
          break;
        }
        case 3: {
          const auto take = static_cast<uint32_t>(random.below(std::min<uint64_t>(model.size(), 2000) + 1));
          Packet p = queue.take_front(take);
          ASSERT_EQ(text(p), model.substr(0, take)) << "seed " << seed;
          if (p) expect_sound(p);
          model.erase(0, take);
          break;
        }
        case 4: {
          Packet v = queue.view(at, static_cast<uint32_t>(n));
          ASSERT_EQ(text(v), model.substr(at, n)) << "seed " << seed;
          if (v) expect_sound(v);
          // Kept: bytes shown must outlive their place in the queue.
          if (v && shown.size() < 5) shown.emplace_back(std::move(v), model.substr(at, n));
          break;
        }
        case 5: {
          std::string out(n + 10, 0);
          const size_t got = queue.copy_out(at, {reinterpret_cast<uint8_t*>(out.data()), out.size()});
          ASSERT_EQ(got, std::min<size_t>(out.size(), model.size() - at));
          ASSERT_EQ(out.substr(0, got), model.substr(at, got));
          break;
        }
        case 6: {
          ByteQueue moved = std::move(queue);
          queue = std::move(moved);
          break;
        }
        default:
          ASSERT_EQ(text_of(queue.front()), model.substr(0, queue.front().size()));
          ASSERT_EQ(queue.front().empty(), model.empty());
      }
      ASSERT_EQ(queue.bytes(), model.size());
      ASSERT_EQ(queue.empty(), model.empty());
      ASSERT_GE(queue.memory_bytes(), model.size());
    }
    for (const auto& [p, s] : shown) ASSERT_EQ(text(p), s);
    shown.clear();
    queue.clear();
    ASSERT_EQ(queue.memory_bytes(), 0u);
  }
}

// Sequential views, as a sender walks its queue, must not start over each time.
TEST_F(PacketTest, QueueViewsInOrderAreRight) {
  ByteQueue queue;
  std::string model;
  for (int i = 0; i < 500; ++i) {
    const std::string s(97, static_cast<char>('a' + i % 26));
    queue.append(make(s));
    model += s;
  }
  for (uint64_t at = 0; at < model.size(); at += 1448) {
    const auto n = static_cast<uint32_t>(std::min<uint64_t>(1448, model.size() - at));
    ASSERT_EQ(text(queue.view(at, n)), model.substr(at, n));
  }
  ASSERT_EQ(text(queue.view(0, 10)), model.substr(0, 10));  // back, as a retransmission does
}

// For every operation that takes buffers: the N-th take fails, for every N; nothing leaks and nothing changes.
TEST_F(PacketTest, NthTakeFailsAndNothingIsLostOrLeaked) {
  const std::string s(500, 'q');
  for (int operation = 0; operation < 6; ++operation) {
    for (uint64_t take = 1;; ++take) {
      Packet p = make(s, 100);
      ByteQueue queue;
      queue.append(make(s, 100));
      const uint64_t refused = pool->refused();
      pool->fail_take(take);
      bool ok = false;
      switch (operation) {
        case 0:
          ok = static_cast<bool>(p.view(50, 300));
          break;
        case 1:
          ok = static_cast<bool>(p.split_front(250));
          break;
        case 2:
          ok = p.pull_up(250);
          break;
        case 3:
          ok = static_cast<bool>(pool->take_copy(bytes_of(std::string(3 * kLargeRoom, 'x'))));
          break;
        case 4:
          ok = static_cast<bool>(queue.view(50, 300));
          break;
        default:
          ok = static_cast<bool>(queue.take_front(250));
          break;
      }
      pool->fail_take(0);
      if (ok) {
        ASSERT_GT(take, 1u);
        break;
      }
      EXPECT_EQ(pool->refused(), refused + 1);
      EXPECT_EQ(text(p), s);
      expect_sound(p);
      EXPECT_EQ(queue.bytes(), s.size());
      EXPECT_EQ(text(queue.take_front(500)), s);
      ASSERT_LT(take, 50u);
    }
  }
}

TEST(PacketDeathTest, PoolThatGoesBeforeItsPacketsIsOurOwnMistake) {
  EXPECT_DEATH(
      {
        auto pool = BufferPool::on_heap({});
        Packet p = pool->take_small();
        pool.reset();
      },
      "held_");
}

#if defined(__SANITIZE_ADDRESS__)
// What the heap source is for: the sanitizer sees the last byte of every packet, and its end.
TEST(PacketSanitizerDeathTest, OverreadByOneByteIsCaught) {
  auto pool = BufferPool::on_heap({});
  const Packet p = pool->take_exact_copy(bytes_of("12345"));
  volatile uint8_t sink = p.front().data()[4];
  EXPECT_DEATH(sink = p.front().data()[5], "heap-buffer-overflow");
  static_cast<void>(sink);
}

TEST(PacketSanitizerDeathTest, UseAfterFreeIsCaught) {
  auto pool = BufferPool::on_heap({});
  Packet p = pool->take_exact_copy(bytes_of("12345"));
  const uint8_t* stale = p.front().data();
  p.reset();
  volatile uint8_t sink = 0;
  EXPECT_DEATH(sink = *stale, "heap-use-after-free");
  static_cast<void>(sink);
}
#endif

}  // namespace
}  // namespace culvert
