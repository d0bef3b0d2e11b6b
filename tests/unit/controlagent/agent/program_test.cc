// culvert-agent as a program: its exit codes, its sentences, its readiness line and its end.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/controlagent/node/temporary_namespace.h"
#include "tests/unit/controlagent/southbound/data_plane.h"

namespace culvert::agent {
namespace {

using testing::HasSubstr;

struct Outcome {
  int exit_code = -1;
  std::string output;
};

Outcome run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  Outcome out;
  char chunk[512];
  while (fgets(chunk, sizeof(chunk), pipe) != nullptr) out.output += chunk;
  const int status = pclose(pipe);
  out.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return out;
}

const std::string kAgent = CULVERT_AGENT;

class ProgramTest : public testing::Test {
 protected:
  std::string config(const std::string& more = "") {
    const std::string path = folder_ / "culvert.yaml";
    std::ofstream(path) << "node: {name: n1}\ncontrol: {socket: " << folder_ / "control.sock"
                        << ", descriptors: " << folder_ / "descriptors.sock"
                        << "}\nadmin: {listen: \"\", metrics: \"\", readiness: \"\"}\n"
                        << more;
    return path;
  }
  control::TemporaryFolder folder_;
};

TEST_F(ProgramTest, TellsItsVersionAndItsOptions) {
  EXPECT_THAT(run(kAgent + " --version").output, HasSubstr(CULVERT_VERSION));
  const Outcome help = run(kAgent + " --help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* word : {"--config", "--set", "--print-config", "SIGTERM"}) EXPECT_THAT(help.output, HasSubstr(word));
}

TEST_F(ProgramTest, RefusesABadConfigurationWithFileAndLine) {
  const std::string path = config("nonsense: 1\n");
  const Outcome refused = run(kAgent + " --config " + path);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr(path + ":4: "));
  EXPECT_EQ(run(kAgent + " --config /nonexistent.yaml").exit_code, 2);
  EXPECT_EQ(run(kAgent + " --set nonsense --config " + path).exit_code, 2);
}

TEST_F(ProgramTest, PrintsEveryEffectiveValueWithItsOrigin) {
  const Outcome printed = run(kAgent + " --print-config --set log.level=debug --config " + config());
  EXPECT_EQ(printed.exit_code, 0);
  EXPECT_THAT(printed.output, testing::ContainsRegex("log.level *= *debug .*flag"));
  EXPECT_THAT(printed.output, testing::ContainsRegex("node.name *= *n1 .*culvert.yaml:1"));
}

TEST_F(ProgramTest, NamesTheCapabilityThatIsMissing) {
  const Outcome refused =
      run("setpriv --bounding-set -net_admin --inh-caps -net_admin -- " + kAgent + " --config " + config());
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.output,
              HasSubstr("CAP_NET_ADMIN is missing, without which this agent cannot make pods' interfaces, "
                        "addresses and routes: run it as root or give it the capability"));
  EXPECT_THAT(
      run("setpriv --bounding-set -sys_admin --inh-caps -sys_admin -- " + kAgent + " --config " + config()).output,
      HasSubstr("CAP_SYS_ADMIN is missing, without which this agent cannot enter pods' network namespaces"));
}

TEST_F(ProgramTest, RunsWithoutADataPlaneDropsPrivilegesAndLeavesThePodAsItIs) {
  node::TemporaryNamespace pod;
  const std::string path =
      config("attachments:\n- {id: p1, netns: " + pod.path() +
             ", interface: eth0, workload: demo/a, addresses: [10.1.0.11], gateway: [10.1.0.1]}\n");
  const std::string out = folder_ / "out";
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    const int fd = open(out.c_str(), O_WRONLY | O_CREAT, 0600);
    dup2(fd, 1);
    execl(kAgent.c_str(), kAgent.c_str(), "--config", path.c_str(), nullptr);
    _exit(127);
  }
  const auto content = [](const std::string& name) {
    std::ifstream file(name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_TRUE(eventually(
      [&] { return content(out) == "culvert-agent " CULVERT_VERSION " ready: node n1, 1 attachment, 0 ports\n"; }));
  EXPECT_TRUE(
      eventually([&] { return pod.run("ip -br -4 address show eth0").find("10.1.0.11/32") != std::string::npos; }));
  // CAP_NET_ADMIN is bit 12, CAP_SYS_PTRACE 19, CAP_SYS_ADMIN 21.
  const std::string status = content("/proc/" + std::to_string(pid) + "/status");
  const size_t at = status.find("CapEff:\t");
  ASSERT_NE(at, std::string::npos);
  const uint64_t held = std::stoull(status.substr(at + 8, 16), nullptr, 16);
  EXPECT_EQ(held & ~(uint64_t{1} << 19), (uint64_t{1} << 12) | (uint64_t{1} << 21));
  kill(pid, SIGTERM);
  int wait_status = 0;
  ASSERT_EQ(waitpid(pid, &wait_status, 0), pid);
  EXPECT_TRUE(WIFEXITED(wait_status));
  EXPECT_EQ(WEXITSTATUS(wait_status), 0);
  EXPECT_THAT(pod.run("ip route"), HasSubstr("default via 10.1.0.1 dev eth0"));
}

}  // namespace
}  // namespace culvert::agent
