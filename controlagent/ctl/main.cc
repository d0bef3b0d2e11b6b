// culvertctl: shows what the data plane does, and keeps the file-based certificate authority.
#include <csignal>
#include <cstdio>

#include "ctl/command_line.h"

int main(int argc, char** argv) {
  using namespace culvert;
  // A reader that has seen enough (`| head`) is no failure.
  std::signal(SIGPIPE, SIG_DFL);
  ctl::Output output;
  output.out = [](const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); };
  output.err = [](const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); };
  return ctl::run(std::vector<std::string>(argv + 1, argv + argc), output);
}
