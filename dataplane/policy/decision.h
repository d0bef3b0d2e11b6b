// Whether a workload takes a connection: the decision over all policies that apply to it (reference 12.4).
//
// Candidates are the policies of scope NAMESPACE in the workload's namespace, the GLOBAL ones, and those that the
// workload names. A name that no policy bears is skipped: it fails open until the policy arrives, as in ztunnel, and is
// counted in the decision so that the caller can say so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/matcher.h"
#include "snapshot/mesh.h"

namespace culvert::policy {

enum class Reason : uint8_t {
  kNoAllowPolicy,     // nothing denies and no enforced ALLOW policy applies: allowed
  kAllowed,           // `policy` is the ALLOW policy that matched
  kExplicitlyDenied,  // `policy` is the DENY policy that matched
  kNoneAllowed,       // ALLOW policies apply, none matched: denied
};

// Pointers live as long as the Mesh that was asked.
struct Decision {
  Reason reason = Reason::kNoAllowPolicy;
  const snapshot::Policy* policy = nullptr;
  uint32_t rule = 0;  // index of the rule that matched in `policy`
  // What policies in dry-run would have said; they never change the outcome.
  const snapshot::Policy* dry_run_deny = nullptr;   // the first that matched
  const snapshot::Policy* dry_run_allow = nullptr;  // the first that matched
  bool dry_run_allow_missed = false;                // there are dry-run ALLOW policies, none matched
  uint32_t unknown_policies = 0;

  bool allowed() const { return reason == Reason::kNoAllowPolicy || reason == Reason::kAllowed; }
};

// Allocates nothing.
Decision decide(const snapshot::Mesh& mesh, const snapshot::Workload& workload, const Connection& connection);

// "connection closed due to policy rejection: …", ztunnel's words (reference 26.4). Empty when allowed.
std::string error_text(const Decision& decision);

// --- for `culvertctl why` --------------------------------------------------------------------------------------------

enum class Origin : uint8_t { kNamespace, kGlobal, kNamed };

struct PolicyFinding {
  const snapshot::Policy* policy;
  Origin origin;
  std::optional<uint32_t> matched_rule;
};

struct Explanation {
  Decision decision;
  std::vector<PolicyFinding> findings;        // every candidate, in the order in which decide() asks
  std::vector<std::string> unknown_policies;  // names without a policy
};

Explanation explain(const snapshot::Mesh& mesh, const snapshot::Workload& workload, const Connection& connection);
// One line per finding and a last one with the outcome.
std::vector<std::string> to_lines(const Explanation& explanation);

}  // namespace culvert::policy
