// TCP headers on the wire: parse and emit are inverse, options in Linux's order, and no byte string is too strange.
#include "wire/tcp_header.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"
#include "wire/checksum.h"

namespace culvert::wire {
namespace {

std::vector<uint8_t> emit(const TcpHeader& header) {
  std::vector<uint8_t> bytes(tcp_header_bytes(header));
  emit_tcp(header, bytes);
  return bytes;
}

bool same(const TcpOptions& a, const TcpOptions& b) {
  if (a.mss != b.mss || a.window_scale != b.window_scale || a.sack_permitted != b.sack_permitted ||
      a.timestamps != b.timestamps || a.sack_count != b.sack_count) {
    return false;
  }
  for (uint8_t i = 0; i < a.sack_count; ++i) {
    if (!(a.sack[i] == b.sack[i])) return false;
  }
  return true;
}

TEST(TcpHeader, ParseOfEmitIsTheHeader) {
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    TcpHeader h;
    h.source_port = static_cast<uint16_t>(random.next());
    h.destination_port = static_cast<uint16_t>(random.next());
    h.sequence = static_cast<uint32_t>(random.next());
    h.acknowledgment = static_cast<uint32_t>(random.next());
    for (bool* flag : {&h.fin, &h.syn, &h.rst, &h.psh, &h.ack, &h.urg, &h.ece, &h.cwr}) *flag = random.below(2) != 0;
    h.window = static_cast<uint16_t>(random.next());
    h.checksum = static_cast<uint16_t>(random.next());
    h.urgent_pointer = static_cast<uint16_t>(random.next());
    TcpOptions& o = h.options;
    if (random.below(2)) o.mss = static_cast<uint16_t>(random.next());
    if (random.below(2)) o.window_scale = static_cast<uint8_t>(random.below(15));
    o.sack_permitted = random.below(2) != 0;
    if (random.below(2)) o.timestamps = {static_cast<uint32_t>(random.next()), static_cast<uint32_t>(random.next())};
    o.sack_count = static_cast<uint8_t>(random.below(5));
    for (uint8_t k = 0; k < o.sack_count; ++k) {
      o.sack[k] = {static_cast<uint32_t>(random.next()), static_cast<uint32_t>(random.next())};
    }
    if (tcp_header_bytes(h) > kTcpHeaderBytesMax) continue;
    const auto bytes = emit(h);
    ASSERT_EQ(bytes.size() % 4, 0u);
    const auto parsed = parse_tcp(bytes);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->header_bytes, bytes.size());
    const TcpHeader& p = parsed->header;
    EXPECT_EQ(p.source_port, h.source_port);
    EXPECT_EQ(p.destination_port, h.destination_port);
    EXPECT_EQ(p.sequence, h.sequence);
    EXPECT_EQ(p.acknowledgment, h.acknowledgment);
    EXPECT_EQ(p.window, h.window);
    EXPECT_EQ(p.checksum, h.checksum);
    EXPECT_EQ(p.urgent_pointer, h.urgent_pointer);
    EXPECT_TRUE(p.fin == h.fin && p.syn == h.syn && p.rst == h.rst && p.psh == h.psh && p.ack == h.ack &&
                p.urg == h.urg && p.ece == h.ece && p.cwr == h.cwr);
    EXPECT_TRUE(same(p.options, h.options));
  }
}

// What Linux sends: MSS 1460, SACK permitted, timestamps, NOP, window scale 7.
TEST(TcpHeader, SynOptionsAreInLinuxOrder) {
  TcpHeader h;
  h.syn = true;
  h.options.mss = 1460;
  h.options.sack_permitted = true;
  h.options.timestamps = {0x01020304, 0};
  h.options.window_scale = 7;
  const auto bytes = emit(h);
  const std::vector<uint8_t> options(bytes.begin() + 20, bytes.end());
  EXPECT_EQ(options, (std::vector<uint8_t>{2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}));
}

TEST(TcpHeader, SynWithoutTimestampsPadsSackPermitted) {
  TcpHeader h;
  h.syn = true;
  h.options.mss = 1460;
  h.options.sack_permitted = true;
  h.options.window_scale = 7;
  const auto bytes = emit(h);
  const std::vector<uint8_t> options(bytes.begin() + 20, bytes.end());
  EXPECT_EQ(options, (std::vector<uint8_t>{2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7}));
}

TEST(TcpHeader, OtherSegmentsCarryTimestampsThenSack) {
  TcpHeader h;
  h.ack = true;
  h.options.timestamps = {1, 2};
  h.options.sack_count = 1;
  h.options.sack[0] = {3, 4};
  const auto bytes = emit(h);
  const std::vector<uint8_t> options(bytes.begin() + 20, bytes.end());
  EXPECT_EQ(options, (std::vector<uint8_t>{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 3, 0, 0, 0, 4}));
}

