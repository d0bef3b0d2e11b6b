// The fake istiod as a node sees it: a plain client of the generated service asks, and what comes back is what the
// real one was seen to send (reference 14.4, 14.6).
#include "tests/testkit/fake_istiod.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "tests/testkit/mesh_messages.h"
#include "tests/testkit/xds_node.h"

namespace culvert::testkit {
namespace {

using namespace std::chrono_literals;
using Kind = FakeIstiodEvent::Kind;
using Request = XdsNode::Request;
using Response = XdsNode::Response;
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
  XdsNode node(istiod_->address(), istiod_->root_pem());
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
  XdsNode node(istiod_->address(), istiod_->root_pem());
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
    XdsNode node(istiod_->address(), istiod_->root_pem());
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
  XdsNode node(istiod_->address(), istiod_->root_pem());
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
  XdsNode node(istiod_->address(), istiod_->root_pem());
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
    XdsNode stranger(istiod_->address(), istiod_->root_pem(), "another-token");
    EXPECT_TRUE(stranger.hears_nothing_more());
    EXPECT_EQ(stranger.finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  }
  {
    XdsNode nameless(istiod_->address(), istiod_->root_pem());
    Request request = nameless.first(kAddressType);
    request.clear_node();
    nameless.say(request);
    EXPECT_TRUE(nameless.hears_nothing_more());
    const grpc::Status status = nameless.finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("missing node information"));
  }
  {
    XdsNode elsewhere(istiod_->address(), istiod_->root_pem());
    Request request = elsewhere.first(kAddressType);
    request.mutable_node()->set_id("ztunnel~10.0.0.1~zt-1.other~other.svc.cluster.local");
    elsewhere.say(request);
    EXPECT_TRUE(elsewhere.hears_nothing_more());
    EXPECT_EQ(elsewhere.finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
}

TEST_F(FakeIstiodTest, MisbehavesAsItIsTold) {
  XdsNode node(istiod_->address(), istiod_->root_pem());
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

  XdsNode other(istiod_->address(), istiod_->root_pem());
  other.watch(kAddressType);
  istiod_->send_bytes("\xff\xff\xff");
  EXPECT_TRUE(other.hears_nothing_more()) << "bytes that are no message";
}

TEST_F(FakeIstiodTest, KeepsItsAddressWhenItsCertificateAndRootChange) {
  const std::string address = istiod_->address(), root = istiod_->root_pem();
  {
    XdsNode node(istiod_->address(), istiod_->root_pem());
    node.watch(kAddressType);
    istiod_->rotate_root(true);
    EXPECT_TRUE(node.hears_nothing_more());
  }
  EXPECT_EQ(istiod_->address(), address);
  EXPECT_NE(istiod_->root_pem(), root);
  XdsNode node(istiod_->address(), istiod_->root_pem());
  node.watch(kAddressType);
}

}  // namespace
}  // namespace culvert::testkit
