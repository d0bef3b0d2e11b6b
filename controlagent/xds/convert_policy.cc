// Policies (reference 12.2): an address that is none, and a text match without a form, are left out of their list, and
// said. A match that loses its only positive entry that way becomes broader, or matches nothing; istiod sends neither.
#include "xds/convert.h"

namespace culvert::xds {
namespace {

namespace api = istio::security;
using reconcile::Match;
using reconcile::StringMatch;

template <class Matches>
std::vector<StringMatch> string_matches(const Matches& in, const FieldPath& match, std::string_view name,
                                        Fields& fields) {
  std::vector<StringMatch> out;
  for (int i = 0; i < in.size(); ++i) {
    const FieldPath path{&match, name, i};
    switch (in[i].match_type_case()) {
      case api::StringMatch::kExact:
        out.push_back({StringMatch::Kind::kExact, fields.text({&path, "exact"}, in[i].exact())});
        break;
      case api::StringMatch::kPrefix:
        out.push_back({StringMatch::Kind::kPrefix, fields.text({&path, "prefix"}, in[i].prefix())});
        break;
      case api::StringMatch::kSuffix:
        out.push_back({StringMatch::Kind::kSuffix, fields.text({&path, "suffix"}, in[i].suffix())});
        break;
      case api::StringMatch::kPresence:
        out.push_back({StringMatch::Kind::kPresence, {}});
        break;
      case api::StringMatch::MATCH_TYPE_NOT_SET:
        fields.note(path, "says none of exact, prefix, suffix, presence, left out");
        break;
    }
  }
  return out;
}

template <class Addresses>
std::vector<Prefix> prefixes(const Addresses& in, const FieldPath& match, std::string_view name, Fields& fields) {
  std::vector<Prefix> out;
  for (int i = 0; i < in.size(); ++i) {
    if (const auto prefix = Fields::prefix(in[i].address(), in[i].length())) {
      out.push_back(*prefix);
    } else {
      fields.note({&match, name, i}, "an address of " + std::to_string(in[i].address().size()) + " bytes with length " +
                                         std::to_string(in[i].length()) + " is none, left out");
    }
  }
  return out;
}

template <class Accounts>
std::vector<reconcile::ServiceAccountMatch> accounts(const Accounts& in, const FieldPath& match, std::string_view name,
                                                     Fields& fields) {
  std::vector<reconcile::ServiceAccountMatch> out;
  for (int i = 0; i < in.size(); ++i) {
    const FieldPath path{&match, name, i};
    out.push_back({fields.text({&path, "namespace"}, in[i].namespace_()),
                   fields.text({&path, "serviceAccount"}, in[i].serviceaccount())});
  }
  return out;
}

template <class Ports>
std::vector<uint16_t> ports(const Ports& in) {
  std::vector<uint16_t> out;
  for (const uint32_t one : in) out.push_back(static_cast<uint16_t>(one));  // cut, as ztunnel does
  return out;
}

Match match(const api::Match& in, const FieldPath& path, Fields& fields) {
  return {
      .namespaces = string_matches(in.namespaces(), path, "namespaces", fields),
      .not_namespaces = string_matches(in.not_namespaces(), path, "not_namespaces", fields),
      .principals = string_matches(in.principals(), path, "principals", fields),
      .not_principals = string_matches(in.not_principals(), path, "not_principals", fields),
      .service_accounts = accounts(in.service_accounts(), path, "service_accounts", fields),
      .not_service_accounts = accounts(in.not_service_accounts(), path, "not_service_accounts", fields),
      .source_ips = prefixes(in.source_ips(), path, "source_ips", fields),
      .not_source_ips = prefixes(in.not_source_ips(), path, "not_source_ips", fields),
      .destination_ips = prefixes(in.destination_ips(), path, "destination_ips", fields),
      .not_destination_ips = prefixes(in.not_destination_ips(), path, "not_destination_ips", fields),
      .destination_ports = ports(in.destination_ports()),
      .not_destination_ports = ports(in.not_destination_ports()),
  };
}

}  // namespace

reconcile::Policy convert(const api::Authorization& in, Fields& fields) {
  const FieldPath root{nullptr, "authorization"};
  reconcile::Policy out;
  out.name = fields.required({&root, "name"}, in.name());
  out.name_space = fields.required({&root, "namespace"}, in.namespace_());
  if (out.name_space.find('/') != std::string::npos) fields.refuse({&root, "namespace"}, "holds a `/`");
  switch (in.scope()) {
    case api::GLOBAL:
      out.scope = reconcile::PolicyScope::kGlobal;
      break;
    case api::NAMESPACE:
      out.scope = reconcile::PolicyScope::kNamespace;
      break;
    case api::WORKLOAD_SELECTOR:
      out.scope = reconcile::PolicyScope::kWorkloadSelector;
      break;
    default:
      fields.refuse({&root, "scope"}, "is a value that this build does not know: " + std::to_string(in.scope()));
  }
  switch (in.action()) {
    case api::ALLOW:
      out.action = reconcile::PolicyAction::kAllow;
      break;
    case api::DENY:
      out.action = reconcile::PolicyAction::kDeny;
      break;
    default:
      fields.refuse({&root, "action"}, "is a value that this build does not know: " + std::to_string(in.action()));
  }
  out.dry_run = in.dry_run();
  for (int g = 0; g < in.groups_size(); ++g) {
    const FieldPath group{&root, "groups", g};
    reconcile::Rule& rule = out.rules.emplace_back();
    for (int r = 0; r < in.groups(g).rules_size(); ++r) {
      const FieldPath rules{&group, "rules", r};
      reconcile::Clause& clause = rule.emplace_back();
      const auto& matches = in.groups(g).rules(r).matches();
      for (int m = 0; m < matches.size(); ++m) clause.push_back(match(matches[m], {&rules, "matches", m}, fields));
    }
  }
  return out;
}

}  // namespace culvert::xds
