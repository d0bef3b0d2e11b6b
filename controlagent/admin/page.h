// The page at /: what this is, how it stands, and where the rest is.
#pragma once

#include <string>
#include <vector>

#include "reconcile/mesh_store.h"
#include "southbound/sight.h"

namespace culvert::admin {

struct Page {
  std::string version, node;
  reconcile::MeshStore::Counts mesh;
  bool mesh_known = false;
  southbound::Seen<southbound::DataPlaneStatus> status{std::string()};
  std::vector<std::string> pending;  // of the readiness probe
  std::string log_filter;
};

std::string html_page(const Page& page);

}  // namespace culvert::admin
