// Authorization policies from the contract to plain values.
#include "control/api/policy.pb.h"
#include "control/convert_fields.h"

namespace culvert::control {

snapshot::Policy convert_policy(const api::Policy& in, Fields& fields);

namespace {

snapshot::StringMatch convert_string_match(const api::StringMatch& in, const FieldPath& path, Fields& fields) {
  using Kind = snapshot::StringMatch::Kind;
  switch (in.kind_case()) {
    case api::StringMatch::kExact:
      return {Kind::kExact, fields.text(path, in.exact())};
    case api::StringMatch::kPrefix:
      return {Kind::kPrefix, fields.text(path, in.prefix())};
    case api::StringMatch::kSuffix:
      return {Kind::kSuffix, fields.text(path, in.suffix())};
    case api::StringMatch::kPresence:
      if (!in.presence()) fields.refuse({&path, "presence"}, "true is accepted");
      return {Kind::kPresence, {}};
    case api::StringMatch::KIND_NOT_SET:
      break;
  }
  fields.refuse(path, "exact, prefix, suffix or presence is accepted");
  return {};
}

snapshot::ServiceAccountMatch convert_account(const api::ServiceAccountMatch& in, const FieldPath& path,
                                              Fields& fields) {
  return {fields.required({&path, "name_space"}, in.name_space()),
          fields.required({&path, "service_account"}, in.service_account())};
}

// Fills one list of a match. `convert` sees one entry and its path.
template <class In, class Out, class Convert>
void fill(const In& in, const FieldPath& parent, std::string_view name, std::vector<Out>& out, Convert&& convert) {
  out.reserve(static_cast<size_t>(in.size()));
  for (int i = 0; i < in.size(); ++i) out.push_back(convert(in[i], FieldPath{&parent, name, i}));
}

snapshot::Match convert_match(const api::Match& in, const FieldPath& path, Fields& fields) {
  const auto text = [&](const auto& m, const FieldPath& p) { return convert_string_match(m, p, fields); };
  const auto account = [&](const auto& m, const FieldPath& p) { return convert_account(m, p, fields); };
  const auto prefix = [&](const auto& m, const FieldPath& p) { return fields.prefix(p, m); };
  const auto port = [&](uint32_t m, const FieldPath& p) { return fields.port(p, m, true); };
  snapshot::Match out;
  fill(in.namespaces(), path, "namespaces", out.namespaces.any_of, text);
  fill(in.not_namespaces(), path, "not_namespaces", out.namespaces.none_of, text);
  fill(in.principals(), path, "principals", out.principals.any_of, text);
  fill(in.not_principals(), path, "not_principals", out.principals.none_of, text);
  fill(in.service_accounts(), path, "service_accounts", out.service_accounts.any_of, account);
  fill(in.not_service_accounts(), path, "not_service_accounts", out.service_accounts.none_of, account);
  fill(in.source_ips(), path, "source_ips", out.source_ips.any_of, prefix);
  fill(in.not_source_ips(), path, "not_source_ips", out.source_ips.none_of, prefix);
  fill(in.destination_ips(), path, "destination_ips", out.destination_ips.any_of, prefix);
  fill(in.not_destination_ips(), path, "not_destination_ips", out.destination_ips.none_of, prefix);
  fill(in.destination_ports(), path, "destination_ports", out.destination_ports.any_of, port);
  fill(in.not_destination_ports(), path, "not_destination_ports", out.destination_ports.none_of, port);
  return out;
}

}  // namespace

snapshot::Policy convert_policy(const api::Policy& in, Fields& fields) {
  using snapshot::PolicyAction, snapshot::PolicyScope;
  constexpr PolicyScope kScopes[] = {PolicyScope::kGlobal, PolicyScope::kNamespace, PolicyScope::kWorkloadSelector};
  constexpr PolicyAction kActions[] = {PolicyAction::kAllow, PolicyAction::kDeny};
  const auto at = [](std::string_view name) { return FieldPath{nullptr, name}; };

  snapshot::Policy out;
  out.name = fields.required(at("name"), in.name());
  out.name_space = fields.required(at("name_space"), in.name_space());
  if (out.name_space.find('/') != std::string::npos) fields.refuse(at("name_space"), "a name without `/` is accepted");
  out.scope = fields.choice(at("scope"), in.scope(), kScopes);
  out.action = fields.choice(at("action"), in.action(), kActions);
  out.dry_run = in.dry_run();
  fill(in.rules(), {nullptr, ""}, "rules", out.rules, [&](const api::Rule& rule, const FieldPath& in_rule) {
    snapshot::Rule converted;
    const FieldPath rule_path{nullptr, in_rule.name, in_rule.index};
    fill(rule.clauses(), rule_path, "clauses", converted.clauses, [&](const api::Clause& clause, const FieldPath& c) {
      snapshot::Clause made;
      fill(clause.matches(), c, "matches", made.matches,
           [&](const api::Match& match, const FieldPath& m) { return convert_match(match, m, fields); });
      return made;
    });
    return converted;
  });
  return out;
}

}  // namespace culvert::control
