// Records of the mesh as the messages istiod sends (reference 12.1, 13.1): the inverse of what the agent does with
// them.
#pragma once

#include "reconcile/mesh.h"
#include "xds/api/address.pb.h"
#include "xds/api/authorization.pb.h"

namespace culvert::testkit {

istio::workload::Address message_of(const reconcile::Workload& record);
istio::workload::Address message_of(const reconcile::Service& record);
istio::security::Authorization message_of(const reconcile::Policy& record);

}  // namespace culvert::testkit
