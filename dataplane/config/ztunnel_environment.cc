#include "config/ztunnel_environment.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "config/duration.h"
#include "config/reader.h"
#include "config/yaml_tree.h"

namespace culvert::config {
namespace {

constexpr std::string_view kNoDns = "pods' DNS is not touched: the cluster's DNS serves them";
constexpr std::string_view kCpu = "workers.count says how many cores poll";
constexpr std::string_view kWindows = "windows follow the rate by themselves, from 64 KB up";

constexpr ZtunnelVariable kVariables[] = {
    {"ALT_CA_HOSTNAME", Fate::kKey, "istiod.ca_server_name", ""},
    {"ALT_XDS_HOSTNAME", Fate::kKey, "istiod.server_name", ""},
    {"AUTHZ_POLICY_INFO_LOGGING", Fate::kOnly, "false", "a denied stream's access line names its policy"},
    {"AUTH_TOKEN", Fate::kKey, "istiod.token", ""},
    {"CA_ADDRESS", Fate::kKey, "istiod.ca_address", ""},
    {"CA_HEADER_*", Fate::kAgent, "", "sent with each request for a certificate"},
    {"CA_ROOT_CA", Fate::kKey, "istiod.ca_root", ""},
    {"CLUSTER_DOMAIN", Fate::kNothing, "", kNoDns},
    {"CLUSTER_ID", Fate::kKey, "node.cluster", ""},
    {"COMPLIANCE_POLICY", Fate::kOnly, "", "key exchange is X25519 and P-256"},
    {"CONNECTION_TERMINATION_DEADLINE", Fate::kKey, "drain.deadline", ""},
    {"CRL_PATH", Fate::kKey, "ca.crl", ""},
    {"DNS_CAPTURE", Fate::kNothing, "", kNoDns},
    {"DNS_PROXY_ADDR", Fate::kNothing, "", kNoDns},
    {"ENABLE_ORIG_SRC", Fate::kOnly, "true", "a server always sees its client's address"},
    {"ENABLE_PROXY", Fate::kOnly, "true", "the data plane is a process of its own: do not start it"},
    {"ENABLE_RESPONSE_BAGGAGE", Fate::kOnly, "true", "baggage goes both ways"},
    {"FAKE_CA", Fate::kOnly, "false", "`culvertctl ca init` and ca.dir make certificates without istiod"},
    {"HTTP2_CONNECTION_WINDOW_SIZE", Fate::kOnly, "16777216", kWindows},
    {"HTTP2_FRAME_SIZE", Fate::kOnly, "1048576", "frames are as long as one TLS record, 16,384 bytes"},
    {"HTTP2_STREAM_WINDOW_SIZE", Fate::kOnly, "4194304", kWindows},
    {"INPOD_ENABLED", Fate::kNothing, "", "attachments say how each pod is reached"},
    {"INPOD_PORT_REUSE", Fate::kNothing, "", "Culvert opens no socket in a pod"},
    {"INPOD_UDS", Fate::kNothing, "", "pods are attached by culvert.yaml, not by istio-cni"},
    {"INSTANCE_IP", Fate::kKey, "istiod.instance_ip", ""},
    {"IPV6_ENABLED", Fate::kOnly, "true", "IPv4 and IPv6 are always served"},
    {"ISTIO_META_*", Fate::kAgent, "", "node metadata; ISTIO_META_CLUSTER_ID is node.cluster"},
    {"ISTIO_METAJSON_*", Fate::kAgent, "", "node metadata"},
    {"KEEPALIVE_ENABLED", Fate::kOnly, "true", "keepalive is 180 s, 180 s, 9 probes"},
    {"KEEPALIVE_INTERVAL", Fate::kOnly, "180s", "keepalive is 180 s, 180 s, 9 probes"},
    {"KEEPALIVE_RETRIES", Fate::kOnly, "9", "keepalive is 180 s, 180 s, 9 probes"},
    {"KEEPALIVE_TIME", Fate::kOnly, "180s", "keepalive is 180 s, 180 s, 9 probes"},
    {"KUBERNETES_SERVICE_HOST", Fate::kAgent, "", "istiod.address is istiod.istio-system.svc:15012 by default then"},
    {"LOCALHOST_APP_TUNNEL", Fate::kNothing, "", "application tunnels are not built"},
    {"LOCAL_XDS", Fate::kOnly, "", "write the mesh into a file and name it in mesh.file"},
    {"LOCAL_XDS_PATH", Fate::kKey, "mesh.file", ""},
    {"LOG_FORMAT", Fate::kKey, "log.format", ""},
    {"NETWORK", Fate::kKey, "node.network", ""},
    {"NODE_NAME", Fate::kKey, "node.name", ""},
    {"PACKET_MARK", Fate::kNothing, "", "no packet passes a pod's own rules twice"},
    {"POD_NAME", Fate::kKey, "istiod.pod_name", ""},
    {"POD_NAMESPACE", Fate::kKey, "istiod.pod_namespace", ""},
    {"POOL_MAX_STREAMS_PER_CONNECTION", Fate::kOnly, "100", "a tunnel carries as many streams as its peer allows"},
    {"POOL_UNUSED_RELEASE_TIMEOUT", Fate::kOnly, "5m", "an unused tunnel is kept for five minutes"},
    {"PREFERED_SERVICE_NAMESPACE", Fate::kOnly, "", "host names are looked up in the client's namespace first"},
    {"PROXY_CONFIG", Fate::kAgent, "", "discoveryAddress, concurrency and proxyMetadata of it"},
    {"PROXY_MODE", Fate::kOnly, "shared", "one Culvert serves a whole node"},
    {"PROXY_WORKLOAD_INFO", Fate::kNothing, "", "one Culvert serves a whole node"},
    {"RUST_BACKTRACE", Fate::kNothing, "", "Culvert is not written in Rust"},
    {"RUST_LOG", Fate::kAgent, "", "a log filter, as /logging takes it"},
    {"SECRET_TTL", Fate::kKey, "istiod.secret_ttl", ""},
    {"SERVICE_ACCOUNT", Fate::kNothing, "", "the token says who the agent is"},
    {"TERMINATION_GRACE_PERIOD_SECONDS", Fate::kKey, "drain.deadline", "5 s less, or 1 s less up to 10 s"},
    {"TLS12_ENABLED", Fate::kOnly, "false", "tunnels are TLS 1.3"},
    {"TRUST_DOMAIN", Fate::kKey, "node.trust_domain", ""},
    {"UNSTABLE_ENABLE_SOCKS5", Fate::kOnly, "false", "there is no SOCKS5 listener"},
    {"USER_TIMEOUT_ENABLED", Fate::kOnly, "false", "keepalive finds dead peers"},
    {"XDS_ADDRESS", Fate::kKey, "istiod.address", ""},
    {"XDS_HEADER_*", Fate::kAgent, "", "sent with each xDS stream"},
    {"XDS_ON_DEMAND", Fate::kKey, "istiod.on_demand", ""},
    {"XDS_ROOT_CA", Fate::kKey, "istiod.root", ""},
    {"ZTUNNEL_CPU_LIMIT", Fate::kNothing, "", kCpu},
    {"ZTUNNEL_RESOURCE_CPU_LIMIT", Fate::kNothing, "", kCpu},
    {"ZTUNNEL_RESOURCE_CPU_REQUEST", Fate::kNothing, "", kCpu},
    {"ZTUNNEL_WORKER_THREADS", Fate::kKey, "workers.count", "a number, N% of the cores, or 0 for all"},
};

// Values that mean what `accepted` says in other words.
bool means(const std::string& value, std::string_view accepted) {
  if (value == accepted) return true;
  const auto span = parse_duration(value);
  return span && span == parse_duration(accepted);
}

std::string sentence(std::string_view name, const std::string& value, const ZtunnelVariable& variable) {
  const std::string accepted = variable.what.empty() ? "no value" : "`" + std::string(variable.what) + "`";
  return "environment " + std::string(name) + ": " + accepted + " is accepted, not `" + value +
         "`: " + std::string(variable.why);
}

// Reference 20, 21.4: what is left of the pod's grace period for streams in progress.
std::string deadline_of(const std::string& grace) {
  const auto seconds = parse_number(grace);
  if (!seconds) return grace;
  const uint64_t left = *seconds > 10 ? *seconds - 5 : *seconds > 1 ? *seconds - 1 : 1;
  return std::to_string(std::max<uint64_t>(left, 1)) + "s";
}

std::string threads_of(const std::string& text, uint32_t cores) {
  if (text == "0") return std::to_string(cores);
  if (!text.ends_with('%')) return text;
  const auto percent = parse_number(std::string_view(text).substr(0, text.size() - 1));
  if (!percent || *percent == 0) return text;
  return std::to_string(std::max<uint64_t>(1, (cores * std::min<uint64_t>(*percent, 100) + 99) / 100));
}

std::string with_scheme(const std::string& address) {
  return address.empty() || address.find("://") != std::string::npos ? address : "https://" + address;
}

}  // namespace

std::span<const ZtunnelVariable> ztunnel_variables() { return kVariables; }

EnvironmentReport check_environment(const Lookup& lookup) {
  EnvironmentReport out;
  for (const ZtunnelVariable& variable : kVariables) {
    if (variable.name.ends_with('*')) continue;
    const auto value = lookup(std::string(variable.name));
    if (!value || value->empty()) continue;
    if (variable.fate == Fate::kOnly && !means(*value, variable.what)) {
      out.problems.push_back(sentence(variable.name, *value, variable));
    } else if (variable.fate == Fate::kNothing) {
      out.notes.push_back("environment " + std::string(variable.name) + " has no effect: " + std::string(variable.why));
    }
  }
  if (const auto text = lookup("PROXY_CONFIG"); text && !text->empty()) {
    if (const ProxyConfig parsed = parse_proxy_config(*text); !parsed.problem.empty()) {
      out.problems.push_back("environment PROXY_CONFIG: " + parsed.problem);
    }
  }
  return out;
}

Lookup in_our_terms(Lookup lookup, uint32_t cores) {
  ProxyConfig proxy;
  if (const auto text = lookup("PROXY_CONFIG")) proxy = parse_proxy_config(*text);
  return [lookup = std::move(lookup), cores,
          proxy = std::move(proxy)](const std::string& name) -> std::optional<std::string> {
    auto value = lookup(name);
    // An empty address switches a control plane off; any other empty variable says nothing.
    if (value && value->empty() && name != "XDS_ADDRESS" && name != "CA_ADDRESS") return std::nullopt;
    if (!value && name == "XDS_ADDRESS" && !proxy.discovery_address.empty())
      return with_scheme(proxy.discovery_address);
    if (!value && name == "ZTUNNEL_WORKER_THREADS" && proxy.concurrency) {
      return threads_of(std::to_string(*proxy.concurrency), cores);
    }
    if (!value) return value;
    if (name == "ZTUNNEL_WORKER_THREADS") return threads_of(*value, cores);
    if (name == "TERMINATION_GRACE_PERIOD_SECONDS") return deadline_of(*value);
    return value;
  };
}

std::vector<std::pair<std::string, std::string>> process_environment_under(std::string_view prefix) {
  std::vector<std::pair<std::string, std::string>> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || !text.starts_with(prefix) || equals <= prefix.size()) continue;
    out.emplace_back(text.substr(prefix.size(), equals - prefix.size()), text.substr(equals + 1));
  }
  std::sort(out.begin(), out.end());
  return out;
}

