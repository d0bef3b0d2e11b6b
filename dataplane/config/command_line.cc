#include "config/command_line.h"

#include <cstdio>

namespace culvert::config {

Given load(const CommandLine& line, const char* program) {
  Given out;
  out.overrides.environment = process_environment;
  for (const std::string& set : line.sets) {
    const size_t equals = set.find('=');
    if (equals == std::string::npos) {
      std::fprintf(stderr, "%s: --set %s: KEY=VALUE is accepted\n", program, set.c_str());
      out.exit = kUsageExit;
      return out;
    }
    out.overrides.flags.emplace_back(set.substr(0, equals), set.substr(equals + 1));
  }
  auto loaded = load(line.path, out.overrides);
  if (!loaded) {
    for (const std::string& problem : loaded.error()) std::fprintf(stderr, "%s\n", problem.c_str());
    out.exit = kUsageExit;
    return out;
  }
  out.loaded = std::move(*loaded);
  if (line.print_config) {
    std::fputs(print(out.loaded.effective).c_str(), stdout);
    out.exit = 0;
  }
  return out;
}

}  // namespace culvert::config
