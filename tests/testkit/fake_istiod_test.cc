// The fake istiod as a node sees it: a plain client of the generated service asks, and what comes back is what the
// real one was seen to send (reference 14.4, 14.6).
#include "tests/testkit/fake_istiod.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "tests/testkit/mesh_messages.h"
#include "xds/api/discovery.grpc.pb.h"

namespace culvert::testkit {
namespace {

using namespace std::chrono_literals;
using Kind = FakeIstiodEvent::Kind;
using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;
using Response = envoy::service::discovery::v3::DeltaDiscoveryResponse;
using Service = envoy::service::discovery::v3::AggregatedDiscoveryService;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

reconcile::Workload workload(const std::string& name, const std::string& address, const std::string& node = "n1") {
  reconcile::Workload out;
  out.uid = "Kubernetes//Pod/demo/" + name;
  out.name = name;
  out.name_space = "demo";
  out.node = node;
  out.addresses = {*IpAddress::parse(address)};
  out.tunnel = reconcile::Tunnel::kHbone;
  return out;
}

reconcile::Service service(const std::string& name, const std::string& vip) {
  reconcile::Service out;
  out.name = name;
  out.name_space = "demo";
  out.hostname = name + ".example";
  out.vips = {{"", *IpAddress::parse(vip)}};
  out.ports = {{80, 8080}};
  return out;
}

// A node's side of one stream.
class Node {
 public:
  explicit Node(const FakeIstiod& istiod, const std::string& token = "test-token") {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = istiod.root_pem();
    channel_ = grpc::CreateChannel(istiod.address(), grpc::SslCredentials(tls));
    context_.AddMetadata("authorization", "Bearer " + token);
    context_.set_deadline(std::chrono::system_clock::now() + 20s);
    stream_ = Service::NewStub(channel_)->DeltaAggregatedResources(&context_);
  }
  ~Node() {
    context_.TryCancel();
    if (!finished_) finish();
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
    finished_ = true;
    return stream_->Finish();
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream_;
  bool finished_ = false;
};

std::vector<std::string> names(const Response& response) {
  std::vector<std::string> out;
  for (const auto& resource : response.resources()) out.push_back(resource.name());
  return out;
}
std::vector<std::string> removed(const Response& response) {
  return {response.removed_resources().begin(), response.removed_resources().end()};
}

class FakeIstiodTest : public testing::Test {
 protected:
  void SetUp() override { start({}); }
  void start(FakeIstiod::Options options) {
    auto started = FakeIstiod::start(std::move(options));
    ASSERT_TRUE(started) << started.error();
    istiod_ = std::move(*started);
  }
  std::unique_ptr<FakeIstiod> istiod_;
};

TEST_F(FakeIstiodTest, SendsAWildcardNodeAllOfATypeAndThenChangesOnly) {
  istiod_->set({resource(message_of(workload("a", "10.1.0.1"))), resource(message_of(service("web", "10.9.0.1")))});
  Node node(*istiod_);
  const Response all = node.watch(kAddressType);
  EXPECT_THAT(names(all), UnorderedElementsAre("Kubernetes//Pod/demo/a", "demo/web.example"));
  EXPECT_EQ(all.resources(0).version().size(), 16u) << "a hash of the content";
  EXPECT_EQ(all.resources(0).resource().type_url(), kAddressType);
  const Response none = node.watch(kAuthorizationType);
  EXPECT_THAT(names(none), IsEmpty()) << "the first request of a type is answered, even with nothing";

  const uint64_t push =
      istiod_->change({resource(message_of(workload("b", "10.1.0.2")))}, {{kAddressType, "demo/web.example"}});
  const Response change = node.hear();
  EXPECT_THAT(names(change), ElementsAre("Kubernetes//Pod/demo/b"));
  EXPECT_THAT(removed(change), ElementsAre("demo/web.example"));
  EXPECT_FALSE(istiod_->wait_answered(push, 50ms));
  node.answer(change);
  EXPECT_TRUE(istiod_->wait_answered(push)) << istiod_->history();
  EXPECT_EQ(istiod_->count(Kind::kAck), 3u);
}

TEST_F(FakeIstiodTest, KeepsWhatANackSaid) {
  Node node(*istiod_);
  node.watch(kAddressType);
  const uint64_t push = istiod_->set({raw_resource(kAddressType, "broken", "\xff\xff")});
  node.answer(node.hear(), "broken: does not parse");
  EXPECT_TRUE(istiod_->wait_answered(push));
  EXPECT_TRUE(istiod_->wait_event([](const FakeIstiodEvent& event) {
    return event.kind == Kind::kNack && event.text == "broken: does not parse" && event.push > 0;
  }));
}

TEST_F(FakeIstiodTest, TellsAReturningNodeOnlyTheDifference) {
  reconcile::Policy policy;
  policy.name = "p";
  policy.name_space = "demo";
  istiod_->set({resource(message_of(workload("a", "10.1.0.1"))), resource(message_of(workload("b", "10.1.0.2"))),
                resource(message_of(policy))});
  Request again;
  Request policies;
  {
    Node node(*istiod_);
    again = node.first(kAddressType);
    const Response all = node.watch(kAddressType);
    for (const auto& each : all.resources()) {
      (*again.mutable_initial_resource_versions())[each.name()] = each.version();
    }
    policies = node.first(kAuthorizationType);
    (*policies.mutable_initial_resource_versions())["demo/p"] = node.watch(kAuthorizationType).resources(0).version();
  }
  reconcile::Workload changed = workload("b", "10.1.0.2");
  changed.capacity = 7;
  istiod_->change({resource(message_of(changed))}, {{kAddressType, "Kubernetes//Pod/demo/a"}});
  Node node(*istiod_);
  node.say(again);
  const Response difference = node.hear();
  EXPECT_THAT(names(difference), ElementsAre("Kubernetes//Pod/demo/b"));
  EXPECT_THAT(removed(difference), ElementsAre("Kubernetes//Pod/demo/a"));
  node.say(policies);
  const Response all = node.hear();
  EXPECT_THAT(names(all), ElementsAre("demo/p")) << "policies have no version and come again";
  EXPECT_EQ(all.resources(0).version(), "");
}

TEST_F(FakeIstiodTest, OnDemandSendsTheNodesOwnAndWhatIsAskedFor) {
  reconcile::Workload far = workload("far", "10.2.0.9", "n2");
  far.services["demo/web.example"] = {{80, 8080}};
  istiod_->set({resource(message_of(workload("own", "10.1.0.1"))), resource(message_of(far)),
                resource(message_of(workload("other", "10.2.0.8", "n2"))),
                resource(message_of(service("web", "10.9.0.1")))});
  Node node(*istiod_);
  node.say(node.on_demand("n1"));
  const Response own = node.hear();
  EXPECT_THAT(names(own), ElementsAre("Kubernetes//Pod/demo/own"));
  node.answer(own);

  node.subscribe("/10.9.0.1");
  const Response asked = node.hear();
  EXPECT_THAT(names(asked), UnorderedElementsAre("demo/web.example", "Kubernetes//Pod/demo/far"))
      << "and the pods behind it";
  for (const auto& each : asked.resources()) {
    EXPECT_THAT(each.aliases(),
                each.name() == "demo/web.example"
                    ? ElementsAre("/10.9.0.1")
                    : testing::Matcher<const google::protobuf::RepeatedPtrField<std::string>&>(IsEmpty()));
  }
  node.answer(asked);

  node.subscribe("/10.2.0.77");
  const Response missing = node.hear();
  EXPECT_THAT(removed(missing), ElementsAre("/10.2.0.77"));
  node.answer(missing);
  istiod_->set({resource(message_of(workload("unasked", "10.2.0.7", "n2")))});
  istiod_->set({resource(message_of(workload("late", "10.2.0.77", "n2")))});
  const Response late = node.hear();
  EXPECT_THAT(names(late), ElementsAre("Kubernetes//Pod/demo/late")) << "it stays asked for";
  EXPECT_THAT(late.resources(0).aliases(), ElementsAre("/10.2.0.77"));
}

TEST_F(FakeIstiodTest, RefusesWhoItDoesNotKnow) {
  {
    Node stranger(*istiod_, "another-token");
    EXPECT_TRUE(stranger.hears_nothing_more());
    EXPECT_EQ(stranger.finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  }
  {
    Node nameless(*istiod_);
    Request request = nameless.first(kAddressType);
    request.clear_node();
    nameless.say(request);
    EXPECT_TRUE(nameless.hears_nothing_more());
    const grpc::Status status = nameless.finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("missing node information"));
  }
  {
    Node elsewhere(*istiod_);
    Request request = elsewhere.first(kAddressType);
    request.mutable_node()->set_id("ztunnel~10.0.0.1~zt-1.other~other.svc.cluster.local");
    elsewhere.say(request);
    EXPECT_TRUE(elsewhere.hears_nothing_more());
    EXPECT_EQ(elsewhere.finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
}

TEST_F(FakeIstiodTest, MisbehavesAsItIsTold) {
  Node node(*istiod_);
  node.watch(kAddressType);
  istiod_->set_delay(100ms);
  const auto before = std::chrono::steady_clock::now();
  istiod_->set({resource(message_of(workload("a", "10.1.0.1")))});
  node.answer(node.hear());
  EXPECT_GE(std::chrono::steady_clock::now() - before, 100ms);
  istiod_->set_delay(0ms);
  Request stale;
  stale.set_type_url(kAddressType);
  stale.set_response_nonce("1.77");
  stale.add_resource_names_subscribe("demo/nothing");
  node.say(stale);
  EXPECT_TRUE(istiod_->wait_event([](const FakeIstiodEvent& event) { return event.kind == Kind::kStale; }));
  istiod_->send_response("type.googleapis.com/of.the.Future", {raw_resource("x", "y", "z")}, {"gone"});
  EXPECT_EQ(node.hear().type_url(), "type.googleapis.com/of.the.Future") << "the stale subscription was ignored";
  istiod_->disconnect(grpc::StatusCode::UNAVAILABLE, "transport is closing");
  EXPECT_TRUE(node.hears_nothing_more());
  const grpc::Status status = node.finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "transport is closing");
  EXPECT_TRUE(istiod_->wait_streams(0));

  Node other(*istiod_);
  other.watch(kAddressType);
  istiod_->send_bytes("\xff\xff\xff");
  EXPECT_TRUE(other.hears_nothing_more()) << "bytes that are no message";
}

TEST_F(FakeIstiodTest, KeepsItsAddressWhenItsCertificateAndRootChange) {
  const std::string address = istiod_->address(), root = istiod_->root_pem();
  {
    Node node(*istiod_);
    node.watch(kAddressType);
    istiod_->rotate_root(true);
    EXPECT_TRUE(node.hears_nothing_more());
  }
  EXPECT_EQ(istiod_->address(), address);
  EXPECT_NE(istiod_->root_pem(), root);
  Node node(*istiod_);
  node.watch(kAddressType);
}

}  // namespace
}  // namespace culvert::testkit
