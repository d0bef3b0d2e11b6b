// The delta exchange as a dialogue: what istiod says, what we answer, what the mesh is then.
#include "xds/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlagent/xds/responses.h"

namespace culvert::xds {
namespace {

using reconcile::MeshStore;
using reconcile::Source;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

class MachineTest : public testing::Test {
 protected:
  MachineTest() { begin(false); }

  void begin(bool on_demand, const Limits& limits = {}) {
    store.emplace("n1", std::set<Source>{Source::kIstiod});
    envoy::config::core::v3::Node node;
    node.set_id("ztunnel~1.1.1.1~z.istio-system~istio-system.svc.cluster.local");
    machine.emplace(std::move(node), on_demand, limits, *store);
  }

  Outcome says(const ResponseOf& response) { return says_bytes(response.bytes()); }
  Outcome says_bytes(const std::string& bytes) {
    auto outcome = machine->on_response(ResponseInMemory(bytes));
    EXPECT_TRUE(outcome.has_value());
    return outcome ? std::move(*outcome) : Outcome{};
  }
  static void expect_ack(const Outcome& outcome, const std::string& nonce) {
    EXPECT_EQ(outcome.reply.response_nonce(), nonce);
    EXPECT_FALSE(outcome.reply.has_error_detail()) << outcome.reply.error_detail().message();
    EXPECT_FALSE(outcome.reply.has_node());
  }
  static void expect_nack(const Outcome& outcome, const std::string& nonce, const std::string& message) {
    EXPECT_EQ(outcome.reply.response_nonce(), nonce);
    ASSERT_TRUE(outcome.reply.has_error_detail());
    EXPECT_EQ(outcome.reply.error_detail().message(), message);
    EXPECT_EQ(outcome.reply.error_detail().code(), 0);
  }
  // Names and versions that the next stream claims of a type.
  static std::map<std::string, std::string> versions(const Request& request) {
    return {request.initial_resource_versions().begin(), request.initial_resource_versions().end()};
  }
  std::vector<std::string> workloads() const {
    std::vector<std::string> out;
    store->for_each_workload([&out](const reconcile::Workload& w) { out.push_back(w.name + "@" + w.node); });
    return out;
  }
  std::vector<std::string> services() const {
    std::vector<std::string> out;
    store->for_each_service([&out](const reconcile::Service& s) { out.push_back(s.key()); });
    return out;
  }
  std::vector<std::string> policies() const {
    std::vector<std::string> out;
    store->for_each_policy([&out](const reconcile::Policy& p) { out.push_back(p.key()); });
    return out;
  }

  std::optional<MeshStore> store;
  std::optional<Machine> machine;
};

TEST_F(MachineTest, AStreamStartsWithOneRequestForEachTypeThatNamesTheNode) {
  const auto requests = machine->start();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].type_url(), kAddressType);
  EXPECT_EQ(requests[1].type_url(), kAuthorizationType);
  for (const Request& request : requests) {
    EXPECT_EQ(request.node().id(), "ztunnel~1.1.1.1~z.istio-system~istio-system.svc.cluster.local");
    EXPECT_EQ(request.resource_names_subscribe_size() + request.resource_names_unsubscribe_size(), 0);
    EXPECT_EQ(request.initial_resource_versions_size(), 0);
    EXPECT_EQ(request.response_nonce(), "");
  }
}

TEST_F(MachineTest, AResponseIsAppliedAndAcked) {
  machine->start();
  const Outcome outcome = says(
      ResponseOf(kAddressType, "n1").has(uid_of("web"), pod("web")).has("shop/web.example", service("web.example")));
  expect_ack(outcome, "n1");
  EXPECT_EQ(outcome.reply.type_url(), kAddressType);
  EXPECT_EQ(outcome.resources, 2u);
  EXPECT_THAT(workloads(), ElementsAre("web@n1"));
  EXPECT_THAT(services(), ElementsAre("shop/web.example"));
  expect_ack(says(ResponseOf(kAuthorizationType, "n2").has("shop/p", policy("p"))), "n2");
  EXPECT_THAT(policies(), ElementsAre("shop/p"));
}

