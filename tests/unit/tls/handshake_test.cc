// Handshakes with OpenSSL as the other side: what is accepted, and the alert for each thing that is not.
#include <gmock/gmock.h>

#include "base/random.h"
#include "tests/unit/tls/openssl_peer.h"

namespace culvert::tls {
namespace {

using testing::HasSubstr;
using testing::Optional;
using testing::StartsWith;
using testkit::KeyType;
using testkit::LeafOptions;
using testkit::TestCa;

class HandshakeTest : public TlsTest {
 protected:
  PeerOptions peer_server() {
    return {.server = true, .leaf = ca.issue({.uri_sans = {kServerId}}), .roots_pem = ca.root_pem()};
  }
  PeerOptions peer_client() { return {.leaf = ca.issue({.uri_sans = {kClientId}}), .roots_pem = ca.root_pem()}; }

  // Our server against a client that must be refused: its alert, its sentence, its count.
  void expect_refused(End& server, OpensslPeer& client, uint8_t alert, DropReason drop, std::string_view reason) {
    carry(client, server);
    EXPECT_EQ(server->state(), State::kFailed);
    EXPECT_THAT(server.alert_sent(), Optional(alert));
    EXPECT_THAT(client.alert_received(), Optional(alert));
    EXPECT_THAT(server->failure().reason, HasSubstr(std::string(reason)));
    EXPECT_EQ(server.counters().value(drop), 1u) << name_of(drop);
    EXPECT_EQ(server.counters().value(Counter::kTlsHandshakeFailed), 1u);
    EXPECT_EQ(server.counters().value(Counter::kTlsHandshakeCompleted), 0u);
    EXPECT_FALSE(server.writes("x"));
  }
  void expect_refused(OpensslPeer& server, End& client, uint8_t alert, DropReason drop, std::string_view reason) {
    carry(client, server);
    EXPECT_EQ(client->state(), State::kFailed);
    EXPECT_THAT(client.alert_sent(), Optional(alert));
    EXPECT_THAT(server.alert_received(), Optional(alert));
    EXPECT_THAT(client->failure().reason, HasSubstr(std::string(reason)));
    EXPECT_EQ(client.counters().value(drop), 1u) << name_of(drop);
  }
};

TEST_F(HandshakeTest, OpensAsClientAndExchangesData) {
  OpensslPeer server(peer_server());
  End client(client_config());
  carry(client, server);
  ASSERT_EQ(client->state(), State::kOpen) << client->failure().reason;
  EXPECT_TRUE(client.writes("hello server"));
  server.writes("hello client");
  carry(client, server);
  EXPECT_EQ(server.reads(), "hello server");
  EXPECT_EQ(client.reads(), "hello client");
  EXPECT_EQ(SSL_version(server.ssl()), TLS1_3_VERSION);
  EXPECT_EQ(SSL_get_servername(server.ssl(), TLSEXT_NAMETYPE_host_name), nullptr);
}

TEST_F(HandshakeTest, OpensAsServerAndExchangesData) {
  End server(server_config());
  OpensslPeer client(peer_client());
  carry(client, server);
  ASSERT_EQ(server->state(), State::kOpen) << server->failure().reason;
  client.writes("hello server");
  EXPECT_TRUE(server.writes("hello client"));
  carry(client, server);
  EXPECT_EQ(server.reads(), "hello server");
  EXPECT_EQ(client.reads(), "hello client");
  EXPECT_EQ(server->peer_identities().at(0).uri(), kClientId);
  // The client learned whom it may be.
  const STACK_OF(X509_NAME)* hints = SSL_get0_peer_CA_list(client.ssl());
  ASSERT_EQ(sk_X509_NAME_num(hints), 1);
}

TEST_F(HandshakeTest, PrefersAes256AndTakesAes128) {
  PeerOptions options = peer_client();
  options.suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
  End server(server_config());
  OpensslPeer both(options);
  carry(both, server);
  EXPECT_EQ(server->cipher(), "TLS_AES_256_GCM_SHA384");
  options.suites = "TLS_AES_128_GCM_SHA256";
  End again(server_config());
  OpensslPeer one(options);
  carry(one, again);
  ASSERT_EQ(again->state(), State::kOpen);
  EXPECT_EQ(again->cipher(), "TLS_AES_128_GCM_SHA256");
  one.writes("short key");
  carry(one, again);
  EXPECT_EQ(again.reads(), "short key");
}

TEST_F(HandshakeTest, RefusesChachaWithHandshakeFailure) {
  PeerOptions options = peer_client();
  options.suites = "TLS_CHACHA20_POLY1305_SHA256";
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 40, DropReason::kTlsHandshakeNoCommonParameter, "no shared cipher");
}

TEST_F(HandshakeTest, RefusesAGroupNobodyHereSpeaks) {
  PeerOptions options = peer_client();
  options.groups = "X448";
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 40, DropReason::kTlsHandshakeNoCommonParameter, "tls handshake error: ");
}

