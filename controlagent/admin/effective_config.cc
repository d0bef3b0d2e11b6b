#include "admin/effective_config.h"

namespace culvert::admin {
namespace {

Value text_or_null(const std::string& text) { return text.empty() ? Value() : Value(text); }

Value socket_address(const std::string& text) {
  return text.empty() ? Value() : Value(Value::Object{{"SocketAddr", text}});
}

// A file, PEM itself, or SYSTEM; "" is null.
Value root_certificate(const std::string& root) {
  if (root.empty()) return {};
  if (root == "SYSTEM") return "Default";
  if (root.starts_with("-----BEGIN")) return Value::Object{{"Static", root}};
  return Value::Object{{"File", root}};
}

// A path is shown; anything else may be the token.
bool is_path(const std::string& text) { return text.starts_with("/") || text.starts_with("./"); }

}  // namespace

Value effective_config(const config::Config& config, const std::vector<config::Effective>& effective) {
  const config::IstiodSection& istiod = config.istiod;
  const auto or_xds = [](const std::string& own, const std::string& xds) { return own.empty() ? xds : own; };
  Value out = Value::Object();
  out["adminAddr"] = socket_address(config.admin.listen);
  out["altCaHostname"] = text_or_null(or_xds(istiod.ca_server_name, istiod.server_name));
  out["altXdsHostname"] = text_or_null(istiod.server_name);
  out["caAddress"] = text_or_null(or_xds(istiod.ca_address, istiod.address));
  out["caRootCert"] = root_certificate(or_xds(istiod.ca_root, istiod.root));
  out["clusterId"] = config.node.cluster;
  out["crlPath"] = text_or_null(config.ca.crl);
  out["localNode"] = config.node.name;
  out["network"] = config.node.network;
  out["numWorkerThreads"] = int64_t{config.workers.count};
  out["proxy"] = true;
  out["proxyMode"] = "Shared";
  out["readinessAddr"] = socket_address(config.admin.readiness);
  out["secretTtl"] = Value::duration(istiod.secret_ttl);
  out["selfTerminationDeadline"] = Value::duration(config.drain.deadline);
  out["statsAddr"] = socket_address(config.admin.metrics);
  out["xdsAddress"] = text_or_null(istiod.address);
  out["xdsOnDemand"] = istiod.on_demand;
  out["xdsRootCert"] = root_certificate(istiod.root);
  Value own = Value::Object();
  for (const config::Effective& one : effective) {
    const bool hidden = one.key == "istiod.token" && !istiod.token.empty() && !is_path(istiod.token);
    own[one.key] = hidden ? "(set)" : one.value;
  }
  out["culvert"] = std::move(own);
  return out;
}

}  // namespace culvert::admin
