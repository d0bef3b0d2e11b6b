// The client against a real gRPC server over TLS: what survives a stream, what is read anew, when the next try is, and
// what a person reads about it.
#include "xds/client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <future>
#include <iostream>
#include <thread>

#include "tests/unit/controlagent/xds/ads_server.h"

namespace culvert::xds {
namespace {

using reconcile::MeshStore;
using reconcile::Source;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testkit::TemporaryFolder;
using testkit::TestCa;

class KeptLog final : public log::Log {
 public:
  void write(log::Level level, std::string_view line) override {
    const std::lock_guard lock(mutex_);
    if (level != log::Level::kDebug) lines_.emplace_back(line);
  }
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

bool comes_true(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class ClientTest : public testing::Test {
 protected:
  ClientTest() { folder.write("root.pem", ca.root_pem()); }
  ~ClientTest() override {
    if (client) client->stop();
    if (HasFailure()) {
      for (const std::string& line : log.lines()) std::cerr << line << "\n";
    }
  }

  Options options(const std::string& address) const {
    Options out;
    out.istiod = {.address = address, .root = folder / "root.pem", .server_name = "istiod.test"};
    out.node = {.pod_name = "ztunnel-a", .pod_namespace = "istio-system", .node_name = "n1"};
    return out;
  }
  // Waits are written down instead of waited, except in `really`.
  void begin(const Options& with, bool really = false) {
    Client::Wait wait;
    if (!really) {
      wait = [this](Duration span) {
        const std::lock_guard lock(mutex);
        waits.push_back(span);
      };
    }
    auto made = Client::make(with, store, log, std::move(wait));
    ASSERT_TRUE(made.ok());
    client = std::move(*made);
    client->start();
  }
  std::vector<Duration> waited() const {
    const std::lock_guard lock(mutex);
    return waits;
  }
  bool has(const std::string& uid) const { return store.has_workload(uid); }
  testkit::TestLeaf leaf() const { return testkit::server_leaf(ca, {"istiod.test"}); }
  static ResponseOf addresses(const std::string& name = "a") {
    return ResponseOf(kAddressType, "n1").has(uid_of(name), pod(name), "v-" + name);
  }
  static ResponseOf policies() { return ResponseOf(kAuthorizationType, "n2").has("shop/p", policy("p"), ""); }

  TestCa ca = testkit::todays_ca("Mesh root");
  TemporaryFolder folder;
  MeshStore store{"n1", {Source::kIstiod}};
  KeptLog log;
  mutable std::mutex mutex;
  std::vector<Duration> waits;
  std::unique_ptr<Client> client;
};

TEST_F(ClientTest, TakesTheFirstStateAndAcksIt) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()));
  const auto session = istiod.accept();
  const auto first = session->next(), second = session->next();
  EXPECT_EQ(first.type_url(), kAddressType);
  EXPECT_EQ(first.node().id(), "ztunnel~1.1.1.1~ztunnel-a.istio-system~istio-system.svc.cluster.local");
  EXPECT_EQ(first.node().metadata().fields().at("NODE_NAME").string_value(), "n1");
  EXPECT_EQ(second.type_url(), kAuthorizationType);
  EXPECT_FALSE(client->ready());
  session->says(addresses());
  EXPECT_EQ(session->next().response_nonce(), "n1");
  EXPECT_FALSE(client->ready());
  session->says(policies());
  EXPECT_EQ(session->next().response_nonce(), "n2");
  EXPECT_TRUE(comes_true([&] { return client->ready(); }));
  EXPECT_TRUE(has(uid_of("a")));
  EXPECT_TRUE(store.is_known());

  const Metrics metrics = client->metrics();
  EXPECT_EQ(metrics.messages.at(std::string(kAddressType)).count, 1u);
  EXPECT_EQ(metrics.messages.at(std::string(kAddressType)).bytes, addresses().bytes().size());
  EXPECT_EQ(metrics.messages.at(std::string(kAuthorizationType)).count, 1u);
  EXPECT_EQ(metrics.resources_taken, 2u);
  EXPECT_TRUE(client->status().connected);
  EXPECT_EQ(client->status().kept, 2u);
  EXPECT_THAT(log.lines(), Contains("connected to istiod at 127.0.0.1:" + std::to_string(istiod.port()) + " as " +
                                    first.node().id() + ", 0 resources kept from before"));
  EXPECT_THAT(log.lines(), Contains("the first state of istiod is complete: 2 resources"));
}

TEST_F(ClientTest, ANackReachesIstiodAndTheLogAndTheRestIsApplied) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()));
  const auto session = istiod.accept();
  session->next();
  session->next();
  session->says(addresses().has(uid_of("bad"), bad_pod("bad")));
  const auto nack = session->next();
  const std::string reason = "Kubernetes//Pod/shop/bad: workload.addresses[0]: 3 bytes, an address has 4 or 16";
  EXPECT_EQ(nack.error_detail().message(), reason);
  EXPECT_TRUE(has(uid_of("a")));
  EXPECT_TRUE(comes_true([&] { return client->metrics().resources_refused == 1; }));
  client->stop();
  EXPECT_THAT(log.lines(), Contains(HasSubstr(reason)));
}

