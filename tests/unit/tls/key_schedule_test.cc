// The end of the key schedule and the record layer against the trace of RFC 8448 section 3 ("Simple 1-RTT Handshake").
#include "tls/key_schedule.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "drivers/crypto/openssl/aead.h"
#include "tls/record_protection.h"

namespace culvert::tls {
namespace {

std::vector<uint8_t> from_hex(std::string_view hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

std::vector<uint8_t> copy_of(ByteView bytes) { return {bytes.begin(), bytes.end()}; }

TrafficSecret secret_from(std::string_view hex) {
  const auto bytes = from_hex(hex);
  TrafficSecret secret(bytes.size());
  std::copy(bytes.begin(), bytes.end(), secret.bytes().begin());
  return secret;
}

constexpr CipherSuite kSuite = CipherSuite::kAes128GcmSha256;
constexpr char kClientSecret[] = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
constexpr char kServerSecret[] = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
constexpr char kClientRecord[] =
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b"
    "62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";

TEST(KeySchedule, DerivesKeyAndIvOfTheTrace) {
  const TrafficSecret client = secret_from(kClientSecret);
  EXPECT_EQ(copy_of(traffic_key(kSuite, client).view()), from_hex("17422dda596ed5d9acd890e3c63f5051"));
  EXPECT_EQ(copy_of(traffic_iv(kSuite, client)), from_hex("5b78923dee08579033e523d9"));
  const TrafficSecret server = secret_from(kServerSecret);
  EXPECT_EQ(copy_of(traffic_key(kSuite, server).view()), from_hex("9f02283b6c9c07efc26bb9f2ac92e356"));
  EXPECT_EQ(copy_of(traffic_iv(kSuite, server)), from_hex("cf782b88dd83549aadf1e984"));
}

TEST(KeySchedule, SecretsWipeWhatTheyGiveAway) {
  TrafficSecret secret = secret_from(kClientSecret);
  const TrafficSecret moved = std::move(secret);
  EXPECT_TRUE(secret.empty());  // NOLINT: looks at a moved-from value on purpose
  EXPECT_EQ(moved.view().size(), 32u);
}

TEST(RecordProtection, SealsTheRecordOfTheTrace) {
  crypto::OpensslAead backend;
  const auto pool = BufferPool::on_heap({});
  RecordSealer sealer(backend, kSuite, secret_from(kClientSecret));
  std::vector<uint8_t> payload(50);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<uint8_t>(i);
  const ByteView piece{payload};
  const Packet record = sealer.seal(ContentType::kApplicationData, {&piece, 1}, payload.size(), *pool);
  ASSERT_TRUE(record);
  EXPECT_EQ(copy_of(record.front()), from_hex(kClientRecord));
  EXPECT_EQ(sealer.sequence(), 1u);
}

TEST(RecordProtection, OpensTheRecordOfTheTrace) {
  crypto::OpensslAead backend;
  const auto pool = BufferPool::on_heap({});
  RecordOpener opener(backend, kSuite, secret_from(kClientSecret));
  const auto record = from_hex(kClientRecord);
  ByteQueue in;
  in.append(pool->take_copy(record));
  auto opened = opener.open(in, static_cast<uint16_t>(record.size() - kRecordHeaderBytes), *pool);
  ASSERT_EQ(opened.outcome, RecordOpener::Outcome::kOpened);
  EXPECT_EQ(opened.type, ContentType::kApplicationData);
  ASSERT_EQ(opened.content.bytes(), 50u);
  EXPECT_EQ(opened.content.front()[49], 49);
}

// Both ends step to the next generation together, and only together.
TEST(RecordProtection, UpdatesItsKeyInStepWithThePeer) {
  crypto::OpensslAead backend;
  const auto pool = BufferPool::on_heap({});
  RecordSealer sealer(backend, kSuite, secret_from(kClientSecret));
  RecordOpener opener(backend, kSuite, secret_from(kClientSecret));
  sealer.update();
  const std::vector<uint8_t> payload(10, 1);
  const ByteView piece{payload};
  const auto send = [&] {
    ByteQueue in;
    in.append(sealer.seal(ContentType::kApplicationData, {&piece, 1}, payload.size(), *pool));
    return opener.open(in, static_cast<uint16_t>(in.bytes() - kRecordHeaderBytes), *pool).outcome;
  };
  EXPECT_EQ(send(), RecordOpener::Outcome::kBadMac);
  opener.update();
  sealer.update();
  opener.update();
  EXPECT_EQ(send(), RecordOpener::Outcome::kOpened);
  EXPECT_EQ(sealer.sequence(), 1u);
}

}  // namespace
}  // namespace culvert::tls
