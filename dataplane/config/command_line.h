// What the command lines of both programs have in common: which file, what overrides it, and showing the outcome.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/load.h"

namespace culvert::config {

struct CommandLine {
  std::string path = "/etc/culvert/culvert.yaml";  // --config
  std::vector<std::string> sets;                   // --set KEY=VALUE, as often as one likes
  bool print_config = false;                       // --print-config
};

inline constexpr int kUsageExit = 2;  // the command line or the configuration is wrong

struct Given {
  std::optional<int> exit;  // the program ends with this status: everything was said
  Overrides overrides;      // flags, and the process's environment
  Loaded loaded;
};

// Reads the file. Problems go to standard error, the values of --print-config to standard output.
Given load(const CommandLine& line, const char* program);

}  // namespace culvert::config
