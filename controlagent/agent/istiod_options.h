// What culvert.yaml and the environment say about istiod, as the options of the rooms that talk to it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/ztunnel_environment.h"
#include "istioca/client.h"
#include "xds/options.h"

namespace culvert::agent {

// What comes by prefixed variables (reference 14.1, 14.3, 20), in order of their names.
struct IstiodEnvironment {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  Pairs xds_headers, ca_headers;  // XDS_HEADER_, CA_HEADER_
  Pairs metadata, metadata_json;  // ISTIO_META_, ISTIO_METAJSON_
  config::ProxyConfig proxy;      // PROXY_CONFIG; its metadata gives way to variables
};
IstiodEnvironment istiod_environment();

bool has_xds(const config::Config& config);
// A CA that speaks Istio's protocol signs: one is named, and ca.dir is not.
bool has_istio_ca(const config::Config& config);

xds::Options xds_options(const config::Config& config, const IstiodEnvironment& environment);
istioca::Options ca_options(const config::Config& config, const IstiodEnvironment& environment);

}  // namespace culvert::agent
