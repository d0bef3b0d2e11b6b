// A real ztunnel's config_dump, and the mesh, certificates and pods that it speaks of, as the agent would know them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "admin/config_dump.h"

namespace culvert::admin {

nlohmann::json ztunnel_dump();

// The same state as input of our dump. Fails the test on what it does not understand.
Dump dump_of(const nlohmann::json& seen);

std::string base64_decoded(const std::string& text);

}  // namespace culvert::admin
