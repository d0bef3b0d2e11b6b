// The loop of culvert-fake-istiod: one thread that takes steps when they are due, follows the mesh file, and listens to
// signals and standard input.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "base/unique_fd.h"
#include "local/file_watch.h"
#include "tests/testkit/fake_istiod.h"
#include "tests/tools/fake_istiod/script.h"

namespace culvert::fake_istiod_tool {

class Program {
 public:
  Program(Script script, bool print);
  ~Program();

  // Until a signal, `exit`, or a check that fails. The process's exit code.
  int run();

 private:
  bool start();
  void read_mesh();
  void take_commands();
  // False: the program ends.
  bool take(const Step& step);
  bool check_answers(const Step& step);
  void say(const std::string& what) const;

  Script script_;
  const bool print_;
  int exit_code_ = 0;
  UniqueFd signals_;
  bool commands_open_ = true;
  std::string command_bytes_;
  std::unique_ptr<testkit::FakeIstiod> istiod_;
  std::optional<local::FileWatch> mesh_watch_;
  std::deque<Step> steps_;
  Instant due_;  // of the first step
  uint64_t push_ = 0;
  size_t nacks_seen_ = 0;
  bool away_ = false;
};

}  // namespace culvert::fake_istiod_tool
