// The agent's records as the data plane's, without a data plane: for commands that decide from files. A direct
// translation; the tests hold it against the way through the contract, record for record.
#pragma once

#include <memory>

#include "reconcile/mesh.h"
#include "snapshot/mesh.h"

namespace culvert::ctl {

snapshot::Workload to_record(const reconcile::Workload& in);
snapshot::Service to_record(const reconcile::Service& in);
snapshot::Policy to_record(const reconcile::Policy& in);

std::shared_ptr<const snapshot::Mesh> build_mesh(const reconcile::Mesh& in);

}  // namespace culvert::ctl
