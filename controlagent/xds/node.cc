#include "xds/node.h"

#include <google/protobuf/util/json_util.h>

namespace culvert::xds {

Result<envoy::config::core::v3::Node, std::string> make_node(const NodeOptions& options) {
  envoy::config::core::v3::Node node;
  const std::string& name_space = options.pod_namespace;
  node.set_id("ztunnel~" + (options.instance_ip.empty() ? "1.1.1.1" : options.instance_ip) + "~" + options.pod_name +
              "." + name_space + "~" + name_space + ".svc.cluster.local");
  auto& fields = *node.mutable_metadata()->mutable_fields();
  const auto set = [&fields](const std::string& key, const std::string& value) { fields[key].set_string_value(value); };
  set("NAME", options.pod_name);
  set("NAMESPACE", name_space);
  set("INSTANCE_IPS", options.instance_ip);
  set("NODE_NAME", options.node_name);
  for (const auto& [key, value] : options.metadata) set(key, value);
  for (const auto& [key, json] : options.metadata_json) {
    if (!google::protobuf::util::JsonStringToMessage(json, &fields[key]).ok()) {
      return Failure{"the node's metadata " + key + " (ISTIO_METAJSON_" + key + ") is no JSON: " + json};
    }
  }
  return node;
}

}  // namespace culvert::xds
