// Records of an open session: every form that RFC 8446 allows, and the alert for every form that it does not.
#include <gmock/gmock.h>

#include "base/random.h"
#include "tests/unit/tls/raw_peer.h"

namespace culvert::tls {
namespace {

using testing::HasSubstr;
using testing::Optional;

// A Session that is open, and a peer that may say anything to it.
class RecordTest : public TlsTest {
 protected:
  void open(Role role) {
    SessionConfig config = role == Role::kClient ? client_config() : server_config();
    config.keylog = LoggedSecrets::take;
    config.keylog_context = &secrets_;
    session_.emplace(config);
    PeerOptions options{.server = role == Role::kClient, .roots_pem = ca.root_pem()};
    options.leaf = ca.issue({.uri_sans = {role == Role::kClient ? kServerId : kClientId}});
    OpensslPeer handshake(options);
    carry(*session_, handshake);
    ASSERT_EQ(session()->state(), State::kOpen) << session()->failure().reason;
    peer_.emplace(openssl_backend(), secrets_, role == Role::kClient);
  }
  End& session() { return *session_; }
  RawPeer& peer() { return *peer_; }

  void peer_sends(ContentType type, std::string_view content) {
    session().receives(bytes_of(peer().record(type, content)));
  }
  void expect_failed(uint8_t alert, DropReason drop) {
    EXPECT_EQ(session()->state(), State::kFailed);
    EXPECT_THAT(session().alert_sent(), Optional(alert)) << session()->failure().reason;
    EXPECT_EQ(session().counters().value(drop), 1u) << name_of(drop);
    const auto sent = peer().open(session().sends());
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].type, ContentType::kAlert);
    EXPECT_EQ(sent[0].bytes, std::string("\x02") + static_cast<char>(alert));
    EXPECT_FALSE(session().writes("x"));
  }

 private:
  LoggedSecrets secrets_;
  std::optional<End> session_;
  std::optional<RawPeer> peer_;
};

const std::string kKeyUpdate("\x18\x00\x00\x01\x00", 5);
const std::string kKeyUpdateRequest("\x18\x00\x00\x01\x01", 5);
const std::string kCloseNotify("\x01\x00", 2);
// Lifetime, age_add, empty nonce, one byte of ticket, no extensions.
const std::string kTicket("\x04\x00\x00\x0e\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x61\x00\x00", 18);

TEST_F(RecordTest, AcceptsTheLargestRecord) {
  open(Role::kServer);
  const std::string most(kPlaintextBytesMax, 'm');
  peer_sends(ContentType::kApplicationData, most);
  EXPECT_EQ(session().reads(), most);
}

TEST_F(RecordTest, AcceptsPaddingAndRemovesIt) {
  open(Role::kServer);
  session().receives(bytes_of(peer().record_of_inner(std::string("padded\x17", 7) + std::string(200, '\0'))));
  EXPECT_EQ(session().reads(), "padded");
  // RFC 8446 5.4 lets padding fill a record up to its limit.
  session().receives(bytes_of(peer().record_of_inner(std::string("\x17", 1) + std::string(kPlaintextBytesMax, '\0'))));
  EXPECT_EQ(session()->state(), State::kOpen);
}

TEST_F(RecordTest, RefusesContentBeyond2To14EvenWhenItFitsTheCiphertext) {
  open(Role::kServer);
  session().receives(bytes_of(peer().record_of_inner(std::string(kPlaintextBytesMax + 1, 'x') + "\x17")));
  expect_failed(22, DropReason::kTlsRecordOverflow);
}

TEST_F(RecordTest, RefusesALongerCiphertextByItsHeader) {
  open(Role::kServer);
  session().receives(bytes_of(std::string("\x17\x03\x03\x41\x01", 5)));
  expect_failed(22, DropReason::kTlsRecordOverflow);
}

TEST_F(RecordTest, RefusesARecordThatDoesNotAuthenticate) {
  open(Role::kServer);
  std::string record = peer().record(ContentType::kApplicationData, "data");
  record.back() ^= 1;
  session().receives(bytes_of(record));
  expect_failed(20, DropReason::kTlsRecordBadMac);
  EXPECT_TRUE(session().reads().empty());
}

