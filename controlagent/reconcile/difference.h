// Desired state minus known state: what has to be told so that the other side comes to know what is desired. Pure
// functions; the wire code around them is thin (house style 9).
#pragma once

#include <string>
#include <vector>

#include "reconcile/mesh.h"

namespace culvert::reconcile {

// Records to send and names to remove. Pointers lead into the desired mesh.
struct MeshDifference {
  std::vector<const Workload*> workloads;
  std::vector<const Service*> services;
  std::vector<const Policy*> policies;
  std::vector<std::string> removed_workloads, removed_services, removed_policies;

  size_t size() const;
  bool empty() const { return size() == 0; }
};

MeshDifference difference(const Mesh& desired, const Mesh& known);

}  // namespace culvert::reconcile
