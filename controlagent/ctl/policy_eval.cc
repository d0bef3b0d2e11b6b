// A line's JSON is read by the schema of the mesh file's policies (local/policy_schema.h); the decision is
// policy::decide's.
#include "ctl/policy_eval.h"

#include <istream>
#include <optional>
#include <set>
#include <streambuf>

#include "ctl/mesh_records.h"
#include "ctl/value.h"
#include "identity/spiffe_id.h"
#include "local/json_tree.h"
#include "local/policy_schema.h"
#include "local/schema.h"
#include "policy/decision.h"
#include "snapshot/mesh_builder.h"

namespace culvert::ctl {

const char* const kPolicyEvalSchema =
    "Reads one JSON object a line and answers each with one, in order.\n"
    "\n"
    "In:  {\"policies\": [POLICY, ...], \"workload\": {\"namespace\": NS, \"policies\": [\"NS/NAME\", ...]},\n"
    "      \"connection\": {\"source_identity\": \"spiffe://TD/ns/NS/sa/SA\" or null, \"source_ip\": IP,\n"
    "                     \"destination_ip\": IP, \"port\": 0-65535}}\n"
    "     POLICY is one of ztunnel's, as config_dump and the local file write it: name, namespace, scope\n"
    "     (Global, Namespace, WorkloadSelector), action (Allow, Deny), dryRun, rules (rules of clauses of matches).\n"
    "     `policies` of the workload are those of scope WorkloadSelector that apply to it.\n"
    "     With --mesh or --config-dump `workload` may be NAMESPACE/NAME, a uid or an address; then\n"
    "     `destination_ip` may be left out, and without `policies` those of the file apply.\n"
    "Out: {\"allow\": true or false,\n"
    "      \"reason\": \"no_allow_policy\", \"allowed\", \"explicitly_denied\" or \"none_allowed\",\n"
    "      \"matched\": {\"policy\": \"NS/NAME\", \"rule\": INDEX} or null,\n"
    "      \"log\": the error that the access log has, empty when allowed,\n"
    "      \"dry_run\": {\"deny\": \"NS/NAME\" or null, \"allow\": the same, \"allow_missed\": true or false},\n"
    "      \"unknown_policies\": [names without a policy, which are skipped]}\n"
    "     A line that is not accepted: {\"line\": NUMBER, \"errors\": [what is accepted, ...]}, and status 1 at the "
    "end.";

namespace {

constexpr size_t kLineBytesMax = 16u << 20;

struct Line {
  std::optional<std::vector<snapshot::Policy>> policies;
  snapshot::Workload workload;
  const snapshot::Workload* of_mesh = nullptr;
  std::optional<identity::SpiffeId> peer;
  policy::Connection connection;
};

IpAddress address(const local::Value& value) {
  const std::string text = value.text();
  const auto parsed = IpAddress::parse(text);
  if (!parsed && value.node().kind == config::YamlNode::Kind::kScalar) value.refuse_as("an IPv4 or IPv6 address");
  return parsed.value_or(IpAddress{});
}

void read_policies(const local::Value& value, Line& line) {
  std::set<std::string> keys;
  line.policies.emplace();
  value.each_item([&](const local::Value& item) {
    const reconcile::Policy policy = local::policy(item);
    if (!keys.insert(policy.key()).second) item.refuse("the policy `" + policy.key() + "` is given twice");
    line.policies->push_back(to_record(policy));
  });
}

void read_workload(const local::Value& value, const snapshot::Mesh* mesh, const std::string& network, Line& line) {
  if (value.node().kind == config::YamlNode::Kind::kScalar) {
    const std::string& text = value.node().text;
    if (!mesh)
      return value.refuse("a name needs --mesh or --config-dump; else {\"namespace\", \"policies\"} is accepted");
    line.of_mesh = mesh->workload(text);
    const size_t slash = text.find('/');
    if (!line.of_mesh && slash != std::string::npos) {
      line.of_mesh = mesh->local_workload(text.substr(0, slash), text.substr(slash + 1), "");
    }
    const auto at = IpAddress::parse(text);
    if (!line.of_mesh && at) line.of_mesh = mesh->workload_at(network, *at);
    if (!line.of_mesh) value.refuse("no workload `" + printable(text) + "` in the mesh");
    return;
  }
  line.workload.uid = "workload";
  local::Fields(value)
      .required("namespace", [&](const local::Value& v) { line.workload.name_space = v.text(); })
      .optional(
          "policies",
          [&](const local::Value& v) {
            v.each_item([&](const local::Value& item) { line.workload.authorization_policies.push_back(item.text()); });
          })
      .finish();
}

void read_connection(const local::Value& value, Line& line) {
  local::Fields fields(value);
  fields
      .optional("source_identity",
                [&](const local::Value& v) {
                  line.peer = identity::SpiffeId::parse(v.text());
                  if (!line.peer) v.refuse_as("spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT, null");
                })
      .required("source_ip", [&](const local::Value& v) { line.connection.source = address(v); });
  const auto destination = [&](const local::Value& v) { line.connection.destination = address(v); };
  if (line.of_mesh && !line.of_mesh->addresses.empty()) {
    line.connection.destination = line.of_mesh->addresses.front();
    fields.optional("destination_ip", destination);
  } else {
    fields.required("destination_ip", destination);
  }
  fields.required("port", [&](const local::Value& v) { line.connection.port = v.port(); }).finish();
}

std::string_view name_of(policy::Reason reason) {
  switch (reason) {
    case policy::Reason::kNoAllowPolicy:
      return "no_allow_policy";
    case policy::Reason::kAllowed:
      return "allowed";
    case policy::Reason::kExplicitlyDenied:
      return "explicitly_denied";
    case policy::Reason::kNoneAllowed:
      return "none_allowed";
  }
  return {};
}

Value key_or_null(const snapshot::Policy* policy) { return policy ? Value::of(policy->key()) : Value(); }

Value answer(const snapshot::Mesh& mesh, const snapshot::Workload& workload, const policy::Connection& connection) {
  const policy::Explanation explained = policy::explain(mesh, workload, connection);
  const policy::Decision& decision = explained.decision;
  Value out = Value::map();
  out.set("allow", decision.allowed());
  out.set("reason", std::string(name_of(decision.reason)));
  Value matched;
  if (decision.policy) {
    matched = Value::map();
    matched.set("policy", decision.policy->key());
    matched.set("rule", decision.rule);
  }
  out.set("matched", std::move(matched));
  out.set("log", policy::error_text(decision));
  Value dry_run = Value::map();
  dry_run.set("deny", key_or_null(decision.dry_run_deny));
  dry_run.set("allow", key_or_null(decision.dry_run_allow));
  dry_run.set("allow_missed", decision.dry_run_allow_missed);
  out.set("dry_run", std::move(dry_run));
  Value unknown = Value::list();
  for (const std::string& name : explained.unknown_policies) unknown.items.push_back(Value::of(name));
  out.set("unknown_policies", std::move(unknown));
  return out;
}

// Without the file and line that Problems puts in front: a JSON line has one.
Value errors_of(std::vector<std::string> lines) {
  Value out = Value::list();
  for (const std::string& line : lines) {
    const size_t colon = line.find(": ");
    out.items.push_back(Value::of(colon == std::string::npos ? line : line.substr(colon + 2)));
  }
  return out;
}

Value refused(Value errors) {
  Value out = Value::map();
  out.set("errors", std::move(errors));
  return out;
}

// The next line without its newline; false at the end. What is beyond kLineBytesMax is read over and not kept.
bool next_line(std::streambuf& in, std::string& line, bool& overlong) {
  line.clear();
  overlong = false;
  constexpr int kEnd = std::char_traits<char>::eof();
  int c = in.sbumpc();
  if (c == kEnd) return false;
  for (; c != kEnd && c != '\n'; c = in.sbumpc()) {
    if (line.size() < kLineBytesMax) {
      line.push_back(static_cast<char>(c));
    } else {
      overlong = true;
    }
  }
  return true;
}

Value evaluate(std::string_view text, const snapshot::Mesh* mesh, const std::string& network, bool& right) {
  const auto tree = local::parse_json(text);
  if (!tree) {
    right = false;
    return refused(Value::list({Value::of(tree.error().text)}));
  }
  Line line;
  local::Problems problems("");
  local::Fields(local::Value(*tree, "", problems))
      .optional("policies", [&](const local::Value& v) { read_policies(v, line); })
      .required("workload", [&](const local::Value& v) { read_workload(v, mesh, network, line); })
      .required("connection", [&](const local::Value& v) { read_connection(v, line); })
      .finish();
  if (!line.policies && !mesh && problems.empty()) {
    problems.add(1, "policies", "is required without --mesh or --config-dump");
  }
  if (!problems.empty()) {
    right = false;
    return refused(errors_of(problems.take_lines()));
  }
  line.connection.peer = line.peer ? &*line.peer : nullptr;
  const snapshot::Workload& workload = line.of_mesh ? *line.of_mesh : line.workload;
  if (!line.policies) return answer(*mesh, workload, line.connection);
  snapshot::MeshBuilder builder;
  for (snapshot::Policy& policy : *line.policies) builder.upsert(std::move(policy));
  const auto own = builder.publish();
  return answer(*own, workload, line.connection);
}

}  // namespace

std::string evaluate_line(std::string_view line, const snapshot::Mesh* mesh, const std::string& network, bool& right) {
  return to_json_line(evaluate(line, mesh, network, right));
}

int evaluate_policies(std::istream& in, const snapshot::Mesh* mesh, const std::string& network, const Output& output) {
  int status = kDone;
  uint64_t number = 0;
  std::string line;
  for (bool overlong = false; next_line(*in.rdbuf(), line, overlong);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos && !overlong) continue;
    bool right = !overlong;
    Value said = overlong ? refused(Value::list({Value::of(std::string("a line of at most 16 MiB is accepted"))}))
                          : evaluate(line, mesh, network, right);
    if (!right) {
      status = kFailed;
      Value numbered = Value::map();
      numbered.set("line", number);
      for (Value::Entry& entry : said.entries) numbered.set(entry.key, std::move(entry.value));
      said = std::move(numbered);
    }
    output.out(to_json_line(said));
  }
  return status;
}

}  // namespace culvert::ctl
