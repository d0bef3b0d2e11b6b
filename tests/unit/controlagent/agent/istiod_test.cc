// The agent over a control plane: istiod (a fake one, over TLS), the agent with its faces, and the data plane's own
// contract server, all at once.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "agent/agent.h"
#include "tests/testkit/fake_istiod.h"
#include "tests/testkit/mesh_messages.h"
#include "tests/unit/controlagent/admin/http_client.h"
#include "tests/unit/controlagent/node/temporary_namespace.h"
#include "tests/unit/controlagent/southbound/data_plane.h"

namespace culvert::agent {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testkit::FakeIstiod;
using testkit::FakeIstiodEvent;

reconcile::Workload pod(const std::string& name, const std::string& node = "n1") {
  reconcile::Workload w;
  w.name = w.service_account = name;
  w.name_space = "demo";
  w.uid = "Kubernetes//Pod/demo/" + name;
  w.trust_domain = "cluster.local";
  w.cluster = "Kubernetes";
  w.node = node;
  w.tunnel = reconcile::Tunnel::kHbone;
  w.addresses = {*IpAddress::parse("10.1.0.9")};
  return w;
}

std::string configuration(const std::string& folder, const FakeIstiod& istiod, const std::string& more = {}) {
  const std::string path = folder + "/culvert.yaml";
  std::ofstream(path) << "node: {name: n1}\ncontrol: {socket: " << folder << "/control.sock, descriptors: " << folder
                      << "/descriptors.sock}\n"
                      << "admin: {listen: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\", readiness: \"127.0.0.1:0\"}\n"
                      << "istiod: {address: \"" << istiod.url() << "\", server_name: localhost, root: " << folder
                      << "/root-cert.pem, token: " << folder
                      << "/istio-token, pod_name: ztunnel-x, pod_namespace: istio-system}\n"
                      << more;
  return path;
}

class IstiodAgentTest : public testing::Test {
 protected:
  IstiodAgentTest() : data_plane_(folder_.path()) {
    auto started = FakeIstiod::start({});
    EXPECT_TRUE(started) << started.error();
    istiod_ = std::move(*started);
    istiod_->write_client_files(folder_.path());
    data_plane_.start();
  }
  ~IstiodAgentTest() override { end_agent(); }

  void start_agent(const std::string& more = {}) {
    const std::string path = configuration(folder_.path(), *istiod_, more);
    auto loaded = config::load(path, {});
    ASSERT_TRUE(loaded) << loaded.error().front();
    agent_ = std::make_unique<Agent>(path, config::Overrides(), std::move(*loaded), links_, log_);
    const auto started = agent_->start();
    ASSERT_TRUE(started) << started.error();
    running_ = true;
    loop_ = std::thread([this] {
      while (running_) {
        std::this_thread::sleep_for(20ms);
        agent_->turn(Instant(std::chrono::steady_clock::now().time_since_epoch()));
      }
    });
  }
  void end_agent() {
    running_ = false;
    if (loop_.joinable()) loop_.join();
    agent_.reset();
  }

  admin::Answer get(const Endpoint& face, const std::string& path) {
    admin::Client client(face);
    client.send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return client.read();
  }
  std::string dump() { return get(agent_->faces()->admin_address(), "/config_dump").body; }
  std::string metrics() { return get(agent_->faces()->metrics_address(), "/metrics").body; }
  int readiness() { return get(agent_->faces()->readiness_address(), "/healthz/ready").status; }

  control::TemporaryFolder folder_;
  node::KernelLinks links_;
  RememberingLog log_;
  std::unique_ptr<FakeIstiod> istiod_;
  DataPlane data_plane_;
  std::unique_ptr<Agent> agent_;
  std::atomic<bool> running_{false};
  std::thread loop_;
};

TEST_F(IstiodAgentTest, MeshAndCertificatesComeFromIstiodAndShowAtTheFaces) {
  istiod_->set(
      {testkit::resource(testkit::message_of(pod("web"))), testkit::resource(testkit::message_of(pod("far", "n2")))});
  start_agent();
  ASSERT_TRUE(eventually([&] { return data_plane_.workloads() == 2; })) << istiod_->history();
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); }))
      << "prefetched for this node's workload\n"
      << testing::PrintToString(log_.lines());
  EXPECT_FALSE(data_plane_.serials().contains("far")) << "that is another node's";
  EXPECT_TRUE(eventually([&] { return readiness() == 200; }));
  EXPECT_THAT(dump(), HasSubstr("\"uid\": \"Kubernetes//Pod/demo/web\""));
  EXPECT_THAT(dump(), HasSubstr("\"identity\": \"spiffe://cluster.local/ns/demo/sa/web\""));
  EXPECT_THAT(dump(), HasSubstr("\"serialNumber\": \"" + data_plane_.serials().at("web") + "\""));
  EXPECT_THAT(metrics(), HasSubstr("istio_xds_message_total{url=\"type.googleapis.com/istio.workload.Address\"} "));
  EXPECT_THAT(metrics(), HasSubstr("istio_build{component=\"ztunnel\","));
  EXPECT_NE(metrics().find("\nculvert_mesh_push_duration_seconds_count 1\n"), std::string::npos);
}

