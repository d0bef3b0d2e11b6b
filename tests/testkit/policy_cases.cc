#include "tests/testkit/policy_cases.h"

namespace culvert::testkit {

namespace {

// Values of which some begin or end like others. "" stands for what a careless author leaves empty.
const std::vector<std::string> kDomains = {"td", "t", "td.x"};
const std::vector<std::string> kNamespaces = {"a", "ab", "b", "ba"};
const std::vector<std::string> kAccounts = {"x", "xy", "y"};
const std::vector<std::string> kPrincipals = {"td/ns/a/sa/x",   "td/ns/ab/sa/xy", "t/ns/a/sa/x",
                                              "td.x/ns/b/sa/y", "td/ns/ba/sa/y",  "spiffe://td/ns/a/sa/x"};
const std::vector<std::string> kAddresses = {
    "10.0.0.1", "10.0.0.2",      "10.0.0.128", "10.0.1.1", "0.0.0.0",         "255.255.255.255", "fd00::1",
    "fd00::2",  "fd00:0:0:1::1", "::1",        "::",       "::ffff:10.0.0.1", "::ffff:10.0.1.1", "::fffe:10.0.0.1"};
constexpr int kPorts[] = {0, 1, 80, 8080, 15008, 65535};

bool is_mapped(const std::string& address) { return address.starts_with("::ffff:"); }
bool is_v4(const std::string& address) { return address.find(':') == std::string::npos; }

}  // namespace

StringForm PolicyCases::string_form(const std::vector<std::string>& values) {
  StringForm out;
  out.kind = static_cast<StringForm::Kind>(below(4));
  if (out.kind == StringForm::Kind::kPresence) return out;
  out.text = one_in(12) ? "" : pick(values);
  const size_t cut = below(out.text.size() + 1);
  if (out.kind == StringForm::Kind::kPrefix) out.text = out.text.substr(0, cut);
  if (out.kind == StringForm::Kind::kSuffix) out.text = out.text.substr(cut);
  // Longer than the value, or another case.
  if (one_in(15)) out.text += "x";
  if (one_in(15) && !out.text.empty()) out.text[0] = static_cast<char>(out.text[0] ^ ('a' ^ 'A'));
  if (!out.text.empty() && (out.text[0] < '!' || out.text[0] == '"' || out.text[0] == '\\')) out.text[0] = 'A';
  return out;
}

std::string PolicyCases::block() {
  const std::string& address = pick(kAddresses);
  static constexpr int kLengths4[] = {0, 1, 7, 8, 23, 24, 25, 30, 31, 32};
  static constexpr int kLengths6[] = {0, 1, 8, 63, 64, 65, 96, 126, 127, 128};
  const int length = is_v4(address) || is_mapped(address) ? kLengths4[below(10)] : kLengths6[below(10)];
  return address + "/" + std::to_string(is_mapped(address) ? length + 96 : length);
}

MatchForm PolicyCases::match() {
  MatchForm m;
  if (one_in(10)) return m;
  // Few kinds at a time: a match of all of them hardly ever holds.
  const uint64_t kinds = 1 + below(2);
  for (uint64_t i = 0; i < kinds; ++i) {
    const uint64_t kind = below(6);
    const uint64_t positive = below(3), negative = below(3) == 0 ? 1 + below(2) : 0;
    const auto fill = [&](auto& any, auto& none, auto make) {
      for (uint64_t n = 0; n < positive; ++n) any.push_back(make());
      for (uint64_t n = 0; n < negative; ++n) none.push_back(make());
    };
    const auto space = [&] { return string_form(kNamespaces); };
    const auto principal = [&] { return string_form(kPrincipals); };
    const auto account = [&] { return AccountForm{pick(kNamespaces), pick(kAccounts)}; };
    const auto cidr = [&] { return block(); };
    const auto port = [&] { return kPorts[below(6)]; };
    if (kind == 0) fill(m.namespaces, m.not_namespaces, space);
    if (kind == 1) fill(m.principals, m.not_principals, principal);
    if (kind == 2) fill(m.service_accounts, m.not_service_accounts, account);
    if (kind == 3) fill(m.source_ips, m.not_source_ips, cidr);
    if (kind == 4) fill(m.destination_ips, m.not_destination_ips, cidr);
    if (kind == 5) fill(m.destination_ports, m.not_destination_ports, port);
  }
  return m;
}

PolicyForm PolicyCases::policy(uint64_t number) {
  static const std::vector<std::string> kScopes = {"Global", "Namespace", "WorkloadSelector"};
  PolicyForm p;
  p.name = "p" + std::to_string(number);
  p.name_space = pick(kNamespaces);
  p.scope = pick(kScopes);
  p.action = one_in(2) ? "Deny" : "Allow";
  p.dry_run = one_in(5);
  const uint64_t rules = one_in(8) ? 0 : 1 + below(3);
  for (uint64_t r = 0; r < rules; ++r) {
    auto& rule = p.rules.emplace_back();
    const uint64_t clauses = one_in(8) ? 0 : 1 + below(3);
    for (uint64_t c = 0; c < clauses; ++c) {
      auto& clause = rule.emplace_back();
      const uint64_t matches = one_in(8) ? 0 : 1 + below(3);
      for (uint64_t m = 0; m < matches; ++m) clause.push_back(match());
    }
  }
  return p;
}

PolicySetForm PolicyCases::policy_set() {
  PolicySetForm out;
  const uint64_t policies = one_in(20) ? 0 : 1 + below(6);
  for (uint64_t n = 0; n < policies; ++n) out.policies.push_back(policy(n));
  out.workload_namespace = one_in(30) ? "" : pick(kNamespaces);
  for (const PolicyForm& p : out.policies) {
    // Names of any scope, some twice, some that nothing bears.
    if (one_in(2)) out.workload_policies.push_back(p.key());
    if (one_in(20)) out.workload_policies.push_back(p.key());
    if (one_in(20)) out.workload_policies.push_back(p.name_space + "/missing" + p.name);
  }
  return out;
}

ConnectionForm PolicyCases::connection() {
  ConnectionForm out;
  out.has_identity = !one_in(4);
  if (out.has_identity) {
    out.trust_domain = pick(kDomains);
    out.name_space = pick(kNamespaces);
    out.service_account = pick(kAccounts);
  }
  out.source_ip = pick(kAddresses);
  out.destination_ip = pick(kAddresses);
  out.port = kPorts[below(6)];
  return out;
}

namespace {

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

std::string json_of(const StringForm& form) {
  switch (form.kind) {
    case StringForm::Kind::kExact:
      return "{\"Exact\":" + quoted(form.text) + "}";
    case StringForm::Kind::kPrefix:
      return "{\"Prefix\":" + quoted(form.text) + "}";
    case StringForm::Kind::kSuffix:
      return "{\"Suffix\":" + quoted(form.text) + "}";
    case StringForm::Kind::kPresence:
      break;
  }
  return "{\"Presence\":[]}";
}
std::string json_of(const AccountForm& form) {
  return "{\"namespace\":" + quoted(form.first) + ",\"serviceAccount\":" + quoted(form.second) + "}";
}
std::string json_of(const std::string& text) { return quoted(text); }
std::string json_of(int number) { return std::to_string(number); }

template <class T>
void add(std::string& out, const char* key, const std::vector<T>& values) {
  if (values.empty()) return;
  out += std::string(out.size() > 1 ? "," : "") + quoted(key) + ":[";
  for (size_t i = 0; i < values.size(); ++i) out += (i ? "," : "") + json_of(values[i]);
  out += "]";
}

std::string json_of(const MatchForm& m) {
  std::string out = "{";
  add(out, "namespaces", m.namespaces);
  add(out, "notNamespaces", m.not_namespaces);
  add(out, "principals", m.principals);
  add(out, "notPrincipals", m.not_principals);
  add(out, "serviceAccounts", m.service_accounts);
  add(out, "notServiceAccounts", m.not_service_accounts);
  add(out, "sourceIps", m.source_ips);
  add(out, "notSourceIps", m.not_source_ips);
  add(out, "destinationIps", m.destination_ips);
  add(out, "notDestinationIps", m.not_destination_ips);
  add(out, "destinationPorts", m.destination_ports);
  add(out, "notDestinationPorts", m.not_destination_ports);
  return out + "}";
}

std::string json_of(const PolicyForm& p);
template <class T>
std::string json_of(const std::vector<T>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += (i ? "," : "") + json_of(values[i]);
  return out + "]";
}

std::string json_of(const PolicyForm& p) {
  return "{\"name\":" + quoted(p.name) + ",\"namespace\":" + quoted(p.name_space) + ",\"scope\":" + quoted(p.scope) +
         ",\"action\":" + quoted(p.action) + ",\"dryRun\":" + (p.dry_run ? "true" : "false") +
         ",\"rules\":" + json_of(p.rules) + "}";
}

}  // namespace

std::string to_json(const PolicySetForm& set, const ConnectionForm& c) {
  const std::string identity =
      c.has_identity ? quoted("spiffe://" + c.trust_domain + "/ns/" + c.name_space + "/sa/" + c.service_account)
                     : "null";
  return "{\"policies\":" + json_of(set.policies) + ",\"workload\":{\"namespace\":" + quoted(set.workload_namespace) +
         ",\"policies\":" + json_of(set.workload_policies) + "},\"connection\":{\"source_identity\":" + identity +
         ",\"source_ip\":" + quoted(c.source_ip) + ",\"destination_ip\":" + quoted(c.destination_ip) +
         ",\"port\":" + std::to_string(c.port) + "}}";
}

}  // namespace culvert::testkit