TEST_F(ClientTest, ACleanEndIsFollowedAtOnceByAStreamThatClaimsWhatIsKept) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()));
  istiod.accept_and_say(addresses(), policies())->ends(grpc::Status::OK);
  const auto again = istiod.accept();
  const auto first = again->next(), second = again->next();
  EXPECT_THAT(first.initial_resource_versions(), ElementsAre(Pair(uid_of("a"), "v-a")));
  EXPECT_THAT(second.initial_resource_versions(), ElementsAre(Pair("shop/p", "")));
  EXPECT_TRUE(first.has_node());
  EXPECT_THAT(waited(), ElementsAre(0ms));
  EXPECT_EQ(client->metrics().complete, 1u);
  again->says(ResponseOf(kAddressType, "m1").removes(uid_of("a")));
  again->next();
  EXPECT_FALSE(has(uid_of("a")));
}

TEST_F(ClientTest, StatusesOfNormalLifeAreFollowedAfterTenMilliseconds) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()));
  for (const auto code :
       {grpc::StatusCode::UNKNOWN, grpc::StatusCode::CANCELLED, grpc::StatusCode::DEADLINE_EXCEEDED}) {
    istiod.accept_and_say(addresses(), policies())->ends(grpc::Status(code, "age"));
  }
  istiod.accept_and_say(addresses(), policies())
      ->ends(grpc::Status(grpc::StatusCode::UNAVAILABLE, "transport is closing"));
  istiod.accept();
  EXPECT_THAT(waited(), ElementsAre(10ms, 10ms, 10ms, 10ms));
  EXPECT_EQ(client->metrics().reconnect, 4u);
}

TEST_F(ClientTest, ARefusedTokenIsSaidWithItsFileAndTriedEverLater) {
  AdsServer istiod(leaf());
  Options with = options(istiod.address());
  with.istiod.token = folder.write("token", "ey.old");
  begin(with);
  for (int i = 0; i < 3; ++i) {
    const auto session = istiod.accept();
    EXPECT_THAT(session->metadata, Contains(Pair("authorization", "Bearer ey.old")));
    session->ends(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "token expired"));
  }
  // Whoever mounts a new token is heard at the next try.
  folder.write("token", "ey.new");
  while (true) {
    const auto session = istiod.accept();
    if (session->metadata.find("authorization")->second == "Bearer ey.new") break;
    session->ends(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "token expired"));
  }
  EXPECT_GE(waited().size(), 3u);
  EXPECT_EQ(waited()[0], 20ms);
  EXPECT_EQ(waited()[1], 40ms);
  EXPECT_EQ(waited()[2], 80ms);
  EXPECT_GE(client->metrics().error, 3u);
  EXPECT_THAT(log.lines(), Contains(HasSubstr("token expired (istiod refused the token in " + (folder / "token"))));
}

TEST_F(ClientTest, AServerThatGoesKeepsTheMeshAndIsFoundAgain) {
  auto istiod = std::make_unique<AdsServer>(leaf());
  const int port = istiod->port();
  begin(options(istiod->address()));
  istiod->accept_and_say(addresses(), policies());
  istiod.reset();
  EXPECT_TRUE(comes_true([&] { return waited().size() >= 4; }));
  EXPECT_TRUE(has(uid_of("a")));
  EXPECT_TRUE(client->ready());
  EXPECT_FALSE(client->status().connected);
  EXPECT_THAT(client->status().last_error, HasSubstr("Connection refused"));
  const auto waits_seen = waited();
  // It says UNAVAILABLE as it goes; those that follow find nobody.
  EXPECT_EQ(waits_seen[0], 20ms);
  EXPECT_EQ(waits_seen[1], 40ms);
  EXPECT_EQ(waits_seen[2], 80ms);
  EXPECT_EQ(waits_seen[3], 160ms);
  EXPECT_EQ(client->metrics().error, 1u);
  EXPECT_GE(client->metrics().connection_error, 3u);
  EXPECT_THAT(log.lines(), Contains(testing::AllOf(HasSubstr("cannot connect to istiod at 127.0.0.1"),
                                                   HasSubstr("Connection refused"),
                                                   HasSubstr("the mesh stays as it was (2 resources), next try in"))));

  istiod = std::make_unique<AdsServer>(leaf(), port);
  EXPECT_EQ(istiod->accept()->next().initial_resource_versions_size(), 1);
  EXPECT_TRUE(comes_true([&] { return client->status().connected; }));
  EXPECT_EQ(client->status().last_error, "");
  client->stop();
  istiod->stop();
}