TEST_F(MachineTest, IsReadyWhenEachTypeWasAckedAndKnownWhenEachWasApplied) {
  machine->start();
  says(ResponseOf(kAddressType, "n1"));
  EXPECT_FALSE(store->is_known());
  const Outcome refused = says(ResponseOf(kAuthorizationType, "n2").has_bytes("shop/p", "x", ""));
  EXPECT_TRUE(store->is_known());
  EXPECT_FALSE(machine->ready() || refused.now_ready);
  const Outcome acked = says(ResponseOf(kAuthorizationType, "n3"));
  EXPECT_TRUE(machine->ready() && acked.now_ready);
  EXPECT_FALSE(says(ResponseOf(kAuthorizationType, "n4").has_bytes("shop/p", "x", "")).now_ready);
  EXPECT_TRUE(machine->ready());
}

TEST_F(MachineTest, WhatDoesNotConvertIsRefusedByNameAndTheRestApplied) {
  machine->start();
  const Outcome outcome = says(ResponseOf(kAddressType, "n1")
                                   .has(uid_of("a"), bad_pod("a"))
                                   .has(uid_of("b"), pod("b"))
                                   .has_bytes(uid_of("c"), std::string(kAddressType), "\xff"));
  expect_nack(outcome, "n1",
              "Kubernetes//Pod/shop/a: workload.addresses[0]: 3 bytes, an address has 4 or 16; "
              "Kubernetes//Pod/shop/c: resource: cannot be read as an Address");
  EXPECT_EQ(outcome.refused, 2u);
  EXPECT_THAT(workloads(), ElementsAre("b@n1"));
  EXPECT_THAT(versions(machine->start()[0]), ElementsAre(Pair(uid_of("b"), "v1")));
}

TEST_F(MachineTest, WrongTypesAreRefused) {
  machine->start();
  istio::workload::Address neither;
  const Outcome outcome = says(ResponseOf(kAddressType, "n1")
                                   .has_bytes("a", std::string(kAuthorizationType), "")
                                   .has("b", neither)
                                   .has("", pod("c"))
                                   .has("d\n", pod("d")));
  expect_nack(outcome, "n1",
              "a: resource: is of type `type.googleapis.com/istio.security.Authorization`, not "
              "type.googleapis.com/istio.workload.Address; "
              "b: resource: is neither a workload nor a service; "
              "(no name): name: has to be a printable text of 1 to 4096 bytes; "
              "d?: name: has to be a printable text of 1 to 4096 bytes");
  EXPECT_EQ(machine->kept(), 0u);
}

TEST_F(MachineTest, AnUnknownTypeIsAckedAndIgnored) {
  machine->start();
  const Outcome outcome = says(ResponseOf("type.googleapis.com/some.Other", "n9").has("a", pod("a")).removes("b"));
  expect_ack(outcome, "n9");
  EXPECT_EQ(outcome.reply.type_url(), "type.googleapis.com/some.Other");
  EXPECT_FALSE(outcome.known_type);
  EXPECT_EQ(machine->kept(), 0u);
}

TEST_F(MachineTest, BytesThatAreNoResponseChangeNothing) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a")));
  const std::string whole = ResponseOf(kAddressType, "n2").has(uid_of("b"), pod("b")).removes(uid_of("a")).bytes();
  for (const std::string& bytes : {std::string("\xff\xff\xff"), whole.substr(0, whole.size() - 1), whole + "\x12\x05",
                                   std::string("\x22\xff\xff\xff\xff\x0f")}) {
    EXPECT_FALSE(machine->on_response(ResponseInMemory(bytes)).has_value());
  }
  EXPECT_THAT(workloads(), ElementsAre("a@n1"));
}

