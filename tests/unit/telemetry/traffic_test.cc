// The table of traffic series: who is counted where, what its bounds do, and when a series leaves.
#include "telemetry/traffic.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace culvert {
namespace {

constexpr Instant kStart{100s};

TrafficLabels labels(std::string_view client, std::string_view server = "web") {
  TrafficLabels out;
  out.mutual_tls = true;
  out.localities = true;
  out.source.workload = client;
  out.source.principal = "spiffe://cluster.local/ns/shop/sa/client";
  out.destination.workload = server;
  out.destination.zone = "b";
  out.service = "web.shop.svc.cluster.local";
  out.service_name = "web";
  return out;
}

std::vector<TrafficSample> all(TrafficTable& table, Instant now, uint32_t chunk = 1000) {
  std::vector<TrafficSample> out;
  uint32_t slot = 0;
  do {
    slot = table.sample(slot, chunk, now, out);
  } while (slot != 0);
  return out;
}

const TrafficSample& of(const std::vector<TrafficSample>& samples, std::string_view client) {
  static const TrafficSample none{};
  for (const TrafficSample& sample : samples) {
    if (sample.key->labels().source.workload == client) return sample;
  }
  ADD_FAILURE() << "no series of " << client;
  return none;
}

uint64_t closed(const TrafficSample& sample, ResponseFlag flag) { return sample.closed[static_cast<size_t>(flag)]; }

TEST(TrafficKey, GivesBackWhatItWasMadeOf) {
  const TrafficLabels full{Reporter::kDestination,
                           true,
                           true,
                           {"w", "cs", "cr", "ns", "p", "c", "r", "z"},
                           {"W", "CS", "CR", "NS", "P", "C", "R", "Z"},
                           "host",
                           "sns",
                           "sn"};
  TrafficKey key;
  key.assign(full);
  EXPECT_EQ(key.labels(), full);
  key.assign({});
  EXPECT_EQ(key.labels(), TrafficLabels{});
}

TEST(TrafficKey, TextsThatOnlyTogetherAreEqualAreNotEqual) {
  TrafficLabels a;
  a.source.workload = "ab";
  TrafficLabels b;
  b.source.workload = "a";
  b.source.canonical_service = "b";
  TrafficKey one;
  TrafficKey other;
  one.assign(a);
  other.assign(b);
  EXPECT_NE(one.bytes(), other.bytes());
}

TEST(TrafficKey, ALongTextIsCutInFrontOfACharacter) {
  std::string text(kTrafficTextBytesMax - 1, 'x');
  text += "\xc3\xbc and more";
  TrafficLabels long_one;
  long_one.source.principal = text;
  TrafficKey key;
  key.assign(long_one);
  EXPECT_EQ(key.labels().source.principal, std::string(kTrafficTextBytesMax - 1, 'x'));
}

TEST(Traffic, ConnectionsOfOneLabelSetAreCountedTogether) {
  TrafficTable table({}, 1);
  TrafficTable::Series& one = table.open(labels("a"), kStart);
  TrafficTable::Series& two = table.open(labels("a"), kStart);
  TrafficTable::Series& other = table.open(labels("b"), kStart);
  EXPECT_EQ(&one, &two);
  EXPECT_NE(&one, &other);
  one.received_bytes += 10;
  two.received_bytes += 5;
  two.sent_bytes += 7;
  // Bytes and openings are seen while the connections live.
  std::vector<TrafficSample> now = all(table, kStart);
  ASSERT_EQ(now.size(), 2u);
  EXPECT_EQ(of(now, "a").opened, 2u);
  EXPECT_EQ(of(now, "a").received_bytes, 15u);
  EXPECT_EQ(of(now, "a").sent_bytes, 7u);
  EXPECT_EQ(of(now, "b").received_bytes, 0u);
  EXPECT_EQ(closed(of(now, "a"), ResponseFlag::kNone), 0u);

  table.close(one, ResponseFlag::kNone, kStart);
  table.close(two, ResponseFlag::kDeny, kStart);
  now = all(table, kStart);
  EXPECT_EQ(closed(of(now, "a"), ResponseFlag::kNone), 1u);
  EXPECT_EQ(closed(of(now, "a"), ResponseFlag::kDeny), 1u);
  EXPECT_EQ(closed(of(now, "a"), ResponseFlag::kConnect), 0u);
}

TEST(Traffic, EveryLabelTellsSeriesApart) {
  TrafficTable table({}, 1);
  std::vector<TrafficLabels> different(23, labels("a"));
  different[1].reporter = Reporter::kDestination;
  different[2].mutual_tls = false;
  different[3].localities = false;
  size_t i = 4;
  for (TrafficPeer TrafficLabels::*peer : {&TrafficLabels::source, &TrafficLabels::destination}) {
    for (std::string_view TrafficPeer::*text :
         {&TrafficPeer::workload, &TrafficPeer::canonical_service, &TrafficPeer::canonical_revision,
          &TrafficPeer::name_space, &TrafficPeer::principal, &TrafficPeer::cluster, &TrafficPeer::region,
          &TrafficPeer::zone}) {
      different[i++].*peer.*text = "other";
    }
  }
  for (std::string_view TrafficLabels::*text :
       {&TrafficLabels::service, &TrafficLabels::service_namespace, &TrafficLabels::service_name}) {
    different[i++].*text = "other";
  }
  ASSERT_EQ(i, different.size());
  std::set<TrafficTable::Series*> series;
  for (const TrafficLabels& one : different) series.insert(&table.open(one, kStart));
  EXPECT_EQ(series.size(), different.size());
  EXPECT_EQ(table.series(), different.size());
  for (const TrafficLabels& one : different) EXPECT_TRUE(series.contains(&table.open(one, kStart)));
  EXPECT_EQ(table.series(), different.size());
}

TEST(Traffic, ASeriesLeavesOnceNobodyHoldsItAndNobodyTouchedItForTheIdleSpan) {
  TrafficTable table({.idle_max = 15min}, 1);
  TrafficTable::Series& series = table.open(labels("a"), kStart);
  TrafficTable::Series& held = table.open(labels("b"), kStart);
  EXPECT_EQ(all(table, kStart + 24h).size(), 2u) << "connections hold them, however old they are";
  table.close(series, ResponseFlag::kNone, kStart + 24h);
  EXPECT_EQ(all(table, kStart + 24h + 15min - 1ns).size(), 2u);
  std::vector<TrafficSample> left = all(table, kStart + 24h + 15min);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].key->labels().source.workload, "b");
  EXPECT_EQ(table.series(), 1u);

  // The slot is used again, from zero.
  TrafficTable::Series& again = table.open(labels("c"), kStart + 25h);
  EXPECT_EQ(&again, &series);
  EXPECT_EQ(of(all(table, kStart + 25h), "c").opened, 1u);
  EXPECT_EQ(closed(of(all(table, kStart + 25h), "c"), ResponseFlag::kNone), 0u);
  EXPECT_EQ(&table.open(labels("b"), kStart + 25h), &held) << "the others are still found";
}