TEST_F(RecordTest, RefusesARecordShorterThanItsTag) {
  open(Role::kServer);
  session().receives(bytes_of(std::string("\x17\x03\x03\x00\x0f", 5) + std::string(15, 'x')));
  expect_failed(20, DropReason::kTlsRecordBadMac);
}

TEST_F(RecordTest, RefusesAReplayedRecord) {
  open(Role::kServer);
  const std::string record = peer().record(ContentType::kApplicationData, "once");
  session().receives(bytes_of(record));
  EXPECT_EQ(session().reads(), "once");
  session().receives(bytes_of(record));
  expect_failed(20, DropReason::kTlsRecordBadMac);
}

TEST_F(RecordTest, RefusesARecordThatIsAllPadding) {
  open(Role::kServer);
  session().receives(bytes_of(peer().record_of_inner(std::string(30, '\0'))));
  expect_failed(10, DropReason::kTlsRecordUnexpectedType);
}

TEST_F(RecordTest, RefusesUnknownContentTypes) {
  for (const char type : {'\x01', '\x14', '\x18', '\xff'}) {
    open(Role::kServer);
    session().receives(bytes_of(peer().record_of_inner(std::string("x") + type)));
    expect_failed(10, DropReason::kTlsRecordUnexpectedType);
  }
}

TEST_F(RecordTest, RefusesUnprotectedRecordsAfterTheHandshake) {
  // change_cipher_spec, an alert, a handshake message, and nothing known.
  for (const std::string& record :
       {std::string("\x14\x03\x03\x00\x01\x01", 6), std::string("\x15\x03\x03\x00\x02\x02\x28", 7),
        std::string("\x16\x03\x03\x00\x05\x18\x00\x00\x01\x00", 10), std::string("\x47\x45\x54\x20\x2f", 5)}) {
    open(Role::kServer);
    session().receives(bytes_of(record));
    expect_failed(10, DropReason::kTlsRecordUnexpectedType);
  }
}

TEST_F(RecordTest, ToleratesSomeEmptyRecordsButNoFlood) {
  open(Role::kServer);
  for (int i = 0; i < 32; ++i) peer_sends(ContentType::kApplicationData, "");
  EXPECT_EQ(session()->state(), State::kOpen);
  peer_sends(ContentType::kApplicationData, "data starts the count again");
  for (int i = 0; i < 32; ++i) peer_sends(ContentType::kApplicationData, "");
  EXPECT_EQ(session()->state(), State::kOpen);
  EXPECT_EQ(session().reads(), "data starts the count again");
  peer_sends(ContentType::kApplicationData, "");
  expect_failed(10, DropReason::kTlsRecordWithoutDataFlood);
}

TEST_F(RecordTest, EndsAFloodOfKeyUpdates) {
  open(Role::kServer);
  for (int i = 0; i < 32; ++i) {
    peer_sends(ContentType::kHandshake, kKeyUpdate);
    peer().update_key();
  }
  EXPECT_EQ(session()->state(), State::kOpen);
  EXPECT_EQ(session()->counts().key_updates_received, 32u);
  peer_sends(ContentType::kHandshake, kKeyUpdate);
  expect_failed(10, DropReason::kTlsRecordWithoutDataFlood);
}

TEST_F(RecordTest, FollowsAKeyUpdateWithoutAnsweringIt) {
  open(Role::kServer);
  peer_sends(ContentType::kApplicationData, "old key ");
  peer_sends(ContentType::kHandshake, kKeyUpdate);
  peer().update_key();
  peer_sends(ContentType::kApplicationData, "new key");
  EXPECT_EQ(session().reads(), "old key new key");
  EXPECT_TRUE(session().sends().empty());
  EXPECT_EQ(session().counters().value(Counter::kTlsKeyUpdateReceived), 1u);
}

