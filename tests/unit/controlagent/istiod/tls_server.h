// A gRPC server of the xDS service over TLS, whose certificate and answers a test chooses. The fullest thing that an
// endpoint meets without an istiod.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

#include "tests/testkit/test_ca.h"
#include "xds/api/discovery.grpc.pb.h"

namespace culvert::testkit {

namespace discovery = envoy::service::discovery::v3;

// Dates of today: gRPC reads the machine's clock.
inline TestLeaf server_leaf(const TestCa& ca, std::vector<std::string> names) {
  const auto now = std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  return ca.issue({.dns_sans = std::move(names),
                   .not_before = now - std::chrono::hours{1},
                   .not_after = now + std::chrono::hours{24}});
}
inline TestCa todays_ca(std::string_view name) {
  const auto now = std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  return TestCa(KeyType::kP256, name, now - std::chrono::hours{24}, now + std::chrono::hours{24 * 30});
}

// Answers each stream with one response whose nonce is "hello" and ends it; keeps the last call's metadata.
class TlsServer final : public discovery::AggregatedDiscoveryService::Service {
 public:
  explicit TlsServer(const TestLeaf& leaf, size_t padding = 0) : padding_(padding) {
    grpc::SslServerCredentialsOptions tls;
    tls.pem_key_cert_pairs.push_back({leaf.key_pem, leaf.chain_pem});
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &port_);
    builder.SetMaxSendMessageSize(-1);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~TlsServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status DeltaAggregatedResources(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<discovery::DeltaDiscoveryResponse, discovery::DeltaDiscoveryRequest>* stream) override {
    {
      const std::lock_guard lock(mutex_);
      metadata_.clear();
      for (const auto& [name, value] : context->client_metadata()) {
        metadata_.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
      }
    }
    discovery::DeltaDiscoveryResponse response;
    response.set_nonce("hello");
    response.set_system_version_info(std::string(padding_, 'x'));
    stream->Write(response);
    return grpc::Status::OK;
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::multimap<std::string, std::string> metadata() const {
    const std::lock_guard lock(mutex_);
    return metadata_;
  }

 private:
  const size_t padding_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  mutable std::mutex mutex_;
  std::multimap<std::string, std::string> metadata_;
};

// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "culvert-istiod-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

}  // namespace culvert::testkit