TEST(Traffic, ValuesOnlyGrowWhileASeriesIsThere) {
  TrafficTable table({}, 1);
  uint64_t opened = 0;
  uint64_t bytes = 0;
  uint64_t ended = 0;
  Instant now = kStart;
  for (int i = 0; i < 1000; ++i) {
    now += 1min;  // never idle for long enough
    TrafficTable::Series& series = table.open(labels("a"), now);
    series.sent_bytes += static_cast<uint64_t>(i % 3);
    if (i % 2 == 0) table.close(series, i % 4 == 0 ? ResponseFlag::kNone : ResponseFlag::kConnect, now);
    const std::vector<TrafficSample> samples = all(table, now);
    ASSERT_EQ(samples.size(), 1u);
    const uint64_t all_closed = closed(samples[0], ResponseFlag::kNone) + closed(samples[0], ResponseFlag::kConnect);
    EXPECT_EQ(samples[0].opened, opened + 1);
    EXPECT_GE(samples[0].sent_bytes, bytes);
    EXPECT_GE(all_closed, ended);
    opened = samples[0].opened;
    bytes = samples[0].sent_bytes;
    ended = all_closed;
  }
}

TEST(Traffic, WhatFindsNoRoomIsCountedTogetherAndTold) {
  TrafficTable table({.series_max = 100}, 1);
  std::vector<TrafficTable::Series*> held;
  for (int i = 0; i < 150; ++i) {
    const std::string client = "client-" + std::to_string(i);
    TrafficLabels one = labels(client);
    if (i % 2 == 1) one.reporter = Reporter::kDestination;
    held.push_back(&table.open(one, kStart));
    held.back()->received_bytes += 1;
  }
  EXPECT_EQ(table.series(), 100u);
  EXPECT_EQ(table.overflowed(), 50u);
  const std::vector<TrafficSample> samples = all(table, kStart);
  ASSERT_EQ(samples.size(), 102u);
  uint64_t opened = 0;
  uint64_t bytes = 0;
  for (const TrafficSample& sample : samples) {
    opened += sample.opened;
    bytes += sample.received_bytes;
  }
  EXPECT_EQ(opened, 150u) << "nothing is lost from the sums";
  EXPECT_EQ(bytes, 150u);
  const TrafficLabels overflow = samples[0].key->labels();
  EXPECT_EQ(overflow.source.workload, "overflow");
  EXPECT_EQ(overflow.destination.workload, "overflow");
  EXPECT_TRUE(overflow.mutual_tls);
  EXPECT_EQ(samples[0].opened, 25u);
  // A connection that began as overflow ends as overflow.
  table.close(*held[149], ResponseFlag::kDeny, kStart);
  uint64_t denied = 0;
  for (const TrafficSample& sample : all(table, kStart)) {
    if (sample.key->labels().source.workload == "overflow") denied += closed(sample, ResponseFlag::kDeny);
  }
  EXPECT_EQ(denied, 1u);
}