// A line between client and server that can be cut: both ends see their connection reset.
class Line {
 public:
  explicit Line(int to_port) : to_port_(to_port), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t bytes = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), bytes), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~Line() {
    stopping_ = true;
    thread_.join();
    close(listener_);
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  std::string address() const { return "https://127.0.0.1:" + std::to_string(port_); }
  void cut() { cut_ = true; }

 private:
  static sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }
  static void reset(int& one) {
    if (one < 0) return;
    const linger now{.l_onoff = 1, .l_linger = 0};
    setsockopt(one, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(one);
    one = -1;
  }
  void run() {
    int client = -1, server = -1;
    std::array<char, 16384> bytes;
    while (!stopping_) {
      std::array<pollfd, 3> polled{{{listener_, POLLIN, 0}, {client, POLLIN, 0}, {server, POLLIN, 0}}};
      poll(polled.data(), polled.size(), 5);
      bool broken = cut_.exchange(false);
      if ((polled[0].revents & POLLIN) != 0) {
        reset(client);
        reset(server);
        client = accept(listener_, nullptr, nullptr);
        server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const sockaddr_in to = loopback(to_port_);
        broken = connect(server, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0;
      } else {
        for (const auto& [from, to] : {std::pair(1, server), std::pair(2, client)}) {
          if (polled[from].revents == 0) continue;
          const ssize_t got = recv(polled[from].fd, bytes.data(), bytes.size(), 0);
          broken |= got <= 0 || send(to, bytes.data(), static_cast<size_t>(got), MSG_NOSIGNAL) != got;
        }
      }
      if (broken) {
        reset(client);
        reset(server);
      }
    }
    reset(client);
    reset(server);
  }

  const int to_port_, listener_;
  int port_ = 0;
  std::atomic<bool> cut_ = false, stopping_ = false;
  std::thread thread_;
};

TEST_F(ClientTest, ABrokenConnectionIsMadeAnewAfterTenMilliseconds) {
  AdsServer istiod(leaf());
  Line line(istiod.port());
  begin(options(line.address()));
  istiod.accept_and_say(addresses(), policies());
  line.cut();
  EXPECT_EQ(istiod.accept()->next().initial_resource_versions_size(), 1);
  EXPECT_THAT(waited(), ElementsAre(10ms));
  EXPECT_EQ(client->metrics().reconnect, 1u);
  EXPECT_TRUE(has(uid_of("a")));
  client->stop();
}

TEST_F(ClientTest, TheRootIsReadAnewWhenIstiodHasAnotherCertificate) {
  auto istiod = std::make_unique<AdsServer>(leaf());
  const int port = istiod->port();
  begin(options(istiod->address()));
  istiod->accept_and_say(addresses(), policies());
  istiod.reset();
  const TestCa next = testkit::todays_ca("Next root");
  istiod = std::make_unique<AdsServer>(testkit::server_leaf(next, {"istiod.test"}), port);
  EXPECT_TRUE(comes_true([&] {
    for (const std::string& line : log.lines()) {
      if (line.find("not signed by the root in " + (folder / "root.pem")) != std::string::npos) return true;
    }
    return false;
  }));
  folder.write("root.pem", next.root_pem());
  EXPECT_EQ(istiod->accept()->next().initial_resource_versions_size(), 1);
  client->stop();
  istiod->stop();
}

TEST_F(ClientTest, AServerOfAnotherNameIsNotTalkedTo) {
  AdsServer istiod(testkit::server_leaf(ca, {"stranger.test"}));
  begin(options(istiod.address()));
  EXPECT_TRUE(comes_true([&] { return client->metrics().connection_error >= 3; }));
  client->stop();
  EXPECT_EQ(waited()[0], 20ms);
  EXPECT_EQ(waited()[1], 40ms);
  EXPECT_THAT(log.lines(), Contains(HasSubstr("does not name istiod.test")));
  EXPECT_FALSE(client->ready());
}

TEST_F(ClientTest, AMissingRootIsTriedAtOnceThenEverLaterAndSaidOnce) {
  AdsServer istiod(leaf());
  Options with = options(istiod.address());
  with.istiod.root = folder / "late.pem";
  begin(with);
  EXPECT_TRUE(comes_true([&] { return waited().size() >= 10; }));
  folder.write("late.pem", ca.root_pem());
  istiod.accept()->next();
  const auto spans = waited();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(spans[i], 0ms);
  EXPECT_EQ(spans[8], 20ms);
  EXPECT_EQ(spans[9], 40ms);
  EXPECT_THAT(*std::max_element(spans.begin(), spans.end()), testing::Le(Duration(1s)));
  EXPECT_EQ(client->metrics().error, spans.size());
  int said = 0;
  for (const std::string& line : log.lines()) said += line.find("late.pem does not exist") != std::string::npos;
  EXPECT_EQ(said, 1);
}

TEST_F(ClientTest, AnAddressWithoutTlsIsAFailedConnection) {
  begin(options("http://127.0.0.1:15010"));
  EXPECT_TRUE(comes_true([&] { return waited().size() >= 2; }));
  client->stop();
  EXPECT_EQ(waited()[0], 20ms);
  EXPECT_EQ(waited()[1], 40ms);
  EXPECT_THAT(log.lines(), Contains(HasSubstr("unsupported scheme http")));
  EXPECT_GE(client->metrics().connection_error, 2u);
}

TEST_F(ClientTest, GarbageEndsTheStreamAndNothingElse) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()));
  const auto session = istiod.accept_and_say(addresses(), policies());
  session->says_bytes("\x12\xff\xff garbage");
  EXPECT_TRUE(session->is_gone());
  const auto again = istiod.accept();
  EXPECT_EQ(again->next().initial_resource_versions_size(), 1);
  EXPECT_TRUE(has(uid_of("a")));
  EXPECT_THAT(waited(), ElementsAre(20ms));
  EXPECT_EQ(client->metrics().error, 1u);
  EXPECT_THAT(log.lines(), Contains(HasSubstr("it sent bytes that are no DeltaDiscoveryResponse")));
}