TEST_F(HandshakeTest, AsksAClientWithOnlyP256ForAnotherHello) {
  for (const auto& [group, name] : {std::pair{"P-256", "secp256r1"}, std::pair{"P-384", "secp384r1"}}) {
    PeerOptions options = peer_client();
    // The share it sends is for a group that we do not know, so that a second hello is needed.
    options.groups = std::string("X448:") + group;
    End server(server_config());
    OpensslPeer client(options);
    carry(client, server);
    ASSERT_EQ(server->state(), State::kOpen) << server->failure().reason;
    EXPECT_TRUE(server->counts().hello_retry);
    EXPECT_EQ(server->group(), name);
    EXPECT_EQ(server.counters().value(Counter::kTlsHandshakeHelloRetry), 1u);
    client.writes("after a retry");
    carry(client, server);
    EXPECT_EQ(server.reads(), "after a retry");
  }
}

TEST_F(HandshakeTest, SendsAnotherHelloWhenAServerHasOnlyP256) {
  PeerOptions options = peer_server();
  options.groups = "P-256";
  OpensslPeer server(options);
  End client(client_config());
  carry(client, server);
  ASSERT_EQ(client->state(), State::kOpen) << client->failure().reason;
  EXPECT_TRUE(client->counts().hello_retry);
  EXPECT_EQ(client->group(), "secp256r1");
  EXPECT_TRUE(client.writes("after a retry"));
  carry(client, server);
  EXPECT_EQ(server.reads(), "after a retry");
}

TEST_F(HandshakeTest, WorksWithEveryKeyTypeInBothRoles) {
  for (const KeyType type : {KeyType::kP256, KeyType::kP384, KeyType::kRsa2048, KeyType::kEd25519}) {
    SessionConfig config = server_config();
    config.credentials = ca.credentials(LeafOptions{.uri_sans = {kServerId}, .key = type});
    End server(config);
    PeerOptions options = peer_client();
    options.leaf = ca.issue({.uri_sans = {kClientId}, .key = type});
    OpensslPeer client(options);
    carry(client, server);
    EXPECT_EQ(server->state(), State::kOpen) << static_cast<int>(type) << server->failure().reason;
    EXPECT_TRUE(client.open());
  }
}

TEST_F(HandshakeTest, WorksUnderAnRsaRootAndThroughAnIntermediate) {
  const TestCa root(KeyType::kRsa2048);
  const TestCa below = root.intermediate();
  SessionConfig config = server_config();
  config.credentials = below.credentials(kServerId);
  End server(config);
  OpensslPeer client({.leaf = below.issue({.uri_sans = {kClientId}}), .roots_pem = root.root_pem()});
  carry(client, server);
  EXPECT_EQ(server->state(), State::kOpen) << server->failure().reason;
  EXPECT_TRUE(client.open());
  // Leaf and intermediate, never the root.
  EXPECT_EQ(sk_X509_num(SSL_get_peer_cert_chain(client.ssl())), 2);
}

TEST_F(HandshakeTest, RefusesAClientWithoutCertificateWith116) {
  PeerOptions options = peer_client();
  options.leaf.reset();
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 116, DropReason::kTlsHandshakeNoCertificate,
                 "tls handshake error: peer did not return a certificate");
}

TEST_F(HandshakeTest, TakesAClientWithoutCertificateWhenItIsOptional) {
  for (const ClientCertificate mode : {ClientCertificate::kOptional, ClientCertificate::kNone}) {
    PeerOptions options = peer_client();
    options.leaf.reset();
    SessionConfig config = server_config();
    config.client_certificate = mode;
    End server(config);
    OpensslPeer client(options);
    carry(client, server);
    EXPECT_EQ(server->state(), State::kOpen) << server->failure().reason;
    EXPECT_TRUE(server->peer_identities().empty());
  }
}

