// Explanations (dataplane/why) for people and for programs.
#pragma once

#include <string>

#include "ctl/value.h"
#include "why/why.h"

namespace culvert::ctl {

// Keys: from, to, outcome, summary, steps, paths, paths_left_out.
Value to_value(const why::Explanation& explanation);
std::string show_why(const why::Explanation& explanation);

}  // namespace culvert::ctl