TEST_F(MachineTest, ARefusedUpdateLeavesTheFormerRecordInForce) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a")));
  expect_nack(says(ResponseOf(kAddressType, "n2").has(uid_of("a"), bad_pod("a"), "v2")), "n2",
              "Kubernetes//Pod/shop/a: workload.addresses[0]: 3 bytes, an address has 4 or 16");
  EXPECT_THAT(workloads(), ElementsAre("a@n1"));
}

TEST_F(MachineTest, TheNextStreamClaimsWhatIsKept) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a"), "v7").has("shop/s.example", service("s.example"), ""));
  says(ResponseOf(kAuthorizationType, "n2").has("shop/p", policy("p"), ""));
  says(ResponseOf(kAddressType, "n3").has(uid_of("a"), pod("a", "n2"), "v8"));
  const auto requests = machine->start();
  EXPECT_THAT(versions(requests[0]), ElementsAre(Pair(uid_of("a"), "v8"), Pair("shop/s.example", "")));
  EXPECT_THAT(versions(requests[1]), ElementsAre(Pair("shop/p", "")));
  EXPECT_EQ(requests[0].node().id().substr(0, 7), "ztunnel");

  // istiod answers with the difference: nothing that it was told we have.
  expect_ack(says(ResponseOf(kAddressType, "m1").removes("shop/s.example")), "m1");
  EXPECT_THAT(workloads(), ElementsAre("a@n2"));
  EXPECT_THAT(services(), IsEmpty());
  EXPECT_TRUE(store->is_known());
}

TEST_F(MachineTest, ARefusedResourceIsNotClaimedAndGoesWhenTheNextStreamDoesNotNameIt) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a")).has(uid_of("b"), pod("b")).has(uid_of("c"), pod("c")));
  says(ResponseOf(kAddressType, "n2").has(uid_of("a"), bad_pod("a"), "v2").has(uid_of("b"), bad_pod("b"), "v2"));
  EXPECT_THAT(versions(machine->start()[0]), ElementsAre(Pair(uid_of("c"), "v1")));
  // a was removed while nobody listened; b is still as bad as it was.
  says(ResponseOf(kAddressType, "m1").has(uid_of("b"), bad_pod("b"), "v2"));
  EXPECT_THAT(workloads(), ElementsAre("b@n1", "c@n1"));
  // Only a stream's first response says what there is.
  says(ResponseOf(kAddressType, "m2"));
  EXPECT_THAT(workloads(), ElementsAre("b@n1", "c@n1"));
  says(ResponseOf(kAddressType, "m3").has(uid_of("b"), pod("b", "n3"), "v3"));
  EXPECT_THAT(workloads(), ElementsAre("b@n3", "c@n1"));
  EXPECT_THAT(versions(machine->start()[0]), ElementsAre(Pair(uid_of("b"), "v3"), Pair(uid_of("c"), "v1")));
}

TEST_F(MachineTest, WhatARequestHasNoRoomToClaimIsSentAgainOrGoes) {
  Limits limits;
  limits.request_bytes_max = 100;  // two of the names below
  begin(false, limits);
  machine->start();
  says(ResponseOf(kAddressType, "n1")
           .has(uid_of("a"), pod("a"))
           .has(uid_of("b"), pod("b"))
           .has(uid_of("c"), pod("c"))
           .has(uid_of("d"), pod("d")));
  EXPECT_THAT(versions(machine->start()[0]), ElementsAre(Pair(uid_of("a"), "v1"), Pair(uid_of("b"), "v1")));
  says(ResponseOf(kAddressType, "m1").has(uid_of("d"), pod("d", "n2")));
  EXPECT_THAT(workloads(), ElementsAre("a@n1", "b@n1", "d@n2"));
}