TEST_F(HandshakeTest, ChecksAnOptionalCertificateThatIsPresented) {
  PeerOptions options = peer_client();
  options.leaf = TestCa().issue({.uri_sans = {kClientId}});
  SessionConfig config = server_config();
  config.client_certificate = ClientCertificate::kOptional;
  End server(config);
  OpensslPeer client(options);
  carry(client, server);
  EXPECT_EQ(server->state(), State::kFailed);
}

TEST_F(HandshakeTest, RefusesAnExpiredClientWith45) {
  PeerOptions options = peer_client();
  options.leaf = ca.issue({.uri_sans = {kClientId}, .not_after = kTestNow - 1s});
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 45, DropReason::kTlsHandshakeCertificateExpired,
                 "tls handshake error: invalid peer certificate: certificate has expired");
}

TEST_F(HandshakeTest, JudgesDatesByTheTimeItIsHanded) {
  PeerOptions options = peer_client();
  options.leaf = ca.issue({.uri_sans = {kClientId}, .not_after = kTestNow + 1h});
  End server(server_config(), kTestNow + 2h);
  OpensslPeer client(options);
  expect_refused(server, client, 45, DropReason::kTlsHandshakeCertificateExpired, "expired");
}

TEST_F(HandshakeTest, RefusesACertificateThatIsNotValidYet) {
  PeerOptions options = peer_client();
  options.leaf = ca.issue({.uri_sans = {kClientId}, .not_before = kTestNow + 1h});
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 42, DropReason::kTlsHandshakeBadCertificate, "certificate is not yet valid");
}

TEST_F(HandshakeTest, RefusesAClientOfAnotherCaWith48) {
  PeerOptions options = peer_client();
  options.leaf = TestCa(KeyType::kP256, "Another root").issue({.uri_sans = {kClientId}});
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 48, DropReason::kTlsHandshakeUnknownCa,
                 "tls handshake error: invalid peer certificate");
}

TEST_F(HandshakeTest, RefusesTls12With70InBothRoles) {
  PeerOptions options = peer_client();
  options.max_version = TLS1_2_VERSION;
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 70, DropReason::kTlsHandshakeOldVersion, "tls handshake error: unsupported protocol");

  options = peer_server();
  options.max_version = TLS1_2_VERSION;
  OpensslPeer old_server(options);
  End our_client(client_config());
  carry(our_client, old_server);
  EXPECT_EQ(our_client->state(), State::kFailed);
  EXPECT_THAT(our_client.alert_received(), Optional(70));
  EXPECT_EQ(our_client->failure().reason, "tls handshake error: received fatal alert: protocol_version (70)");
  EXPECT_EQ(our_client.counters().value(DropReason::kTlsHandshakeAlertReceived), 1u);
}

TEST_F(HandshakeTest, RefusesAnotherAlpnWith120) {
  PeerOptions options = peer_client();
  options.alpn = "http/1.1";
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 120, DropReason::kTlsHandshakeWrongAlpn, "tls handshake error: ");
}

TEST_F(HandshakeTest, HearsThatAServerHasNotItsAlpn) {
  PeerOptions options = peer_server();
  options.alpn = "http/1.1";
  OpensslPeer server(options);
  End client(client_config());
  carry(client, server);
  EXPECT_EQ(client->state(), State::kFailed);
  EXPECT_THAT(client.alert_received(), Optional(120));
}

// As ztunnel: a peer that does not speak ALPN at all is not refused for it.
TEST_F(HandshakeTest, TakesAPeerWithoutAlpn) {
  PeerOptions options = peer_client();
  options.alpn = "";
  End server(server_config());
  OpensslPeer client(options);
  carry(client, server);
  EXPECT_EQ(server->state(), State::kOpen);
  EXPECT_EQ(server->alpn(), "");
}

TEST_F(HandshakeTest, RefusesAClientOfAnotherTrustDomainWith42) {
  PeerOptions options = peer_client();
  options.leaf = ca.issue({.uri_sans = {"spiffe://other.domain/ns/apps/sa/client"}});
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 42, DropReason::kTlsHandshakeWrongIdentity,
                 "identity verification error: peer did not present the expected trustdomain (cluster.local), got "
                 "[spiffe://other.domain/ns/apps/sa/client]");
}

TEST_F(HandshakeTest, RefusesAClientWithoutSpiffeIdentityWith42) {
  PeerOptions options = peer_client();
  options.leaf = ca.issue({.dns_sans = {"client.example"}});
  End server(server_config());
  OpensslPeer client(options);
  expect_refused(server, client, 42, DropReason::kTlsHandshakeWrongIdentity, "expected trustdomain (cluster.local)");
}

