// One run of culvertctl in this process.
#pragma once

#include <string>
#include <vector>

#include "ctl/command_line.h"

namespace culvert::ctl {

struct Ran {
  int status = -1;
  std::string out, err;
};

inline Ran ran(std::vector<std::string> words) {
  Ran result;
  result.status = run(std::move(words), {[&](const std::string& text) { result.out += text; },
                                         [&](const std::string& text) { result.err += text; }});
  return result;
}

}  // namespace culvert::ctl
