// Two Sessions with each other: handshake, data, half-close.
#include <gmock/gmock.h>

#include "tests/unit/tls/tls_fixture.h"

namespace culvert::tls {
namespace {

using SessionTest = TlsTest;

TEST_F(SessionTest, BothSidesOpenAndKnowEachOther) {
  End client(client_config());
  End server(server_config());
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
  // No ticket follows: nothing has been sealed yet.
  EXPECT_EQ(server->counts().records_sealed, 0u);
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

}  // namespace
}  // namespace culvert::tls