TEST_F(RecordTest, AnswersAKeyUpdateThatAsksForIt) {
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, kKeyUpdateRequest);
  peer().update_key();
  const auto answer = peer().open(session().sends());
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_EQ(answer[0].type, ContentType::kHandshake);
  EXPECT_EQ(answer[0].bytes, kKeyUpdate);
  peer().update_read_key();
  EXPECT_TRUE(session().writes("under the new key"));
  EXPECT_EQ(peer().open(session().sends()).at(0).bytes, "under the new key");
}

TEST_F(RecordTest, AsksForAKeyUpdateWhenToldTo) {
  open(Role::kServer);
  session()->request_key_update(true);
  EXPECT_EQ(peer().open(session().sends()).at(0).bytes, kKeyUpdateRequest);
  peer().update_read_key();
  // The peer's answer asks for nothing, so there is no end to end of answers.
  peer_sends(ContentType::kHandshake, kKeyUpdate);
  peer().update_key();
  EXPECT_TRUE(session().sends().empty());
  EXPECT_EQ(session()->counts().key_updates_sent, 1u);
  EXPECT_EQ(session()->counts().key_updates_received, 1u);
}

TEST_F(RecordTest, AsksForAKeyUpdateEvenWhenOneWithoutAskingIsOwedSince) {
  open(Role::kServer);
  session().pool().fail_take(1);
  session()->request_key_update(true);
  session()->request_key_update(false);
  EXPECT_EQ(peer().open(session().sends()).at(0).bytes, kKeyUpdateRequest);
}

TEST_F(RecordTest, TakesAKeyUpdateThatComesInPieces) {
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, kKeyUpdate.substr(0, 2));
  peer_sends(ContentType::kHandshake, kKeyUpdate.substr(2, 2));
  peer_sends(ContentType::kHandshake, kKeyUpdate.substr(4));
  peer().update_key();
  peer_sends(ContentType::kApplicationData, "new key");
  EXPECT_EQ(session().reads(), "new key");
}

TEST_F(RecordTest, RefusesDataInsideAHandshakeMessage) {
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, kKeyUpdate.substr(0, 3));
  peer_sends(ContentType::kApplicationData, "data");
  expect_failed(10, DropReason::kTlsRecordUnexpectedType);
}

TEST_F(RecordTest, RefusesAMessageBehindAKeyUpdateInOneRecord) {
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, kKeyUpdate + kKeyUpdate);
  expect_failed(10, DropReason::kTlsMessageUnexpected);
}

TEST_F(RecordTest, RefusesMalformedKeyUpdates) {
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, std::string("\x18\x00\x00\x01\x02", 5));
  expect_failed(47, DropReason::kTlsMessageMalformed);
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, std::string("\x18\x00\x00\x02\x00\x00", 6));
  expect_failed(50, DropReason::kTlsMessageMalformed);
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, std::string("\x18\x00\x00\x00", 4));
  expect_failed(50, DropReason::kTlsMessageMalformed);
}

TEST_F(RecordTest, RefusesAnEmptyHandshakeRecord) {
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, "");
  expect_failed(10, DropReason::kTlsRecordUnexpectedType);
}

TEST_F(RecordTest, SkipsTicketsHoweverTheyAreCut) {
  open(Role::kClient);
  peer_sends(ContentType::kHandshake, kTicket + kTicket + kTicket.substr(0, 7));
  peer_sends(ContentType::kHandshake, kTicket.substr(7));
  peer_sends(ContentType::kApplicationData, "data");
  EXPECT_EQ(session()->counts().tickets_ignored, 3u);
  EXPECT_EQ(session().reads(), "data");
}

TEST_F(RecordTest, RefusesATicketFromAClient) {
  open(Role::kServer);
  peer_sends(ContentType::kHandshake, kTicket);
  expect_failed(10, DropReason::kTlsMessageUnexpected);
}

TEST_F(RecordTest, RefusesTicketsOfImpossibleLength) {
  open(Role::kClient);
  peer_sends(ContentType::kHandshake, std::string("\x04\xff\xff\xff", 4));
  expect_failed(50, DropReason::kTlsMessageMalformed);
  open(Role::kClient);
  peer_sends(ContentType::kHandshake, std::string("\x04\x00\x00\x01\x00", 5));
  expect_failed(50, DropReason::kTlsMessageMalformed);
}