TEST_F(HandshakeTest, RefusesAServerThatIsNotTheExpectedOneWith42) {
  PeerOptions options = peer_server();
  options.leaf = ca.issue({.uri_sans = {"spiffe://cluster.local/ns/apps/sa/impostor"}});
  OpensslPeer server(options);
  End client(client_config());
  expect_refused(server, client, 42, DropReason::kTlsHandshakeWrongIdentity,
                 "identity verification error: peer did not present the expected SAN "
                 "(spiffe://cluster.local/ns/apps/sa/server), got [spiffe://cluster.local/ns/apps/sa/impostor]");
}

TEST_F(HandshakeTest, TakesAServerThatHasOneOfTheExpectedIdentities) {
  PeerOptions options = peer_server();
  options.leaf = ca.issue({.uri_sans = {"spiffe://cluster.local/ns/apps/sa/first", kServerId}});
  OpensslPeer server(options);
  SessionConfig config = client_config();
  config.expected_peers.insert(config.expected_peers.begin(), *identity::SpiffeId::parse("spiffe://td/ns/x/sa/y"));
  End client(config);
  carry(client, server);
  ASSERT_EQ(client->state(), State::kOpen) << client->failure().reason;
  EXPECT_EQ(client->peer_identities().size(), 2u);
}

TEST_F(HandshakeTest, RefusesAnExpiredServerAndAnUnknownOne) {
  PeerOptions options = peer_server();
  options.leaf = ca.issue({.uri_sans = {kServerId}, .not_after = kTestNow - 1s});
  OpensslPeer expired(options);
  End client(client_config());
  expect_refused(expired, client, 45, DropReason::kTlsHandshakeCertificateExpired, "expired");
  options.leaf = TestCa(KeyType::kP256, "Another root").issue({.uri_sans = {kServerId}});
  OpensslPeer unknown(options);
  End again(client_config());
  expect_refused(unknown, again, 48, DropReason::kTlsHandshakeUnknownCa, "invalid peer certificate");
}

TEST_F(HandshakeTest, RefusesALeafForTheOtherRole) {
  PeerOptions options = peer_client();
  options.leaf = ca.issue({.uri_sans = {kClientId}, .usage = testkit::Usage::kServerOnly});
  End server(server_config());
  OpensslPeer client(options);
  carry(client, server);
  EXPECT_EQ(server->state(), State::kFailed);
  EXPECT_THAT(server->failure().reason, HasSubstr("purpose"));
}

// A client is open before its certificate was judged (D6); the alert that follows is the handshake's failure still.
TEST_F(HandshakeTest, NamesAnAlertBeforeAnyDataAsTheHandshakesFailure) {
  SessionConfig config = client_config();
  config.credentials = ca.roots_only();
  PeerOptions options = peer_server();
  OpensslPeer server(options);
  SSL_set_verify(server.ssl(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  End client(config);
  server.receives(bytes_of(client.sends()));
  client.receives(bytes_of(server.sends()));
  EXPECT_EQ(client->state(), State::kOpen);
  EXPECT_TRUE(client.writes("too early to tell"));
  carry(client, server);
  EXPECT_EQ(client->state(), State::kFailed);
  EXPECT_THAT(client.alert_received(), Optional(116));
  EXPECT_EQ(client->failure().reason, "tls handshake error: received fatal alert: certificate_required (116)");
  EXPECT_EQ(client.counters().value(DropReason::kTlsHandshakeAlertReceived), 1u);
}

TEST_F(HandshakeTest, IgnoresTicketsThatLieBehindTheFinished) {
  PeerOptions options = peer_server();
  options.tickets = 4;
  OpensslPeer server(options);
  End client(client_config());
  server.receives(bytes_of(client.sends()));
  client.receives(bytes_of(server.sends()));
  server.receives(bytes_of(client.sends()));
  // Tickets and data arrive as one piece.
  server.writes("first data");
  client.receives(bytes_of(server.sends()));
  EXPECT_EQ(client->state(), State::kOpen) << client->failure().reason;
  EXPECT_EQ(client.reads(), "first data");
  EXPECT_EQ(client->counts().tickets_ignored, 4u);
  EXPECT_EQ(client.counters().value(Counter::kTlsTicketIgnored), 4u);
}

TEST_F(HandshakeTest, SendsNoTicket) {
  End server(server_config());
  OpensslPeer client(peer_client());
  carry(client, server);
  EXPECT_EQ(server->counts().records_sealed, 0u);
  EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get_session(client.ssl())), 0);
}

