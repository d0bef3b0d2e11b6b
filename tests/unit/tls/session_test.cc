// Two Sessions with each other, and with OpenSSL under load: data, key updates, half-close, pools that run dry, and
// runs that repeat bit by bit.
#include <gmock/gmock.h>

#include "base/random.h"
#include "tests/unit/tls/openssl_peer.h"
#include "tls/deterministic_random.h"

namespace culvert::tls {
namespace {

class SessionTest : public TlsTest {
 protected:
  PeerOptions peer_client() { return {.leaf = ca.issue({.uri_sans = {kClientId}}), .roots_pem = ca.root_pem()}; }
};

TEST_F(SessionTest, BothSidesOpenAndKnowEachOther) {
  End client(client_config());
  End server(server_config());
  EXPECT_EQ(client->cipher(), "");
  carry(client, server);
  ASSERT_EQ(client->state(), State::kOpen) << client->failure().reason;
  ASSERT_EQ(server->state(), State::kOpen) << server->failure().reason;
  ASSERT_EQ(client->peer_identities().size(), 1u);
  EXPECT_EQ(client->peer_identities()[0].uri(), kServerId);
  ASSERT_EQ(server->peer_identities().size(), 1u);
  EXPECT_EQ(server->peer_identities()[0].uri(), kClientId);
  EXPECT_EQ(client->alpn(), "h2");
  EXPECT_EQ(server->alpn(), "h2");
  EXPECT_EQ(client->cipher(), "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(server->cipher(), "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(client->group(), "x25519");
  EXPECT_FALSE(client->counts().hello_retry);
  EXPECT_GT(server->counts().handshake_cpu.count(), 0);
  EXPECT_EQ(server.counters().value(Counter::kTlsHandshakeCompleted), 1u);
  EXPECT_EQ(client.counters().value(Counter::kTlsHandshakeCompleted), 1u);
  EXPECT_GT(client.counters().value(Counter::kTlsHandshakeCpu), 0u);
}

TEST_F(SessionTest, CarriesDataBothWays) {
  End client(client_config());
  End server(server_config());
  carry(client, server);
  EXPECT_TRUE(client.writes("from the client"));
  EXPECT_TRUE(server.writes("from the server"));
  carry(client, server);
  EXPECT_EQ(server.reads(), "from the client");
  EXPECT_EQ(client.reads(), "from the server");
  EXPECT_EQ(client->counts().bytes_sealed, 15u);
  EXPECT_EQ(client->counts().bytes_opened, 15u);
  EXPECT_EQ(client->aead_backend(), backend().name());
}

TEST_F(SessionTest, TheTwoBackendsUnderstandEachOther) {
  SessionConfig config = client_config();
  config.aead = &openssl_backend();
  End client(config);
  End server(server_config());
  carry(client, server);
  const std::string text(16'384, 'b');
  EXPECT_TRUE(client.writes(text));
  EXPECT_TRUE(server.writes(text));
  carry(client, server);
  EXPECT_EQ(server.reads(), text);
  EXPECT_EQ(client.reads(), text);
  EXPECT_EQ(client.counters().value(Counter::kTlsRecordOpensslSealed), 1u);
  EXPECT_EQ(client.counters().value(Counter::kTlsRecordOpensslOpened), 1u);
  EXPECT_EQ(client.counters().value(Counter::kTlsRecordIpsecMbSealed), 0u);
}

TEST_F(SessionTest, NothingIsSealedBeforeTheHandshakeIsOver) {
  End client(client_config());
  End server(server_config());
  EXPECT_FALSE(client.writes("too early"));
  EXPECT_FALSE(server.writes("too early"));
  carry(client, server);
  EXPECT_TRUE(client.writes("now"));
}

TEST_F(SessionTest, CloseNotifyDuringTheHandshakeIsSentBehindIt) {
  End client(client_config());
  End server(server_config());
  client->close_notify();
  carry(client, server);
  EXPECT_EQ(client->state(), State::kOpen);
  EXPECT_FALSE(client.writes("closed"));
  EXPECT_EQ(server->state(), State::kClosed);
}

TEST_F(SessionTest, HalfClosesInEitherOrder) {
  End client(client_config());
  End server(server_config());
  carry(client, server);
  EXPECT_TRUE(client.writes("request"));
  client->close_notify();
  carry(client, server);
  EXPECT_EQ(server->state(), State::kClosed);
  EXPECT_EQ(client->state(), State::kOpen);
  EXPECT_EQ(server.reads(), "request");
  EXPECT_TRUE(server.writes("response"));
  server->close_notify();
  carry(client, server);
  EXPECT_EQ(client.reads(), "response");
  EXPECT_EQ(client->state(), State::kClosed);
}

TEST_F(SessionTest, HalfClosesWithOpenssl) {
  End server(server_config());
  OpensslPeer client(peer_client());
  carry(client, server);
  client.writes("request");
  client.closes();
  server.receives(bytes_of(client.sends()));
  EXPECT_EQ(server->state(), State::kClosed);
  EXPECT_EQ(server.reads(), "request");
  EXPECT_TRUE(server.writes("response"));
  server->close_notify();
  carry(client, server);
  EXPECT_EQ(client.reads(), "response");
  EXPECT_TRUE(client.peer_closed());
}

// Key updates by both sides, asked for and not, in the midst of data both ways.
TEST_F(SessionTest, KeepsUpWithKeyUpdatesDuringBulk) {
  End server(server_config());
  OpensslPeer client(peer_client());
  carry(client, server);
  Random random(5);
  std::string to_server, to_client, read_by_server, read_by_client;
  const auto random_text = [&random] {
    std::string text(1 + random.below(16'384), '\0');
    for (char& c : text) c = static_cast<char>(random.next());
    return text;
  };
  uint64_t asked = 0;
  for (int round = 0; round < 200; ++round) {
    const std::string up = random_text(), down = random_text();
    client.writes(up);
    to_server += up;
    ASSERT_TRUE(server.writes(down));
    to_client += down;
    if (round % 10 == 3) client.updates_key(false);
    if (round % 10 == 5) {
      client.updates_key(true);
      ++asked;
    }
    if (round % 10 == 7) server->request_key_update(false);
    // OpenSSL ends a connection after 32 KeyUpdates that ask for an answer.
    if (round % 20 == 9) server->request_key_update(true);
    carry(client, server);
    read_by_server += server.reads();
    read_by_client += client.reads();
  }
  EXPECT_TRUE(read_by_server == to_server);
  EXPECT_TRUE(read_by_client == to_client);
  EXPECT_EQ(server->state(), State::kOpen) << server->failure().reason;
  EXPECT_GE(server->counts().key_updates_received, 20 + asked);
  EXPECT_EQ(server->counts().key_updates_sent, 20 + 10 + asked);
}

TEST_F(SessionTest, UpdatesItsKeyByItselfAfterTheBytesItIsTold) {
  SessionConfig config = client_config();
  config.key_update_every_bytes = 50'000;
  End client(config);
  End server(server_config());
  carry(client, server);
  std::string read;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(client.writes(std::string(10'000, static_cast<char>('a' + i % 26))));
    carry(client, server);
    read += server.reads();
  }
  EXPECT_EQ(read.size(), 1'000'000u);
  // Five records fill a key's share; the first key needs no update before it.
  EXPECT_EQ(client->counts().key_updates_sent, 19u);
  EXPECT_EQ(server->counts().key_updates_received, 19u);
}

// RFC 8446 5.5: a key may seal so many records and no more.
TEST_F(SessionTest, UpdatesItsKeyBeforeTheAeadLimit) {
  SessionConfig config = client_config();
  EXPECT_EQ(config.records_per_key_max, uint64_t{1} << 24);
  config.records_per_key_max = 10;
  End client(config);
  End server(server_config());
  carry(client, server);
  for (int i = 0; i < 31; ++i) {
    ASSERT_TRUE(client.writes("x"));
    carry(client, server);
  }
  EXPECT_EQ(server.reads().size(), 31u);
  EXPECT_EQ(client->counts().key_updates_sent, 3u);
}

// The N-th take of a buffer fails, for every N: the session says so or puts off, and goes on when buffers are back.
TEST_F(SessionTest, LosesNothingWhenATakeFails) {
  bool reached = true;
  for (uint64_t nth = 1; reached; ++nth) {
    SCOPED_TRACE(nth);
    ASSERT_LT(nth, 100u);
    End client(client_config());
    End server(server_config());
    reached = false;
    const auto run = [&](auto&& action) {
      const uint64_t before = server.pool().refused();
      server.pool().fail_take(nth);
      action();
      if (server.pool().refused() > before) reached = true;
    };
    // Bytes reach the queue by a take of the test's own, which must not be the one that fails.
    const auto push = [&](std::string_view wire) {
      server.pool().fail_take(0);
      if (wire.empty()) return;
      Packet packet = server.pool().take_copy(bytes_of(wire));
      ASSERT_TRUE(packet);
      server.in().append(std::move(packet));
    };
    push(client.sends());
    run([&] { server->on_ciphertext(server.in(), 1 << 20, kTestNow); });
    server.pool().fail_take(0);
    carry(client, server);
    ASSERT_EQ(server->state(), State::kOpen) << server->failure().reason;

    ASSERT_TRUE(client.writes("request"));
    client->request_key_update(true);
    push(client.sends());
    run([&] {
      server->on_ciphertext(server.in(), 1 << 20, kTestNow);
      server->on_ciphertext(server.in(), 1 << 20, kTestNow);
    });
    server->on_ciphertext(server.in(), 1 << 20, kTestNow);
    EXPECT_EQ(server.reads(), "request");
    EXPECT_EQ(server->counts().key_updates_received, 1u);

    run([&] {
      if (!server.writes("response")) {
        EXPECT_GT(server.pool().refused(), 0u);
        EXPECT_TRUE(server.writes("response"));
      }
      server->close_notify();
    });
    server.pool().fail_take(0);
    carry(client, server);
    EXPECT_EQ(client.reads(), "response");
    EXPECT_EQ(client->state(), State::kClosed);
    EXPECT_EQ(client->counts().key_updates_received, 1u);
  }
}

// An alert that finds no buffer is sent when there is one.
TEST_F(SessionTest, OwesAnAlertUntilABufferIsFree) {
  End client(client_config());
  End server(server_config());
  carry(client, server);
  // The bad record needs one buffer to arrive in; the next take is the alert's.
  std::string bad("\x14\x03\x03\x00\x01\x01", 6);
  Packet packet = server.pool().take_copy(bytes_of(bad));
  server.in().append(std::move(packet));
  server.pool().fail_take(1);
  server->on_ciphertext(server.in(), 1 << 20, kTestNow);
  EXPECT_EQ(server->state(), State::kFailed);
  EXPECT_EQ(server.pool().refused(), 1u);
  carry(client, server);
  EXPECT_EQ(client->state(), State::kFailed);
  EXPECT_EQ(client.alert_received(), 10);
}

TEST_F(SessionTest, RotationDoesNotTouchSessionsThatLive) {
  SessionConfig config = client_config();
  End client(config);
  End server(server_config());
  config.credentials.reset();  // the last reference outside the sessions
  carry(client, server);
  EXPECT_TRUE(client.writes("still there"));
  carry(client, server);
  EXPECT_EQ(server.reads(), "still there");
}

// D3: the same seed, the same bytes, key shares, signatures and all.
std::string wire_of_a_run(uint64_t seed) {
  DeterministicRandom random(seed);
  crypto::OpensslAead backend;
  const testkit::TestCa ca;
  SessionConfig client_config, server_config;
  client_config.role = Role::kClient;
  client_config.credentials = ca.credentials(kClientId);
  server_config.role = Role::kServer;
  // Every kind of key that draws randomness when it signs.
  server_config.credentials = ca.credentials({.uri_sans = {kServerId}, .key = testkit::KeyType::kRsa2048});
  client_config.aead = server_config.aead = &backend;
  End client(client_config);
  End server(server_config);
  std::string wire;
  for (int round = 0; round < 4; ++round) {
    const std::string to_server = client.sends();
    server.receives(bytes_of(to_server));
    const std::string to_client = server.sends();
    client.receives(bytes_of(to_client));
    wire += to_server + to_client;
    if (round >= 2) {
      EXPECT_TRUE(client.writes("data"));
    }
  }
  EXPECT_EQ(server->state(), State::kOpen);
  return wire;
}

TEST(DeterministicRandom, RepeatsEveryByteOfAHandshake) {
  const std::string first = wire_of_a_run(42);
  EXPECT_GT(first.size(), 2000u);
  EXPECT_EQ(wire_of_a_run(42), first);
  EXPECT_NE(wire_of_a_run(43), first);
}

TEST(DeterministicRandom, LeavesOpensslAsItWas) {
  { const DeterministicRandom random(1); }
  const auto one = identity::PrivateKey::generate_p256();
  { const DeterministicRandom random(1); }
  const auto two = identity::PrivateKey::generate_p256();
  EXPECT_EQ(EVP_PKEY_eq(one->get(), two->get()), 0);
}

TEST(DeterministicRandom, MakesTheSameKeyFromTheSameSeed) {
  std::shared_ptr<const identity::PrivateKey> keys[2];
  for (auto& key : keys) {
    const DeterministicRandom random(9);
    key = identity::PrivateKey::generate_p256();
  }
  EXPECT_EQ(EVP_PKEY_eq(keys[0]->get(), keys[1]->get()), 1);
}

}  // namespace
}  // namespace culvert::tls
