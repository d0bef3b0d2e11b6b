#include "local/config_dump.h"

#include "local/json_tree.h"
#include "local/policy_schema.h"
#include "local/read_file.h"
#include "local/record_schema.h"
#include "local/schema.h"

namespace culvert::local {
namespace {

using config::YamlNode;

// Calls take(value) for each record of a list, or of a map's values (reference 23: lists may also be maps). What a
// record's own problems say becomes warnings, and take() is asked again with false to leave it out.
template <class Take>
void each_record(const YamlNode& dump, std::string_view key, const std::string& file,
                 std::vector<std::string>& warnings, Take&& take) {
  const YamlNode* list = dump.find(key);
  if (!list) return;
  const auto one = [&](const YamlNode& node, const std::string& name) {
    Problems problems(file, true);
    take(Value(node, name, problems), problems);
    for (std::string& line : problems.take_lines()) warnings.push_back(line + "; left out");
  };
  for (size_t i = 0; i < list->items.size(); ++i) {
    one(list->items[i], std::string(key) + "[" + std::to_string(i) + "]");
  }
  for (const YamlNode::Entry& entry : list->entries) one(entry.value, std::string(key) + "[" + entry.key + "]");
}

}  // namespace

Result<ConfigDump, std::vector<std::string>> parse_config_dump(std::string_view text, const std::string& file) {
  auto tree = parse_json(text);
  if (!tree) {
    return std::vector<std::string>{file + ":" + std::to_string(tree.error().line) + ": " + tree.error().text};
  }
  if (!tree->find("workloads") || !tree->find("services")) {
    return std::vector<std::string>{file + ": is no config_dump: it has no `workloads` or no `services`"};
  }
  ConfigDump out;
  if (const YamlNode* config = tree->find("config")) {
    if (const YamlNode* node = config->find("localNode")) out.node = node->text;
    if (const YamlNode* network = config->find("network")) out.network = network->text;
  }
  each_record(*tree, "workloads", file, out.warnings, [&](const Value& value, Problems& problems) {
    reconcile::Workload w = workload(value, Form::kDump);
    if (problems.empty()) out.mesh.workloads.insert_or_assign(w.uid, std::move(w));
  });
  each_record(*tree, "policies", file, out.warnings, [&](const Value& value, Problems& problems) {
    reconcile::Policy p = policy(value);
    if (problems.empty()) out.mesh.policies.insert_or_assign(p.key(), std::move(p));
  });
  each_record(*tree, "services", file, out.warnings, [&](const Value& value, Problems& problems) {
    std::vector<Endpoint> endpoints;
    reconcile::Service s = service(value, Form::kDump, endpoints);
    if (!problems.empty()) return;
    for (Endpoint& endpoint : endpoints) {
      const auto found = out.mesh.workloads.find(endpoint.workload_uid);
      if (found == out.mesh.workloads.end()) {
        out.warnings.push_back(file + ": " + endpoint.key + ".workloadUid: no workload has the uid `" +
                               endpoint.workload_uid + "`; left out");
      } else {
        found->second.services[s.key()] = std::move(endpoint.ports);
      }
    }
    out.mesh.services.insert_or_assign(s.key(), std::move(s));
  });
  return out;
}

Result<ConfigDump, std::vector<std::string>> load_config_dump(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return std::vector<std::string>{text.error()};
  return parse_config_dump(*text, path);
}

}  // namespace culvert::local
