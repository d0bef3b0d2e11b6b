// Random authorization cases in the words of reference 12: policies, a workload and connections, as texts and numbers
// only, so that an evaluator over them shares no type and no parser with the code under test.
//
// The generator leans towards edges: empty rules, clauses, matches and lists, negations, presence, prefixes and
// suffixes that are almost the value, CIDR blocks that end just before or behind an address, IPv4-mapped spellings, dry
// run, policies of all scopes in the workload's and other namespaces, names that nothing bears, missing identities,
// port 0.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"

namespace culvert::testkit {

struct StringForm {
  enum class Kind { kExact, kPrefix, kSuffix, kPresence };
  Kind kind = Kind::kPresence;
  std::string text;
};
using AccountForm = std::pair<std::string, std::string>;  // namespace, service account

struct MatchForm {
  std::vector<StringForm> namespaces, not_namespaces, principals, not_principals;
  std::vector<AccountForm> service_accounts, not_service_accounts;
  std::vector<std::string> source_ips, not_source_ips, destination_ips, not_destination_ips;  // CIDR
  std::vector<int> destination_ports, not_destination_ports;
};

struct PolicyForm {
  std::string name, name_space;
  std::string scope;   // "Global", "Namespace", "WorkloadSelector"
  std::string action;  // "Allow", "Deny"
  bool dry_run = false;
  std::vector<std::vector<std::vector<MatchForm>>> rules;
  std::string key() const { return name_space + "/" + name; }
};

struct ConnectionForm {
  bool has_identity = false;
  std::string trust_domain, name_space, service_account;
  std::string source_ip, destination_ip;
  int port = 0;
};

// Policies and a workload, asked about many connections.
struct PolicySetForm {
  std::vector<PolicyForm> policies;
  std::string workload_namespace;
  std::vector<std::string> workload_policies;
};

class PolicyCases {
 public:
  explicit PolicyCases(uint64_t seed) : random_(seed) {}
  PolicySetForm policy_set();
  ConnectionForm connection();

 private:
  bool one_in(uint64_t n) { return random_.below(n) == 0; }
  uint64_t below(uint64_t n) { return random_.below(n); }
  const std::string& pick(const std::vector<std::string>& list) { return list[random_.below(list.size())]; }
  StringForm string_form(const std::vector<std::string>& values);
  std::string block();
  MatchForm match();
  PolicyForm policy(uint64_t number);

  Random random_;
};

// A line that `culvertctl policy eval` takes.
std::string to_json(const PolicySetForm& set, const ConnectionForm& connection);

}  // namespace culvert::testkit
