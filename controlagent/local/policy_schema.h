// The `policies` part of the mesh file's schema (reference 19, 12.1).
#pragma once

#include "local/schema.h"
#include "reconcile/mesh.h"

namespace culvert::local {

reconcile::Policy policy(const Value& map);

// "address/bits"; a length is required, as the format's own type has it.
Prefix cidr(const Value& value);

}  // namespace culvert::local
