// Identities (reference 3.3, 3.4), the checks at the destination (11.2) and policy (12.4).
#include "identity/verification.h"
#include "policy/decision.h"
#include "routing/inbound.h"
#include "telemetry/drop_reasons.h"
#include "why/parts.h"
#include "why/words.h"

namespace culvert::why {

using identity::SpiffeId;
using snapshot::Mesh;
using snapshot::Workload;

namespace {

constexpr size_t kRulesShown = 4;

// The first match of a clause that holds.
std::optional<size_t> holding(const snapshot::Clause& clause, const policy::Connection& connection) {
  for (size_t i = 0; i < clause.matches.size(); ++i) {
    if (policy::matches(clause.matches[i], connection)) return i;
  }
  return std::nullopt;
}

// What made a rule match, clause by clause.
void tell_matched(const snapshot::Rule& rule, const policy::Connection& connection, std::vector<std::string>& lines) {
  if (rule.clauses.empty()) lines.push_back("    the rule has no clauses: it holds for every connection");
  for (size_t c = 0; c < rule.clauses.size(); ++c) {
    const auto match = holding(rule.clauses[c], connection);
    std::string line = "    clause " + std::to_string(c);
    line += match ? ", match " + std::to_string(*match) + ": " + text_of(rule.clauses[c].matches[*match])
                  : ": without matches, always holds";
    lines.push_back(std::move(line));
  }
}

// What kept each rule from matching: its first clause that does not hold.
void tell_missed(const snapshot::Policy& policy, const policy::Connection& connection,
                 std::vector<std::string>& lines) {
  if (policy.rules.empty()) lines.push_back("    without rules: never matches");
  for (size_t r = 0; r < policy.rules.size(); ++r) {
    if (r == kRulesShown) {
      lines.push_back("    and " + std::to_string(policy.rules.size() - r) + " more rules");
      return;
    }
    const auto& clauses = policy.rules[r].clauses;
    for (size_t c = 0; c < clauses.size(); ++c) {
      if (policy::matches(clauses[c], connection)) continue;
      std::string line = "    rule " + std::to_string(r) + " asks for ";
      for (size_t m = 0; m < clauses[c].matches.size(); ++m) {
        line += (m ? "; or " : "") + text_of(clauses[c].matches[m]);
      }
      lines.push_back(std::move(line));
      break;
    }
  }
}

void end(Path& path, Outcome outcome, DropReason reason) {
  path.outcome = outcome;
  path.drop_reason = name_of(reason);
  path.steps.back().passes = false;
}

// False: the handshake fails.
bool follow_identities(const Question& question, const Workload& source, const Workload& destination,
                       const routing::OutboundDecision& decision, Path& path) {
  const SpiffeId own = source.identity(), peer = destination.identity();
  Step& step = path.steps.emplace_back();
  step.kind = StepKind::kIdentity;
  step.title = "the destination proves " + peer.uri();
  for (const SpiffeId& id : decision.expected_identities) {
    if (id != peer) step.lines.push_back("also accepted: " + id.uri());
  }
  if (!SpiffeId::parse(peer.uri())) {
    step.title = name_of(destination) + " has no identity that a certificate could bear";
    path.log_at_source = *identity::check_expected_peer({peer.uri()}, decision.expected_identities);
    end(path, Outcome::kRefused, DropReason::kTlsHandshakeWrongIdentity);
    return false;
  }
  if (question.certificates && destination.node == question.node && !question.certificates->contains(peer)) {
    step.lines.push_back("this node has no certificate in force for it");
    step.title = "the destination cannot prove " + peer.uri();
    path.log_at_destination = "no valid certificate for " + peer.uri();
    end(path, Outcome::kRefused, DropReason::kTlsHandshakeWrongIdentity);
    return false;
  }
  if (const auto error = identity::check_expected_peer({peer.uri()}, decision.expected_identities)) {
    path.log_at_source = *error;
    end(path, Outcome::kRefused, DropReason::kTlsHandshakeWrongIdentity);
    return false;
  }
  if (const auto error = identity::check_trust_domain({own.uri()}, peer.trust_domain)) {
    step.title = "the destination does not accept " + own.uri();
    step.lines.push_back("it takes callers of its own trust domain, " + peer.trust_domain);
    path.log_at_destination = *error;
    end(path, Outcome::kRefused, DropReason::kTlsHandshakeWrongIdentity);
    return false;
  }
  step.lines.push_back("the source proves " + own.uri());
  return true;
}

}  // namespace

void follow(const Mesh& mesh, const Question& question, const Workload& source, const IpAddress& from,
            const routing::OutboundDecision& decision, Path& path) {
  const Workload* destination = mesh.workload(decision.endpoint_uid);
  if (!destination || !follow_identities(question, source, *destination, decision, path)) return;

  const routing::InboundDecision inbound = routing::decide_inbound(
      mesh, {"CONNECT", decision.authority.to_string(), decision.hbone.address, question.network, destination});
  Step& arrival = path.steps.emplace_back();
  arrival.kind = StepKind::kArrival;
  if (!inbound.carried()) {
    const uint16_t status = routing::status_of(inbound.refusal);
    arrival.title = "the destination answers " + std::to_string(status) + " (" +
                    std::string(routing::name_of(inbound.refusal)) + ")";
    path.log_at_destination = inbound.error;
    path.log_at_source = "http status: " + std::string(status == 400 ? "400 Bad Request" : "503 Service Unavailable");
    end(path, Outcome::kRefused, routing::drop_reason_of(inbound.refusal));
    return;
  }
  arrival.title = name_of(*destination) + " is called at " + inbound.target.to_string();
  if (!destination->node.empty()) arrival.title += " on node " + destination->node;

  const SpiffeId peer = source.identity();
  const policy::Connection connection{&peer, from, inbound.target.address, inbound.target.port};
  const policy::Explanation explained = policy::explain(mesh, *destination, connection);
  const policy::Decision& verdict = explained.decision;
  Step& step = path.steps.emplace_back();
  step.kind = StepKind::kPolicy;
  std::vector<std::string> told = policy::to_lines(explained);
  step.title = told.back();
  told.pop_back();
  if (!told.empty()) {
    step.lines.push_back("asked: " + peer.uri().substr(std::string_view("spiffe://").size()) + " from " +
                         from.to_string() + " to " + inbound.target.to_string());
  }
  for (size_t i = 0; i < told.size(); ++i) {
    step.lines.push_back(std::move(told[i]));
    if (i >= explained.findings.size()) continue;  // a name without a policy
    const policy::PolicyFinding& finding = explained.findings[i];
    if (finding.matched_rule) {
      tell_matched(finding.policy->rules[*finding.matched_rule], connection, step.lines);
    } else {
      tell_missed(*finding.policy, connection, step.lines);
    }
  }
  if (verdict.dry_run_allow_missed) step.lines.push_back("enforced, the dry-run ALLOW policies would deny");
  if (verdict.dry_run_deny) {
    step.lines.push_back("enforced, " + verdict.dry_run_deny->key() + " would deny");
  }
  if (verdict.allowed()) return;
  path.log_at_destination = policy::error_text(verdict);
  path.log_at_source = "http status: 401 Unauthorized";
  end(path, Outcome::kDenied, DropReason::kProxyPolicyDenied);
}

}  // namespace culvert::why
