// Requests, chains and lifetimes of the node's identities. The CA is one in memory.
#include "control/certificate_store.h"

#include <gtest/gtest.h>

#include "tests/unit/control/fake_node.h"

namespace culvert::control {
namespace {

using testkit::kTestNow;
using testkit::TestCa;

const identity::SpiffeId kWeb{"cluster.local", "demo", "web"};
const identity::SpiffeId kApi{"cluster.local", "demo", "api"};

class Certificates : public testing::Test {
 protected:
  std::string csr(const identity::SpiffeId& id = kWeb) {
    auto made = store.create_csr(id);
    EXPECT_TRUE(made.ok());
    pem = made->pem;
    return made->id;
  }
  void bring(const identity::SpiffeId& id = kWeb, UnixTime not_before = kTestNow,
             UnixTime not_after = kTestNow + 600s) {
    const std::string request = csr(id);
    const auto installed = store.install(request, ca.sign_csr(pem, not_before, not_after), ca.root_pem(), kTestNow);
    ASSERT_TRUE(installed.ok()) << installed.error();
  }
  std::vector<Event::Kind> kinds() {
    std::vector<Event::Kind> out;
    for (const Event& event : store.take_events()) out.push_back(event.kind);
    return out;
  }

  TestCa ca;
  CertificateStore store{"i"};
  std::string pem;
};

TEST_F(Certificates, PublishesAnEmptyMapFirst) {
  const auto map = store.take_changed();
  ASSERT_NE(map, nullptr);
  EXPECT_TRUE(map->empty());
  EXPECT_EQ(store.take_changed(), nullptr);
}

TEST_F(Certificates, PublishesWhatWasBrought) {
  bring();
  const auto map = store.take_changed();
  ASSERT_EQ(map->size(), 1u);
  EXPECT_EQ(map->begin()->first, kWeb);
  const auto rows = store.rows(kTestNow);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].state, CertificateRow::State::kValid);
  EXPECT_FALSE(rows[0].csr_pending);
  EXPECT_EQ(rows[0].not_after, kTestNow + 600s);
  EXPECT_FALSE(rows[0].serial.empty());
}

TEST_F(Certificates, RefusesTheChainOfAnotherKeyIdentityOrTime) {
  const std::string first = csr();
  const std::string first_pem = pem;
  const std::string second = csr();
  EXPECT_NE(first, second);
  EXPECT_EQ(
      store.install(first, ca.sign_csr(first_pem), ca.root_pem(), kTestNow).error(),
      "no certificate request `" + first + "` is pending: a newer one replaced it, or the data plane was restarted");
  EXPECT_FALSE(store.install(second, ca.sign_csr(first_pem), ca.root_pem(), kTestNow).ok()) << "another key";
  EXPECT_FALSE(store.install(second, "", ca.root_pem(), kTestNow).ok());
  EXPECT_FALSE(store.install(second, "no PEM", ca.root_pem(), kTestNow).ok());
  EXPECT_FALSE(store.install(second, ca.sign_csr(pem), "", kTestNow).ok());
  EXPECT_EQ(store.install(second, ca.sign_csr(pem, kTestNow - 2h, kTestNow - 1h), ca.root_pem(), kTestNow).error(),
            "the chain has expired");
  const auto key = identity::PrivateKey::generate_p256();
  EXPECT_FALSE(store.install(second, ca.sign_csr(key->csr_pem(kApi)), ca.root_pem(), kTestNow).ok());
  EXPECT_TRUE(store.install(second, ca.sign_csr(pem), ca.root_pem(), kTestNow).ok()) << "the request is still good";
}

TEST_F(Certificates, KeepsTheOldOneUntilTheNewOneCame) {
  bring();
  const auto before = store.take_changed();
  const std::string request = csr();
  EXPECT_EQ(store.take_changed(), nullptr);
  EXPECT_TRUE(store.rows(kTestNow)[0].csr_pending);
  ASSERT_TRUE(store.install(request, ca.sign_csr(pem), ca.root_pem(), kTestNow).ok());
  const auto after = store.take_changed();
  EXPECT_NE(before->at(kWeb), after->at(kWeb));
}

TEST_F(Certificates, TellsWhatIsNeededOnce) {
  store.set_attached({kWeb}, kTestNow);
  store.set_attached({kWeb}, kTestNow);
  EXPECT_EQ(kinds(), std::vector<Event::Kind>{Event::Kind::kCertificateNeeded});
  EXPECT_EQ(store.rows(kTestNow)[0].state, CertificateRow::State::kNeeded);
  store.set_attached({}, kTestNow);
  EXPECT_TRUE(store.rows(kTestNow).empty());
  store.set_attached({kWeb}, kTestNow);
  EXPECT_EQ(kinds(), std::vector<Event::Kind>{Event::Kind::kCertificateNeeded}) << "it came anew";
  bring();
  store.set_attached({kWeb, kApi}, kTestNow);
  const auto events = store.take_events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].name, kApi.uri());
}

