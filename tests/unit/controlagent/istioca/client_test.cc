// The CA client against a fake istiod over TLS: what it asks, what it takes, what it refuses, and what it says when it
// gets nothing. Keys and chains are the data plane's own.
#include "istioca/client.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "identity/credentials.h"
#include "identity/spiffe_id.h"
#include "tests/testkit/fake_istiod.h"

namespace culvert::istioca {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testkit::CaBehaviour;
using testkit::FakeIstiod;
using testkit::FakeIstiodEvent;

constexpr char kWeb[] = "spiffe://cluster.local/ns/demo/sa/web";

class Lines final : public log::Log {
 public:
  void write(log::Level, std::string_view line) override { text += std::string(line) + "\n"; }
  std::string text;
};

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) n++;
  return n;
}

class IstioCaTest : public testing::Test {
 protected:
  IstioCaTest() {
    char pattern[] = "/tmp/culvert-test-XXXXXX";
    folder_ = mkdtemp(pattern);
  }
  ~IstioCaTest() override {
    client_.reset();
    std::filesystem::remove_all(folder_);
  }

  void SetUp() override { start({}); }
  void start(FakeIstiod::Options options) {
    client_.reset();
    istiod_.reset();
    auto started = FakeIstiod::start(std::move(options));
    ASSERT_TRUE(started) << started.error();
    istiod_ = std::move(*started);
    istiod_->write_client_files(folder_);
    client({});
  }
  void client(Options options) {
    options.istiod.address = istiod_->url();
    options.istiod.root = folder_ + "/root-cert.pem";
    options.istiod.token = folder_ + "/istio-token";
    options.istiod.cluster_id = "c1";
    client_ = std::make_unique<Client>(options, log_);
  }
  void behave(CaBehaviour behaviour) { istiod_->set_ca(std::move(behaviour)); }

  Result<SignedChain, std::string> sign(const std::string& id = kWeb, const std::stop_token& stop = {}) {
    key_ = identity::PrivateKey::generate_p256();
    return client_->sign(key_->csr_pem(*identity::SpiffeId::parse(id)), id, stop);
  }
  std::string refusal(const std::string& id = kWeb) {
    const auto chain = sign(id);
    return chain ? "it was granted" : chain.error();
  }

  std::string folder_;
  Lines log_;
  std::unique_ptr<FakeIstiod> istiod_;
  std::unique_ptr<Client> client_;
  std::shared_ptr<const identity::PrivateKey> key_;
};

TEST_F(IstioCaTest, BringsLeafAndRootsThatTheDataPlaneTakes) {
  const auto chain = sign();
  ASSERT_TRUE(chain) << chain.error();
  EXPECT_EQ(count(chain->chain_pem, "BEGIN CERTIFICATE"), 1u) << "leaf and root, as from istiod's self-signed CA";
  EXPECT_EQ(chain->roots_pem, istiod_->root_pem());
  const auto made = identity::Credentials::make(key_, chain->chain_pem, chain->roots_pem);
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ((*made)->identities().front().uri(), kWeb);
}

TEST_F(IstioCaTest, KeepsTheOrderOfIntermediates) {
  start({.intermediate = true});
  const auto chain = sign();
  ASSERT_TRUE(chain) << chain.error();
  EXPECT_EQ(count(chain->chain_pem, "BEGIN CERTIFICATE"), 2u);
  const auto made = identity::Credentials::make(key_, chain->chain_pem, chain->roots_pem);
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ((*made)->identities().front().uri(), kWeb) << "the leaf is first";
}

TEST_F(IstioCaTest, TakesAllRootsOfTheLastElement) {
  const testkit::TestCa other;
  istiod_->add_root(other.root_pem());
  const auto chain = sign();
  ASSERT_TRUE(chain) << chain.error();
  EXPECT_EQ(chain->roots_pem, istiod_->root_pem() + other.root_pem());
}