TEST(Traffic, AFullTableMakesRoomOfWhatIsIdle) {
  TrafficTable table({.series_max = 10, .idle_max = 1min}, 1);
  for (int i = 0; i < 10; ++i) {
    TrafficTable::Series& series = table.open(labels("old-" + std::to_string(i)), kStart);
    if (i != 3) table.close(series, ResponseFlag::kNone, kStart);
  }
  table.open(labels("too-early"), kStart + 30s);
  EXPECT_EQ(table.overflowed(), 1u);
  table.open(labels("new"), kStart + 1min);
  table.open(labels("new"), kStart + 1min);
  EXPECT_EQ(table.overflowed(), 1u) << "nobody read the table in between, and there was room all the same";
  EXPECT_EQ(of(all(table, kStart + 1min), "new").opened, 2u);
  EXPECT_EQ(of(all(table, kStart + 1min), "old-3").opened, 1u);
}

TEST(Traffic, BytesOfLabelsAreBoundedToo) {
  const std::string long_text(500, 'x');
  TrafficTable table({.label_bytes_max = 10'000}, 1);
  for (int i = 0; i < 100; ++i) {
    const std::string client = std::to_string(i);
    TrafficLabels one = labels(client);
    one.source.cluster = long_text;
    table.close(table.open(one, kStart), ResponseFlag::kNone, kStart);
  }
  EXPECT_LT(table.series(), 20u);
  EXPECT_EQ(table.series() + table.overflowed(), 100u);
  // What leaves gives its bytes back.
  all(table, kStart + 1h);
  EXPECT_EQ(table.series(), 0u);
  TrafficLabels one = labels("a");
  one.source.cluster = long_text;
  table.open(one, kStart + 1h);
  EXPECT_EQ(table.series(), 1u);
}

TEST(Traffic, IsReadInPiecesOfAnySize) {
  TrafficTable table({}, 1);
  for (int i = 0; i < 1000; ++i) table.open(labels("client-" + std::to_string(i)), kStart);
  for (const uint32_t chunk : {1u, 7u, 64u, 1000u, 5000u}) {
    std::set<std::string> seen;
    for (const TrafficSample& sample : all(table, kStart, chunk)) {
      EXPECT_TRUE(seen.emplace(sample.key->labels().source.workload).second) << "told twice";
    }
    EXPECT_EQ(seen.size(), 1000u) << chunk;
  }
}

TEST(Traffic, AReadersKeyOutlivesTheSeries) {
  TrafficTable table({.idle_max = 1min}, 1);
  table.close(table.open(labels("a"), kStart), ResponseFlag::kNone, kStart);
  const std::vector<TrafficSample> samples = all(table, kStart);
  EXPECT_TRUE(all(table, kStart + 1h).empty());
  table.open(labels("b"), kStart + 1h);
  EXPECT_EQ(samples[0].key->labels().source.workload, "a");
}

TEST(Traffic, CoresAreSummedByLabelSet) {
  std::vector<TrafficSample> samples;
  uint64_t n = 1;
  for (const uint64_t seed : {1u, 2u}) {
    TrafficTable table({}, seed);
    for (const char* client : {"a", "b", "a", seed == 1 ? "c" : "d"}) {
      TrafficTable::Series& series = table.open(labels(client), kStart);
      series.received_bytes += n++;
      series.sent_bytes += 1'000;
      table.close(series, ResponseFlag::kDeny, kStart);
    }
    for (TrafficSample& sample : all(table, kStart)) samples.push_back(std::move(sample));
  }
  const std::vector<TrafficSample> sums = summed(std::move(samples));
  ASSERT_EQ(sums.size(), 4u);
  EXPECT_EQ(of(sums, "a").opened, 4u);
  EXPECT_EQ(of(sums, "a").received_bytes, 1u + 3u + 5u + 7u);
  EXPECT_EQ(of(sums, "a").sent_bytes, 4'000u);
  EXPECT_EQ(closed(of(sums, "a"), ResponseFlag::kDeny), 4u);
  EXPECT_EQ(of(sums, "b").received_bytes, 2u + 6u);
  EXPECT_EQ(of(sums, "c").received_bytes, 4u);
  EXPECT_EQ(of(sums, "d").received_bytes, 8u);
}

// Opens, closes, ages and removals in a random order, against a plain map.
TEST(Traffic, AgreesWithAMap) {
  TrafficTable table({.series_max = 64, .idle_max = 10s}, 7);
  struct Model {
    uint64_t opened = 0, closed = 0;
    std::vector<TrafficTable::Series*> live;
    Instant touched{};
  };
  std::map<std::string, Model> model;
  uint64_t state = 88172645463325252ULL;
  const auto random = [&](uint64_t bound) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % bound;
  };
  Instant now = kStart;
  for (int step = 0; step < 20'000; ++step) {
    now += std::chrono::milliseconds(random(400));
    const std::string name = "w" + std::to_string(random(60));
    Model& m = model[name];
    if (random(2) == 0) {
      if (m.live.empty() && m.opened > 0 && now - m.touched >= 10s) m = {};  // may have been removed: see below
      all(table, now);
      m.live.push_back(&table.open(labels(name), now));
      ++m.opened;
      m.touched = now;
    } else if (!m.live.empty()) {
      table.close(*m.live.back(), ResponseFlag::kNone, now);
      m.live.pop_back();
      ++m.closed;
      m.touched = now;
    }
    if (step % 100 != 0) continue;
    std::map<std::string, std::pair<uint64_t, uint64_t>> expected;
    for (const auto& [workload, one] : model) {
      if (one.opened > 0 && (!one.live.empty() || now - one.touched < 10s))
        expected[workload] = {one.opened, one.closed};
    }
    std::map<std::string, std::pair<uint64_t, uint64_t>> got;
    for (const TrafficSample& sample : all(table, now, 5)) {
      got[std::string(sample.key->labels().source.workload)] = {sample.opened, closed(sample, ResponseFlag::kNone)};
    }
    ASSERT_EQ(got, expected) << step;
  }
  EXPECT_EQ(table.overflowed(), 0u);
}

TEST(ResponseFlags, AreSpelledAsInTheReference) {
  const char* names[] = {
      "-",           "DENY", "CONNECT", "TLS_FAILURE", "H2_HANDSHAKE_FAILURE", "NETWORK_POLICY", "IDENTITY_ERROR",
      "CERT_REVOKED"};
  for (size_t i = 0; i < kResponseFlags; ++i) EXPECT_EQ(name_of(static_cast<ResponseFlag>(i)), names[i]);
}

}  // namespace
}  // namespace culvert
