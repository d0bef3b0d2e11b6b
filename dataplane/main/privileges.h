// What the process may do. The data plane parses hostile bytes, so it keeps no capability once its ports are open
// (D19).
#pragma once

#include <string>

#include "base/result.h"

namespace culvert {

// Drops every capability from all sets, of this thread, of EAL's interrupt thread (EAL has started), and of the threads
// that this one starts from then on, and forbids gaining any by exec (no_new_privs). The error is one sentence.
Result<void, std::string> drop_all_capabilities();

// True when the effective set is empty: what `culvertctl status` shows.
bool holds_no_capability();

}  // namespace culvert
