// Certificates from a fake istiod to the data plane's own server: what is fetched when, what a CA that is slow, away or
// wrong does to it, and that no key passes.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>

#include "istioca/client.h"
#include "southbound/southbound.h"
#include "tests/testkit/fake_istiod.h"
#include "tests/unit/controlagent/node/temporary_namespace.h"
#include "tests/unit/controlagent/southbound/data_plane.h"

namespace culvert::southbound {
namespace {

using testing::HasSubstr;
using testing::Not;
using testkit::CaBehaviour;
using testkit::FakeIstiod;
using testkit::FakeIstiodEvent;
using State = CertificateSight::State;

std::string id(const std::string& account) { return "spiffe://cluster.local/ns/demo/sa/" + account; }

std::vector<std::string> accounts(int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; i++) out.push_back("w" + std::to_string(i));
  return out;
}

class CertificatesTest : public testing::Test {
 protected:
  CertificatesTest() : data_plane_(folder_.path()) {
    auto started = FakeIstiod::start({});
    EXPECT_TRUE(started) << (started ? "" : started.error());
    istiod_ = std::move(*started);
    istiod_->write_client_files(folder_.path());
    ca_ = std::make_unique<istioca::Client>(
        istioca::Options{
            .istiod = {.address = istiod_->url(), .root = folder_ / "root-cert.pem", .token = folder_ / "istio-token"},
            .patience = 30s},
        log_);
  }
  ~CertificatesTest() override { agent_.reset(); }

  void start_agent() {
    Options options;
    options.control_socket = folder_ / "control.sock";
    options.descriptor_socket = folder_ / "descriptors.sock";
    options.node = "n1";
    options.certificate_retry_max = 200ms;
    agent_ = std::make_unique<Southbound>(
        options, store_, links_,
        [this](const std::string& csr, const std::string& identity,
               const std::stop_token& stop) -> Result<SignedChain, std::string> {
          auto chain = ca_->sign(csr, identity, stop);
          const std::lock_guard lock(passed_mutex_);
          passed_ += csr;
          if (!chain) return chain.error();
          passed_ += chain->chain_pem + chain->roots_pem;
          return SignedChain{chain->chain_pem, chain->roots_pem};
        },
        log_);
    agent_->start();
  }

  // Workloads that speak HBONE, each of a service account of its own, on this node.
  void mesh(const std::vector<std::string>& names) {
    reconcile::Mesh out;
    for (const std::string& name : names) {
      reconcile::Workload w;
      w.uid = w.name = w.service_account = name;
      w.name_space = "demo";
      w.trust_domain = "cluster.local";
      w.node = "n1";
      w.tunnel = reconcile::Tunnel::kHbone;
      out.workloads[w.uid] = w;
    }
    store_.replace(reconcile::Source::kIstiod, std::move(out));
  }
  void attach(const std::string& workload) {
    WantedLink link;
    link.spec = {.name = "n1-p1",
                 .netns = pod_.path(),
                 .interface = "eth0",
                 .mtu = 1500,
                 .pod = true,
                 .addresses = {*IpAddress::parse("10.1.0.11")},
                 .gateways = {*IpAddress::parse("10.1.0.1")}};
    link.workload = "demo/" + workload;
    agent_->set_links({link});
  }
  bool has(const std::string& account) const { return data_plane_.serials().contains(account); }
  std::string lines() const { return testing::PrintToString(log_.lines()); }
  bool asked(const std::string& identity) {
    return istiod_->wait_event([&](const FakeIstiodEvent& event) {
      return event.kind == FakeIstiodEvent::Kind::kCsr && event.identity == identity;
    });
  }

