// Records to messages: the door through which protobuf types come in here, and go no further.
#pragma once

#include "control/api/mesh.pb.h"
#include "control/api/policy.pb.h"
#include "reconcile/mesh.h"

namespace culvert::southbound {

api::Workload to_api(const reconcile::Workload& record);
api::Service to_api(const reconcile::Service& record);
api::Policy to_api(const reconcile::Policy& record);

std::string bytes_of_address(const IpAddress& address);  // 4 or 16 bytes

}  // namespace culvert::southbound