TEST_F(IstioCaTest, AsksForTheIdentityAndSaysWhoItIs) {
  client({.validity = 1234s});
  ASSERT_TRUE(sign());
  ASSERT_TRUE(istiod_->wait_event([](const FakeIstiodEvent& event) {
    return event.kind == FakeIstiodEvent::Kind::kCsr && event.identity == kWeb &&
           event.headers.at("authorization") == "Bearer test-token" && event.headers.at("clusterid") == "c1";
  })) << istiod_->history();
  const auto chain = sign();
  const auto again = identity::Credentials::make(key_, chain->chain_pem, chain->roots_pem);
  ASSERT_TRUE(again) << again.error();
  const auto left = (*again)->not_after() - std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  EXPECT_LE(left, 1234s);
  EXPECT_GE(left, 1200s);
}

TEST_F(IstioCaTest, ImpersonatesInSharedModeOnly) {
  client({.impersonate = false});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("san error"), HasSubstr("spiffe://cluster.local/ns/istio-system/sa/ztunnel")));
  EXPECT_TRUE(sign("spiffe://cluster.local/ns/istio-system/sa/ztunnel")) << "its own";
}

TEST_F(IstioCaTest, RefusesWhatIsNotForThisIdentity) {
  behave({.answer_as = "spiffe://cluster.local/ns/demo/sa/other"});
  EXPECT_EQ(refusal(),
            "san error: istiod's CA answered with a certificate of spiffe://cluster.local/ns/demo/sa/other, "
            "asked was spiffe://cluster.local/ns/demo/sa/web");
}

TEST_F(IstioCaTest, RefusesAChainOfOneElement) {
  behave({.without_roots = true});
  EXPECT_THAT(refusal(), AllOf(HasSubstr(kWeb), HasSubstr("has 1 element, at least the leaf and the roots")));
}

TEST_F(IstioCaTest, RefusesWhatCannotBeRead) {
  const auto answer = [](const std::vector<std::string>& elements) {
    std::string out;  // field 1, length-delimited, each shorter than 128 bytes
    for (const std::string& element : elements)
      out += "\x0a" + std::string(1, static_cast<char>(element.size())) + element;
    return out;
  };
  behave({.junk = answer({"nonsense", "more of it"})});
  EXPECT_THAT(refusal(), HasSubstr("element 1 of 2 cannot be read as certificates in PEM"));
  behave({.junk = answer({})});
  EXPECT_THAT(refusal(), HasSubstr("has 0 elements"));
  behave({.junk = answer(std::vector<std::string>(17, "x"))});
  EXPECT_THAT(refusal(), HasSubstr("17 elements of"));
  behave({.junk = "\xff\xff\xff"});
  EXPECT_THAT(refusal(), HasSubstr("did not sign (UNIMPLEMENTED): No message returned"));
}

TEST_F(IstioCaTest, SaysWhatToDoAboutRefusals) {
  behave({.refusal = grpc::StatusCode::PERMISSION_DENIED, .refusal_text = "not on this node"});
  EXPECT_THAT(refusal(),
              AllOf(HasSubstr(istiod_->address()), HasSubstr("PERMISSION_DENIED"), HasSubstr("not on this node"),
                    HasSubstr("audience istio-ca"), HasSubstr("CA_TRUSTED_NODE_ACCOUNTS")));
  behave({.refusal = grpc::StatusCode::FAILED_PRECONDITION, .refusal_text = "no signer"});
  EXPECT_EQ(refusal(), "istiod's CA at " + istiod_->address() + " did not sign (FAILED_PRECONDITION): no signer");
  behave({});
  istiod_->reject_tokens(true);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("UNAUTHENTICATED"), HasSubstr("token in " + folder_ + "/istio-token"),
                               HasSubstr("CA_TRUSTED_NODE_ACCOUNTS")));
  istiod_->reject_tokens(false);
  EXPECT_TRUE(sign());
  istiod_->set_tokens({{.trusted = false}});
  EXPECT_THAT(refusal(), HasSubstr("request impersonation authentication failure"));
}

TEST_F(IstioCaTest, ReadsTheTokenForEachCall) {
  ASSERT_TRUE(sign());
  istiod_->set_tokens({{.value = "second"}});
  EXPECT_THAT(refusal(), HasSubstr("UNAUTHENTICATED"));
  istiod_->write_client_files(folder_);
  EXPECT_TRUE(sign());
}

