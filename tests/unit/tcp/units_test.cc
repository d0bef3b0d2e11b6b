// The small machines alone, as properties: sequence arithmetic, reassembly against a byte array, the scoreboard against
// brute force, RTT estimation, congestion control, hashes, tables.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/random.h"
#include "tcp/compaction.h"
#include "tcp/congestion.h"
#include "tcp/connection_table.h"
#include "tcp/isn.h"
#include "tcp/port_choice.h"
#include "tcp/reassembly.h"
#include "tcp/rto.h"
#include "tcp/sack_scoreboard.h"
#include "tests/unit/tcp/peer.h"

namespace culvert::tcp::test {
namespace {

// --- sequence numbers
// -----------------------------------------------------------------------------------------------------

TEST(Seq, ArithmeticHoldsAcrossTheWrap) {
  Random random(1);
  for (int i = 0; i < 10'000; ++i) {
    const Seq a(static_cast<uint32_t>(random.next()));
    const auto n = static_cast<uint32_t>(random.below(0x7fffffff));
    EXPECT_TRUE(a <= a + n);
    EXPECT_EQ((a + n) - a, static_cast<int32_t>(n));
    EXPECT_EQ(bytes_between(a, a + n), n);
    if (n > 0) {
      EXPECT_TRUE(a < a + n && a + n > a);
      EXPECT_FALSE(a + n <= a);
      EXPECT_EQ(later(a, a + n), a + n);
      EXPECT_EQ(earlier(a + n, a), a);
    }
    EXPECT_EQ((a + n) - n, a);
  }
}

// --- reassembly
// -----------------------------------------------------------------------------------------------------------

TEST(Reassembly, AnyOrderOfOverlappingPiecesGivesTheStream) {
  const auto pool = BufferPool::on_heap({.small = 5000, .large = 200, .view = 5000});
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    Reassembly reassembly;
    constexpr uint32_t kBytes = 20'000;
    const Seq base(static_cast<uint32_t>(random.next()));
    std::vector<bool> have(kBytes, false);
    uint32_t next = 0;
    uint64_t read = 0;
    while (next < kBytes) {
      const auto at = next + 1 + static_cast<uint32_t>(random.below(4000));
      const auto length = 1 + static_cast<uint32_t>(random.below(1500));
      if (random.below(3) != 0 && at + length < kBytes) {
        uint32_t fresh = 0;
        for (uint32_t i = at; i < at + length; ++i) {
          fresh += have[i] ? 0 : 1;
          have[i] = true;
        }
        const auto inserted = reassembly.insert(base + at, pattern_packet(*pool, at, length));
        EXPECT_EQ(inserted.taken_bytes, fresh);
        EXPECT_EQ(inserted.refused_bytes, 0u);
        EXPECT_EQ(inserted.duplicate.has_value(), fresh < length);
      } else {
        // The next bytes come in order; what follows them comes out.
        const auto step = std::min(1 + static_cast<uint32_t>(random.below(1500)), kBytes - next);
        next += step;
        read += step;
        while (Packet p = reassembly.take(base + next)) {
          p.for_each([&](ByteView piece) {
            for (const uint8_t b : piece) ASSERT_EQ(b, pattern(read++));
          });
          next += p.bytes();
        }
        for (uint32_t i = 0; i < next; ++i) have[i] = true;
        EXPECT_TRUE(next == kBytes || !have[next]);
      }
      // The account of what is held, and SACK blocks that tell the truth.
      uint32_t held = 0;
      for (uint32_t i = next; i < kBytes; ++i) held += have[i] ? 1 : 0;
      ASSERT_EQ(reassembly.bytes(), held);
      wire::SackBlock blocks[4];
      const size_t count = reassembly.sack_blocks(blocks);
      EXPECT_EQ(count == 0, held == 0);
      for (size_t i = 0; i < count; ++i) {
        const uint32_t left = blocks[i].left - base.value(), right = blocks[i].right - base.value();
        ASSERT_LT(left, right);
        EXPECT_FALSE(have[left - 1] && left - 1 >= next);
        EXPECT_TRUE(right >= kBytes || !have[right]);
        for (uint32_t k = left; k < right; ++k) ASSERT_TRUE(have[k]);
      }
    }
    EXPECT_TRUE(reassembly.empty());
    EXPECT_EQ(reassembly.memory_bytes(), 0u);
  }
}

TEST(Reassembly, ReportsTheLatestArrivalFirst) {
  const auto pool = BufferPool::on_heap({});
  Reassembly r;
  for (const uint32_t at : {100u, 300u, 500u, 200u}) static_cast<void>(r.insert(Seq(at), pattern_packet(*pool, 0, 10)));
  wire::SackBlock blocks[3];
  ASSERT_EQ(r.sack_blocks(blocks), 3u);
  EXPECT_EQ(blocks[0], (wire::SackBlock{200, 210}));
  EXPECT_EQ(blocks[1], (wire::SackBlock{500, 510}));
  EXPECT_EQ(blocks[2], (wire::SackBlock{300, 310}));
}

TEST(Reassembly, RefusesRatherThanEvicts) {
  const auto pool = BufferPool::on_heap({});
  Reassembly r;
  for (uint32_t i = 0; i < Reassembly::kRunsMax; ++i) {
    EXPECT_EQ(r.insert(Seq(10 * i + 10), pattern_packet(*pool, 0, 1)).taken_bytes, 1u);
  }
  EXPECT_EQ(r.insert(Seq(5), pattern_packet(*pool, 0, 1)).refused_bytes, 1u);
  EXPECT_EQ(r.insert(Seq(11), pattern_packet(*pool, 0, 1)).taken_bytes, 1u);  // continues a run: no new one needed
  EXPECT_EQ(r.runs(), Reassembly::kRunsMax);
}

// --- scoreboard
// -----------------------------------------------------------------------------------------------------------

// Byte by byte: 0 in flight, 1 sacked, 2 lost.
TEST(Scoreboard, SumsAreThoseOfTheBytes) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Random random(seed);
    SackScoreboard board;
    std::map<uint32_t, int> bytes;
    const Seq base(static_cast<uint32_t>(random.next()));
    uint32_t una = 0, nxt = 0;
    Instant now{};
    const auto check = [&] {
      uint32_t sums[3] = {};
      for (const auto& [at, state] : bytes) ++sums[state];
      ASSERT_EQ(board.in_flight_bytes(), sums[0]);
      ASSERT_EQ(board.sacked_bytes(), sums[1]);
      ASSERT_EQ(board.lost_bytes(), sums[2]);
      const SentRange* lost = board.first_lost();
      uint32_t first = nxt;
      for (const auto& [at, state] : bytes) {
        if (state == 2) {
          first = at;
          break;
        }
      }
      ASSERT_EQ(lost != nullptr, sums[2] > 0);
      if (lost) {
        ASSERT_EQ(lost->begin, base + first);
      }
      for (size_t i = 0; i + 1 < board.size(); ++i) ASSERT_EQ(board[i].end, board[i + 1].begin);
    };
    for (int step = 0; step < 150; ++step) {
      now += 1ms;
      switch (random.below(6)) {
        case 0:
        case 1: {
          const auto length = 1 + static_cast<uint32_t>(random.below(30));
          board.sent(base + nxt, base + nxt + length, now);
          for (uint32_t i = 0; i < length; ++i) bytes[nxt++] = 0;
          break;
        }
        case 2: {
          if (nxt == una) break;
          const auto left = una + static_cast<uint32_t>(random.below(nxt - una));
          const auto right = left + 1 + static_cast<uint32_t>(random.below(nxt - left));
          uint32_t news = 0, told = 0;
          for (uint32_t i = left; i < right; ++i) {
            news += bytes[i] != 1 ? 1 : 0;
            bytes[i] = 1;
          }
          board.sack(base + left, base + right, [&](const SentRange& r) { told += r.bytes(); });
          ASSERT_EQ(told, news);
          break;
        }
        case 3: {
          const auto to = una + static_cast<uint32_t>(random.below(nxt - una + 1));
          uint32_t news = 0, told = 0;
          for (; una < to; ++una) {
            news += bytes[una] != 1 ? 1 : 0;
            bytes.erase(una);
          }
          board.acknowledge(base + to, [&](const SentRange& r) { told += r.bytes(); });
          ASSERT_EQ(told, news);
          break;
        }
        case 4: {
          const auto front = static_cast<uint32_t>(random.below(40));
          board.mark_front_lost(front);
          for (uint32_t i = una; i < std::min(una + front, nxt); ++i) bytes[i] = bytes[i] == 0 ? 2 : bytes[i];
          break;
        }
        case 5: {
          const SentRange* lost = board.first_lost();
          if (!lost) break;
          const Seq begin = lost->begin;
          const Seq end = board.lost_end(begin, 1 + static_cast<uint32_t>(random.below(50)));
          for (Seq s = begin; s < end; s += 1) {
            ASSERT_EQ(bytes[bytes_between(base, s)], 2);
            bytes[bytes_between(base, s)] = 0;
          }
          board.retransmitted(begin, end, now);
          break;
        }
      }
      check();
    }
    board.mark_all_lost(false);
    for (auto& [at, state] : bytes) state = state == 0 ? 2 : state;
    check();
    board.forgive_lost();
    for (auto& [at, state] : bytes) state = state == 2 ? 0 : state;
    check();
  }
}