TEST_F(IstiodAgentTest, AnAgentThatRestartedChangesNothingThatDidNotChange) {
  istiod_->set({testkit::resource(testkit::message_of(pod("web")))});
  start_agent();
  ASSERT_TRUE(eventually([&] { return data_plane_.workloads() == 1 && data_plane_.serials().contains("web"); }));
  const uint64_t version = data_plane_.mesh_version();
  const auto serials = data_plane_.serials();
  end_agent();
  EXPECT_EQ(data_plane_.workloads(), 1u) << "the data plane goes on";
  start_agent();
  ASSERT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 1; }));
  EXPECT_EQ(data_plane_.mesh_version(), version) << "the whole state again is no change";
  EXPECT_EQ(data_plane_.serials(), serials) << "a certificate in force is not asked for again";
}

TEST_F(IstiodAgentTest, NothingIsPushedBeforeTheFirstWholeState) {
  istiod_->set({testkit::resource(testkit::message_of(pod("web")))});
  istiod_->set_delay(400ms);
  start_agent();
  EXPECT_EQ(readiness(), 500);
  EXPECT_THAT(get(agent_->faces()->readiness_address(), "/healthz/ready").body, HasSubstr("state manager"));
  EXPECT_EQ(agent_->progress().mesh_transactions, 0u);
  EXPECT_TRUE(eventually([&] { return data_plane_.workloads() == 1; }));
  EXPECT_TRUE(eventually([&] { return agent_->progress().mesh_transactions == 1; })) << "all types came as one whole";
}

TEST_F(IstiodAgentTest, AWorkloadThatMovedToAnotherNodeIsFollowed) {
  istiod_->set({testkit::resource(testkit::message_of(pod("web")))});
  start_agent();
  ASSERT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); }));
  istiod_->set({testkit::resource(testkit::message_of(pod("web", "n2")))});
  EXPECT_TRUE(eventually([&] {
    return data_plane_.with(
        [](const control::FakeNode& n) { return n.mesh->workload("Kubernetes//Pod/demo/web")->node == "n2"; });
  }));
  EXPECT_TRUE(eventually([&] { return !data_plane_.serials().contains("web"); }))
      << "the last workload of that identity left this node";
}

TEST_F(IstiodAgentTest, WhatIstiodSendsWrongIsRefusedByNameAndTheRestHolds) {
  start_agent();
  ASSERT_TRUE(istiod_->wait_streams(1));
  istio::workload::Address wrong = testkit::message_of(pod("wrong"));
  wrong.mutable_workload()->set_addresses(0, "abc");
  const uint64_t push = istiod_->set({testkit::resource(wrong), testkit::resource(testkit::message_of(pod("web")))});
  ASSERT_TRUE(istiod_->wait_answered(push));
  EXPECT_TRUE(istiod_->wait_event([](const FakeIstiodEvent& event) {
    return event.kind == FakeIstiodEvent::Kind::kNack &&
           event.text.find("Kubernetes//Pod/demo/wrong: ") != std::string::npos &&
           event.text.find("addresses[0]") != std::string::npos;
  })) << istiod_->history();
  EXPECT_TRUE(eventually([&] { return data_plane_.workloads() == 1; }));
}

TEST_F(IstiodAgentTest, WithoutIstiodWhatItSaidLastStays) {
  istiod_->set(
      {testkit::resource(testkit::message_of(pod("web"))), testkit::resource(testkit::message_of(pod("old")))});
  start_agent();
  ASSERT_TRUE(eventually([&] { return data_plane_.workloads() == 2 && data_plane_.serials().size() == 2; }));
  const auto serials = data_plane_.serials();
  istiod_->stop_listening();
  istiod_->remove({{testkit::kAddressType, "Kubernetes//Pod/demo/old"}});
  ASSERT_TRUE(eventually([&] { return log_.count("the mesh stays as it was (2 resources)") > 0; }))
      << testing::PrintToString(log_.lines());
  EXPECT_EQ(data_plane_.workloads(), 2u);
  EXPECT_EQ(data_plane_.serials(), serials);
  EXPECT_EQ(readiness(), 200) << "stale state is state";
  istiod_->listen();
  EXPECT_TRUE(eventually([&] { return data_plane_.workloads() == 1; })) << "what vanished meanwhile is gone";
}