  control::TemporaryFolder folder_;
  node::TemporaryNamespace pod_;
  node::KernelLinks links_;
  RememberingLog log_;
  std::mutex passed_mutex_;
  std::string passed_;  // every text that passed the agent on its way to and from the CA
  std::unique_ptr<FakeIstiod> istiod_;
  std::unique_ptr<istioca::Client> ca_;
  DataPlane data_plane_;
  reconcile::MeshStore store_{"n1", {reconcile::Source::kIstiod}};
  std::unique_ptr<Southbound> agent_;
};

TEST_F(CertificatesTest, AreReadyBeforeTheirPodIsAndGoWithItsLastWorkload) {
  data_plane_.start();
  start_agent();
  mesh({"web", "cli"});
  ASSERT_TRUE(eventually([&] { return has("web") && has("cli"); })) << lines();
  attach("web");
  ASSERT_TRUE(eventually([&] { return data_plane_.has("n1-p1"); }));
  mesh({"web"});
  ASSERT_TRUE(eventually([&] { return !has("cli"); })) << lines();
  EXPECT_TRUE(has("web"));
  EXPECT_EQ(istiod_->certificates_issued(), 2u) << "the pod found its certificate there";
  EXPECT_EQ(log_.count("certificate of " + id("cli") + " forgotten"), 1);
  const CertificateSight sight = agent_->certificates();
  EXPECT_EQ(sight.installed, 2u);
  EXPECT_EQ(sight.forgotten, 1u);
}

TEST_F(CertificatesTest, OfPodsOfOtherNodesAndOutsideTheMeshAreNotFetched) {
  data_plane_.start();
  start_agent();
  reconcile::MeshChange change;
  for (const std::string& name : accounts(3)) {
    reconcile::Workload w;
    w.uid = w.name = w.service_account = name;
    w.name_space = "demo";
    w.trust_domain = "cluster.local";
    w.node = name == "w1" ? "n2" : "n1";
    w.tunnel = name == "w2" ? reconcile::Tunnel::kNone : reconcile::Tunnel::kHbone;
    change.workloads.push_back(w);
  }
  store_.apply(reconcile::Source::kIstiod, change);
  store_.complete(reconcile::Source::kIstiod);
  ASSERT_TRUE(eventually([&] { return has("w0"); })) << lines();
  mesh({"w0", "w9"});
  ASSERT_TRUE(eventually([&] { return has("w9"); })) << lines();
  EXPECT_EQ(istiod_->certificates_issued(), 2u);
}

TEST_F(CertificatesTest, OneSlowIdentityDelaysNoOther) {
  data_plane_.start();
  istiod_->set_ca_for(id("w0"), {.delay = 25s});
  start_agent();
  mesh(accounts(20));
  ASSERT_TRUE(eventually([&] { return agent_->certificates().installed == 19; }, 15s)) << lines();
  EXPECT_FALSE(has("w0"));
}

TEST_F(CertificatesTest, SixPatientFetchesHangAndAPodThatWaitsIsServed) {
  data_plane_.start();
  istiod_->set_ca({.delay = 25s});
  istiod_->set_ca_for(id("web"), {});
  start_agent();
  mesh(accounts(20));
  ASSERT_TRUE(eventually([&] { return istiod_->count(FakeIstiodEvent::Kind::kCsr) == 6; })) << lines();
  std::vector<std::string> all = accounts(20);
  all.push_back("web");
  mesh(all);
  attach("web");
  ASSERT_TRUE(eventually([&] { return has("web"); }, 15s)) << lines();
  EXPECT_EQ(istiod_->certificate_calls_at_once_max(), 7u);
  const auto before = std::chrono::steady_clock::now();
  agent_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 5s) << "what hangs is cancelled";
}

TEST_F(CertificatesTest, AreRenewedInTimeAndBringNewRootsWithThem) {
  data_plane_.start();
  istiod_->set_ca({.lifetime = 4s});
  start_agent();
  mesh({"web"});
  ASSERT_TRUE(eventually([&] { return has("web"); })) << lines();
  const std::string old_root = istiod_->root_pem();
  const size_t before = istiod_->certificates_issued();
  istiod_->rotate_root(true);
  istiod_->write_client_files(folder_.path());
  ASSERT_TRUE(eventually([&] { return istiod_->certificates_issued() >= before + 2; })) << lines();
  EXPECT_TRUE(has("web"));
  EXPECT_EQ(log_.count("has expired"), 0) << lines();
  const std::lock_guard lock(passed_mutex_);
  EXPECT_THAT(passed_, HasSubstr(istiod_->root_pem() + old_root));
}

TEST_F(CertificatesTest, OfAShortLifeDatedBackAreNotFetchedInALoop) {
  data_plane_.start();
  istiod_->set_ca({.lifetime = 20s, .backdated = 120s});
  start_agent();
  mesh({"web"});
  ASSERT_TRUE(eventually([&] { return has("web"); })) << lines();
  mesh({"web", "cli"});
  ASSERT_TRUE(eventually([&] { return has("cli"); })) << lines();
  EXPECT_EQ(istiod_->certificates_issued(), 2u) << lines();
}

TEST_F(CertificatesTest, ThatRunOutAreToldBeforeAndRefusedAfterAndComeBack) {
  data_plane_.start();
  istiod_->set_ca({.lifetime = 8s});
  start_agent();
  mesh({"web"});
  ASSERT_TRUE(eventually([&] { return has("web"); })) << lines();
  istiod_->stop_listening();
  ASSERT_TRUE(eventually([&] { return log_.count("certificate of " + id("web") + " ends in ") == 1; })) << lines();
  EXPECT_TRUE(has("web")) << "told while it is still in force";
  EXPECT_GE(agent_->certificates().count(State::kExpiring), 1u);
  ASSERT_TRUE(eventually([&] { return !has("web"); })) << "fail closed (D16)";
  ASSERT_TRUE(eventually([&] { return log_.count(id("web") + " has expired and could not be renewed") == 1; }))
      << lines();
  EXPECT_EQ(log_.count("could not be renewed, its mesh traffic is refused: istiod's CA at " + istiod_->address() +
                       " cannot be reached (UNAVAILABLE)"),
            1)
      << lines();
  ASSERT_TRUE(eventually([&] { return agent_->certificates().count(State::kExpired) == 1; }));
  EXPECT_GT(agent_->certificates().ca_refused, 1u);
  istiod_->set_ca({});
  istiod_->listen();
  ASSERT_TRUE(eventually([&] { return has("web"); })) << lines();
  ASSERT_TRUE(eventually([&] { return agent_->certificates().count(State::kValid) == 1; }));
}

