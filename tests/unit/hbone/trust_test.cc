// Whom tunnels trust while they are made and while they live: CRLs (reference 16), our own certificate's end (D16), and
// roots that change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hbone/tunnels.h"
#include "tests/unit/hbone/network.h"

namespace culvert::hbone::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kRevokedText[] = "connection closed: peer certificate revoked by CRL";

std::shared_ptr<const identity::CrlSet> revoking(const TestCa& ca, const std::vector<std::string>& serials) {
  const std::string pem = ca.crl_pem({.serials = serials});
  auto set = identity::CrlSet::parse({pem});
  EXPECT_TRUE(set.ok());
  return *set;
}

// --- revocation ------------------------------------------------------------------------------------------------------

TEST(Crl, ARevokedServerIsNotConnectedTo) {
  Network net;
  accept_all(net.server, {});
  net.client.tunnels->install(revoking(net.ca, {net.server.pod->serial_decimal()}), net.now);
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost peer certificate revoked"));
  EXPECT_THAT(net.client.tunnels->failure(net.client.flows.at(1).id), HasSubstr("certificate revoked"));
  EXPECT_EQ(net.client.counters.value(Counter::kHboneCrlSourceRejected), 1u);
  EXPECT_EQ(net.client.counters.value(Counter::kHboneCrlDestinationRejected), 0u);
  EXPECT_EQ(net.client.counters.value(DropReason::kTlsHandshakeRevoked), 1u);
  ASSERT_EQ(net.server.failures.size(), 1u);
  EXPECT_THAT(net.server.failures[0].text, HasSubstr("revoked")) << "it is told by an alert";
  EXPECT_EQ(net.server.counters.value(Counter::kHboneCrlDestinationRejected), 0u) << "who is told refused nobody";
}

TEST(Crl, ARevokedClientIsNotAccepted) {
  Network net;
  accept_all(net.server, {});
  net.server.tunnels->install(revoking(net.ca, {net.client.own["a"]->serial_decimal()}), net.now);
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost handshake failed"));
  EXPECT_EQ(net.server.counters.value(Counter::kHboneCrlDestinationRejected), 1u);
  ASSERT_EQ(net.server.failures.size(), 1u);
  EXPECT_EQ(net.server.failures[0].loss, Loss::kRevoked);
  EXPECT_FALSE(net.server.failures[0].was_up);
  // Another client of the same CA is.
  net.client.open(net.key("c"), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("2 established", "2 end"));
}

