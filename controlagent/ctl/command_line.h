// The program's commands, from the command line to an exit code.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace culvert::ctl {

// Exit codes.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;  // the data plane cannot be reached or refused, or files cannot be written
inline constexpr int kUsage = 2;   // the command line is wrong

// Where output goes; tests collect it.
struct Output {
  std::function<void(const std::string&)> out;  // standard output
  std::function<void(const std::string&)> err;  // standard error: one sentence per failure
};

// `words`: the command line without the program's name.
int run(std::vector<std::string> words, const Output& output);

}  // namespace culvert::ctl
