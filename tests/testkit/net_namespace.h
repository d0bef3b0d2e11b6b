// A network namespace of a test's own: nothing in it is seen from outside, and it goes when the object does. Needs
// CAP_SYS_ADMIN; a test that has it not fails, naming what is missing.
#pragma once

#include <functional>
#include <string>

#include "base/unique_fd.h"

namespace culvert::testkit {

class NetNamespace {
 public:
  NetNamespace();
  int fd() const { return fd_.get(); }
  // Runs a shell command inside; returns its exit status, -1 when it could not be started.
  int run(const std::string& command) const;
  // The same, with what it printed.
  std::string output_of(const std::string& command) const;
  // Calls `work` on a thread of its own inside, and waits for it: for sockets, which stay in their namespace.
  void enter(const std::function<void()>& work) const;

 private:
  std::string prefix() const;
  UniqueFd fd_;
};

}  // namespace culvert::testkit
