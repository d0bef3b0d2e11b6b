// Mesh records from the contract to plain values. Everything that is not well formed is refused record by record, with
// the field and what is accepted (reference 13.2 and 12.2, except that nothing is dropped silently: a policy that lost
// an entry would say something else than its author). Protobuf types end here.
#pragma once

#include "control/mesh_feed.h"

namespace culvert::api {
class MeshChunk;
}

namespace culvert::control {

MeshRecords convert(const api::MeshChunk& chunk);

}  // namespace culvert::control