// --- RFC 6298
// -------------------------------------------------------------------------------------------------------------

TEST(Rto, FollowsTheRfc) {
  RttEstimator rtt;
  EXPECT_EQ(rtt.rto(), 1s);
  rtt.sample(400ms, Instant{});
  EXPECT_EQ(rtt.srtt(), 400ms);
  EXPECT_EQ(rtt.rttvar(), 200ms);
  EXPECT_EQ(rtt.rto(), 1200ms);
  rtt.sample(200ms, Instant{});  // RTTVAR first: 3/4 * 200 + 1/4 * 200; then SRTT: 7/8 * 400 + 1/8 * 200
  EXPECT_EQ(rtt.rttvar(), 200ms);
  EXPECT_EQ(rtt.srtt(), 375ms);
  EXPECT_EQ(rtt.min_rtt(), 200ms);
  rtt.back_off();
  rtt.back_off();
  EXPECT_EQ(rtt.rto(), 4 * rtt.base_rto());
  for (int i = 0; i < 100; ++i) rtt.back_off();
  EXPECT_EQ(rtt.rto(), 120s);
  rtt.reset_backoff();
  for (int i = 0; i < 100; ++i) rtt.sample(1ms, Instant{});
  EXPECT_GE(rtt.rto(), 200ms);
  EXPECT_LT(rtt.rto(), 210ms);
}

