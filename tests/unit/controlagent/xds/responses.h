// Responses as a test writes them.
//
//   ResponseOf(kAddressType, "n1").has("uid-1", pod("web")).removes("uid-2")
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "xds/api/address.pb.h"
#include "xds/api/authorization.pb.h"
#include "xds/api/discovery.pb.h"
#include "xds/response_reader.h"

namespace culvert::xds {

class ResponseOf {
 public:
  ResponseOf(std::string_view type_url, const std::string& nonce) {
    message_.set_type_url(std::string(type_url));
    message_.set_nonce(nonce);
  }

  template <class Message>
  ResponseOf& has(const std::string& name, const Message& message, const std::string& version = "v1",
                  const std::vector<std::string>& aliases = {}) {
    return has_bytes(name, message_.type_url(), message.SerializeAsString(), version, aliases);
  }
  ResponseOf& has_bytes(const std::string& name, const std::string& type_url, std::string bytes,
                        const std::string& version = "v1", const std::vector<std::string>& aliases = {}) {
    auto& resource = *message_.add_resources();
    resource.set_name(name);
    resource.set_version(version);
    resource.mutable_resource()->set_type_url(type_url);
    resource.mutable_resource()->set_value(std::move(bytes));
    for (const std::string& alias : aliases) resource.add_aliases(alias);
    return *this;
  }
  ResponseOf& removes(const std::string& name) {
    message_.add_removed_resources(name);
    return *this;
  }

  const envoy::service::discovery::v3::DeltaDiscoveryResponse& message() const { return message_; }
  std::string bytes() const { return message_.SerializeAsString(); }

 private:
  envoy::service::discovery::v3::DeltaDiscoveryResponse message_;
};

// A pod of namespace shop: its uid is "Kubernetes//Pod/shop/<name>", unless another is given.
inline std::string uid_of(const std::string& name) { return "Kubernetes//Pod/shop/" + name; }
inline istio::workload::Address pod(const std::string& name, const std::string& node = "n1",
                                    const std::string& uid = {}) {
  istio::workload::Address out;
  auto& workload = *out.mutable_workload();
  workload.set_uid(uid.empty() ? uid_of(name) : uid);
  workload.set_name(name);
  workload.set_namespace_("shop");
  workload.set_node(node);
  return out;
}
inline istio::workload::Address service(const std::string& hostname) {
  istio::workload::Address out;
  out.mutable_service()->set_name(hostname.substr(0, hostname.find('.')));
  out.mutable_service()->set_namespace_("shop");
  out.mutable_service()->set_hostname(hostname);
  return out;
}
inline istio::security::Authorization policy(const std::string& name) {
  istio::security::Authorization out;
  out.set_name(name);
  out.set_namespace_("shop");
  return out;
}
// A pod that conversion refuses: its address has three bytes.
inline istio::workload::Address bad_pod(const std::string& name) {
  istio::workload::Address out = pod(name);
  out.mutable_workload()->add_addresses("123");
  return out;
}

}  // namespace culvert::xds