TEST_F(RecordTest, RefusesACertificateRequestAndOtherHandshakeMessages) {
  for (const char type : {'\x0d', '\x01', '\x02', '\x14'}) {
    open(Role::kClient);
    peer_sends(ContentType::kHandshake, type + std::string("\x00\x00\x03\x00\x00\x00", 6));
    expect_failed(10, DropReason::kTlsMessageUnexpected);
  }
}

TEST_F(RecordTest, RefusesAlertsOfTheWrongLength) {
  for (const std::string& content : {std::string(""), std::string("\x01"), std::string("\x01\x00\x01\x00", 4)}) {
    open(Role::kServer);
    peer_sends(ContentType::kAlert, content);
    expect_failed(50, DropReason::kTlsMessageMalformed);
  }
}

TEST_F(RecordTest, EndsOnAFatalAlertOfAnyLevelWithoutAnswering) {
  for (const char level : {'\x01', '\x02'}) {
    open(Role::kServer);
    peer_sends(ContentType::kApplicationData, "before");
    peer_sends(ContentType::kAlert, level + std::string("\x32"));
    EXPECT_EQ(session()->state(), State::kFailed);
    EXPECT_THAT(session().alert_received(), Optional(50));
    EXPECT_EQ(session()->failure().reason, "tls error: received fatal alert: decode_error (50)");
    EXPECT_EQ(session().counters().value(DropReason::kTlsAlertReceived), 1u);
    EXPECT_TRUE(session().sends().empty());
    EXPECT_EQ(session().reads(), "before");
  }
}

TEST_F(RecordTest, GoesOnAfterUserCanceled) {
  open(Role::kServer);
  peer_sends(ContentType::kAlert, "\x01\x5a");
  EXPECT_EQ(session()->state(), State::kOpen);
  peer_sends(ContentType::kAlert, kCloseNotify);
  EXPECT_EQ(session()->state(), State::kClosed);
}

TEST_F(RecordTest, WritesOnAfterThePeerClosedItsDirection) {
  open(Role::kServer);
  peer_sends(ContentType::kApplicationData, "last words");
  peer_sends(ContentType::kAlert, kCloseNotify);
  EXPECT_EQ(session()->state(), State::kClosed);
  EXPECT_TRUE(session()->close_notify_received());
  EXPECT_EQ(session().reads(), "last words");
  EXPECT_TRUE(session().writes("still here"));
  session()->close_notify();
  EXPECT_FALSE(session().writes("too late"));
  const auto sent = peer().open(session().sends());
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].bytes, "still here");
  EXPECT_EQ(sent[1].type, ContentType::kAlert);
  EXPECT_EQ(sent[1].bytes, kCloseNotify);
}

TEST_F(RecordTest, ReadsOnAfterItClosedItsOwnDirection) {
  open(Role::kServer);
  session()->close_notify();
  session()->close_notify();
  EXPECT_EQ(peer().open(session().sends()).size(), 1u);
  EXPECT_FALSE(session().writes("x"));
  peer_sends(ContentType::kApplicationData, "still listening");
  EXPECT_EQ(session().reads(), "still listening");
  // A KeyUpdate that wants an answer gets none any more; its key counts all the same.
  peer_sends(ContentType::kHandshake, kKeyUpdateRequest);
  peer().update_key();
  peer_sends(ContentType::kApplicationData, "under the new key");
  EXPECT_EQ(session().reads(), "under the new key");
  EXPECT_TRUE(session().sends().empty());
  EXPECT_EQ(session()->state(), State::kOpen);
}

// RFC 8446 6.1: nothing may follow close_notify, not even the alert for a record that is wrong.
TEST_F(RecordTest, FailsInSilenceAfterItsOwnCloseNotify) {
  open(Role::kServer);
  session()->close_notify();
  (void)session().sends();
  session().receives(bytes_of(std::string("\x14\x03\x03\x00\x01\x01", 6)));
  EXPECT_EQ(session()->state(), State::kFailed);
  EXPECT_EQ(session().alert_sent(), std::nullopt);
  EXPECT_TRUE(session().sends().empty());
}

