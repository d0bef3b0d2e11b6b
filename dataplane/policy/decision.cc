// The six steps of reference 12.4, in one function; and the same told in words.
#include "policy/decision.h"

#include <string_view>

namespace culvert::policy {

using snapshot::Mesh;
using snapshot::Policy;
using snapshot::PolicyAction;
using snapshot::Workload;

namespace {

// Calls visit(policy, origin) for each candidate until it returns false; missing(name) for names without a policy.
template <class Visit, class Missing>
void for_each_candidate(const Mesh& mesh, const Workload& workload, Visit&& visit, Missing&& missing) {
  for (const auto& policy : mesh.policies_in_scope(workload.name_space)) {
    if (policy->scope == snapshot::PolicyScope::kNamespace && !visit(*policy, Origin::kNamespace)) return;
  }
  for (const auto& policy : mesh.policies_in_scope("")) {
    if (policy->scope == snapshot::PolicyScope::kGlobal && !visit(*policy, Origin::kGlobal)) return;
  }
  for (const std::string& name : workload.authorization_policies) {
    const Policy* policy = mesh.policy(name);
    if (!policy) {
      missing(name);
    } else if (!visit(*policy, Origin::kNamed)) {
      return;
    }
  }
}

}  // namespace

Decision decide(const Mesh& mesh, const Workload& workload, const Connection& connection) {
  Decision decision;
  // DENY, dry-run or not. An enforced match ends it.
  for_each_candidate(
      mesh, workload,
      [&](const Policy& policy, Origin) {
        if (policy.action != PolicyAction::kDeny) return true;
        if (policy.dry_run && decision.dry_run_deny) return true;
        const auto rule = matching_rule(policy, connection);
        if (!rule) return true;
        if (policy.dry_run) {
          decision.dry_run_deny = &policy;
          return true;
        }
        decision.reason = Reason::kExplicitlyDenied;
        decision.policy = &policy;
        decision.rule = *rule;
        return false;
      },
      [&](const std::string&) { ++decision.unknown_policies; });
  if (decision.reason == Reason::kExplicitlyDenied) return decision;

  bool enforced = false;
  bool dry_run = false;
  for_each_candidate(
      mesh, workload,
      [&](const Policy& policy, Origin) {
        if (policy.action != PolicyAction::kAllow) return true;
        (policy.dry_run ? dry_run : enforced) = true;
        // Of each sort the first match is enough; go on for the other sort.
        if (policy.dry_run ? decision.dry_run_allow != nullptr : decision.policy != nullptr) return true;
        const auto rule = matching_rule(policy, connection);
        if (!rule) return true;
        if (policy.dry_run) {
          decision.dry_run_allow = &policy;
        } else {
          decision.reason = Reason::kAllowed;
          decision.policy = &policy;
          decision.rule = *rule;
        }
        return true;
      },
      [](const std::string&) {});
  decision.dry_run_allow_missed = dry_run && !decision.dry_run_allow;
  if (enforced && !decision.policy) decision.reason = Reason::kNoneAllowed;
  return decision;
}

std::string error_text(const Decision& decision) {
  constexpr const char* kRejection = "connection closed due to policy rejection: ";
  switch (decision.reason) {
    case Reason::kNoAllowPolicy:
    case Reason::kAllowed:
      return {};
    case Reason::kExplicitlyDenied:
      return std::string(kRejection) + "explicitly denied by: " + decision.policy->key();
    case Reason::kNoneAllowed:
      return std::string(kRejection) + "allow policies exist, but none allowed";
  }
  return {};
}

Explanation explain(const Mesh& mesh, const Workload& workload, const Connection& connection) {
  Explanation out;
  out.decision = decide(mesh, workload, connection);
  for (const PolicyAction action : {PolicyAction::kDeny, PolicyAction::kAllow}) {
    for_each_candidate(
        mesh, workload,
        [&](const Policy& policy, Origin origin) {
          if (policy.action == action) out.findings.push_back({&policy, origin, matching_rule(policy, connection)});
          return true;
        },
        [&](const std::string& name) {
          if (action == PolicyAction::kDeny) out.unknown_policies.push_back(name);
        });
  }
  return out;
}

namespace {

std::string_view text_of(Origin origin) {
  switch (origin) {
    case Origin::kNamespace:
      return "of the namespace";
    case Origin::kGlobal:
      return "global";
    case Origin::kNamed:
      return "named by the workload";
  }
  return {};
}

std::string outcome_of(const Decision& decision) {
  switch (decision.reason) {
    case Reason::kNoAllowPolicy:
      return "allowed: no policy denies and no ALLOW policy applies";
    case Reason::kAllowed:
      return "allowed by " + decision.policy->key() + ", rule " + std::to_string(decision.rule);
    case Reason::kExplicitlyDenied:
      return "denied: explicitly denied by: " + decision.policy->key() + ", rule " + std::to_string(decision.rule);
    case Reason::kNoneAllowed:
      return "denied: allow policies exist, but none allowed";
  }
  return {};
}

}  // namespace

std::vector<std::string> to_lines(const Explanation& explanation) {
  std::vector<std::string> lines;
  for (const PolicyFinding& finding : explanation.findings) {
    std::string line = finding.policy->action == PolicyAction::kDeny ? "DENY " : "ALLOW ";
    line += finding.policy->key() + " (" + std::string(text_of(finding.origin)) + ")";
    if (finding.policy->dry_run) line += " in dry-run";
    line += finding.matched_rule ? ": rule " + std::to_string(*finding.matched_rule) + " matches" : ": does not match";
    lines.push_back(std::move(line));
  }
  for (const std::string& name : explanation.unknown_policies) {
    lines.push_back(name + " is named by the workload and unknown: skipped");
  }
  lines.push_back(outcome_of(explanation.decision));
  return lines;
}

}  // namespace culvert::policy