TEST_F(IstiodAgentTest, ItIsFollowedOverARotationOfItsRoot) {
  istiod_->set({testkit::resource(testkit::message_of(pod("web")))});
  start_agent();
  ASSERT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); }));
  istiod_->rotate_root(true);
  istiod_->write_client_files(folder_.path());
  ASSERT_TRUE(istiod_->wait_streams(1)) << istiod_->history();
  istiod_->set({testkit::resource(testkit::message_of(pod("new")))});
  EXPECT_TRUE(eventually([&] { return data_plane_.workloads() == 2; })) << istiod_->history();
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().contains("new"); }));
}

TEST_F(IstiodAgentTest, TheMeshFileWorksBesideIt) {
  std::ofstream(folder_ / "mesh.yaml") << "workloads:\n- {name: local, uid: local, namespace: demo, workloadIps: "
                                          "[10.1.0.7], services: {}}\n";
  istiod_->set({testkit::resource(testkit::message_of(pod("web")))});
  start_agent("mesh: {file: " + (folder_ / "mesh.yaml") + "}\n");
  EXPECT_TRUE(eventually([&] { return data_plane_.workloads() == 2; }));
  EXPECT_THAT(dump(), HasSubstr("\"staticConfig\""));
}

TEST_F(IstiodAgentTest, CertificatesThatCannotBeHadAreToldWithTheReason) {
  istiod_->set_ca({.refusal = 7, .refusal_text = "not trusted"});  // PERMISSION_DENIED
  istiod_->set({testkit::resource(testkit::message_of(pod("web")))});
  start_agent();
  ASSERT_TRUE(eventually([&] { return log_.count("spiffe://cluster.local/ns/demo/sa/web") > 0; }));
  EXPECT_THAT(log_.lines(), Contains(HasSubstr("CA_TRUSTED_NODE_ACCOUNTS")));
  EXPECT_TRUE(eventually([&] { return dump().find("Unavailable: ") != std::string::npos; })) << dump();
  istiod_->set_ca({});
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().contains("web"); })) << "and asked for again";
}

TEST_F(IstiodAgentTest, ALevelThatIsSetReachesTheDataPlane) {
  start_agent();
  ASSERT_TRUE(eventually([&] { return agent_->progress().sessions == 1; }));
  admin::Client client(agent_->faces()->admin_address());
  client.send("POST /logging?level=access:debug,xds=off HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.read().body, "current log level is access=debug,xds=off,info\n");
  EXPECT_EQ(log_.filter().to_string(), "access=debug,xds=off,info");
}

TEST_F(IstiodAgentTest, AFaceWhoseAddressIsTakenStopsTheStart) {
  const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(taken, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(taken, 1), 0);
  getsockname(taken, reinterpret_cast<sockaddr*>(&address), &length);
  const std::string where = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  std::ofstream(folder_ / "culvert.yaml") << "node: {name: n1}\nadmin: {listen: \"" << where << "\"}\n";
  auto loaded = config::load(folder_ / "culvert.yaml", {});
  ASSERT_TRUE(loaded);
  Agent agent(folder_ / "culvert.yaml", {}, std::move(*loaded), links_, log_);
  const auto started = agent.start();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error(), HasSubstr(where));
  EXPECT_THAT(started.error(), HasSubstr("admin.listen"));
  close(taken);
}

// A relay between two Unix sockets that keeps every byte.
class Tap {
 public:
  Tap(std::string at, std::string to) : to_(std::move(to)), listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = name(at);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    threads_.emplace_back([this] {
      for (int client = accept(listener_, nullptr, nullptr); client >= 0;
           client = accept(listener_, nullptr, nullptr)) {
        const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un there = name(to_);
        if (connect(server, reinterpret_cast<sockaddr*>(&there), sizeof(there)) != 0) {
          close(client);
          close(server);
          continue;
        }
        const std::lock_guard lock(mutex_);
        for (const int one : {client, server}) sockets_.push_back(one);
        threads_.emplace_back([this, client, server] { carry(client, server); });
        threads_.emplace_back([this, client, server] { carry(server, client); });
      }
    });
  }
  ~Tap() {
    shutdown(listener_, SHUT_RDWR);
    std::vector<std::thread> threads;
    threads_.front().join();
    {
      const std::lock_guard lock(mutex_);
      for (const int one : sockets_) shutdown(one, SHUT_RDWR);
      threads.swap(threads_);
    }
    for (size_t i = 1; i < threads.size(); i++) threads[i].join();
    for (const int one : sockets_) close(one);
    close(listener_);
  }
  std::string bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  static sockaddr_un name(const std::string& path) {
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    path.copy(out.sun_path, sizeof(out.sun_path) - 1);
    return out;
  }
  void carry(int from, int to) {
    char chunk[65536];
    for (ssize_t n = read(from, chunk, sizeof(chunk)); n > 0; n = read(from, chunk, sizeof(chunk))) {
      {
        const std::lock_guard lock(mutex_);
        bytes_.append(chunk, static_cast<size_t>(n));
      }
      if (send(to, chunk, static_cast<size_t>(n), MSG_NOSIGNAL) != n) break;
    }
    shutdown(to, SHUT_WR);
  }

  const std::string to_;
  const int listener_;
  mutable std::mutex mutex_;
  std::string bytes_;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
};