TEST_F(ClientTest, AnUnknownTypeIsAckedAndCountedUnderItsOwnUrl) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()));
  const auto session = istiod.accept_and_say(addresses(), policies());
  for (size_t i = 0; i < 2 * Metrics::kUrlsMax; ++i) {
    session->says(ResponseOf("type/" + std::to_string(i), "x"));
    EXPECT_EQ(session->next().response_nonce(), "x");
  }
  const Metrics metrics = client->metrics();
  EXPECT_EQ(metrics.messages.at("type/0").count, 1u);
  EXPECT_EQ(metrics.messages.size(), Metrics::kUrlsMax + 1);
  EXPECT_EQ(metrics.messages.at("other").count, Metrics::kUrlsMax + 2);
}

TEST_F(ClientTest, ManyResponsesInARowAreAllAckedInOrder) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()));
  const auto session = istiod.accept_and_say(addresses(), policies());
  constexpr int kMany = 2000;
  for (int i = 0; i < kMany; ++i) session->says(ResponseOf(kAddressType, std::to_string(i)).has(uid_of("a"), pod("a")));
  for (int i = 0; i < kMany; ++i) ASSERT_EQ(session->next().response_nonce(), std::to_string(i));
}

// Takes connections and says nothing, not even in TLS.
class SilentListener {
 public:
  SilentListener() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<const sockaddr*>(&address), bytes), 0);
    EXPECT_EQ(listen(socket_, 8), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentListener() { close(socket_); }
  SilentListener(const SilentListener&) = delete;
  SilentListener& operator=(const SilentListener&) = delete;
  std::string address() const { return "https://127.0.0.1:" + std::to_string(port_); }
  // A client is connected.
  bool is_called() const {
    const int one = accept(socket_, nullptr, nullptr);
    if (one >= 0) close_later_ = one;
    return one >= 0;
  }

 private:
  int socket_, port_ = 0;
  mutable int close_later_ = -1;
};

TEST_F(ClientTest, StopsAtOnceWhileIstiodIsSilentInTheHandshake) {
  const SilentListener silent;
  begin(options(silent.address()), true);
  ASSERT_TRUE(silent.is_called());
  const auto before = std::chrono::steady_clock::now();
  client->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
}