TEST_F(IstioCaTest, FollowsTheRootFile) {
  ASSERT_TRUE(sign());
  istiod_->rotate_root(false);
  EXPECT_THAT(refusal(), HasSubstr("UNAVAILABLE"));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("certificate verify failed"), HasSubstr(folder_ + "/root-cert.pem")));
  istiod_->write_client_files(folder_);
  const auto chain = sign();
  ASSERT_TRUE(chain) << chain.error();
  EXPECT_EQ(chain->roots_pem, istiod_->root_pem());
}

TEST_F(IstioCaTest, ConnectsAnewWhenTheRootFileChangesUnderALiveConnection) {
  ASSERT_TRUE(sign());
  const testkit::TestCa stranger;
  std::ofstream(folder_ + "/root-cert.pem") << stranger.root_pem();
  EXPECT_THAT(refusal(), HasSubstr("certificate verify failed")) << "the old connection is not used any more";
  EXPECT_THAT(log_.text, HasSubstr("root-cert.pem changed: connecting to the CA at " + istiod_->address() + " anew"));
  std::filesystem::remove(folder_ + "/root-cert.pem");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("root-cert.pem does not exist"), Not(HasSubstr("verify"))));
  istiod_->write_client_files(folder_);
  ASSERT_TRUE(sign());
  std::filesystem::remove(folder_ + "/root-cert.pem");
  EXPECT_TRUE(sign()) << "a file that is being replaced does not end a connection that works";
}

TEST_F(IstioCaTest, IsBackAtOnceWhenIstiodIs) {
  ASSERT_TRUE(sign());
  istiod_->stop_listening();
  for (int i = 0; i < 3; i++) EXPECT_THAT(refusal(), HasSubstr("cannot be reached (UNAVAILABLE)"));
  istiod_->listen();
  const auto chain = sign();
  EXPECT_TRUE(chain) << chain.error() << ": gRPC's own wait between tries is not ours";
}

TEST_F(IstioCaTest, WaitsNoLongerThanItsPatience) {
  client({.patience = 200ms});
  behave({.delay = 60s});
  EXPECT_EQ(refusal(), "istiod's CA at " + istiod_->address() + " did not answer within 200 ms (DEADLINE_EXCEEDED)");
}

TEST_F(IstioCaTest, StopsAtOnceWhenAsked) {
  client({.patience = 60s});
  behave({.delay = 60s});
  std::stop_source stop;
  std::jthread stopper([&] {
    istiod_->wait_event([](const FakeIstiodEvent& event) { return event.kind == FakeIstiodEvent::Kind::kCsr; });
    stop.request_stop();
  });
  const auto before = std::chrono::steady_clock::now();
  const auto chain = sign(kWeb, stop.get_token());
  ASSERT_FALSE(chain);
  EXPECT_THAT(chain.error(), HasSubstr("CANCELLED"));
  EXPECT_LT(std::chrono::steady_clock::now() - before, 20s);
  EXPECT_FALSE(sign(kWeb, stop.get_token())) << "and later ones do not begin";
}

TEST_F(IstioCaTest, MakesCallsOfSeveralThreadsAtOnce) {
  client({.patience = 60s});
  behave({.delay = 60s});
  std::stop_source stop;
  std::atomic<int> cancelled{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; i++) {
      threads.emplace_back([&, i] {
        const std::string id = "spiffe://cluster.local/ns/demo/sa/w" + std::to_string(i);
        const auto key = identity::PrivateKey::generate_p256();
        cancelled += !client_->sign(key->csr_pem(*identity::SpiffeId::parse(id)), id, stop.get_token()).ok();
      });
    }
    const auto until = std::chrono::steady_clock::now() + 20s;
    while (istiod_->count(FakeIstiodEvent::Kind::kCsr) < 8 && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(5ms);
    }
    EXPECT_EQ(istiod_->certificate_calls_at_once_max(), 8u) << istiod_->history();
    stop.request_stop();
  }
  EXPECT_EQ(cancelled, 8);
}

}  // namespace
}  // namespace culvert::istioca