TEST_F(Certificates, ARequestOutlivesTheAttachmentItWasMadeFor) {
  store.set_attached({kWeb}, kTestNow);
  const std::string request = csr();
  store.set_attached({}, kTestNow);
  ASSERT_EQ(store.rows(kTestNow).size(), 1u);
  EXPECT_TRUE(store.rows(kTestNow)[0].csr_pending);
  EXPECT_TRUE(store.install(request, ca.sign_csr(pem), ca.root_pem(), kTestNow).ok()) << "the pod may be back by then";
}

TEST_F(Certificates, TellsHalfTheLifeAndItsEndAndDropsTheExpired) {
  store.set_attached({kWeb}, kTestNow);
  bring(kWeb, kTestNow, kTestNow + 600s);
  kinds();
  store.take_changed();
  store.tick(kTestNow + 299s);
  EXPECT_TRUE(kinds().empty());
  store.tick(kTestNow + 300s);
  EXPECT_EQ(kinds(), std::vector<Event::Kind>{Event::Kind::kCertificateExpiring});
  store.tick(kTestNow + 301s);
  EXPECT_TRUE(kinds().empty()) << "once";
  EXPECT_EQ(store.take_changed(), nullptr);
  store.tick(kTestNow + 479s);
  EXPECT_TRUE(kinds().empty());
  store.tick(kTestNow + 480s);
  EXPECT_EQ(kinds(), std::vector<Event::Kind>{Event::Kind::kCertificateLate}) << "four fifths, and no new one";
  store.tick(kTestNow + 481s);
  EXPECT_TRUE(kinds().empty()) << "once";
  store.tick(kTestNow + 600s);
  EXPECT_EQ(kinds(), std::vector<Event::Kind>{Event::Kind::kCertificateExpired});
  const auto map = store.take_changed();
  ASSERT_NE(map, nullptr);
  EXPECT_TRUE(map->empty()) << "an expired certificate proves nothing (D16)";
  EXPECT_EQ(store.rows(kTestNow + 600s)[0].state, CertificateRow::State::kExpired);
  EXPECT_EQ(store.valid(), 0u);
}

TEST_F(Certificates, IsNotLateWhenItsSuccessorCameInTime) {
  bring(kWeb, kTestNow, kTestNow + 600s);
  store.tick(kTestNow + 300s);
  bring(kWeb, kTestNow + 310s, kTestNow + 910s);
  kinds();
  store.tick(kTestNow + 500s);
  EXPECT_TRUE(kinds().empty());
}

TEST_F(Certificates, ShowsPublicTextsOnRequest) {
  bring();
  EXPECT_TRUE(store.rows(kTestNow)[0].chain_pem.empty());
  const CertificateRow row = store.rows(kTestNow, true)[0];
  EXPECT_TRUE(row.chain_pem.starts_with("-----BEGIN CERTIFICATE-----"));
  EXPECT_EQ(row.roots_pem, ca.root_pem());
  EXPECT_EQ(row.chain_pem.find("PRIVATE KEY"), std::string::npos);
}

TEST_F(Certificates, TellsANewWatcherWhatIsSoNow) {
  store.set_attached({kWeb, kApi}, kTestNow);
  bring(kWeb, kTestNow, kTestNow + 600s);
  auto present = store.present(kTestNow);
  ASSERT_EQ(present.size(), 1u);
  EXPECT_EQ(present[0].name, kApi.uri());
  present = store.present(kTestNow + 400s);
  EXPECT_EQ(present.size(), 2u);
}

TEST_F(Certificates, ForgetsCertificateKeyAndRequest) {
  bring();
  const std::string request = csr();
  EXPECT_TRUE(store.forget(kWeb));
  EXPECT_FALSE(store.forget(kWeb));
  EXPECT_TRUE(store.take_changed()->empty());
  EXPECT_FALSE(store.install(request, ca.sign_csr(pem), ca.root_pem(), kTestNow).ok());
  EXPECT_TRUE(store.rows(kTestNow).empty());
}

TEST_F(Certificates, HoldsABoundedNumberOfIdentities) {
  std::set<identity::SpiffeId> attached;
  for (size_t i = 0; i <= CertificateStore::kIdentitiesMax; ++i) {
    attached.insert({"cluster.local", "demo", "sa" + std::to_string(i)});
  }
  store.set_attached(attached, kTestNow);
  EXPECT_EQ(store.rows(kTestNow).size(), CertificateStore::kIdentitiesMax);
  EXPECT_EQ(store.create_csr(kWeb).error(), "4096 identities are held already: forget some first");
}

}  // namespace
}  // namespace culvert::control