TEST_F(HandshakeTest, RefusesBytesThatAreNotTls) {
  for (const std::string_view text :
       {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\xff\xff????",
        "\x80\x2e\x01\x03\x03 a hello in the form of SSLv2, long enough to be whole"}) {
    End server(server_config());
    server.receives(bytes_of(text));
    EXPECT_EQ(server->state(), State::kFailed) << text;
    EXPECT_THAT(server->failure().reason, StartsWith("tls handshake error: "));
    EXPECT_TRUE(server.in().empty());
  }
}

TEST_F(HandshakeTest, WaitsForTheRestOfARecord) {
  End server(server_config());
  OpensslPeer client(peer_client());
  const std::string hello = client.sends();
  server.receives(bytes_of(hello).first(hello.size() - 1));
  EXPECT_EQ(server->state(), State::kHandshaking);
  EXPECT_EQ(server.in().bytes(), hello.size() - 1);
  EXPECT_TRUE(server.sends().empty());
  server.receives(bytes_of(hello).last(1));
  EXPECT_FALSE(server.sends().empty());
}

TEST_F(HandshakeTest, ComesThroughOneByteAtATime) {
  End server(server_config());
  End client(client_config());
  for (int round = 0; round < 4; ++round) {
    const std::string to_server = client.sends();
    for (const char& byte : to_server) server.receives(bytes_of({&byte, 1}));
    const std::string to_client = server.sends();
    for (const char& byte : to_client) client.receives(bytes_of({&byte, 1}));
  }
  EXPECT_EQ(server->state(), State::kOpen) << server->failure().reason;
  EXPECT_EQ(client->state(), State::kOpen);
}

TEST_F(HandshakeTest, ReportsTheKeyLogToTools) {
  std::string lines;
  SessionConfig config = client_config();
  config.keylog_context = &lines;
  config.keylog = [](void* context, std::string_view line) {
    static_cast<std::string*>(context)->append(line).append("\n");
  };
  End client(config);
  End server(server_config());
  carry(client, server);
  for (const char* label : {"CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_HANDSHAKE_TRAFFIC_SECRET ",
                            "CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "}) {
    EXPECT_THAT(lines, HasSubstr(label));
  }
}

TEST_F(HandshakeTest, NeedsCredentials) {
  const auto pool = BufferPool::on_heap({});
  Counters counters;
  std::string error;
  SessionConfig config = client_config();
  config.credentials = nullptr;
  EXPECT_FALSE(Session::make(config, *pool, counters, kTestNow, error));
  EXPECT_EQ(error, "there are no credentials, so no peer could be trusted");
  config = server_config();
  config.credentials = ca.roots_only();
  EXPECT_FALSE(Session::make(config, *pool, counters, kTestNow, error));
  EXPECT_EQ(error, "a server needs a certificate");
}

// Nothing that arrives during a handshake may crash or leak; most of it ends in an alert.
TEST_F(HandshakeTest, SurvivesAFlippedByteAtAnyPositionOfEitherFlight) {
  Random random(7);
  uint32_t failed = 0, tried = 0;
  for (int round = 0; round < 250; ++round) {
    End client(client_config());
    End server(server_config());
    std::string hello = client.sends();
    const bool in_hello = round % 2 == 0;
    if (in_hello) hello[random.below(hello.size())] ^= static_cast<char>(1 + random.below(255));
    server.receives(bytes_of(hello));
    std::string flight = server.sends();
    if (!in_hello && !flight.empty()) flight[random.below(flight.size())] ^= static_cast<char>(1 + random.below(255));
    client.receives(bytes_of(flight));
    carry(client, server);
    ++tried;
    const bool both_open = client->state() == State::kOpen && server->state() == State::kOpen;
    // A changed length leaves an end waiting for bytes that never come: neither open nor failed is fine, too.
    if (!both_open) ++failed;
    if (client->state() == State::kFailed) {
      EXPECT_THAT(client->failure().reason, StartsWith("tls handshake error: "));
    }
  }
  // The version fields of record headers are ignored, everything else is covered by the transcript.
  EXPECT_GT(failed, tried * 9 / 10);
}

}  // namespace
}  // namespace culvert::tls
