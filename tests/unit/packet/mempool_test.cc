// The same packets on DPDK mempools, without huge pages.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "base/random.h"
#include "drivers/ethdev/eal.h"
#include "packet/packet.h"

namespace culvert {
namespace {

constexpr PoolLimits kLimits{.small = 1023, .large = 511, .view = 1023};

std::string text(const Packet& packet) {
  std::string out(packet.bytes(), 0);
  packet.copy_out(0, {reinterpret_cast<uint8_t*>(out.data()), out.size()});
  return out;
}

class Environment : public testing::Environment {
 public:
  void SetUp() override {
    ethdev::EalSettings settings;
    settings.huge_pages = ethdev::HugePages::kNever;
    settings.limits = kLimits;
    settings.pools = 2;
    settings.file_prefix = "culvert-packet-" + std::to_string(getpid());
    auto eal = ethdev::Eal::start(settings);
    ASSERT_TRUE(eal) << eal.error();
    eal_ = std::move(*eal);
  }
  void TearDown() override { eal_.reset(); }

 private:
  std::unique_ptr<ethdev::Eal> eal_;
};

class MempoolTest : public testing::Test {
 protected:
  void SetUp() override {
    pool = BufferPool::on_mempools("test", kLimits, 0);
    ASSERT_TRUE(pool);
  }
  void TearDown() override {
    for (const BufferKind kind : {BufferKind::kSmall, BufferKind::kLarge, BufferKind::kView}) {
      EXPECT_EQ(pool->held(kind), 0u) << "a buffer leaked";
    }
  }
  std::unique_ptr<BufferPool> pool;
};

TEST_F(MempoolTest, BuffersAreThoseOfThePool) {
  EXPECT_FALSE(pool->from_heap());
  const Packet p = pool->take_small();
  EXPECT_EQ(p.mbuf()->pool, pool->mempool(BufferKind::kSmall));
  EXPECT_EQ(BufferPool::tag(p.mbuf()).pool, pool.get());
  EXPECT_EQ(p.headroom(), kHeadroom);
  EXPECT_EQ(p.tailroom(), kSmallRoom);
  const Packet large = pool->take_large();
  EXPECT_EQ(large.tailroom(), kLargeRoom);
  EXPECT_EQ(pool->held(BufferKind::kSmall), 1u);
  EXPECT_EQ(pool->held(BufferKind::kLarge), 1u);
}

TEST_F(MempoolTest, TagsSurviveReuse) {
  // Buffers that served as anything before must come back as what they are.
  for (int round = 0; round < 3; ++round) {
    std::vector<Packet> all;
    for (;;) {
      Packet p = pool->take_copy(bytes_of("hello world"));
      if (!p) break;
      Packet v = p.view(6, 5);
      if (v) {
        ASSERT_EQ(BufferPool::tag(v.mbuf()).kind, BufferKind::kView);
        ASSERT_EQ(text(v), "world");
        all.push_back(std::move(v));
      }
      ASSERT_EQ(BufferPool::tag(p.mbuf()).kind, BufferKind::kSmall);
      all.push_back(std::move(p));
    }
    EXPECT_EQ(pool->held(BufferKind::kSmall), kLimits.small);
    EXPECT_GE(pool->refused(), 1u);
  }
}

TEST_F(MempoolTest, ViewsOutliveWhatTheyShow) {
  Packet p = pool->take_copy(bytes_of("0123456789"));
  Packet v = p.view(2, 6);
  Packet w = v.view(1, 3);
  Packet front = p.split_front(4);
  p.reset();
  v.reset();
  EXPECT_EQ(text(w), "345");
  EXPECT_EQ(text(front), "0123");
  front.reset();
  EXPECT_EQ(pool->held(BufferKind::kSmall), 1u);
}

TEST_F(MempoolTest, RandomQueueOperationsAgreeWithAString) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    ByteQueue queue;
    std::string model;
    for (int step = 0; step < 200; ++step) {
      if (random.below(2)) {
        std::string s(random.below(5000), 0);
        for (char& c : s) c = static_cast<char>(random.next());
        Packet p = pool->take_copy(bytes_of(s));
        ASSERT_TRUE(p);
        queue.append(std::move(p));
        model += s;
      } else {
        const auto take = static_cast<uint32_t>(random.below(std::min<uint64_t>(model.size(), 9000) + 1));
        Packet p = queue.take_front(take);
        ASSERT_EQ(text(p), model.substr(0, take));
        if (take > 10) {
          ASSERT_TRUE(p.pull_up(10));
        }
        model.erase(0, take);
      }
      ASSERT_EQ(queue.bytes(), model.size());
    }
  }
}

TEST_F(MempoolTest, NthTakeFails) {
  Packet p = pool->take_copy(bytes_of("0123456789"));
  pool->fail_take(2);
  EXPECT_TRUE(pool->take_small());
  EXPECT_FALSE(p.view(0, 5));
  EXPECT_TRUE(p.view(0, 5));
}

}  // namespace
}  // namespace culvert

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new culvert::Environment);
  return RUN_ALL_TESTS();
}