// The private scalar of each certificate in force, 32 bytes each.
std::vector<std::string> private_scalars(const DataPlane& data_plane) {
  return data_plane.with([](const control::FakeNode& n) {
    std::vector<std::string> out;
    if (n.credentials == nullptr) return out;
    for (const auto& [id, credentials] : *n.credentials) {
      BIGNUM* scalar = nullptr;
      EXPECT_EQ(EVP_PKEY_get_bn_param(credentials->key(), OSSL_PKEY_PARAM_PRIV_KEY, &scalar), 1);
      std::string bytes(32, '\0');
      EXPECT_EQ(BN_bn2binpad(scalar, reinterpret_cast<unsigned char*>(bytes.data()), 32), 32);
      BN_clear_free(scalar);
      out.push_back(bytes);
    }
    return out;
  });
}

// Every writable byte of another process. A mapping beyond a gigabyte is none of its data: the address sanitizer's
// shadow has terabytes.
std::string memory_of(pid_t pid) {
  constexpr uint64_t kMappingMax = 1u << 30;
  std::string out;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  const int memory = open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_GE(memory, 0);
  for (std::string line; std::getline(maps, line);) {
    if (line.find(" rw") == std::string::npos) continue;
    const size_t dash = line.find('-');
    const uint64_t from = std::stoull(line.substr(0, dash), nullptr, 16);
    const uint64_t to = std::stoull(line.substr(dash + 1), nullptr, 16);
    if (to - from > kMappingMax) continue;
    std::string chunk(1 << 20, '\0');
    for (uint64_t at = from; at < to; at += chunk.size()) {
      const ssize_t n = pread(memory, chunk.data(), std::min<uint64_t>(chunk.size(), to - at), static_cast<off_t>(at));
      if (n <= 0) break;
      out.append(chunk, 0, static_cast<size_t>(n));
    }
  }
  close(memory);
  return out;
}

// D20: a key is made, used and wiped in the data plane. The agent runs as a program of its own here, so that its memory
// is its own; the data plane's contract server is in this process.
TEST_F(IstiodAgentTest, NoPrivateKeyIsInTheAgentsMemoryOnTheContractOrOnDisk) {
  istiod_->set_ca({.lifetime = 4s});  // renewed while we look
  std::vector<testkit::XdsResource> pods;
  for (const char* name : {"web", "db", "cache"}) pods.push_back(testkit::resource(testkit::message_of(pod(name))));
  istiod_->set(pods);
  const Tap contract(folder_ / "tap.sock", folder_ / "control.sock");
  const std::string path = configuration(folder_.path(), *istiod_);
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    const int nowhere = open((folder_ / "agent.log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    const std::string socket = "control.socket=" + (folder_ / "tap.sock");
    execl(CULVERT_AGENT, CULVERT_AGENT, "--config", path.c_str(), "--set", socket.c_str(), nullptr);
    _exit(127);
  }
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().size() == 3; })) << istiod_->history();
  const auto first = data_plane_.serials();
  std::vector<std::string> keys = private_scalars(data_plane_);
  EXPECT_TRUE(eventually([&] { return data_plane_.serials().at("web") != first.at("web"); })) << "it was renewed";
  for (std::string& key : private_scalars(data_plane_)) keys.push_back(std::move(key));
  const std::string memory = memory_of(pid), wire = contract.bytes(), ca = istiod_->certificate_bytes();
  kill(pid, SIGTERM);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);

  EXPECT_GT(memory.size(), size_t{1} << 20);
  EXPECT_NE(memory.find("BEGIN CERTIFICATE"), std::string::npos) << "the search finds what is there";
  EXPECT_NE(wire.find("BEGIN CERTIFICATE REQUEST"), std::string::npos);
  EXPECT_GE(keys.size(), 6u);
  std::string disk;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    disk.append(std::istreambuf_iterator<char>(file), {});
  }
  for (const auto& [name, bytes] : {std::pair<const char*, const std::string*>{"memory", &memory},
                                    {"contract", &wire},
                                    {"CA's calls", &ca},
                                    {"disk", &disk}}) {
    for (const std::string& key : keys) EXPECT_EQ(bytes->find(key), std::string::npos) << "a private key in " << name;
    EXPECT_EQ(bytes->find("PRIVATE KEY-----\n"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace culvert::agent
