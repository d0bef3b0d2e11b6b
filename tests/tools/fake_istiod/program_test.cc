// The program from outside: a child process that is started, watched and told what to do.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "ca/ca.h"
#include "tests/testkit/xds_node.h"
#include "tests/tools/fake_istiod/script.h"

namespace culvert::fake_istiod_tool {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using testkit::names;
using testkit::removed;
using testkit::XdsNode;

constexpr char kMesh[] = R"(
workloads:
- {uid: w1, name: web, namespace: demo, serviceAccount: web, workloadIps: [10.1.0.1], protocol: HBONE, services: {}}
policies: []
services: []
)";

std::string content(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A child with its three streams; ended with the object.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments) {
    int in[2], out[2];
    EXPECT_EQ(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    char log[] = "/tmp/culvert-test-XXXXXX";
    const int err = mkostemp(log, O_CLOEXEC);
    log_ = log;
    arguments.insert(arguments.begin(), CULVERT_FAKE_ISTIOD);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], STDIN_FILENO);
      dup2(out[1], STDOUT_FILENO);
      dup2(err, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    close(err);
    input_ = in[1];
    reader_ = std::thread([this, fd = out[0]] {
      char bytes[4096];
      for (ssize_t got = read(fd, bytes, sizeof(bytes)); got > 0; got = read(fd, bytes, sizeof(bytes))) {
        const std::lock_guard lock(mutex_);
        output_.append(bytes, static_cast<size_t>(got));
      }
      close(fd);
    });
  }
  ~Child() {
    end();
    reader_.join();
    close(input_);
    std::filesystem::remove(log_);
  }

  void say(const std::string& line) const {
    const std::string whole = line + "\n";
    ASSERT_EQ(write(input_, whole.data(), whole.size()), static_cast<ssize_t>(whole.size()));
  }
  int wait() {
    int status = 0;
    if (pid_ > 0) waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int end() {
    if (pid_ > 0) kill(pid_, SIGTERM);
    return wait();
  }
  std::string errors() const { return content(log_); }
  std::vector<nlohmann::json> events() {
    const std::lock_guard lock(mutex_);
    std::vector<nlohmann::json> out;
    std::istringstream lines(output_);
    for (std::string line; std::getline(lines, line);) {
      if (!lines.eof()) out.push_back(nlohmann::json::parse(line));
    }
    return out;
  }
  bool told(const std::string& event, const std::string& text = {}) {
    return eventually([&] {
      for (const nlohmann::json& one : events()) {
        if (one["event"] == event && (text.empty() || one.value("text", "") == text)) return true;
      }
      return false;
    });
  }
  // Its address, once it is ready.
  std::string address() {
    std::string found;
    EXPECT_TRUE(eventually([&] {
      const std::string text = errors();
      const size_t at = text.find("ready: https://"), end = text.find(", ", at);
      if (at == std::string::npos || end == std::string::npos) return false;
      found = text.substr(at + 15, end - at - 15);
      return true;
    })) << errors();
    return found;
  }
  static bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 4000; ++i, std::this_thread::sleep_for(5ms)) {
      if (holds()) return true;
    }
    return false;
  }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  std::string log_;
  std::mutex mutex_;
  std::string output_;
  std::thread reader_;
};

class FakeIstiodProgram : public testing::Test {
 protected:
  FakeIstiodProgram() {
    char pattern[] = "/tmp/culvert-test-XXXXXX";
    folder_ = mkdtemp(pattern);
    write("mesh.yaml", kMesh);
  }
  ~FakeIstiodProgram() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name + ".new") << text;
    std::filesystem::rename(folder_ + "/" + name + ".new", folder_ + "/" + name);
  }
  std::string root() const { return content(folder_ + "/root-cert.pem"); }

  std::string folder_;
};

TEST_F(FakeIstiodProgram, ServesTheMeshFileAndFollowsIt) {
  Child child({"--listen", "127.0.0.1:0", "--mesh", folder_ + "/mesh.yaml", "--out", folder_, "--print"});
  const std::string address = child.address();
  EXPECT_EQ(content(folder_ + "/istio-token"), "test-token");
  XdsNode node(address, root());
  EXPECT_THAT(names(node.watch(testkit::kAddressType)), ElementsAre("w1"));
  std::string more = kMesh;
  more.replace(more.find("w1"), 2, "w2");
  write("mesh.yaml", more);
  const auto change = node.hear();
  EXPECT_THAT(names(change), ElementsAre("w2"));
  EXPECT_THAT(removed(change), ElementsAre("w1"));
  node.answer(change);
  EXPECT_TRUE(child.told("ack")) << child.errors();
  write("mesh.yaml", "workloads: 7\n");
  EXPECT_TRUE(Child::eventually([&] { return child.errors().find("the mesh stays as it is") != std::string::npos; }));
  child.say("{do: disconnect, code: ABORTED, text: enough}");
  EXPECT_TRUE(node.hears_nothing_more());
  const grpc::Status status = node.finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "enough");
  EXPECT_EQ(child.end(), 0);
}

