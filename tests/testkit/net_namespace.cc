#include "tests/testkit/net_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/check.h"

namespace culvert::testkit {

NetNamespace::NetNamespace() {
  std::thread maker([this] {
    if (unshare(CLONE_NEWNET) != 0) {
      std::perror("a network namespace cannot be made (is this root?)");
      return;
    }
    fd_.reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  });
  maker.join();
  DP_CHECK(fd_.get() >= 0);
  DP_CHECK(run("ip link set lo up") == 0);
}

std::string NetNamespace::prefix() const {
  return "nsenter --net=/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_.get()) + " -- sh -c '";
}

int NetNamespace::run(const std::string& command) const {
  const int status = std::system((prefix() + command + "'").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string NetNamespace::output_of(const std::string& command) const {
  FILE* pipe = popen((prefix() + command + "'").c_str(), "r");
  DP_CHECK(pipe != nullptr);
  std::string out;
  std::array<char, 512> buffer;
  while (size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) out.append(buffer.data(), n);
  pclose(pipe);
  return out;
}

void NetNamespace::enter(const std::function<void()>& work) const {
  std::thread inside([&] {
    DP_CHECK(setns(fd_.get(), CLONE_NEWNET) == 0);
    work();
  });
  inside.join();
}

}  // namespace culvert::testkit
