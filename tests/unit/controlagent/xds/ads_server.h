// The server side of the delta stream, over TLS, in the hands of a test: it sees every request and says any bytes.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/testkit/test_ca.h"
#include "tests/unit/controlagent/istiod/tls_server.h"
#include "tests/unit/controlagent/xds/responses.h"
#include "xds/api/discovery.grpc.pb.h"

namespace culvert::xds {

// How long a test waits for what has to come; it comes in milliseconds.
inline constexpr auto kPatience = std::chrono::seconds(20);

class AdsServer {
 public:
  using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;

  // One stream of a client. Lives as long as somebody holds it.
  class Session {
   public:
    explicit Session(grpc::CallbackServerContext* context) {
      for (const auto& [name, value] : context->client_metadata()) {
        metadata.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
      }
    }

    // The next request; fails the test when none comes.
    Request next() {
      std::unique_lock lock(mutex_);
      const bool came = changed_.wait_for(lock, kPatience, [this] { return !requests_.empty() || gone_; });
      EXPECT_TRUE(came && !requests_.empty()) << "no request came";
      if (requests_.empty()) return {};
      Request out = std::move(requests_.front());
      requests_.pop_front();
      return out;
    }
    void says(const ResponseOf& response) { says_bytes(response.bytes()); }
    void says_bytes(const std::string& bytes) {
      const grpc::Slice slice(bytes);
      const std::lock_guard lock(mutex_);
      waiting_.emplace_back(&slice, 1);
      write_next();
    }
    void ends(const grpc::Status& status) {
      const std::lock_guard lock(mutex_);
      if (reactor_ != nullptr && !finished_) reactor_->Finish(status);
      finished_ = true;
    }
    // The client ended it, or its connection broke.
    bool is_gone() {
      std::unique_lock lock(mutex_);
      return changed_.wait_for(lock, kPatience, [this] { return gone_; });
    }

    std::multimap<std::string, std::string> metadata;

   private:
    friend class AdsServer;
    class Reactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
     public:
      explicit Reactor(std::shared_ptr<Session> session) : session_(std::move(session)) {}
      void begin() { StartRead(&read_); }
      void write(grpc::ByteBuffer buffer) {
        write_ = std::move(buffer);
        StartWrite(&write_);
      }
      void OnReadDone(bool ok) override {
        if (!ok) return session_->on_read_end();
        Request request;
        grpc::ProtoBufferReader reader(&read_);
        EXPECT_TRUE(request.ParseFromZeroCopyStream(&reader));
        session_->on_request(std::move(request));
        read_.Clear();
        StartRead(&read_);
      }
      void OnWriteDone(bool ok) override { session_->on_written(ok); }
      void OnDone() override {
        session_->on_done();
        delete this;
      }

     private:
      std::shared_ptr<Session> session_;
      grpc::ByteBuffer read_, write_;
    };

    void on_request(Request request) {
      const std::lock_guard lock(mutex_);
      requests_.push_back(std::move(request));
      changed_.notify_all();
    }
    void on_read_end() {
      ends(grpc::Status::CANCELLED);
      const std::lock_guard lock(mutex_);
      gone_ = true;
      changed_.notify_all();
    }
    void on_written(bool ok) {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (ok) write_next();
    }
    void on_done() {
      const std::lock_guard lock(mutex_);
      reactor_ = nullptr;
      gone_ = true;
      changed_.notify_all();
    }
    void write_next() {
      if (reactor_ == nullptr || writing_ || finished_ || waiting_.empty()) return;
      writing_ = true;
      reactor_->write(std::move(waiting_.front()));
      waiting_.pop_front();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    Reactor* reactor_ = nullptr;
    std::deque<Request> requests_;
    std::deque<grpc::ByteBuffer> waiting_;
    bool writing_ = false, finished_ = false, gone_ = false;
  };
  using SessionPtr = std::shared_ptr<Session>;

  explicit AdsServer(const testkit::TestLeaf& leaf, int port = 0) : service_(*this), port_(port) {
    grpc::SslServerCredentialsOptions tls;
    tls.pem_key_cert_pairs.push_back({leaf.key_pem, leaf.chain_pem});
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::SslServerCredentials(tls), &port_);
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    EXPECT_TRUE(server_ != nullptr) << "port " << port;
  }
  ~AdsServer() { stop(); }
  // Connections break; who waits for a stream waits on.
  void stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

  int port() const { return port_; }
  std::string address() const { return "https://127.0.0.1:" + std::to_string(port_); }

  // The next stream that a client opens; fails the test when none comes.
  SessionPtr accept() {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, kPatience, [this] { return !sessions_.empty(); });
    EXPECT_TRUE(came) << "no stream came";
    if (!came) return nullptr;
    SessionPtr out = sessions_.front();
    sessions_.pop_front();
    return out;
  }
  // The same, with the two requests that open it taken and the first state of both types said.
  SessionPtr accept_and_say(const ResponseOf& addresses, const ResponseOf& policies) {
    SessionPtr session = accept();
    if (session == nullptr) return session;
    session->next();
    session->next();
    session->says(addresses);
    session->says(policies);
    session->next();
    session->next();
    return session;
  }

 private:
  using Ads = envoy::service::discovery::v3::AggregatedDiscoveryService;
  class Service final : public Ads::WithRawCallbackMethod_DeltaAggregatedResources<Ads::Service> {
   public:
    explicit Service(AdsServer& server) : server_(server) {}
    grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* DeltaAggregatedResources(
        grpc::CallbackServerContext* context) override {
      auto session = std::make_shared<Session>(context);
      auto* reactor = new Session::Reactor(session);
      session->reactor_ = reactor;
      reactor->begin();
      const std::lock_guard lock(server_.mutex_);
      server_.sessions_.push_back(std::move(session));
      server_.changed_.notify_all();
      return reactor;
    }

   private:
    AdsServer& server_;
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SessionPtr> sessions_;
  Service service_;
  int port_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace culvert::xds
