// The endpoint against a gRPC server over TLS: whom it believes, what it says about itself, and what its errors say.
#include "istiod/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlagent/istiod/tls_server.h"

namespace culvert::istiod {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Key;
using testing::Not;
using testing::Pair;
using testkit::TemporaryFolder;
using testkit::TestCa;
using testkit::TlsServer;
namespace discovery = envoy::service::discovery::v3;

// One stream through a new channel: what gRPC says at its end, and what came.
struct Called {
  grpc::Status status;
  discovery::DeltaDiscoveryResponse response;
};

Called call(const Endpoint& endpoint) {
  Called out;
  const auto channel = endpoint.channel();
  if (!channel) {
    out.status = {grpc::StatusCode::UNKNOWN, channel.error().sentence};
    return out;
  }
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  if (const auto said = endpoint.authorize(context); !said) {
    out.status = {grpc::StatusCode::UNKNOWN, said.error().sentence};
    return out;
  }
  const auto stub = discovery::AggregatedDiscoveryService::NewStub(*channel);
  const auto stream = stub->DeltaAggregatedResources(&context);
  stream->Read(&out.response);
  out.status = stream->Finish();
  return out;
}

class EndpointTest : public testing::Test {
 protected:
  Options options(const TlsServer& at) const {
    return {.address = "https://" + at.address(), .root = ca.root_pem(), .server_name = "istiod.test"};
  }