TEST_F(ClientTest, StopsAtOnceOnAnOpenStreamAndInAWait) {
  AdsServer istiod(leaf());
  begin(options(istiod.address()), true);
  const auto session = istiod.accept();
  session->next();
  auto before = std::chrono::steady_clock::now();
  client->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
  EXPECT_TRUE(session->is_gone());

  begin(options("https://127.0.0.1:1"), true);
  EXPECT_TRUE(comes_true([&] { return client->metrics().connection_error >= 6; }));  // in a wait of 1.28 s, or near it
  before = std::chrono::steady_clock::now();
  client->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1));
}

TEST_F(ClientTest, StopsBeforeItStarts) {
  auto made = Client::make(options("https://127.0.0.1:1"), store, log);
  ASSERT_TRUE(made.ok());
  (*made)->stop();
}

TEST_F(ClientTest, MetadataThatIsNoJsonIsRefusedBeforeAnythingStarts) {
  Options with = options("https://127.0.0.1:1");
  with.node.metadata_json = {{"LABELS", "{"}};
  const auto made = Client::make(with, store, log);
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error(), HasSubstr("LABELS"));
}

// --- on demand ---

TEST_F(ClientTest, AWantedNameIsAnsweredWhenTheStoreHasIt) {
  AdsServer istiod(leaf());
  Options with = options(istiod.address());
  with.on_demand = true;
  begin(with);
  const auto session = istiod.accept();
  EXPECT_THAT(session->next().resource_names_unsubscribe(), ElementsAre("*"));
  session->next();
  std::promise<std::optional<std::string>> found, none;
  bool in_store = false;
  EXPECT_TRUE(client->want("/10.0.0.7", [&](const std::optional<std::string>& primary) {
    in_store = has(uid_of("a"));
    found.set_value(primary);
  }));
  EXPECT_THAT(session->next().resource_names_subscribe(), ElementsAre("/10.0.0.7"));
  EXPECT_TRUE(client->want("/10.0.0.8", [&](const std::optional<std::string>& primary) { none.set_value(primary); }));
  EXPECT_THAT(session->next().resource_names_subscribe(), ElementsAre("/10.0.0.8"));
  session->says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a"), "v1", {"/10.0.0.7"}).removes("/10.0.0.8"));
  EXPECT_EQ(found.get_future().get(), uid_of("a"));
  EXPECT_TRUE(in_store);
  EXPECT_EQ(none.get_future().get(), std::nullopt);

  std::promise<std::optional<std::string>> known;
  EXPECT_TRUE(client->want(uid_of("a"), [&](const auto& primary) { known.set_value(primary); }));
  EXPECT_EQ(known.get_future().get(), uid_of("a"));
}

TEST_F(ClientTest, ANameWantedWhileIstiodIsAwayIsAskedForWhenItIsBack) {
  auto istiod = std::make_unique<AdsServer>(leaf());
  const int port = istiod->port();
  Options with = options(istiod->address());
  with.on_demand = true;
  istiod.reset();
  begin(with);
  EXPECT_TRUE(comes_true([&] { return client->metrics().connection_error >= 1; }));
  std::promise<std::optional<std::string>> found;
  EXPECT_TRUE(client->want("/10.0.0.7", [&](const auto& primary) { found.set_value(primary); }));
  istiod = std::make_unique<AdsServer>(leaf(), port);
  const auto session = istiod->accept();
  session->next();
  session->next();
  EXPECT_THAT(session->next().resource_names_subscribe(), ElementsAre("/10.0.0.7"));
  session->says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a"), "v1", {"/10.0.0.7"}));
  EXPECT_EQ(found.get_future().get(), uid_of("a"));
  client->stop();
  istiod->stop();
}

TEST_F(ClientTest, NoMoreNamesWaitThanTheLimitAndNoneInWildcardMode) {
  Options with = options("https://127.0.0.1:1");
  begin(with, true);
  EXPECT_FALSE(client->want("/10.0.0.7", [](const auto&) {}));
  client->stop();
  with.on_demand = true;
  with.limits.wanted_max = 2;
  begin(with, true);
  EXPECT_TRUE(client->want("/10.0.0.1", [](const auto&) {}));
  EXPECT_TRUE(client->want("/10.0.0.1", [](const auto&) {}));
  EXPECT_FALSE(client->want("/10.0.0.2", [](const auto&) {}));
}

}  // namespace
}  // namespace culvert::xds
