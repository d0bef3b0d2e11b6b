#include "local/policy_schema.h"

#include <array>

namespace culvert::local {
namespace {

using reconcile::Match;
using reconcile::StringMatch;

constexpr std::array<Value::Name<reconcile::PolicyScope>, 3> kScopes{
    {{"Global", reconcile::PolicyScope::kGlobal},
     {"Namespace", reconcile::PolicyScope::kNamespace},
     {"WorkloadSelector", reconcile::PolicyScope::kWorkloadSelector}}};
constexpr std::array<Value::Name<reconcile::PolicyAction>, 2> kActions{
    {{"Allow", reconcile::PolicyAction::kAllow}, {"Deny", reconcile::PolicyAction::kDeny}}};

// One of {Exact: s}, {Prefix: s}, {Suffix: s}, {Presence: []}.
StringMatch string_match(const Value& value) {
  constexpr std::string_view kForms = "{Exact: TEXT}, {Prefix: TEXT}, {Suffix: TEXT}, {Presence: []}";
  StringMatch out;
  const config::YamlNode& node = value.node();
  if (node.kind != config::YamlNode::Kind::kMap || node.entries.size() != 1) {
    value.refuse_as(kForms);
    return out;
  }
  const config::YamlNode::Entry& entry = node.entries.front();
  const Value text(entry.value, value.key() + "." + entry.key, value.problems());
  if (entry.key == "Presence") {
    if (entry.value.kind != config::YamlNode::Kind::kList || !entry.value.items.empty()) text.refuse_as("[]");
    return out;
  }
  if (entry.key == "Exact") {
    out.kind = StringMatch::Kind::kExact;
  } else if (entry.key == "Prefix") {
    out.kind = StringMatch::Kind::kPrefix;
  } else if (entry.key == "Suffix") {
    out.kind = StringMatch::Kind::kSuffix;
  } else {
    value.problems().add(entry.line, value.key() + "." + entry.key,
                         "is not a key here; accepted: " + std::string(kForms));
    return out;
  }
  out.text = text.text();
  return out;
}

reconcile::ServiceAccountMatch service_account(const Value& value) {
  reconcile::ServiceAccountMatch out;
  Fields(value)
      .required("namespace", [&](const Value& v) { out.name_space = v.text(); })
      .required("serviceAccount", [&](const Value& v) { out.service_account = v.text(); })
      .finish();
  return out;
}

// Reads a list whose items are read by `one`.
template <class T>
Fields::Take list_of(std::vector<T>& into, T (*one)(const Value&)) {
  return [&into, one](const Value& list) { list.each_item([&](const Value& item) { into.push_back(one(item)); }); };
}

uint16_t port_of(const Value& value) { return value.port(); }

Match match(const Value& map) {
  Match m;
  Fields(map)
      .optional("namespaces", list_of(m.namespaces, string_match))
      .optional("notNamespaces", list_of(m.not_namespaces, string_match))
      .optional("principals", list_of(m.principals, string_match))
      .optional("notPrincipals", list_of(m.not_principals, string_match))
      .optional("serviceAccounts", list_of(m.service_accounts, service_account))
      .optional("notServiceAccounts", list_of(m.not_service_accounts, service_account))
      .optional("sourceIps", list_of(m.source_ips, cidr))
      .optional("notSourceIps", list_of(m.not_source_ips, cidr))
      .optional("destinationIps", list_of(m.destination_ips, cidr))
      .optional("notDestinationIps", list_of(m.not_destination_ips, cidr))
      .optional("destinationPorts", list_of(m.destination_ports, port_of))
      .optional("notDestinationPorts", list_of(m.not_destination_ports, port_of))
      .finish();
  return m;
}

reconcile::Clause clause(const Value& list) {
  reconcile::Clause out;
  list_of(out, match)(list);
  return out;
}

reconcile::Rule rule(const Value& list) {
  reconcile::Rule out;
  list_of(out, clause)(list);
  return out;
}

std::string name(const Value& value) {
  std::string text = value.text();
  if (text.empty() && value.node().kind == config::YamlNode::Kind::kScalar) value.refuse("may not be empty");
  return text;
}

}  // namespace

Prefix cidr(const Value& value) {
  const std::string text = value.text();
  const auto prefix = Prefix::parse(text);
  if (prefix && text.find('/') != std::string::npos) return *prefix;
  if (value.node().kind == config::YamlNode::Kind::kScalar) value.refuse_as("ADDRESS/LENGTH");
  return {};
}

reconcile::Policy policy(const Value& map) {
  reconcile::Policy p;
  Fields(map)
      .required("name", [&](const Value& v) { p.name = name(v); })
      .required("namespace", [&](const Value& v) { p.name_space = name(v); })
      .required("scope", [&](const Value& v) { p.scope = v.one_of<reconcile::PolicyScope>(std::span(kScopes)); })
      .required("action", [&](const Value& v) { p.action = v.one_of<reconcile::PolicyAction>(std::span(kActions)); })
      .required("dryRun", [&](const Value& v) { p.dry_run = v.boolean(); })
      .required("rules", list_of(p.rules, rule))
      .finish();
  return p;
}

}  // namespace culvert::local
