// A network namespace for one test, named by a path as `ip netns` names them: a bind mount on an empty file. Needs
// root.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

namespace culvert::node {

class TemporaryNamespace {
 public:
  TemporaryNamespace() {
    std::string name = (std::filesystem::temp_directory_path() / "culvert-netns-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a directory");
    directory_ = name;
    add();
  }
  ~TemporaryNamespace() {
    remove();
    std::filesystem::remove_all(directory_);
  }
  TemporaryNamespace(const TemporaryNamespace&) = delete;
  TemporaryNamespace& operator=(const TemporaryNamespace&) = delete;

  std::string path() const { return directory_ / "net"; }

  // As `ip netns del` does: the name goes at once, the namespace when nobody holds it any more.
  void remove() {
    umount2(path().c_str(), MNT_DETACH);
    unlink(path().c_str());
  }

  // A new namespace under the same path.
  void add() {
    std::string error;
    std::ofstream(path()).close();
    std::thread([&] {
      const std::string own = "/proc/" + std::to_string(getpid()) + "/task/" + std::to_string(gettid()) + "/ns/net";
      if (unshare(CLONE_NEWNET) != 0 || mount(own.c_str(), path().c_str(), "none", MS_BIND, nullptr) != 0) {
        error = std::strerror(errno);
      }
    }).join();
    if (!error.empty()) throw std::runtime_error("cannot make a network namespace (run the tests as root): " + error);
  }

  // What a command prints inside.
  std::string run(const std::string& command) const {
    FILE* pipe = popen(("nsenter --net=" + path() + " -- " + command + " 2>&1").c_str(), "r");
    std::string out;
    char chunk[512];
    while (fgets(chunk, sizeof(chunk), pipe) != nullptr) out += chunk;
    pclose(pipe);
    return out;
  }

 private:
  std::filesystem::path directory_;
};

}  // namespace culvert::node
