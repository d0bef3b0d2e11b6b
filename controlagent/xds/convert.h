// istiod's messages as the agent's records, with every rule and default of reference 13.2 and 12.2. Protobuf goes no
// further than here.
#pragma once

#include "reconcile/mesh.h"
#include "xds/api/address.pb.h"
#include "xds/api/authorization.pb.h"
#include "xds/fields.h"

namespace culvert::xds {

// What cannot be taken stands in `fields`; the record is of no use then. `name` is the resource's: a workload without a
// uid gets it, because it is what the resource will be removed by.
reconcile::Workload convert(const istio::workload::Workload& in, const std::string& name, Fields& fields);
reconcile::Service convert(const istio::workload::Service& in, Fields& fields);
reconcile::Policy convert(const istio::security::Authorization& in, Fields& fields);

}  // namespace culvert::xds
