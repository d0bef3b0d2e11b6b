// The `config` of config_dump: culvert.yaml as it is in force, under ztunnel's names where ztunnel has one, and every
// value with its own name under "culvert". A token that stands in the configuration itself is not shown.
#pragma once

#include <vector>

#include "admin/value.h"
#include "config/load.h"

namespace culvert::admin {

Value effective_config(const config::Config& config, const std::vector<config::Effective>& effective);

}  // namespace culvert::admin
