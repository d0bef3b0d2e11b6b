#include "telemetry/traffic.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "base/check.h"
#include "base/endian.h"
#include "base/mix.h"

namespace culvert {

namespace {

// Slots that a full table looks at for each connection it would have to count as overflow.
constexpr uint32_t kSweepSlots = 64;

constexpr std::string_view kOverflow = "overflow";

uint64_t load(const char* at, size_t bytes) {
  uint64_t word = 0;
  std::memcpy(&word, at, bytes);
  return word;
}

// A text longer than the limit is cut in front of a character, not inside of it.
std::string_view cut(std::string_view text) {
  if (text.size() <= kTrafficTextBytesMax) return text;
  size_t end = kTrafficTextBytesMax;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

// The texts of a label set, in the order in which a key holds them.
template <class Labels, class Visit>
void for_each_text(Labels& labels, Visit&& visit) {
  for (auto* peer : {&labels.source, &labels.destination}) {
    for (auto* text : {&peer->workload, &peer->canonical_service, &peer->canonical_revision, &peer->name_space,
                       &peer->principal, &peer->cluster, &peer->region, &peer->zone}) {
      visit(*text);
    }
  }
  for (auto* text : {&labels.service, &labels.service_namespace, &labels.service_name}) visit(*text);
}

}  // namespace

std::string_view name_of(ResponseFlag flag) {
  switch (flag) {
    case ResponseFlag::kNone:
      return "-";
    case ResponseFlag::kDeny:
      return "DENY";
    case ResponseFlag::kConnect:
      return "CONNECT";
    case ResponseFlag::kTlsFailure:
      return "TLS_FAILURE";
    case ResponseFlag::kH2HandshakeFailure:
      return "H2_HANDSHAKE_FAILURE";
    case ResponseFlag::kNetworkPolicy:
      return "NETWORK_POLICY";
    case ResponseFlag::kIdentityError:
      return "IDENTITY_ERROR";
    case ResponseFlag::kCertRevoked:
      return "CERT_REVOKED";
  }
  return "";
}

// One byte for reporter and flags, then each text behind its length in two bytes.
void TrafficKey::assign(const TrafficLabels& labels) {
  size_t size = 1;
  for_each_text(labels, [&](std::string_view text) { size += 2 + std::min(text.size(), kTrafficTextBytesMax); });
  bytes_.resize(size);
  char* at = bytes_.data();
  *at++ =
      static_cast<char>(static_cast<int>(labels.reporter) | (labels.mutual_tls ? 2 : 0) | (labels.localities ? 4 : 0));
  for_each_text(labels, [&](std::string_view whole) {
    const std::string_view text = cut(whole);
    store_be16(reinterpret_cast<uint8_t*>(at), static_cast<uint16_t>(text.size()));
    if (!text.empty()) std::memcpy(at + 2, text.data(), text.size());
    at += 2 + text.size();
  });
  bytes_.resize(static_cast<size_t>(at - bytes_.data()));
}

TrafficLabels TrafficKey::labels() const {
  TrafficLabels labels;
  const char* at = bytes_.data();
  labels.reporter = static_cast<Reporter>(*at & 1);
  labels.mutual_tls = *at & 2;
  labels.localities = *at & 4;
  ++at;
  for_each_text(labels, [&](std::string_view& text) {
    const size_t size = load_be16(reinterpret_cast<const uint8_t*>(at));
    text = {at + 2, size};
    at += 2 + size;
  });
  return labels;
}

std::vector<TrafficSample> summed(std::vector<TrafficSample> samples) {
  std::unordered_map<std::string_view, size_t> place;
  place.reserve(samples.size());
  size_t used = 0;
  for (TrafficSample& sample : samples) {
    const auto [found, is_new] = place.try_emplace(sample.key->bytes(), used);
    if (is_new) {
      if (&samples[used] != &sample) samples[used] = std::move(sample);
      ++used;
      continue;
    }
    TrafficSample& sum = samples[found->second];
    sum.opened += sample.opened;
    sum.received_bytes += sample.received_bytes;
    sum.sent_bytes += sample.sent_bytes;
    for (size_t i = 0; i < kResponseFlags; ++i) sum.closed[i] += sample.closed[i];
  }
  samples.resize(used);
  return samples;
}

TrafficTable::TrafficTable(const TrafficLimits& limits, uint64_t seed)
    : limits_(limits), seed_(seed), buckets_(std::bit_ceil(std::max(limits.series_max, 1u)) * 2, kNone) {
  for (uint32_t i = 0; i < kOverflowSeries; ++i) {
    TrafficLabels labels;
    labels.reporter = static_cast<Reporter>(i & 1);
    labels.mutual_tls = i & 2;
    labels.source.workload = labels.destination.workload = kOverflow;
    auto key = std::make_shared<TrafficKey>();
    key->assign(labels);
    overflow_[i].key = std::move(key);
    overflow_[i].index = kNone;
  }
}

uint64_t TrafficTable::hash_of(std::string_view bytes) const {
  constexpr uint64_t kA = 0xa0761d6478bd642fULL;
  constexpr uint64_t kB = 0xe7037ed1a0b428dbULL;
  uint64_t hash = mix(seed_ ^ kA, bytes.size() ^ kB);
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 16; at += 16, left -= 16) hash = mix(load(at, 8) ^ hash ^ kA, load(at + 8, 8) ^ seed_ ^ kB);
  const size_t first = std::min<size_t>(left, 8);
  return mix(load(at, first) ^ hash ^ kA, load(at + first, left - first) ^ seed_ ^ kB);
}

TrafficTable::Series* TrafficTable::find(uint64_t hash) {
  for (uint32_t i = buckets_[hash & (buckets_.size() - 1)]; i != kNone;) {
    Series& series = slot(i);
    if (series.hash == hash && series.key->bytes() == wanted_.bytes()) return &series;
    i = series.next;
  }
  return nullptr;
}

void TrafficTable::make_block() {
  const uint32_t first = slots();
  blocks_.push_back(std::make_unique<Block>());
  for (uint32_t i = kBlock; i > 0; --i) {
    slot(first + i - 1).index = first + i - 1;
    free_.push_back(first + i - 1);
  }
}

bool TrafficTable::is_idle(const Series& series, Instant now) const {
  return series.key && series.live == 0 && now - series.touched >= limits_.idle_max;
}

void TrafficTable::sweep(Instant now) {
  for (uint32_t looked = 0; looked < kSweepSlots && slots() > 0; ++looked) {
    Series& series = slot(hand_++ % slots());
    if (is_idle(series, now)) remove(series);
  }
}

TrafficTable::Series* TrafficTable::make(uint64_t hash) {
  if (series_ >= limits_.series_max || label_bytes_ + wanted_.bytes().size() > limits_.label_bytes_max) return nullptr;
  if (free_.empty()) make_block();
  Series& series = slot(free_.back());
  free_.pop_back();
  series.key = std::make_shared<const TrafficKey>(wanted_);
  series.hash = hash;
  uint32_t& bucket = buckets_[hash & (buckets_.size() - 1)];
  series.next = bucket;
  bucket = series.index;
  label_bytes_ += wanted_.bytes().size();
  ++series_;
  return &series;
}

void TrafficTable::remove(Series& series) {
  uint32_t* link = &buckets_[series.hash & (buckets_.size() - 1)];
  while (*link != series.index) link = &slot(*link).next;
  *link = series.next;
  label_bytes_ -= series.key->bytes().size();
  --series_;
  const uint32_t index = series.index;
  series = Series();
  series.index = index;
  free_.push_back(index);
}

TrafficTable::Series& TrafficTable::open(const TrafficLabels& labels, Instant now) {
  wanted_.assign(labels);
  const uint64_t hash = hash_of(wanted_.bytes());
  Series* series = find(hash);
  if (!series) series = make(hash);
  if (!series) {
    sweep(now);
    series = make(hash);
  }
  if (!series) {
    series = &overflow_[static_cast<uint32_t>(labels.reporter) | (labels.mutual_tls ? 2u : 0u)];
    ++overflowed_;
  }
  ++series->live;
  ++series->opened;
  series->touched = now;
  return *series;
}

void TrafficTable::close(Series& series, ResponseFlag flag, Instant now) {
  DP_CHECK(series.live > 0);
  --series.live;
  ++series.closed[static_cast<size_t>(flag)];
  series.touched = now;
}

uint32_t TrafficTable::sample(uint32_t from, uint32_t slots_max, Instant now, std::vector<TrafficSample>& out) {
  const auto tell = [&](const Series& series) {
    out.push_back({series.key, series.opened, series.received_bytes, series.sent_bytes, series.closed});
  };
  const uint32_t end = kOverflowSeries + slots();
  uint32_t at = from;
  for (uint32_t looked = 0; at < end && looked < slots_max; ++looked, ++at) {
    if (at < kOverflowSeries) {
      if (overflow_[at].opened > 0) tell(overflow_[at]);
      continue;
    }
    Series& series = slot(at - kOverflowSeries);
    if (is_idle(series, now)) remove(series);
    if (series.key) tell(series);
  }
  return at < end ? at : 0;
}

}  // namespace culvert