TEST_F(FakeIstiodProgram, TakesStepsOfItsScriptInTheirOrder) {
  write("script.yaml", R"(
mesh: mesh.yaml
out: .
listen: 127.0.0.1:0
tokens: [{value: mine}]
steps:
- {do: rotate-root}
- {after: 20ms, do: exit}
)");
  Child child({"--script", folder_ + "/script.yaml"});
  EXPECT_EQ(child.wait(), 0) << child.errors();
  EXPECT_EQ(content(folder_ + "/istio-token"), "mine");
  EXPECT_THAT(root(), HasSubstr("BEGIN CERTIFICATE"));
}

TEST_F(FakeIstiodProgram, EndsWithOneWhenANodeRefusedSomething) {
  Child child({"--listen", "127.0.0.1:0", "--mesh", folder_ + "/mesh.yaml", "--out", folder_, "--print"});
  const std::string address = child.address();
  XdsNode node(address, root());
  node.watch(testkit::kAddressType);
  child.say("{do: nack-check}");
  child.say("{do: bad-resource, names: [odd]}");
  node.answer(node.hear(), "odd: cannot be read");
  EXPECT_TRUE(child.told("nack", "odd: cannot be read"));
  child.say("{do: nack-check}");
  EXPECT_EQ(child.wait(), 1);
  EXPECT_THAT(child.errors(), HasSubstr("odd: cannot be read"));
}

TEST_F(FakeIstiodProgram, UsesACaDirectory) {
  ASSERT_TRUE(ca::init(folder_ + "/ca"));
  Child child({"--listen", "127.0.0.1:0", "--ca-dir", folder_ + "/ca", "--out", folder_});
  const std::string address = child.address();
  XdsNode node(address, content(folder_ + "/ca/root-cert.pem"));
  node.watch(testkit::kAddressType);
  EXPECT_EQ(root(), content(folder_ + "/ca/root-cert.pem"));
}

TEST_F(FakeIstiodProgram, SaysWhatIsWrongWithItsScript) {
  write("script.yaml", "lifetime: soon\nsteps:\n- {do: dance}\n- {do: ca, refuse: NO}\n");
  Child child({"--script", folder_ + "/script.yaml"});
  EXPECT_EQ(child.wait(), 2);
  EXPECT_THAT(child.errors(), HasSubstr("script.yaml:1: lifetime: "));
  EXPECT_THAT(child.errors(), HasSubstr("script.yaml:3: "));
  EXPECT_THAT(child.errors(), HasSubstr("script.yaml:4: "));
}

TEST(FakeIstiodScript, ReadsEveryStep) {
  const auto script = parse_script(R"(
names: [istiod.test, 192.0.2.1]
lifetime: 10s
intermediate: true
steps:
- {do: push, after: 250ms}
- {do: remove, type: authorization, names: [demo/p]}
- {do: mesh, file: other.yaml}
- {do: delay, for: 2s}
- {do: reject-tokens, on: false}
- {do: refuse-streams, code: OK}
- {do: away, for: 1m}
- {do: rotate-root, keep-old: false}
- {do: rotate-server}
- {do: bad-bytes}
- {do: ca, identity: "spiffe://td/ns/a/sa/b", lifetime: 5s, delay: 1s, refuse: UNAVAILABLE, text: away}
)",
                                   "/somewhere/script.yaml");
  ASSERT_TRUE(script) << testing::PrintToString(script.error());
  ASSERT_EQ(script->steps.size(), 11u);
  EXPECT_EQ(script->ca.lifetime, 10s);
  EXPECT_EQ(script->steps[0].after, 250ms);
  EXPECT_EQ(script->steps[1].type_url, testkit::kAuthorizationType);
  EXPECT_THAT(script->steps[1].names, ElementsAre("demo/p"));
  EXPECT_EQ(script->steps[2].file, "/somewhere/other.yaml");
  EXPECT_EQ(script->steps[3].span, 2s);
  EXPECT_FALSE(script->steps[4].on);
  EXPECT_EQ(script->steps[5].code, 0);
  EXPECT_EQ(script->steps[6].span, 1min);
  EXPECT_FALSE(script->steps[7].on);
  EXPECT_EQ(script->steps[10].identity, "spiffe://td/ns/a/sa/b");
  EXPECT_EQ(script->steps[10].ca.refusal, grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(script->steps[10].ca.lifetime, 5s);
  EXPECT_FALSE(parse_step("{do: push, for: 2s}")) << "a key that this step has not";
}

}  // namespace
}  // namespace culvert::fake_istiod_tool