  TestCa ca = testkit::todays_ca("Mesh root");
  TemporaryFolder folder;
  TlsServer server{testkit::server_leaf(ca, {"istiod.test", "other.test"})};
};

TEST_F(EndpointTest, ReachesAServerWhoseCertificateTheRootSigned) {
  const Called called = call(Endpoint(options(server)));
  EXPECT_TRUE(called.status.ok()) << called.status.error_message();
  EXPECT_EQ(called.response.nonce(), "hello");
}

TEST_F(EndpointTest, TheAddressMayLeaveTheSchemeOut) {
  Options some = options(server);
  some.address = server.address();
  EXPECT_TRUE(call(Endpoint(some)).status.ok());
}

TEST_F(EndpointTest, AnUnsupportedSchemeIsAnErrorOfTheAddress) {
  Options some = options(server);
  some.address = "http://" + server.address();
  const auto channel = Endpoint(some).channel();
  ASSERT_FALSE(channel.ok());
  EXPECT_EQ(channel.error().kind, Error::Kind::kAddress);
  EXPECT_THAT(channel.error().sentence, HasSubstr("unsupported scheme http"));
  EXPECT_THAT(channel.error().sentence, HasSubstr(some.address));
}

TEST(EndpointAddress, HostAndPortAreTakenApart) {
  const auto where = [](const std::string& address) {
    return Endpoint({.address = address}).where() + " as " + Endpoint({.address = address}).server_name();
  };
  EXPECT_EQ(where("https://istiod.istio-system.svc:15012"), "istiod.istio-system.svc:15012 as istiod.istio-system.svc");
  EXPECT_EQ(where("https://istiod:15012/"), "istiod:15012 as istiod");
  EXPECT_EQ(where("https://istiod"), "istiod:443 as istiod");
  EXPECT_EQ(where("https://[fd00::1]:15012"), "[fd00::1]:15012 as fd00::1");
  EXPECT_EQ(Endpoint({.address = "https://10.0.0.1:15012", .server_name = "istiod"}).server_name(), "istiod");
}

TEST(EndpointAddress, WhatIsNoAddressIsNamed) {
  for (const std::string address : {"", "https://", "https://:15012", "https://a:b", "https://a:0", "https://a:65536",
                                    "https://a:1/x", "https://[fd00::1", "https://[fd00::1]15012", "https://[a]:1",
                                    "ftp://a:1", "https://u@a:1", "https://a b:1", "https://a:"}) {
    const auto channel = Endpoint({.address = address, .root = "SYSTEM"}).channel();
    ASSERT_FALSE(channel.ok()) << address;
    EXPECT_EQ(channel.error().kind, Error::Kind::kAddress) << address;
    EXPECT_THAT(channel.error().sentence, HasSubstr("`" + address + "`"));
    EXPECT_THAT(channel.error().sentence, HasSubstr("give https://HOST:PORT"));
  }
}

TEST_F(EndpointTest, RefusesAServerThatTheRootDidNotSign) {
  const TestCa stranger = testkit::todays_ca("Stranger");
  Options some = options(server);
  some.root = folder.write("root.pem", stranger.root_pem());
  const Endpoint endpoint(some);
  const Called called = call(endpoint);
  ASSERT_EQ(called.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(endpoint.explain(called.status), HasSubstr("not signed by the root in " + some.root));
}

TEST_F(EndpointTest, RefusesAServerOfAnotherName) {
  Options some = options(server);
  some.server_name = "istiod.elsewhere";
  const Endpoint endpoint(some);
  const Called called = call(endpoint);
  ASSERT_EQ(called.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(endpoint.explain(called.status), HasSubstr("does not name istiod.elsewhere"));
}

TEST_F(EndpointTest, RefusesAServerThatIsNotNamedAsTheAddressWhenNoOtherNameIsGiven) {
  Options some = options(server);
  some.server_name.clear();
  EXPECT_EQ(call(Endpoint(some)).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(EndpointTest, RefusesACertificateThatRanOut) {
  const auto now = std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  const TlsServer late(ca.issue({.dns_sans = {"istiod.test"},
                                 .not_before = now - std::chrono::hours{3},
                                 .not_after = now - std::chrono::hours{1}}));
  const Endpoint endpoint(options(late));
  const Called called = call(endpoint);
  ASSERT_FALSE(called.status.ok());
  EXPECT_THAT(endpoint.explain(called.status), HasSubstr("not valid today"));
}

TEST_F(EndpointTest, ReadsTheRootAnewForEachChannel) {
  const TestCa next = testkit::todays_ca("Next root");
  Options some = options(server);
  some.root = folder.write("root.pem", next.root_pem());
  const Endpoint endpoint(some);
  EXPECT_EQ(endpoint.root_file(), some.root);
  EXPECT_FALSE(call(endpoint).status.ok());
  folder.write("root.pem", next.root_pem() + ca.root_pem());
  EXPECT_TRUE(call(endpoint).status.ok());
}

TEST_F(EndpointTest, ARootThatCannotBeUsedSaysWhichFileAndWhatToDo) {
  const auto problem = [&](const std::string& root) {
    Options some = options(server);
    some.root = root;
    const auto channel = Endpoint(some).channel();
    EXPECT_FALSE(channel.ok());
    if (channel.ok()) return std::string();
    EXPECT_EQ(channel.error().kind, Error::Kind::kRoot);
    return channel.error().sentence;
  };
  EXPECT_EQ(problem(folder / "none.pem"), "istiod's root certificate " + (folder / "none.pem") +
                                              " does not exist: mount istiod's root certificate there (ConfigMap "
                                              "istio-ca-root-cert)");
  EXPECT_THAT(problem(folder / "."), HasSubstr("cannot be read"));
  EXPECT_THAT(problem(folder.write("long.pem", std::string(5 << 20, 'x'))), HasSubstr("is longer than 4 MiB"));
  EXPECT_THAT(problem(folder.write("text.pem", "hello")), HasSubstr("text.pem holds no whole certificate"));
  EXPECT_THAT(problem(folder.write("half.pem", ca.root_pem().substr(0, 200))), HasSubstr("no whole certificate"));
  EXPECT_THAT(problem("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
              HasSubstr("no whole certificate"));
  EXPECT_THAT(problem(""), HasSubstr("is not set"));
}

TEST_F(EndpointTest, TheMachinesOwnBundleIsWhatTheEnvironmentNames) {
  folder.write("machine.pem", ca.root_pem());
  ASSERT_EQ(setenv("SSL_CERT_FILE", (folder / "machine.pem").c_str(), 1), 0);
  Options some = options(server);
  some.root = "SYSTEM";
  EXPECT_TRUE(call(Endpoint(some)).status.ok());
  EXPECT_EQ(Endpoint(some).root_file(), "");
  unsetenv("SSL_CERT_FILE");
}

TEST_F(EndpointTest, SaysWhoItIs) {
  Options some = options(server);
  some.token = folder.write("token", "ey.first.token\n");
  some.cluster_id = "Kubernetes";
  some.headers = {{"x-tenant", "blue"}};
  const Endpoint endpoint(some);
  ASSERT_TRUE(call(endpoint).status.ok());
  EXPECT_THAT(server.metadata(), Contains(Pair("authorization", "Bearer ey.first.token")));
  EXPECT_THAT(server.metadata(), Contains(Pair("clusterid", "Kubernetes")));
  EXPECT_THAT(server.metadata(), Contains(Pair("x-tenant", "blue")));

  folder.write("token", "ey.second.token");
  ASSERT_TRUE(call(endpoint).status.ok());
  EXPECT_THAT(server.metadata(), Contains(Pair("authorization", "Bearer ey.second.token")));
}

TEST_F(EndpointTest, WithoutATokenNoAuthHeaderIsSent) {
  for (const std::string& token : {std::string(), folder / "none"}) {
    Options some = options(server);
    some.token = token;
    some.cluster_id = "Kubernetes";
    ASSERT_TRUE(call(Endpoint(some)).status.ok());
    EXPECT_THAT(server.metadata(), Not(Contains(Key("authorization"))));
    EXPECT_THAT(server.metadata(), Not(Contains(Key("clusterid"))));
  }
}

TEST_F(EndpointTest, ATokenMayBeGivenItself) {
  Options some = options(server);
  some.token = "ey.literal";
  ASSERT_TRUE(call(Endpoint(some)).status.ok());
  EXPECT_THAT(server.metadata(), Contains(Pair("authorization", "Bearer ey.literal")));
}

TEST_F(EndpointTest, WhatNoHeaderCarriesIsRefusedHere) {
  const auto problem = [&](auto change) {
    Options some = options(server);
    change(some);
    grpc::ClientContext context;
    const auto said = Endpoint(some).authorize(context);
    EXPECT_FALSE(said.ok());
    return said.ok() ? std::string() : said.error().sentence;
  };
  EXPECT_THAT(problem([&](Options& o) { o.token = folder.write("token", "two\nlines"); }),
              HasSubstr("the token in " + (folder / "token") + " holds bytes"));
  EXPECT_THAT(problem([&](Options& o) { o.token = folder.write("token", std::string(20'000, 'a')); }),
              HasSubstr("is longer than 16 KiB"));
  EXPECT_THAT(problem([&](Options& o) { o.token = folder / "."; }), HasSubstr("cannot be read"));
  EXPECT_THAT(problem([](Options& o) { o.headers = {{"X-Upper", "a"}}; }), HasSubstr("`X-Upper`"));
  EXPECT_THAT(problem([](Options& o) { o.headers = {{"x", "a\nb"}}; }), HasSubstr("`x`"));
  EXPECT_THAT(problem([](Options& o) { o.headers = {{"grpc-timeout", "1S"}}; }), HasSubstr("`grpc-timeout`"));
  EXPECT_THAT(problem([](Options& o) { o.cluster_id = "a\nb"; }), HasSubstr("cluster id"));
}

TEST_F(EndpointTest, TakesMessagesThatAreLongerThanGrpcTakesByItself) {
  const TlsServer wordy(testkit::server_leaf(ca, {"istiod.test"}), 20 * 1024 * 1024);
  const Called called = call(Endpoint(options(wordy)));
  EXPECT_TRUE(called.status.ok()) << called.status.error_message();
  EXPECT_EQ(called.response.system_version_info().size(), 20u * 1024 * 1024);
}

TEST_F(EndpointTest, AServerThatIsNotThereIsExplainedInOneClause) {
  std::string gone;
  {
    const TlsServer brief(testkit::server_leaf(ca, {"istiod.test"}));
    gone = brief.address();
  }
  Options some = options(server);
  some.address = gone;
  const Endpoint endpoint(some);
  const Called called = call(endpoint);
  EXPECT_EQ(called.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(endpoint.explain(called.status), HasSubstr("Connection refused"));
  EXPECT_THAT(endpoint.explain(called.status), Not(HasSubstr("last error")));
}

TEST(EndpointExplain, ARefusedTokenNamesItsFile) {
  const grpc::Status refused(grpc::StatusCode::UNAUTHENTICATED, "authentication failure");
  EXPECT_EQ(Endpoint({.address = "a:1", .token = "/var/token"}).explain(refused),
            "authentication failure (istiod refused the token in /var/token, or the file is missing)");
  EXPECT_EQ(Endpoint({.address = "a:1"}).explain(refused), "authentication failure (no token is set)");
}

}  // namespace
}  // namespace culvert::istiod
