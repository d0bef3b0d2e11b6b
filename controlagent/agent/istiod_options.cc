#include "agent/istiod_options.h"

#include <algorithm>

#include "config/load.h"

namespace culvert::agent {
namespace {

IstiodEnvironment::Pairs lower_names(IstiodEnvironment::Pairs pairs) {
  for (auto& [name, value] : pairs) {
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  }
  return pairs;
}

istiod::Options transport(const config::Config& config, IstiodEnvironment::Pairs headers) {
  return {.address = config.istiod.address,
          .root = config.istiod.root,
          .server_name = config.istiod.server_name,
          .token = config.istiod.token,
          .cluster_id = config.node.cluster,
          .headers = lower_names(std::move(headers))};
}

}  // namespace

IstiodEnvironment istiod_environment() {
  IstiodEnvironment out;
  out.xds_headers = config::process_environment_under("XDS_HEADER_");
  out.ca_headers = config::process_environment_under("CA_HEADER_");
  out.metadata = config::process_environment_under("ISTIO_META_");
  out.metadata_json = config::process_environment_under("ISTIO_METAJSON_");
  if (const auto proxy = config::process_environment("PROXY_CONFIG")) out.proxy = config::parse_proxy_config(*proxy);
  return out;
}

bool has_xds(const config::Config& config) { return !config.istiod.address.empty(); }

bool has_istio_ca(const config::Config& config) {
  return config.ca.dir.empty() && (!config.istiod.ca_address.empty() || has_xds(config));
}

xds::Options xds_options(const config::Config& config, const IstiodEnvironment& environment) {
  xds::Options out;
  out.istiod = transport(config, environment.xds_headers);
  out.on_demand = config.istiod.on_demand;
  out.node.instance_ip = config.istiod.instance_ip;
  out.node.pod_name = config.istiod.pod_name.empty() ? config.node.name : config.istiod.pod_name;
  out.node.pod_namespace = config.istiod.pod_namespace.empty() ? "istio-system" : config.istiod.pod_namespace;
  out.node.node_name = config.node.name;
  out.node.metadata["CLUSTER_ID"] = config.node.cluster;
  for (const auto& [name, value] : environment.proxy.metadata) out.node.metadata[name] = value;
  for (const auto& [name, value] : environment.metadata) out.node.metadata[name] = value;
  for (const auto& [name, value] : environment.metadata_json) out.node.metadata_json[name] = value;
  return out;
}

istioca::Options ca_options(const config::Config& config, const IstiodEnvironment& environment) {
  istioca::Options out;
  out.istiod = transport(config, environment.ca_headers);
  if (!config.istiod.ca_address.empty()) out.istiod.address = config.istiod.ca_address;
  if (!config.istiod.ca_root.empty()) out.istiod.root = config.istiod.ca_root;
  if (!config.istiod.ca_server_name.empty()) out.istiod.server_name = config.istiod.ca_server_name;
  out.validity = config.istiod.secret_ttl;
  return out;
}

}  // namespace culvert::agent
