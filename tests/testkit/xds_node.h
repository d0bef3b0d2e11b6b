// A node as istiod sees it, for tests of what an istiod sends: no agent, only the generated client.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/testkit/fake_istiod.h"
#include "xds/api/discovery.grpc.pb.h"

namespace culvert::testkit {

// One stream of a node. A test says each request itself.
class XdsNode {
 public:
  using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;
  using Response = envoy::service::discovery::v3::DeltaDiscoveryResponse;

  XdsNode(const std::string& address, const std::string& root_pem, const std::string& token = "test-token") {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = root_pem;
    channel_ = grpc::CreateChannel(address, grpc::SslCredentials(tls));
    context_.AddMetadata("authorization", "Bearer " + token);
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stream_ = envoy::service::discovery::v3::AggregatedDiscoveryService::NewStub(channel_)->DeltaAggregatedResources(
        &context_);
  }
  ~XdsNode() {
    context_.TryCancel();
    finish();
  }

  Request first(const std::string& type) const {
    Request request;
    request.mutable_node()->set_id("ztunnel~10.0.0.1~zt-1.istio-system~istio-system.svc.cluster.local");
    request.set_type_url(type);
    return request;
  }
  Request on_demand(const std::string& node_name) const {
    Request request = first(kAddressType);
    request.add_resource_names_subscribe("*");
    request.add_resource_names_unsubscribe("*");
    if (!node_name.empty()) {
      (*request.mutable_node()->mutable_metadata()->mutable_fields())["NODE_NAME"].set_string_value(node_name);
    }
    return request;
  }
  void say(const Request& request) { stream_->Write(request); }
  void subscribe(const std::string& name) {
    Request request;
    request.set_type_url(kAddressType);
    request.add_resource_names_subscribe(name);
    say(request);
  }
  Response hear() {
    Response response;
    EXPECT_TRUE(stream_->Read(&response)) << finish().error_message();
    return response;
  }
  void answer(const Response& response, const std::string& nack = {}) {
    Request request;
    request.set_type_url(response.type_url());
    request.set_response_nonce(response.nonce());
    if (!nack.empty()) request.mutable_error_detail()->set_message(nack);
    say(request);
  }
  // The first exchange, acknowledged.
  Response watch(const std::string& type) {
    say(first(type));
    const Response response = hear();
    answer(response);
    return response;
  }
  bool hears_nothing_more() {
    Response response;
    return !stream_->Read(&response);
  }
  grpc::Status finish() {
    if (!finished_) status_ = stream_->Finish();
    finished_ = true;
    return status_;
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream_;
  bool finished_ = false;
  grpc::Status status_;
};

inline std::vector<std::string> names(const XdsNode::Response& response) {
  std::vector<std::string> out;
  for (const auto& resource : response.resources()) out.push_back(resource.name());
  return out;
}
inline std::vector<std::string> removed(const XdsNode::Response& response) {
  return {response.removed_resources().begin(), response.removed_resources().end()};
}

}  // namespace culvert::testkit