TEST(Rto, TheSmallestRoundTripIsForgottenAfterTenMinutes) {
  RttEstimator rtt;
  Instant now{};
  rtt.sample(1ms, now);
  for (int i = 0; i < 700; ++i) {
    now += 1s;
    rtt.sample(50ms, now);
  }
  EXPECT_EQ(rtt.min_rtt(), 50ms);
}

// --- congestion control
// -----------------------------------------------------------------------------------------------------

TEST(CongestionControl, InitialWindowIsThatOfRfc6928) {
  Congestion c;
  c.start(CongestionAlgorithm::kCubic, 1460);
  EXPECT_EQ(c.cwnd(), 14'600u);
  c.start(CongestionAlgorithm::kCubic, 536);
  EXPECT_EQ(c.cwnd(), 5'360u);
  c.start(CongestionAlgorithm::kCubic, 8'960);
  EXPECT_EQ(c.cwnd(), 17'920u);
}

TEST(CongestionControl, SlowStartDoublesAndNewRenoAddsASegmentPerWindow) {
  Congestion c;
  c.start(CongestionAlgorithm::kNewReno, 1000);
  c.on_ack(10'000, 10ms, Instant{});
  EXPECT_EQ(c.cwnd(), 20'000u);
  c.on_loss(20'000, Instant{});
  EXPECT_EQ(c.ssthresh(), 10'000u);
  c.set_cwnd(c.ssthresh());
  for (int i = 0; i < 10; ++i) c.on_ack(1'000, 10ms, Instant{});
  EXPECT_EQ(c.cwnd(), 11'000u);
}

TEST(CongestionControl, TimeoutLeavesOneSegmentAndHalvesOnce) {
  Congestion c;
  c.start(CongestionAlgorithm::kNewReno, 1000);
  c.on_timeout(10'000, false, Instant{});
  EXPECT_EQ(c.cwnd(), 1'000u);
  EXPECT_EQ(c.ssthresh(), 5'000u);
  c.on_timeout(1'000, true, Instant{});
  EXPECT_EQ(c.ssthresh(), 5'000u);
  c.undo();
  EXPECT_EQ(c.cwnd(), 10'000u);
}

// RFC 9438 figure: after a loss at W_max the window is back at W_max after K = cbrt(W_max * 0.3 / 0.4) seconds.
TEST(CongestionControl, CubicIsBackAtTheOldWindowAfterK) {
  Congestion c;
  c.start(CongestionAlgorithm::kCubic, 1000);
  c.set_cwnd(1'000'000);
  c.on_loss(1'000'000, Instant{});
  EXPECT_EQ(c.ssthresh(), 700'000u);
  c.set_cwnd(c.ssthresh());
  const double k = std::cbrt(1000 * 0.3 / 0.4);
  Instant now{};
  double reached = 0;
  uint32_t half_way = 0;
  for (const Duration rtt = 100ms; now < Instant{} + 20s; now += rtt) {
    for (uint32_t acked = 0, window = c.cwnd(); acked < window; acked += 10'000) c.on_ack(10'000, rtt, now);
    const double t = std::chrono::duration<double>(now.time_since_epoch()).count();
    if (t < k / 2) half_way = c.cwnd();
    if (reached == 0 && c.cwnd() >= 995'000) reached = t;
  }
  EXPECT_NEAR(reached, k - std::cbrt(5 / 0.4), 0.3);  // five segments short of it, a little earlier
  EXPECT_GT(half_way, 940'000u);                      // concave: most of the way is made early
}

TEST(CongestionControl, CubicIsNeverSlowerThanNewReno) {
  Congestion cubic, reno;
  cubic.start(CongestionAlgorithm::kCubic, 1000);
  reno.start(CongestionAlgorithm::kNewReno, 1000);
  for (Congestion* c : {&cubic, &reno}) {
    c->set_cwnd(20'000);
    c->on_loss(20'000, Instant{});
    c->set_cwnd(c->ssthresh());
  }
  Instant now{};
  for (int i = 0; i < 200; ++i, now += 1ms) {  // short round trips: the cubic curve would crawl
    for (Congestion* c : {&cubic, &reno}) {
      for (uint32_t acked = 0, window = c->cwnd(); acked < window; acked += 1000) c->on_ack(1000, 1ms, now);
    }
  }
  // RFC 9438 4.3: with beta 0.7 the same average rate means alpha 0.53 until the old window is reached.
  EXPECT_GT(cubic.cwnd(), reno.cwnd() / 2);
}

// --- hashes and tables
// --------------------------------------------------------------------------------------------------------

// The vectors of the SipHash paper's reference implementation (key 00..0f, input 00..n-1).
TEST(KeyedHash, MatchesThePublishedVectors) {
  const HashKey key{0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
  std::vector<uint8_t> input;
  EXPECT_EQ(sip_hash(key, input), 0x726fdb47dd0e0e31ULL);
  for (uint8_t i = 0; i < 15; ++i) input.push_back(i);
  EXPECT_EQ(sip_hash(key, input), 0xa129ca6149be45e5ULL);
}

TEST(ConnectionTable, FindsWhatWasInsertedThroughGrowthAndRemoval) {
  Random random(7);
  ConnectionTable table(HashKey::draw(random));
  std::map<uint32_t, Tuple> live;
  const auto find = [&](const Tuple& t) {
    return table.find(table.hash(kInterface, t), [&](ConnectionTable::Reference r) { return live.at(r.index) == t; });
  };
  uint32_t index = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (live.empty() || random.below(3) != 0) {
      const Tuple t{
          {IpAddress::v4(static_cast<uint32_t>(random.below(50))), static_cast<uint16_t>(random.below(60'000))},
          {IpAddress::v4(static_cast<uint32_t>(random.below(50))), static_cast<uint16_t>(random.below(60'000))}};
      if (find(t)) continue;
      table.insert(table.hash(kInterface, t), {index, false});
      live[index++] = t;
    } else {
      const auto at = std::next(live.begin(), static_cast<long>(random.below(std::min<uint64_t>(live.size(), 20))));
      table.erase(table.hash(kInterface, at->second), {at->first, false});
      live.erase(at);
    }
  }
  EXPECT_EQ(table.size(), live.size());
  for (const auto& [i, t] : live) ASSERT_EQ(find(t).index, i);
}

TEST(PortChoice, GivesEveryPortOnceBeforeOneAgain) {
  Random random(3);
  PortChoice ports(random);
  std::set<uint16_t> used;
  const Endpoint to = *Endpoint::parse("10.0.0.2:80");
  const IpAddress from = *IpAddress::parse("10.0.0.1");
  for (uint32_t i = 0; i < PortChoice::kCount; ++i) {
    const uint16_t port = ports.choose(from, to, PortChoice::kCount, [&](uint16_t p) { return !used.contains(p); });
    ASSERT_GE(port, PortChoice::kFirst);
    ASSERT_LE(port, PortChoice::kLast);
    ASSERT_TRUE(used.insert(port).second);
  }
  EXPECT_EQ(ports.choose(from, to, PortChoice::kCount, [&](uint16_t p) { return !used.contains(p); }), 0);
}

TEST(InitialNumbers, CannotBeToldFromAnotherTuple) {
  Random one(1), two(2);
  const InitialNumbers a(one), b(two);
  const Tuple t{*Endpoint::parse("10.0.0.1:80"), *Endpoint::parse("10.0.0.2:4000")};
  EXPECT_NE(a.sequence(t, Instant{}), b.sequence(t, Instant{}));
  EXPECT_EQ(a.sequence(t, Instant{} + 4us), a.sequence(t, Instant{}) + 1);
  Tuple u = t;
  u.remote.port = 4001;
  EXPECT_NE(a.sequence(u, Instant{}), a.sequence(t, Instant{}));
  EXPECT_EQ(a.timestamp_offset(u), a.timestamp_offset(t));  // the clock goes on between the same addresses
}

TEST(Compaction, ManyViewsOfOneBufferAreNotSparse) {
  const auto pool = BufferPool::on_heap({});
  const Packet whole = pattern_packet(*pool, 0, 16'000);
  ByteQueue queue;
  for (uint32_t i = 0; i < 160; ++i) queue.append(whole.view(i * 100, 100));
  ASSERT_TRUE(is_sparse(queue.bytes(), queue.memory_bytes()));
  SparseGuard guard;
  int walks = 0;
  const auto share = [&] {
    ++walks;
    return queue.memory_share_bytes();
  };
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(guard.check(queue.bytes(), queue.memory_bytes(), share));
  EXPECT_EQ(walks, 1);
}

TEST(Compaction, KeepsTheBytesAndGivesTheBuffersBack) {
  const auto pool = BufferPool::on_heap({});
  ByteQueue queue;
  for (uint32_t i = 0; i < 300; ++i) queue.append(pattern_packet(*pool, i * 7, 7));
  ASSERT_TRUE(is_sparse(queue.bytes(), queue.memory_bytes()));
  EXPECT_EQ(compact_queue(queue, *pool), 2100u);
  EXPECT_EQ(pool->held(BufferKind::kSmall) + pool->held(BufferKind::kLarge), 1u);
  std::vector<uint8_t> bytes(2100);
  queue.copy_out(0, bytes);
  for (uint32_t i = 0; i < 2100; ++i) ASSERT_EQ(bytes[i], pattern(i));
}

}  // namespace
}  // namespace culvert::tcp::test
