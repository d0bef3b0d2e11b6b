#include "tests/testkit/policy_oracle.h"

#include <arpa/inet.h>

#include <map>
#include <vector>

namespace culvert::testkit {

namespace {

// An address as its bits: 32 characters for IPv4, 128 for IPv6. An IPv4-mapped one is the IPv4 address.
using Bits = std::string;

Bits bits_of(const unsigned char* bytes, int count) {
  Bits out;
  for (int i = 0; i < count; ++i) {
    for (int bit = 7; bit >= 0; --bit) out += (bytes[i] >> bit & 1) ? '1' : '0';
  }
  return out;
}

const Bits kMapped = Bits(80, '0') + Bits(16, '1');

// Read once per spelling: the texts are few and asked for millions of times.
const Bits& bits_of_address(const std::string& text) {
  static std::map<std::string, Bits> known;
  const auto found = known.find(text);
  if (found != known.end()) return found->second;
  unsigned char bytes[16];
  Bits bits;
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) {
    bits = bits_of(bytes, 4);
  } else if (inet_pton(AF_INET6, text.c_str(), bytes) == 1) {
    bits = bits_of(bytes, 16);
    if (bits.substr(0, 96) == kMapped) bits = bits.substr(96);
  }
  return known[text] = bits;
}

// The bits that a block fixes, and of which family it is.
struct Block {
  Bits fixed;
  size_t family;  // 32 or 128
};
const Block& block_of(const std::string& cidr) {
  static std::map<std::string, Block> known;
  const auto found = known.find(cidr);
  if (found != known.end()) return found->second;
  const size_t slash = cidr.find('/');
  const Bits& address = bits_of_address(cidr.substr(0, slash));
  size_t length = static_cast<size_t>(std::stoi(cidr.substr(slash + 1)));
  // Written in the long form, the length counts in it.
  if (address.size() == 32 && cidr.find(':') != std::string::npos) length -= 96;
  return known[cidr] = {address.substr(0, length), address.size()};
}

bool contains(const std::string& cidr, const std::string& address) {
  const Block& block = block_of(cidr);
  const Bits& bits = bits_of_address(address);
  return bits.size() == block.family && bits.compare(0, block.fixed.size(), block.fixed) == 0;
}

// "exact equality, prefix, suffix, presence = non-empty. Case-sensitive."
bool fits(const StringForm& form, const std::string& value) {
  const std::string& t = form.text;
  switch (form.kind) {
    case StringForm::Kind::kExact:
      return value == t;
    case StringForm::Kind::kPrefix:
      return t.size() <= value.size() && value.substr(0, t.size()) == t;
    case StringForm::Kind::kSuffix:
      return t.size() <= value.size() && value.substr(value.size() - t.size()) == t;
    case StringForm::Kind::kPresence:
      return value != "";
  }
  return false;
}

// "positive list: empty or any value matches; negative list: empty or no value matches; both must hold"
template <class T, class Is>
bool kind_holds(const std::vector<T>& positive, const std::vector<T>& negative, Is is) {
  bool any_positive = false, any_negative = false;
  for (const T& value : positive) any_positive = is(value) || any_positive;
  for (const T& value : negative) any_negative = is(value) || any_negative;
  return (positive.empty() || any_positive) && (negative.empty() || !any_negative);
}

bool is_empty(const MatchForm& m) {
  return m.namespaces.size() + m.not_namespaces.size() + m.principals.size() + m.not_principals.size() +
             m.service_accounts.size() + m.not_service_accounts.size() + m.source_ips.size() + m.not_source_ips.size() +
             m.destination_ips.size() + m.not_destination_ips.size() + m.destination_ports.size() +
             m.not_destination_ports.size() ==
         0;
}

// "every listed kind must hold"
bool match_holds(const MatchForm& m, const ConnectionForm& c) {
  // "namespace part of the peer's SPIFFE id; "" without identity"
  const std::string name_space = c.has_identity ? c.name_space : "";
  const bool namespaces =
      kind_holds(m.namespaces, m.not_namespaces, [&](const StringForm& f) { return fits(f, name_space); });
  // "SPIFFE id without the spiffe:// prefix; without identity every positive form (also presence) fails and negatives
  // pass"
  const std::string principal = c.trust_domain + "/ns/" + c.name_space + "/sa/" + c.service_account;
  const bool principals = kind_holds(m.principals, m.not_principals,
                                     [&](const StringForm& f) { return c.has_identity && fits(f, principal); });
  // "namespace and service account equal; trust domain ignored; fails without identity"
  const bool accounts = kind_holds(m.service_accounts, m.not_service_accounts, [&](const AccountForm& f) {
    return c.has_identity && f.first == c.name_space && f.second == c.service_account;
  });
  const bool sources =
      kind_holds(m.source_ips, m.not_source_ips, [&](const std::string& cidr) { return contains(cidr, c.source_ip); });
  const bool destinations = kind_holds(m.destination_ips, m.not_destination_ips,
                                       [&](const std::string& cidr) { return contains(cidr, c.destination_ip); });
  const bool ports = kind_holds(m.destination_ports, m.not_destination_ports, [&](int port) { return port == c.port; });
  return namespaces && principals && accounts && sources && destinations && ports;
}

// "any match matches (OR). Zero matches → true. Contains only empty matches → false"
bool clause_holds(const std::vector<MatchForm>& clause, const ConnectionForm& c) {
  if (clause.empty()) return true;
  bool any = false;
  for (const MatchForm& m : clause) any = (!is_empty(m) && match_holds(m, c)) || any;
  return any;
}

// "no rules → never matches. Otherwise any rule matches (OR)"; "all clauses match (AND). Zero clauses → matches
// everything"
bool policy_matches(const PolicyForm& p, const ConnectionForm& c) {
  bool any = false;
  for (const auto& rule : p.rules) {
    bool all = true;
    for (const auto& clause : rule) all = clause_holds(clause, c) && all;
    any = all || any;
  }
  return any;
}

// "policies of scope NAMESPACE in the workload's namespace + GLOBAL policies + those named in
// Workload.authorization_policies"
bool is_candidate(const PolicyForm& p, const PolicySetForm& set) {
  for (const std::string& name : set.workload_policies) {
    if (name == p.key()) return true;
  }
  return p.scope == "Global" || (p.scope == "Namespace" && p.name_space == set.workload_namespace);
}

}  // namespace

