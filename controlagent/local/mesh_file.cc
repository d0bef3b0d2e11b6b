// What the mesh file holds, record by record (record_schema.h), and what only the whole of it tells: a key given twice,
// endpoints of services, names that nothing has.
#include "local/mesh_file.h"

#include "local/policy_schema.h"
#include "local/read_file.h"
#include "local/record_schema.h"
#include "local/schema.h"

namespace culvert::local {
namespace {

using reconcile::Service;
using reconcile::Workload;

// An endpoint that its service's health policy would leave out anyway is left out here; a membership that the workload
// states itself wins.
void fold_endpoints(const std::vector<Endpoint>& endpoints, reconcile::Mesh& mesh, Problems& warnings) {
  for (const Endpoint& e : endpoints) {
    const auto found = mesh.workloads.find(e.workload_uid);
    if (found == mesh.workloads.end()) {
      warnings.add(e.line, e.key + ".workloadUid", "no workload has the uid `" + e.workload_uid + "`; never chosen");
    } else if (e.health == reconcile::Health::kHealthy || e.policy == reconcile::HealthPolicy::kAllowAll) {
      found->second.services.try_emplace(e.service, e.ports);
    }
  }
}

// Puts a record under its key; a second one under the same key is a problem. What is no map was told already.
template <class Record>
void insert(std::map<std::string, Record>& into, std::string key, Record record, const Value& where,
            std::string_view field) {
  if (where.node().kind != config::YamlNode::Kind::kMap) return;
  if (into.contains(key))
    return where.problems().add(where.line(), where.key(), std::string(field) + " `" + key + "` is given twice");
  into.emplace(std::move(key), std::move(record));
}

void check_names(const reconcile::Mesh& mesh, const std::map<std::string, uint32_t>& lines, Problems& warnings) {
  for (const auto& [uid, w] : mesh.workloads) {
    if (w.tunnel == reconcile::Tunnel::kHbone && !w.identity()) {
      warnings.add(lines.at(uid), "workloads",
                   "`" + uid + "` speaks HBONE and has no identity: set trustDomain and serviceAccount");
    }
    for (const std::string& policy : w.authorization_policies) {
      if (!mesh.policies.contains(policy)) {
        warnings.add(lines.at(uid), "workloads",
                     "`" + uid + "` names the policy `" + policy + "`, which does not exist: not enforced");
      }
    }
  }
}

}  // namespace

Result<MeshFile, std::vector<std::string>> parse_mesh(std::string_view text, const std::string& file) {
  Problems problems(file), warnings(file);
  auto tree = config::parse_yaml(text);
  if (!tree) {
    problems.add(tree.error().line, "", tree.error().text);
    return problems.take_lines();
  }
  MeshFile out;
  if (tree->kind == config::YamlNode::Kind::kNull) return out;

  std::vector<Endpoint> endpoints;
  std::map<std::string, uint32_t> lines;
  Fields(Value(*tree, "", problems))
      .optional("workloads",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    Workload w = workload(item, Form::kFile);
                    lines.emplace(w.uid, item.line());
                    const std::string uid = w.uid;
                    insert(out.mesh.workloads, uid, std::move(w), item, "uid");
                  });
                })
      .optional("policies",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    reconcile::Policy p = policy(item);
                    const std::string key = p.key();
                    insert(out.mesh.policies, key, std::move(p), item, "the policy");
                  });
                })
      .optional("services",
                [&](const Value& v) {
                  v.each_item([&](const Value& item) {
                    Service s = service(item, Form::kFile, endpoints);
                    const std::string key = s.key();
                    insert(out.mesh.services, key, std::move(s), item, "the service");
                  });
                })
      .finish();
  if (!problems.empty()) return problems.take_lines();

  fold_endpoints(endpoints, out.mesh, warnings);
  check_names(out.mesh, lines, warnings);
  out.warnings = warnings.take_lines();
  return out;
}

Result<MeshFile, std::vector<std::string>> load_mesh(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return std::vector<std::string>{text.error()};
  return parse_mesh(*text, path);
}

}  // namespace culvert::local
