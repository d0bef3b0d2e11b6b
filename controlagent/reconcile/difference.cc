#include "reconcile/difference.h"

namespace culvert::reconcile {
namespace {

// Both maps are sorted: one walk over the two finds what is new, changed and gone.
template <class Record>
void compare(const std::map<std::string, Record>& desired, const std::map<std::string, Record>& known,
             std::vector<const Record*>& changed, std::vector<std::string>& removed) {
  auto k = known.begin();
  for (const auto& [key, record] : desired) {
    for (; k != known.end() && k->first < key; ++k) removed.push_back(k->first);
    if (k != known.end() && k->first == key) {
      if (!(k->second == record)) changed.push_back(&record);
      ++k;
    } else {
      changed.push_back(&record);
    }
  }
  for (; k != known.end(); ++k) removed.push_back(k->first);
}

}  // namespace

std::optional<std::string> Workload::identity() const {
  if (trust_domain.empty() || name_space.empty() || service_account.empty()) return std::nullopt;
  return "spiffe://" + trust_domain + "/ns/" + name_space + "/sa/" + service_account;
}

size_t MeshDifference::size() const {
  return workloads.size() + services.size() + policies.size() + removed_workloads.size() + removed_services.size() +
         removed_policies.size();
}

MeshDifference difference(const Mesh& desired, const Mesh& known) {
  MeshDifference out;
  compare(desired.workloads, known.workloads, out.workloads, out.removed_workloads);
  compare(desired.services, known.services, out.services, out.removed_services);
  compare(desired.policies, known.policies, out.policies, out.removed_policies);
  return out;
}

}  // namespace culvert::reconcile