TEST(TcpHeader, TooShortAndBadOffsetsAreErrors) {
  std::vector<uint8_t> bytes(20, 0);
  EXPECT_EQ(parse_tcp(ByteView(bytes).first(19)).error(), TcpParseError::kTooShort);
  bytes[12] = 0x40;
  EXPECT_EQ(parse_tcp(bytes).error(), TcpParseError::kBadOffset);
  bytes[12] = 0x60;
  EXPECT_EQ(parse_tcp(bytes).error(), TcpParseError::kBadOffset);
}

TEST(TcpHeader, ImpossibleOptionLengthsAreErrors) {
  std::vector<uint8_t> bytes(24, 0);
  bytes[12] = 0x60;
  for (const std::vector<uint8_t>& option :
       {std::vector<uint8_t>{2, 0, 0, 0}, {2, 1, 0, 0}, {2, 5, 0, 0}, {1, 1, 1, 2}, {99, 200, 0, 0}}) {
    std::copy(option.begin(), option.end(), bytes.begin() + 20);
    EXPECT_EQ(parse_tcp(bytes).error(), TcpParseError::kBadOption);
  }
}

TEST(TcpHeader, UnknownOptionsAndWrongLengthsOfKnownOnesAreSkipped) {
  std::vector<uint8_t> bytes(32, 0);
  bytes[12] = 0x80;
  // kind 200, MSS of three bytes, window scale 3, end; what follows the end is not read.
  const uint8_t options[12] = {200, 3, 7, 2, 3, 5, 3, 3, 9, 0, 2, 0};
  std::copy(std::begin(options), std::end(options), bytes.begin() + 20);
  const auto parsed = parse_tcp(bytes);
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->header.options.mss);
  EXPECT_EQ(parsed->header.options.window_scale, 9);
}

TEST(TcpHeader, AnyBytesAreEitherParsedOrRefused) {
  Random random(2);
  for (int i = 0; i < 100'000; ++i) {
    // Exactly as long as the input, so that the address sanitizer sees an overread.
    std::vector<uint8_t> bytes(random.below(64));
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.below(3) ? random.below(12) : random.next());
    if (bytes.size() > 12 && random.below(2)) bytes[12] = static_cast<uint8_t>(bytes.size() / 4 << 4);
    const auto parsed = parse_tcp(bytes);
    if (parsed) {
      EXPECT_LE(parsed->header_bytes, bytes.size());
    }
  }
}

// --- checksum
// -----------------------------------------------------------------------------------------------------------------

uint16_t plain_checksum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(bytes[i] << 8) + (i + 1 < bytes.size() ? bytes[i + 1] : 0u);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(~sum);
}

TEST(Checksum, IsTheSumOfTheWordsHoweverTheBytesAreCut) {
  Random random(3);
  for (int i = 0; i < 2'000; ++i) {
    std::vector<uint8_t> bytes(random.below(3000));
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.next());
    const uint16_t expected = plain_checksum(bytes);
    EXPECT_EQ(internet_checksum(bytes), expected);
    ChecksumSum sum;
    for (size_t at = 0; at < bytes.size();) {
      const size_t take = std::min<size_t>(1 + random.below(100), bytes.size() - at);
      sum.add(ByteView(bytes).subspan(at, take));
      at += take;
    }
    EXPECT_EQ(sum.checksum(), expected);
  }
}

TEST(Checksum, MatchesTheExampleOfRfc1071) {
  const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  ChecksumSum sum;
  sum.add(bytes);
  EXPECT_EQ(sum.folded(), 0xddf2);
}

TEST(Checksum, OfASegmentWithItsPseudoHeaderIsZero) {
  for (const auto& [from, to] : {std::pair{"10.0.0.1", "10.0.0.2"}, std::pair{"fd00::1", "fd00::2"}}) {
    TcpHeader h;
    h.sequence = 12345;
    std::vector<uint8_t> bytes = emit(h);
    const auto sum_of = [&](ByteView segment) {
      ChecksumSum sum;
      sum.add_pseudo_header(*IpAddress::parse(from), *IpAddress::parse(to), 6, static_cast<uint32_t>(segment.size()));
      sum.add(segment);
      return sum.checksum();
    };
    h.checksum = sum_of(bytes);
    EXPECT_NE(h.checksum, 0);
    EXPECT_EQ(sum_of(emit(h)), 0);
  }
}

TEST(Checksum, CanBeUpdatedWordByWord) {
  Random random(4);
  for (int i = 0; i < 10'000; ++i) {
    std::vector<uint8_t> bytes(40);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.next());
    const uint16_t before = internet_checksum(bytes);
    const size_t at = 2 * random.below(20);
    const auto old_word = static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
    const auto new_word = static_cast<uint16_t>(random.next());
    bytes[at] = static_cast<uint8_t>(new_word >> 8);
    bytes[at + 1] = static_cast<uint8_t>(new_word);
    EXPECT_EQ(updated_checksum(before, old_word, new_word), internet_checksum(bytes));
  }
}

}  // namespace
}  // namespace culvert::wire