PolicyVerdict judge(const PolicySetForm& set, const ConnectionForm& connection) {
  PolicyVerdict out;
  bool enforced_allow = false;
  for (const PolicyForm& p : set.policies) {
    if (!is_candidate(p, set)) continue;
    const bool matches = policy_matches(p, connection);
    const bool deny = p.action == "Deny";
    if (!deny && !p.dry_run) enforced_allow = true;
    if (!deny && p.dry_run) out.dry_run_allow_exists = true;
    if (!matches) continue;
    if (deny) {
      (p.dry_run ? out.dry_run_deny : out.deny).insert(p.key());
    } else {
      (p.dry_run ? out.dry_run_allow : out.allow).insert(p.key());
    }
  }
  for (const std::string& name : set.workload_policies) {
    bool borne = false;
    for (const PolicyForm& p : set.policies) borne = p.key() == name || borne;
    if (!borne) ++out.unknown;
  }
  // Steps 2, 4, 5 and 6; 1 and 3 are "only logged".
  if (!out.deny.empty()) {
    out.reason = "explicitly_denied";
  } else if (!enforced_allow) {
    out.allowed = true;
    out.reason = "no_allow_policy";
  } else if (!out.allow.empty()) {
    out.allowed = true;
    out.reason = "allowed";
  } else {
    out.reason = "none_allowed";
  }
  return out;
}

}  // namespace culvert::testkit