TEST_F(MachineTest, RemovalGoesByNameFirstAsWorkloadThenAsService) {
  machine->start();
  says(ResponseOf(kAddressType, "n1")
           .has("shop/x", pod("x", "n1", "shop/x"))
           .has("shop/s.example", service("s.example"))
           .has(uid_of("y"), pod("y")));
  const Outcome outcome =
      says(ResponseOf(kAddressType, "n2").removes("shop/x").removes("shop/s.example").removes("a/b/c"));
  expect_ack(outcome, "n2");
  EXPECT_EQ(outcome.removed, 2u);
  EXPECT_THAT(workloads(), ElementsAre("y@n1"));
  EXPECT_THAT(services(), IsEmpty());
  says(ResponseOf(kAuthorizationType, "n3").has("shop/p", policy("p")).has("shop/q", policy("q")));
  says(ResponseOf(kAuthorizationType, "n4").removes("shop/p"));
  EXPECT_THAT(policies(), ElementsAre("shop/q"));
}

TEST_F(MachineTest, ARecordIsRemovedAlsoWhenItsResourceHasAnotherName) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has("first", pod("a")).has("second", service("s.example")));
  EXPECT_THAT(versions(machine->start()[0]), ElementsAre(Pair("first", "v1"), Pair("second", "v1")));
  says(ResponseOf(kAddressType, "n2").removes("first").removes("shop/s.example"));
  EXPECT_THAT(workloads(), IsEmpty());
  EXPECT_THAT(services(), IsEmpty());
  EXPECT_EQ(machine->kept(), 0u);
}

TEST_F(MachineTest, ANameThatComesToMeanAnotherRecordTakesTheFormerAway) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has("x", pod("a")));
  says(ResponseOf(kAddressType, "n2").has("x", pod("b")));
  EXPECT_THAT(workloads(), ElementsAre("b@n1"));
  says(ResponseOf(kAddressType, "n3").has("x", service("s.example")));
  EXPECT_THAT(workloads(), IsEmpty());
  EXPECT_THAT(services(), ElementsAre("shop/s.example"));
}

TEST_F(MachineTest, ARecordBelongsToTheNameThatToldItLast) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has("x", pod("a")));
  says(ResponseOf(kAddressType, "n2").has("y", pod("a", "n2")));
  says(ResponseOf(kAddressType, "n3").removes("x"));
  EXPECT_THAT(workloads(), ElementsAre("a@n2"));
  EXPECT_THAT(versions(machine->start()[0]), ElementsAre(Pair("y", "v1")));
}

TEST_F(MachineTest, OfANameGivenTwiceTheLaterCounts) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a", "n1"), "v1").has(uid_of("a"), pod("a", "n2"), "v2"));
  EXPECT_THAT(workloads(), ElementsAre("a@n2"));
  EXPECT_THAT(versions(machine->start()[0]), ElementsAre(Pair(uid_of("a"), "v2")));
  says(ResponseOf(kAddressType, "n2").has("x", pod("b")).has("x", pod("c")));
  EXPECT_THAT(workloads(), ElementsAre("a@n2", "c@n1"));
}

TEST_F(MachineTest, ANameBothRemovedAndGivenIsThere) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a", "n1")));
  says(ResponseOf(kAddressType, "n2").has(uid_of("a"), pod("a", "n2")).removes(uid_of("a")));
  EXPECT_THAT(workloads(), ElementsAre("a@n2"));
}

TEST_F(MachineTest, NotesTellWhatWasLeftOutOfResourcesThatWereTaken) {
  machine->start();
  istio::workload::Address in = pod("a");
  in.mutable_workload()->add_authorization_policies("nameless");
  const Outcome outcome = says(ResponseOf(kAddressType, "n1").has(uid_of("a"), in));
  expect_ack(outcome, "n1");
  EXPECT_THAT(outcome.notes, ElementsAre("Kubernetes//Pod/shop/a: workload.authorization_policies[0]: `nameless` is "
                                         "not namespace/name, left out"));
}