ProxyConfig parse_proxy_config(std::string_view yaml) {
  ProxyConfig out;
  const auto tree = parse_yaml(yaml);
  if (!tree) {
    out.problem = "line " + std::to_string(tree.error().line) + ": " + tree.error().text;
    return out;
  }
  if (tree->kind == YamlNode::Kind::kNull) return out;
  if (tree->kind != YamlNode::Kind::kMap) {
    out.problem = "a map is accepted, not " + describe(*tree);
    return out;
  }
  if (const YamlNode* address = tree->find("discoveryAddress")) out.discovery_address = address->text;
  if (const YamlNode* concurrency = tree->find("concurrency")) {
    const auto number = parse_number(concurrency->text);
    if (!number || *number > 1024) {
      out.problem = "concurrency: 0 to 1024 is accepted, not " + describe(*concurrency);
      return out;
    }
    out.concurrency = static_cast<uint32_t>(*number);
  }
  if (const YamlNode* metadata = tree->find("proxyMetadata")) {
    if (metadata->kind != YamlNode::Kind::kMap) {
      out.problem = "proxyMetadata: a map is accepted, not " + describe(*metadata);
      return out;
    }
    for (const YamlNode::Entry& entry : metadata->entries) out.metadata.emplace_back(entry.key, entry.value.text);
  }
  return out;
}

}  // namespace culvert::config