TEST_F(RecordTest, IgnoresWhatFollowsCloseNotify) {
  open(Role::kServer);
  const std::string close = peer().record(ContentType::kAlert, kCloseNotify);
  const std::string after = peer().record(ContentType::kApplicationData, "after");
  session().receives(bytes_of(close + after + "garbage"));
  EXPECT_EQ(session()->state(), State::kClosed);
  EXPECT_TRUE(session().in().empty());
  EXPECT_TRUE(session().reads().empty());
  EXPECT_EQ(session().counters().value(DropReason::kTlsByteAfterClose), after.size() + 7);
}

TEST_F(RecordTest, LeavesRecordsWhereTheyAreAtThePlaintextLimit) {
  open(Role::kServer);
  std::string wire;
  for (int i = 0; i < 4; ++i) wire += peer().record(ContentType::kApplicationData, std::string(100, 'x'));
  wire += peer().record(ContentType::kAlert, kCloseNotify);
  session().receives(bytes_of(wire), 150);
  EXPECT_EQ(session().reads().size(), 200u);
  EXPECT_EQ(session()->state(), State::kOpen);
  EXPECT_GT(session().in().bytes(), 200u);
  session().receives({}, 150);
  EXPECT_EQ(session().reads().size(), 200u);
  session().receives({}, 150);
  EXPECT_EQ(session()->state(), State::kClosed);
}

TEST_F(RecordTest, OpensARecordCutAtEveryByte) {
  open(Role::kServer);
  const std::string text = "cut me anywhere";
  const size_t record_bytes = text.size() + kRecordOverhead;
  for (size_t cut = 1; cut < record_bytes; ++cut) {
    const std::string record = peer().record(ContentType::kApplicationData, text);
    session().receives(bytes_of(record).first(cut));
    EXPECT_TRUE(session().reads().empty());
    session().receives(bytes_of(record).subspan(cut));
    EXPECT_EQ(session().reads(), text) << "cut at " << cut;
  }
}

