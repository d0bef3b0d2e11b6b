// Authorization as reference 12.3 and 12.4 tell it, sentence by sentence, over the plain forms of policy_cases.h:
// nothing of dataplane/policy, snapshot or base is used. Slow on purpose; nothing is indexed, typed or left early.
#pragma once

#include <set>
#include <string>

#include "tests/testkit/policy_cases.h"

namespace culvert::testkit {

struct PolicyVerdict {
  bool allowed = false;
  std::string reason;  // "no_allow_policy", "allowed", "explicitly_denied", "none_allowed"
  // Keys of candidates that match, by action and whether they are enforced.
  std::set<std::string> deny, allow, dry_run_deny, dry_run_allow;
  bool dry_run_allow_exists = false;
  size_t unknown = 0;  // names of the workload that no policy bears
};

PolicyVerdict judge(const PolicySetForm& set, const ConnectionForm& connection);

}  // namespace culvert::testkit