TEST_F(MachineTest, ALongResponseIsAppliedWhole) {
  machine->start();
  ResponseOf many(kAddressType, "n1");
  for (int i = 0; i < 10'000; ++i) many.has(uid_of(std::to_string(i)), pod(std::to_string(i)));
  const Outcome outcome = says(many);
  expect_ack(outcome, "n1");
  EXPECT_EQ(store->counts().workloads, 10'000u);
}

TEST_F(MachineTest, WhatStandsFromAFileIsNotIstiodsToTakeAway) {
  reconcile::MeshChange file;
  file.workloads.emplace_back().uid = uid_of("local");
  store->apply(Source::kFile, std::move(file));
  machine->start();
  says(ResponseOf(kAddressType, "n1").removes(uid_of("local")));
  EXPECT_TRUE(store->has_workload(uid_of("local")));
}

// --- absurd sizes ---

TEST_F(MachineTest, AResourceThatIsTooLongIsRefusedByNameAndNotRead) {
  Limits limits;
  limits.resource_bytes_max = 1000;
  begin(false, limits);
  machine->start();
  istio::workload::Address wordy = pod("a");
  for (int i = 0; i < 100; ++i) wordy.mutable_workload()->add_authorization_policies("shop/policy");
  const Outcome outcome = says(ResponseOf(kAddressType, "n1").has(uid_of("a"), wordy).has(uid_of("b"), pod("b")));
  EXPECT_THAT(outcome.reply.error_detail().message(),
              testing::MatchesRegex("Kubernetes//Pod/shop/a: resource: [0-9]+ bytes, at most 1000 are taken"));
  EXPECT_THAT(workloads(), ElementsAre("b@n1"));
}

TEST_F(MachineTest, AResourceOfManyEntriesIsRefusedBeforeItIsMade) {
  machine->start();
  istio::security::Authorization dense = policy("p");
  auto& rules = *dense.add_groups()->add_rules();
  for (int i = 0; i < 66'000; ++i) rules.add_matches();
  istio::workload::Address broad = pod("a");
  for (int i = 0; i < 66'000; ++i) broad.mutable_workload()->add_addresses("");
  expect_nack(says(ResponseOf(kAuthorizationType, "n1").has("shop/p", dense)), "n1",
              "shop/p: resource: has 65536 entries or more");
  expect_nack(says(ResponseOf(kAddressType, "n2").has(uid_of("a"), broad)), "n2",
              "Kubernetes//Pod/shop/a: resource: has 65536 entries or more");
  EXPECT_EQ(count_elements(kAuthorizationType, dense.SerializeAsString(), 1'000'000), 66'004u);
}

TEST_F(MachineTest, NoMoreResourcesAreKeptThanTheLimitAndThoseKeptStillChange) {
  Limits limits;
  limits.resources_max = 2;
  begin(false, limits);
  machine->start();
  const Outcome outcome = says(
      ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a")).has(uid_of("b"), pod("b")).has(uid_of("c"), pod("c")));
  expect_nack(outcome, "n1", "Kubernetes//Pod/shop/c: resource: 2 of its type are kept, no more are taken");
  expect_ack(says(ResponseOf(kAddressType, "n2").has(uid_of("a"), pod("a", "n2"))), "n2");
  expect_ack(says(ResponseOf(kAddressType, "n3").removes(uid_of("a")).has(uid_of("c"), pod("c"))), "n3");
  EXPECT_THAT(workloads(), ElementsAre("b@n1", "c@n1"));
}

TEST_F(MachineTest, NoMoreMemoryIsKeptThanTheLimit) {
  Limits limits;
  limits.kept_bytes_max = 2 << 20;
  begin(false, limits);
  machine->start();
  istio::workload::Address big = pod("a");
  big.mutable_workload()->set_hostname(std::string(4000, 'a'));
  ResponseOf response(kAddressType, "n1");
  for (int i = 0; i < 1000; ++i) {
    big.mutable_workload()->set_uid(uid_of(std::to_string(i)));
    response.has(uid_of(std::to_string(i)), big);
  }
  const Outcome outcome = says(response);
  EXPECT_THAT(outcome.reply.error_detail().message(), HasSubstr("those kept of its type take 2 MiB"));
  EXPECT_GT(outcome.resources, 300u);
  EXPECT_LT(outcome.resources, 500u);
}

TEST_F(MachineTest, ANackIsBoundedAndSaysHowManyItLeavesOut) {
  machine->start();
  ResponseOf response(kAddressType, "n1");
  for (int i = 0; i < 1000; ++i) response.has(uid_of(std::to_string(i)), bad_pod("a"));
  const Outcome outcome = says(response);
  EXPECT_EQ(outcome.refused, 1000u);
  EXPECT_LT(outcome.reply.error_detail().message().size(), 20'000u);
  EXPECT_THAT(outcome.reply.error_detail().message(), testing::EndsWith("; and 900 more"));
}

TEST_F(MachineTest, EmptyResourcesByTheThousandAreRefusedWithoutBeingMade) {
  machine->start();
  std::string bytes = ResponseOf(kAddressType, "n1").bytes();
  for (int i = 0; i < 200'000; ++i) bytes += std::string("\x12\x00\x32\x00", 4);  // an empty resource, an empty removal
  const Outcome outcome = says_bytes(bytes);
  EXPECT_EQ(outcome.refused, 200'000u);
  EXPECT_EQ(machine->kept(), 0u);
}

// --- on demand ---

class OnDemandTest : public MachineTest {
 protected:
  OnDemandTest() { begin(true); }
  using Kind = Machine::Want::Kind;
};

TEST_F(OnDemandTest, StartsSubscribedToNoAddressAndToAllPolicies) {
  const auto requests = machine->start();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_THAT(requests[0].resource_names_subscribe(), ElementsAre("*"));
  EXPECT_THAT(requests[0].resource_names_unsubscribe(), ElementsAre("*"));
  EXPECT_EQ(requests[1].resource_names_subscribe_size(), 0);
}

TEST_F(OnDemandTest, OnlyPoliciesMakeItReady) {
  machine->start();
  EXPECT_TRUE(says(ResponseOf(kAuthorizationType, "n1")).now_ready);
  EXPECT_TRUE(store->is_known());
}

TEST_F(OnDemandTest, AWantedNameIsAskedForOnceAndAnsweredUnderItsPrimaryName) {
  machine->start();
  const auto want = machine->want("/10.0.0.7");
  ASSERT_EQ(want.kind, Kind::kAsked);
  EXPECT_EQ(want.request.type_url(), kAddressType);
  EXPECT_THAT(want.request.resource_names_subscribe(), ElementsAre("/10.0.0.7"));
  EXPECT_EQ(want.request.response_nonce(), "");
  EXPECT_FALSE(want.request.has_node());
  EXPECT_EQ(machine->want("/10.0.0.7").kind, Kind::kWaiting);

  const Outcome outcome = says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a"), "v1", {"/10.0.0.7"}));
  EXPECT_THAT(outcome.answers, ElementsAre(Pair("/10.0.0.7", Answer(uid_of("a")))));
  for (const std::string& name : {std::string("/10.0.0.7"), uid_of("a")}) {
    const auto again = machine->want(name);
    EXPECT_EQ(again.kind, Kind::kAnswered);
    EXPECT_EQ(again.answer, uid_of("a"));
  }
}

TEST_F(OnDemandTest, ANameThatIsRemovedIsNotThere) {
  machine->start();
  machine->want("/10.0.0.8");
  machine->want("shop/none.example");
  const Outcome outcome = says(ResponseOf(kAddressType, "n1").removes("/10.0.0.8").removes("other"));
  EXPECT_THAT(outcome.answers, ElementsAre(Pair("/10.0.0.8", Answer())));
  EXPECT_EQ(machine->want("/10.0.0.8").kind, Kind::kAsked);
  EXPECT_EQ(machine->want("shop/none.example").kind, Kind::kWaiting);
}

TEST_F(OnDemandTest, ARemovedNameThatIsAnAliasInTheSameResponseIsThere) {
  machine->start();
  machine->want("/10.0.0.7");
  const Outcome outcome =
      says(ResponseOf(kAddressType, "n1").removes("/10.0.0.7").has(uid_of("a"), pod("a"), "v1", {"/10.0.0.7"}));
  EXPECT_THAT(outcome.answers, ElementsAre(Pair("/10.0.0.7", Answer(uid_of("a")))));
}

TEST_F(OnDemandTest, WhoWaitsForAResourceThatIsRefusedIsTold) {
  machine->start();
  machine->want(uid_of("a"));
  EXPECT_THAT(says(ResponseOf(kAddressType, "n1").has(uid_of("a"), bad_pod("a"))).answers,
              ElementsAre(Pair(uid_of("a"), Answer())));
}

TEST_F(OnDemandTest, AnAliasGoesWithItsResource) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a"), "v1", {"/10.0.0.7", "/10.0.0.8"}));
  says(ResponseOf(kAddressType, "n2").has(uid_of("a"), pod("a"), "v2", {"/10.0.0.8"}));
  EXPECT_EQ(machine->want("/10.0.0.7").kind, Kind::kAsked);
  EXPECT_EQ(machine->want("/10.0.0.8").kind, Kind::kAnswered);
  says(ResponseOf(kAddressType, "n3").removes(uid_of("a")));
  EXPECT_EQ(machine->want("/10.0.0.8").kind, Kind::kAsked);
  EXPECT_THAT(workloads(), IsEmpty());
}

TEST_F(OnDemandTest, AReconnectClaimsWhatIsKnownAndAsksAgainForWhatIsNot) {
  machine->start();
  says(ResponseOf(kAddressType, "n1").has(uid_of("a"), pod("a")).has(uid_of("b"), pod("b")));
  says(ResponseOf(kAddressType, "n2").has(uid_of("b"), bad_pod("b")));
  machine->want("/10.0.0.9");
  const auto requests = machine->start();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_THAT(versions(requests[0]), ElementsAre(Pair(uid_of("a"), "v1")));
  EXPECT_THAT(requests[0].resource_names_subscribe(), ElementsAre("*"));
  EXPECT_THAT(requests[2].resource_names_subscribe(), ElementsAre("/10.0.0.9", uid_of("b")));
  EXPECT_FALSE(requests[2].has_node());
  // Nothing goes for not being named.
  says(ResponseOf(kAddressType, "m1"));
  EXPECT_THAT(workloads(), ElementsAre("a@n1", "b@n1"));
}

TEST_F(OnDemandTest, ALongListOfNamesGoesInSeveralRequests) {
  Limits limits;
  limits.request_bytes_max = 100;
  begin(true, limits);
  machine->start();
  for (int i = 0; i < 20; ++i) machine->want("shop/host-" + std::to_string(i) + ".example");
  const auto requests = machine->start();
  ASSERT_GT(requests.size(), 5u);
  int names = 0;
  for (size_t i = 2; i < requests.size(); ++i) {
    EXPECT_LE(requests[i].ByteSizeLong(), 200u);
    names += requests[i].resource_names_subscribe_size();
  }
  EXPECT_EQ(names, 20);
}

TEST_F(OnDemandTest, OnlySoManyNamesWait) {
  Limits limits;
  limits.wanted_max = 2;
  begin(true, limits);
  EXPECT_EQ(machine->want("a/a").kind, Kind::kAsked);
  EXPECT_EQ(machine->want("a/b").kind, Kind::kAsked);
  EXPECT_EQ(machine->want("a/c").kind, Kind::kRefused);
  EXPECT_EQ(machine->want("").kind, Kind::kRefused);
  EXPECT_EQ(machine->want("a\n").kind, Kind::kRefused);
}

TEST_F(MachineTest, InWildcardModeNothingIsAskedForByName) {
  EXPECT_EQ(machine->want("/10.0.0.7").kind, Machine::Want::Kind::kRefused);
}

}  // namespace
}  // namespace culvert::xds