TEST(Crl, ANewSetEndsTheLivingTunnelsOfThoseItNames) {
  Network net;
  accept_all(net.server, {.to_send = 1'000, .finish = false});
  Flow* a = net.client.open(net.key("a"), "10.0.0.2:8080", {.finish = false}, net.now);
  Flow* c = net.client.open(net.key("c"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(5ms);
  ASSERT_TRUE(a->established && c->established);
  net.client.events();
  const StreamId server_side = net.server.flows.at(1).id;

  net.server.tunnels->install(revoking(net.ca, {"424242"}), net.now);
  net.run(5ms);
  EXPECT_THAT(net.client.events(), IsEmpty()) << "nobody is named";
  EXPECT_THAT(net.server.events(), IsEmpty());

  net.server.tunnels->install(revoking(net.ca, {net.client.own["a"]->serial_decimal()}), net.now);
  c->to_send = 5'000;
  net.run(20ms);
  EXPECT_THAT(net.server.events(), ElementsAre("1 lost peer certificate revoked"));
  EXPECT_EQ(net.server.tunnels->failure(server_side), kRevokedText);
  EXPECT_THAT(net.client.events(), ElementsAre("1 reset CANCEL"));
  EXPECT_EQ(net.server.flows.at(2).received, 5'000u) << "the other tunnel goes on";
  EXPECT_EQ(net.server.counters.value(Counter::kHboneCrlDestinationClosed), 1u);
  EXPECT_EQ(net.server.counters.value(Counter::kHboneCrlDestinationRejected), 0u);
  EXPECT_THAT(net.server.failures, IsEmpty()) << "no failure, it was closed on purpose";
  net.client.tunnels->release(a->id, net.now);
  net.server.tunnels->release(server_side, net.now);
  net.run(20ms);
  EXPECT_EQ(net.server.tunnels->tunnels(), 1u);
  EXPECT_EQ(net.client.tunnels->tunnels(), 1u);
}

TEST(Crl, ANewSetEndsClientTunnelsToo) {
  Network net;
  accept_all(net.server, {.finish = false});
  Flow* a = net.client.open(net.key("a"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  ASSERT_TRUE(a->established);
  net.client.events();
  net.client.tunnels->install(revoking(net.ca, {net.server.pod->serial_decimal()}), net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost peer certificate revoked"));
  EXPECT_THAT(net.server.events(), ElementsAre("1 reset CANCEL"));
  EXPECT_EQ(net.client.counters.value(Counter::kHboneCrlSourceClosed), 1u);
  net.client.tunnels->release(a->id, net.now);
  net.server.tunnels->release(net.server.flows.at(1).id, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 0u);
  // The pool has forgotten it: the next stream meets a new handshake, which fails.
  net.client.open(net.key("a"), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("2 lost peer certificate revoked"));
  EXPECT_EQ(net.client.counters.value(Counter::kHboneCrlSourceRejected), 1u);
  // Without lists it is like any other.
  net.client.tunnels->install(nullptr, net.now);
  net.client.open(net.key("a"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("3 established"));
}

TEST(Crl, ATunnelOfMoreIssuersThanAreKeptIsCounted) {
  Limits limits;
  limits.issuers_max = 0;
  Network net(limits);
  accept_all(net.server, {.finish = false});
  net.client.open(net.key("a"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.counters.value(Counter::kHboneCrlSourceUntracked), 1u);
  EXPECT_EQ(net.server.counters.value(Counter::kHboneCrlDestinationUntracked), 1u);
  net.server.tunnels->install(revoking(net.ca, {net.client.own["a"]->serial_decimal()}), net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 established")) << "as counted, it is not found again";
}

// --- our own certificate ---------------------------------------------------------------------------------------------

std::shared_ptr<const identity::Credentials> ending_in(const TestCa& ca, std::string_view account, Duration life) {
  return ca.credentials(testkit::LeafOptions{.uri_sans = {spiffe(account).uri()},
                                             .not_after = kTestNow + std::chrono::floor<std::chrono::seconds>(life)});
}

TEST(OwnCertificate, ThatRanOutWhileTcpConnectedIsNotShown) {
  Network net;
  accept_all(net.server, {});
  net.client.own["a"] = ending_in(net.ca, "a", 10s);
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.calendar = kTestNow + 10s;
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost no credentials"));
  EXPECT_EQ(net.client.tunnels->failure(net.client.flows.at(1).id),
            "no valid certificate for spiffe://cluster.local/ns/shop/sa/a");
  EXPECT_EQ(net.client.counters.value(DropReason::kHboneCredentialsExpired), 1u);
  EXPECT_EQ(net.client.counters.value(Counter::kTlsHandshakeCompleted), 0u);
}

TEST(OwnCertificate, ThatRunsOutDuringAClientsHandshakeBringsNoTunnelUp) {
  Network net;
  accept_all(net.server, {});
  net.client.own["a"] = ending_in(net.ca, "a", 10s);
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  // The server has judged it when it was still good; its SETTINGS come too late.
  ASSERT_TRUE(net.run(1s, [&] { return net.server.counters.value(Counter::kHboneTunnelAccepted) == 1; }));
  net.calendar = kTestNow + 10s;
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 lost no credentials"));
  EXPECT_EQ(net.client.counters.value(DropReason::kHboneCredentialsExpired), 1u);
  EXPECT_EQ(net.client.counters.value(Counter::kHboneTunnelConnected), 0u);
}

TEST(OwnCertificate, ThatRunsOutDuringAServersHandshakeBringsNoTunnelUp) {
  Network net;
  accept_all(net.server, {});
  net.server.pod = ending_in(net.ca, "b", 10s);
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  // Its certificate is on the way to a client whose clock is behind.
  ASSERT_TRUE(net.run(1s, [&] { return net.client.counters.value(Counter::kTlsHandshakeCompleted) == 1; }));
  net.calendar = kTestNow + 10s;
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre(HasSubstr("1 lost")));
  EXPECT_EQ(net.server.counters.value(DropReason::kHboneCredentialsExpired), 1u);
  EXPECT_EQ(net.server.counters.value(Counter::kHboneTunnelAccepted), 0u);
  ASSERT_EQ(net.server.failures.size(), 1u);
  EXPECT_EQ(net.server.failures[0].loss, Loss::kNoCredentials);
}

TEST(OwnCertificate, ThatIsNotYetValidIsNotShown) {
  Network net;
  accept_all(net.server, {});
  net.server.pod =
      net.ca.credentials(testkit::LeafOptions{.uri_sans = {spiffe("b").uri()}, .not_before = kTestNow + 5s});
  net.client.open(net.key(), "10.0.0.2:8080", {}, net.now);
  net.run(1s);
  EXPECT_EQ(net.server.counters.value(DropReason::kHboneCredentialsExpired), 1u);
  EXPECT_THAT(net.client.events(), ElementsAre(HasSubstr("1 lost")));
}

TEST(OwnCertificate, RunningOutLeavesLivingTunnelsAlone) {
  Network net;
  accept_all(net.server, {.to_send = 100'000'000, .finish = false});
  net.client.own["a"] = ending_in(net.ca, "a", 10s);
  net.server.pod = ending_in(net.ca, "b", 10s);
  Flow* a = net.client.open(net.key(), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(5ms);
  ASSERT_TRUE(a->established);
  net.calendar = kTestNow + 1h;
  net.run(30s);
  EXPECT_EQ(a->received, 100'000'000u);
  EXPECT_TRUE(a->content_right);
  EXPECT_THAT(net.client.events(), ElementsAre("1 established"));
}

// --- roots -----------------------------------------------------------------------------------------------------------

std::shared_ptr<const identity::Credentials> with_roots(const TestCa& issuer, std::string_view account,
                                                        const std::string& roots_pem) {
  const testkit::TestLeaf leaf = issuer.issue({.uri_sans = {spiffe(account).uri()}});
  auto made = identity::Credentials::make(identity::PrivateKey::from_pem(leaf.key_pem), leaf.chain_pem, roots_pem);
  EXPECT_TRUE(made.ok());
  return *made;
}

TEST(RootRotation, TunnelsStayAndEitherRootsPeersAreTakenWhileTheBundleHasBoth) {
  Network net;
  const TestCa& old_root = net.ca;
  const TestCa new_root;
  const std::string both = old_root.root_pem() + new_root.root_pem();
  accept_all(net.server, {.to_send = 100'000'000, .finish = false});
  Flow* a = net.client.open(net.key("a"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(5ms);
  ASSERT_TRUE(a->established);
  EXPECT_THAT(net.client.events(), ElementsAre("1 established"));

  // First the bundle has both, leaves are still the old root's on one side and the new one's on the other.
  net.client.own["c"] = with_roots(old_root, "c", both);
  net.server.pod = with_roots(new_root, "b", both);
  net.client.open(net.key("c"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("2 established"));
  net.client.own["d"] = with_roots(new_root, "d", both);
  net.server.pod = with_roots(old_root, "b", both);
  net.client.open(net.key("d"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("3 established"));

  // Then the old root is gone: its leaves are strangers to new handshakes, and what lives lives on.
  net.server.pod = with_roots(new_root, "b", new_root.root_pem());
  net.client.own["e"] = with_roots(old_root, "e", both);
  net.client.open(net.key("e"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("4 lost handshake failed"));
  net.run(30s);
  EXPECT_EQ(a->received, 100'000'000u);
  EXPECT_TRUE(a->content_right);
  EXPECT_THAT(net.client.events(), IsEmpty());
}

// --- drain -----------------------------------------------------------------------------------------------------------

TEST(Drain, ATunnelThatComesUpLaterIsToldAtOnceAndServesWhatItHasTaken) {
  Network net;
  accept_all(net.server, {.to_send = 300'000});
  Flow* early = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 10'000}, net.now);
  ASSERT_TRUE(net.run(1s, [&] { return net.server.tunnels->tunnels() == 1; }));
  ASSERT_EQ(net.server.counters.value(Counter::kHboneTunnelAccepted), 0u) << "its handshake is under way";
  net.server.tunnels->drain(net.now);
  net.run(5s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 established", "1 end"));
  EXPECT_EQ(early->received, 300'000u);
  EXPECT_EQ(net.client.counters.value(Counter::kHttp2GoawayReceived), 2u) << "2^31-1 first, then the last stream";
  net.client.tunnels->release(early->id, net.now);
  net.server.tunnels->release(net.server.flows.at(1).id, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 0u);
  EXPECT_EQ(net.server.tunnels->tunnels(), 0u);
}

TEST(Drain, AClientsTunnelThatComesUpLaterServesItsWaitersAndNobodyElse) {
  Network net;
  accept_all(net.server, {.to_send = 1'000});
  Flow* waiter = net.client.open(net.key(), "10.0.0.2:8080", {.to_send = 10}, net.now);
  net.client.tunnels->drain(net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), ElementsAre("1 established", "1 end"));
  net.client.tunnels->release(waiter->id, net.now);
  net.server.tunnels->release(net.server.flows.at(1).id, net.now);
  net.run(1s);
  EXPECT_EQ(net.client.tunnels->tunnels(), 0u) << "it does not wait five minutes in the pool";
}

TEST(Drain, CloseAllResetsWhatIsLeft) {
  Network net;
  accept_all(net.server, {.finish = false});
  net.client.open(net.key("a"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.client.open(net.key("c"), "10.0.0.2:8080", {.finish = false}, net.now);
  net.run(1s);
  net.client.events();
  net.server.tunnels->close_all("connection closed due to connection drain", net.now);
  net.run(1s);
  EXPECT_THAT(net.client.events(), testing::UnorderedElementsAre("1 reset CANCEL", "2 reset CANCEL"));
  EXPECT_THAT(net.server.events(), testing::UnorderedElementsAre("1 lost closed", "2 lost closed"));
  EXPECT_THAT(net.client.failures, IsEmpty());
}

}  // namespace
}  // namespace culvert::hbone::test
