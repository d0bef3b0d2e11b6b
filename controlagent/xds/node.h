// Who we say that we are (reference 14.3).
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "xds/api/node.pb.h"
#include "xds/options.h"

namespace culvert::xds {

// Or a sentence about a metadata value that is no JSON.
Result<envoy::config::core::v3::Node, std::string> make_node(const NodeOptions& options);

}  // namespace culvert::xds