// However a stream of records is cut into segments, the same bytes come out.
TEST_F(RecordTest, DoesNotCareHowTheStreamIsCut) {
  open(Role::kServer);
  Random random(3);
  for (int round = 0; round < 60; ++round) {
    // Every fifth time in segments of a byte or two: more pieces than a record usually has.
    const bool tiny = round % 5 == 0;
    const uint64_t segment_max = tiny ? 2 : 1 + random.below(4000);
    std::string text, wire;
    for (int record = 0; record < 4; ++record) {
      std::string piece(1 + random.below(tiny ? 100 : round % 3 == 0 ? 16'384 : 300), '\0');
      for (char& c : piece) c = static_cast<char>(random.next());
      wire += peer().record(ContentType::kApplicationData, piece);
      text += piece;
    }
    ByteView left = bytes_of(wire);
    std::string read;
    while (!left.empty()) {
      const size_t take = std::min<size_t>(left.size(), 1 + random.below(segment_max));
      session().receives(left.first(take));
      left = left.subspan(take);
      read += session().reads();
    }
    ASSERT_EQ(read, text) << "round " << round;
  }
  EXPECT_TRUE(session().in().empty());
}

// The pool is small here: 512 buffers. A record in one-byte segments is gathered by a copy, which is counted.
TEST_F(RecordTest, GathersARecordInVeryManySegments) {
  open(Role::kServer);
  const std::string record = peer().record(ContentType::kApplicationData, std::string(200, 'y'));
  const uint64_t copied_before = session().pool().bytes_copied();
  for (const char& byte : record) session().receives(bytes_of({&byte, 1}));
  EXPECT_EQ(session().reads(), std::string(200, 'y'));
  EXPECT_EQ(session().pool().bytes_copied() - copied_before, record.size() + 201);
}

// D8 and D10: besides the AEAD pass nothing is copied, and each record takes one buffer.
TEST_F(RecordTest, OpensWithoutCopyingIntoOneBufferOfTheFittingSize) {
  open(Role::kServer);
  for (const auto& [bytes, small, large] :
       {std::tuple{100u, 1u, 0u}, std::tuple{2000u, 1u, 0u}, std::tuple{2100u, 0u, 1u}, std::tuple{16'384u, 0u, 1u}}) {
    const std::string record = peer().record(ContentType::kApplicationData, std::string(bytes, 'z'));
    const uint64_t copied_before = session().pool().bytes_copied();
    session().receives(bytes_of(record));
    EXPECT_EQ(session().pool().bytes_copied() - copied_before, record.size()) << "only the wire's copy of this test";
    EXPECT_EQ(session().pool().held(BufferKind::kSmall), small) << bytes;
    EXPECT_EQ(session().pool().held(BufferKind::kLarge), large) << bytes;
    EXPECT_EQ(session().reads().size(), bytes);
  }
}

TEST_F(RecordTest, SealsWithoutCopyingIntoOneBufferOfTheFittingSize) {
  open(Role::kServer);
  for (const auto& [bytes, small, large] :
       {std::tuple{100u, 1u, 0u}, std::tuple{2026u, 1u, 0u}, std::tuple{2027u, 0u, 1u}, std::tuple{16'384u, 0u, 1u}}) {
    const std::string text(bytes, 'z');
    const uint64_t copied_before = session().pool().bytes_copied();
    const ByteView whole = bytes_of(text);
    const ByteView pieces[] = {whole.first(9), {}, whole.subspan(9)};
    ASSERT_TRUE(session()->seal(pieces));
    EXPECT_EQ(session().pool().bytes_copied(), copied_before);
    EXPECT_EQ(session().pool().held(BufferKind::kSmall), small) << bytes;
    EXPECT_EQ(session().pool().held(BufferKind::kLarge), large) << bytes;
    EXPECT_EQ(peer().open(session().sends()).at(0).bytes, text);
  }
}

TEST_F(RecordTest, SealsAPacketInVeryManySegments) {
  open(Role::kServer);
  Packet packet;
  std::string text;
  for (int i = 0; i < 100; ++i) {
    text += static_cast<char>('a' + i % 26);
    packet.join(session().pool().take_copy(bytes_of(text).last(1)));
  }
  ASSERT_TRUE(session()->seal(packet));
  packet.reset();
  EXPECT_EQ(peer().open(session().sends()).at(0).bytes, text);
}

TEST_F(RecordTest, CountsTheBackendThatDidTheWork) {
  open(Role::kServer);
  peer_sends(ContentType::kApplicationData, "x");
  EXPECT_TRUE(session().writes("y"));
  const bool ipsec_mb = session()->aead_backend() == "ipsec_mb";
  EXPECT_EQ(session().counters().value(Counter::kTlsRecordIpsecMbOpened), ipsec_mb ? 1u : 0u);
  EXPECT_EQ(session().counters().value(Counter::kTlsRecordIpsecMbSealed), ipsec_mb ? 1u : 0u);
  EXPECT_EQ(session().counters().value(Counter::kTlsRecordOpensslOpened), ipsec_mb ? 0u : 1u);
  EXPECT_EQ(session().counters().value(Counter::kTlsRecordOpensslSealed), ipsec_mb ? 0u : 1u);
  EXPECT_EQ(session().counters().value(Counter::kTlsByteOpened), 1u);
  EXPECT_EQ(session().counters().value(Counter::kTlsByteSealed), 1u);
}

// Garbage of every length and any content ends in an alert, never in anything worse.
TEST_F(RecordTest, SurvivesGarbage) {
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    open(round % 2 ? Role::kServer : Role::kClient);
    std::string garbage(1 + random.below(600), '\0');
    for (char& c : garbage) c = static_cast<char>(random.next());
    if (round % 3 == 0) garbage = std::string("\x17\x03\x03\x00", 4) + static_cast<char>(random.below(60)) + garbage;
    session().receives(bytes_of(garbage));
    EXPECT_NE(session()->state(), State::kClosed);
    EXPECT_TRUE(session().reads().empty());
  }
}

}  // namespace
}  // namespace culvert::tls
