// culvert-dataplane as a program: what it may still do once it is ready, and how it ends.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace culvert {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "culvert-dataplane-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    std::ofstream(folder_ / "culvert.yaml")
        << "node: {name: n1}\ncontrol: {socket: " << (folder_ / "control.sock").string()
        << ", descriptors: " << (folder_ / "descriptors.sock").string()
        << "}\nmemory: {buffers_mb: 64, huge_pages: never}\n";
  }
  void TearDown() override {
    if (pid_ > 0) stop();
    std::filesystem::remove_all(folder_);
  }
  void start() {
    pid_ = fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      const int out = open((folder_ / "out").c_str(), O_WRONLY | O_CREAT, 0600);
      dup2(out, 1);
      dup2(out, 2);
      execl(CULVERT_DATAPLANE, CULVERT_DATAPLANE, "--config", (folder_ / "culvert.yaml").c_str(), nullptr);
      _exit(127);
    }
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (output().find(" ready: ") == std::string::npos && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(20ms);
    }
    ASSERT_THAT(output(), HasSubstr(" ready: node n1, 1 worker"));
  }
  int stop() {
    kill(pid_, SIGTERM);
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string output() const { return content(folder_ / "out"); }

  std::filesystem::path folder_;
  pid_t pid_ = -1;
};

TEST_F(ProgramTest, NoThreadKeepsACapabilityOnceItIsReady) {
  start();
  const std::string none = "0000000000000000\n";
  int threads = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/task")) {
    const std::string status = content(thread.path() / "status");
    if (status.empty()) continue;  // it has ended meanwhile
    ++threads;
    const std::string name = content(thread.path() / "comm");
    for (const char* set : {"CapInh:\t", "CapPrm:\t", "CapEff:\t", "CapBnd:\t", "CapAmb:\t"}) {
      EXPECT_THAT(status, HasSubstr(set + none)) << name;
    }
    EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1\n")) << name;
  }
  EXPECT_GE(threads, 3) << "the main thread, EAL's for interrupts, and a worker";
}

TEST_F(ProgramTest, EndsOnSigtermAndSaysSo) {
  start();
  EXPECT_EQ(stop(), 0);
  EXPECT_THAT(output(), HasSubstr("ending on SIGTERM"));
}

}  // namespace
}  // namespace culvert
