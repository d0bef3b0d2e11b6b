// What the xDS client is told at its start. Plain values; whoever reads the environment fills them.
#pragma once

#include <map>
#include <string>

#include "istiod/endpoint.h"
#include "xds/limits.h"

namespace culvert::xds {

// Reference 14.3, 20.
struct NodeOptions {
  std::string instance_ip = "1.1.1.1";
  std::string pod_name = {}, pod_namespace = {}, node_name = {};
  std::map<std::string, std::string> metadata = {};       // ISTIO_META_<key>, and ProxyConfig.proxyMetadata
  std::map<std::string, std::string> metadata_json = {};  // ISTIO_METAJSON_<key>: JSON; wins over the same text key
};

struct Options {
  istiod::Options istiod = {};
  NodeOptions node = {};
  bool on_demand = false;  // XDS_ON_DEMAND: addresses only as want() asks for them
  Limits limits = {};
};

}  // namespace culvert::xds