TEST_F(CertificatesTest, ThatTheDataPlaneRefusesAreCountedAndTriedAgain) {
  data_plane_.start();
  istiod_->set_ca({.expired = true});
  start_agent();
  mesh({"web"});
  ASSERT_TRUE(eventually([&] { return agent_->certificates().data_plane_refused >= 2; })) << lines();
  EXPECT_GE(log_.count("no certificate for " + id("web")), 1) << lines();
  EXPECT_GE(log_.count("the data plane refused it: "), 1);
  EXPECT_EQ(agent_->certificates().identities.front().state, State::kWanted);
  istiod_->set_ca({});
  EXPECT_TRUE(eventually([&] { return has("web"); })) << lines();
}

TEST_F(CertificatesTest, AreFetchedForANewDataPlaneAtOnce) {
  data_plane_.start();
  istiod_->set_ca_for(id("slow"), {.delay = 25s});
  start_agent();
  mesh({"web", "slow"});
  ASSERT_TRUE(eventually([&] { return has("web"); }) && asked(id("slow"))) << lines();
  data_plane_.end();
  istiod_->set_ca_for(id("slow"), {});
  data_plane_.start();
  ASSERT_TRUE(eventually([&] { return has("web") && has("slow"); }, 15s))
      << "what was begun for the old one is not waited for" << lines();
  EXPECT_GE(agent_->certificates().lost, 1u);
}

// --- no key passes

std::string base64_decoded(const std::string& text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) continue;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if ((have += 6) >= 8) out += static_cast<char>(bits >> (have -= 8) & 0xff);
  }
  return out;
}

// The text itself and the content of every PEM block in it.
std::vector<std::string> layers(const std::string& text) {
  std::vector<std::string> out = {text};
  for (size_t at = text.find("-----BEGIN "); at != std::string::npos; at = text.find("-----BEGIN ", at + 1)) {
    const size_t body = text.find('\n', at), end = text.find("-----END ", at);
    if (body == std::string::npos || end == std::string::npos) break;
    out.push_back(base64_decoded(text.substr(body, end - body)));
  }
  return out;
}

int keys_in(const std::string& text) {
  // PKCS#8 of a P-256 key (RFC 5958, RFC 5480) behind its outer length; a SEC 1 key (RFC 5915 3) of 32 bytes.
  const std::string pkcs8("\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", 14);
  const std::string sec1("\x02\x01\x01\x04\x20", 5);
  int found = 0;
  for (const std::string& layer : layers(text)) {
    for (const std::string& mark : {std::string("PRIVATE KEY"), pkcs8, sec1}) {
      found += layer.find(mark) != std::string::npos;
    }
  }
  return found;
}

TEST_F(CertificatesTest, BringNoPrivateKeyThroughTheAgent) {
  // The search finds a key when there is one, whole or inside its PEM.
  const std::string key = testkit::TestCa().issue({.uri_sans = {id("x")}}).key_pem;
  EXPECT_EQ(keys_in("some text " + key), 3);
  EXPECT_EQ(keys_in(base64_decoded(key.substr(key.find('\n'), key.find("-----END") - key.find('\n')))), 2);

  data_plane_.start();
  istiod_->set_ca({.lifetime = 4s});
  start_agent();
  mesh(accounts(5));
  ASSERT_TRUE(eventually([&] { return agent_->certificates().installed >= 10; })) << lines();
  agent_->stop();
  const std::lock_guard lock(passed_mutex_);
  EXPECT_THAT(passed_, HasSubstr("BEGIN CERTIFICATE REQUEST"));
  EXPECT_GT(layers(passed_).size(), 20u);
  EXPECT_EQ(keys_in(passed_), 0);
  EXPECT_THAT(istiod_->certificate_bytes(), HasSubstr("BEGIN CERTIFICATE REQUEST"));
  EXPECT_EQ(keys_in(istiod_->certificate_bytes()), 0);
  EXPECT_EQ(keys_in(lines()), 0);
}

}  // namespace
}  // namespace culvert::southbound
