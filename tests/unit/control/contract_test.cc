// The contract from a client's side: real gRPC over a real Unix socket.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "control/api/certificates.grpc.pb.h"
#include "control/api/common.grpc.pb.h"
#include "control/api/events.grpc.pb.h"
#include "control/api/lifecycle.grpc.pb.h"
#include "control/api/mesh.grpc.pb.h"
#include "control/api/status.grpc.pb.h"
#include "control/services.h"
#include "tests/unit/control/served.h"

namespace culvert::control {
namespace {

class ContractTest : public testing::Test {
 protected:
  grpc::Status hello(uint32_t least, uint32_t most, api::HelloReply* reply) {
    Call call;
    api::HelloRequest request;
    request.set_contract_min(least);
    request.set_contract_max(most);
    request.set_client("culvert-agent");
    request.set_build("1.2.3");
    return api::Contract::NewStub(served.channel())->Hello(&call, request, reply);
  }
  Served served;
};

TEST_F(ContractTest, GreetsWithNodeAndInstance) {
  api::HelloReply reply;
  ASSERT_TRUE(hello(1, 1, &reply).ok());
  EXPECT_EQ(reply.contract(), 1u);
  EXPECT_EQ(reply.node(), "n1");
  EXPECT_EQ(reply.build(), "9.9.9");
  const std::string before = reply.instance();
  served.start();
  ASSERT_TRUE(hello(1, 1, &reply).ok());
  EXPECT_NE(reply.instance(), before) << "a restart is seen";
}

TEST_F(ContractTest, WorksWithOneVersionOfSkewInEitherDirection) {
  api::HelloReply reply;
  ASSERT_TRUE(hello(1, 2, &reply).ok());
  EXPECT_EQ(reply.contract(), 1u) << "an agent that is newer";
  served.start(1, 2);
  ASSERT_TRUE(hello(1, 1, &reply).ok());
  EXPECT_EQ(reply.contract(), 1u) << "an agent that is older";
  ASSERT_TRUE(hello(1, 2, &reply).ok());
  EXPECT_EQ(reply.contract(), 2u);
  api::StatusReply status;
  Call old_call("1"), new_call("2");
  EXPECT_TRUE(api::Sight::NewStub(served.channel())->Status(&old_call, {}, &status).ok());
  EXPECT_TRUE(api::Sight::NewStub(served.channel())->Status(&new_call, {}, &status).ok());
}

TEST_F(ContractTest, RefusesVersionsTooFarApartInOneSentence) {
  api::HelloReply reply;
  const grpc::Status refused = hello(3, 4, &reply);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(
      refused.error_message(),
      "this data plane (9.9.9) speaks contract version 1, culvert-agent (1.2.3) speaks versions 3 to 4: bring the "
      "older one to a release next to the newer one's");
}

TEST_F(ContractTest, RefusesCallsThatStateNoVersionOrAnother) {
  api::StatusReply reply;
  grpc::ClientContext silent;
  const auto sight = api::Sight::NewStub(served.channel());
  grpc::Status status = sight->Status(&silent, {}, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "the call states no contract version (metadata culvert-contract): say Hello first");
  for (const char* version : {"2", "0", "one", "", "1 "}) {
    Call call(version);
    status = sight->Status(&call, {}, &reply);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << version;
  }
}

// --- mesh --------------------------------------------------------------------------------------------------------

api::MeshUpdate begin(const std::string& version, bool full) {
  api::MeshUpdate out;
  out.mutable_begin()->set_version(version);
  out.mutable_begin()->set_full(full);
  return out;
}
api::MeshUpdate end() {
  api::MeshUpdate out;
  out.mutable_end();
  return out;
}
api::Workload record(const std::string& name) {
  api::Workload out;
  out.set_uid("Kubernetes//Pod/demo/" + name);
  out.set_name(name);
  out.set_name_space("demo");
  out.add_addresses(std::string("\x0a\x01\x00\x0b", 4));
  out.set_trust_domain("cluster.local");
  out.set_service_account("default");
  out.set_tunnel(api::Workload::TUNNEL_HBONE);
  out.set_node("n1");
  return out;
}

TEST_F(ContractTest, AppliesAMeshAndNamesWhatItRefuses) {
  Call call;
  const auto stub = api::Mesh::NewStub(served.channel());
  const auto stream = stub->Push(&call);
  ASSERT_TRUE(stream->Write(begin("v1", true)));
  api::MeshUpdate chunk;
  *chunk.mutable_chunk()->add_workloads() = record("good");
  *chunk.mutable_chunk()->add_workloads() = record("bad");
  chunk.mutable_chunk()->mutable_workloads(1)->add_addresses("five!");
  ASSERT_TRUE(stream->Write(chunk));
  ASSERT_TRUE(stream->Write(end()));
  api::MeshAck ack;
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_EQ(ack.version(), "v1");
  EXPECT_EQ(ack.workloads(), 1u);
  EXPECT_EQ(ack.snapshot_version(), served.node.mesh->version());
  ASSERT_EQ(ack.rejections_size(), 1);
  EXPECT_EQ(ack.rejections(0).kind(), "workload");
  EXPECT_EQ(ack.rejections(0).name(), "Kubernetes//Pod/demo/bad");
  EXPECT_EQ(ack.rejections(0).field(), "addresses[1]");
  EXPECT_EQ(ack.rejections(0).reason(), "4 or 16 bytes are accepted, not 5");
  const snapshot::Workload* applied = served.node.mesh->workload("Kubernetes//Pod/demo/good");
  ASSERT_NE(applied, nullptr);
  EXPECT_EQ(applied->addresses, std::vector<IpAddress>{*IpAddress::parse("10.1.0.11")});

  // More on the same stream, as a change only.
  ASSERT_TRUE(stream->Write(begin("v2", false)));
  chunk.Clear();
  chunk.mutable_chunk()->add_removed_workloads("Kubernetes//Pod/demo/good");
  *chunk.mutable_chunk()->add_workloads() = record("third");
  ASSERT_TRUE(stream->Write(chunk));
  ASSERT_TRUE(stream->Write(end()));
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_EQ(ack.version(), "v2");
  EXPECT_EQ(ack.rejections_size(), 0);
  EXPECT_EQ(served.node.mesh->workload_count(), 1u);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ContractTest, KeepsTheMeshWhenTheAgentGoesAndTakesItsWholeStateWhenItComesBack) {
  const auto push = [&](const std::string& version, const std::vector<std::string>& names, bool finish) {
    Call call;
    const auto stub = api::Mesh::NewStub(served.channel());
    const auto stream = stub->Push(&call);
    stream->Write(begin(version, true));
    api::MeshUpdate chunk;
    for (const std::string& name : names) *chunk.mutable_chunk()->add_workloads() = record(name);
    stream->Write(chunk);
    if (!finish) {
      call.TryCancel();  // as when its process is killed
      return stream->Finish().error_code();
    }
    stream->Write(end());
    api::MeshAck ack;
    EXPECT_TRUE(stream->Read(&ack));
    stream->WritesDone();
    return stream->Finish().error_code();
  };
  EXPECT_EQ(push("v1", {"a", "b"}, true), grpc::StatusCode::OK);
  const auto before = served.node.mesh;
  EXPECT_EQ(push("v2", {"half"}, false), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(push("v3", {"a", "b"}, true), grpc::StatusCode::OK);
  EXPECT_EQ(served.node.mesh->workload("Kubernetes//Pod/demo/half"), nullptr);
  EXPECT_EQ(served.node.mesh->workload_count(), 2u);
  EXPECT_EQ(served.node.mesh->workload("Kubernetes//Pod/demo/a"), before->workload("Kubernetes//Pod/demo/a"))
      << "what did not change was not built again";
}

TEST_F(ContractTest, EndsAnOlderStreamWhenANewerOneComes) {
  const auto stub = api::Mesh::NewStub(served.channel());
  Call first_call, second_call;
  const auto first = stub->Push(&first_call);
  ASSERT_TRUE(first->Write(begin("v1", true)));
  ASSERT_TRUE(first->Write(end()));
  api::MeshAck ack;
  ASSERT_TRUE(first->Read(&ack));
  const auto second = stub->Push(&second_call);
  EXPECT_FALSE(first->Read(&ack)) << "nothing comes on it any more";
  EXPECT_EQ(first->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(second->Write(begin("v2", true)));
  ASSERT_TRUE(second->Write(end()));
  ASSERT_TRUE(second->Read(&ack));
  EXPECT_EQ(ack.version(), "v2");
  second->WritesDone();
  EXPECT_TRUE(second->Finish().ok());
}

TEST_F(ContractTest, EndsAStreamThatBreaksItsRules) {
  const auto status_of = [&](const std::vector<api::MeshUpdate>& updates) {
    Call call;
    const auto stub = api::Mesh::NewStub(served.channel());
    const auto stream = stub->Push(&call);
    for (const api::MeshUpdate& update : updates) stream->Write(update);
    api::MeshAck ack;
    while (stream->Read(&ack)) {
    }
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_EQ(status_of({end()}), "an end without a transaction");
  EXPECT_EQ(status_of({begin("v", false)}), "the first transaction of a stream has to be a full one");
  EXPECT_EQ(status_of({begin("v", true), begin("v", true)}), "a transaction begins before the one before it has ended");
  EXPECT_EQ(status_of({api::MeshUpdate()}), "an update without begin, chunk or end");
}

TEST_F(ContractTest, RefusesAMessageThatIsTooLarge) {
  Call call;
  const auto stub = api::Mesh::NewStub(served.channel());
  const auto stream = stub->Push(&call);
  stream->Write(begin("v", true));
  api::MeshUpdate chunk;
  chunk.mutable_chunk()->add_removed_workloads(std::string(api::kMessageBytesMax, 'x'));
  stream->Write(chunk);
  api::MeshAck ack;
  EXPECT_FALSE(stream->Read(&ack));
  EXPECT_FALSE(stream->Finish().ok());
  api::HelloReply reply;
  EXPECT_TRUE(hello(1, 1, &reply).ok()) << "nothing else is disturbed";
}

TEST_F(ContractTest, TakesALargeMeshInChunks) {
  constexpr int kChunks = 100, kPerChunk = 200;
  Call call;
  const auto stub = api::Mesh::NewStub(served.channel());
  const auto stream = stub->Push(&call);
  ASSERT_TRUE(stream->Write(begin("large", true)));
  for (int c = 0; c < kChunks; ++c) {
    api::MeshUpdate update;
    for (int i = 0; i < kPerChunk; ++i) {
      api::Workload one = record("w" + std::to_string(c * kPerChunk + i));
      one.set_addresses(0, std::string{10, 2, static_cast<char>(c), static_cast<char>(i)});
      *update.mutable_chunk()->add_workloads() = one;
    }
    ASSERT_TRUE(stream->Write(update));
  }
  ASSERT_TRUE(stream->Write(end()));
  api::MeshAck ack;
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_EQ(ack.workloads(), static_cast<uint32_t>(kChunks * kPerChunk));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ContractTest, CountsRefusedRecordsOfAnyNumberAndListsSome) {
  constexpr int kChunks = 40, kPerChunk = 500;
  Call call;
  const auto stub = api::Mesh::NewStub(served.channel());
  const auto stream = stub->Push(&call);
  ASSERT_TRUE(stream->Write(begin("bad", true)));
  api::MeshUpdate update;
  for (int i = 0; i < kPerChunk; ++i) update.mutable_chunk()->add_workloads()->set_uid(std::to_string(i));
  for (int c = 0; c < kChunks; ++c) ASSERT_TRUE(stream->Write(update));
  ASSERT_TRUE(stream->Write(end()));
  api::MeshAck ack;
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_EQ(static_cast<size_t>(ack.rejections_size()), api::kRejectionsMax);
  EXPECT_EQ(ack.rejections_left_out(), kChunks * kPerChunk - api::kRejectionsMax);
  EXPECT_EQ(ack.workloads(), 0u);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

// --- strangers -----------------------------------------------------------------------------------------------------

TEST_F(ContractTest, ClosesStrangersBeforeTheySayAnythingAndCountsThem) {
  served.allowed_uids = {0, 1337};
  served.start();
  ASSERT_EQ(::chmod(served.folder.path().c_str(), 0755), 0);
  for (const char* socket_name : {"control.sock", "descriptors.sock"}) {
    const int type = socket_name[0] == 'c' ? SOCK_STREAM : SOCK_SEQPACKET;
    const std::string path = served.folder / socket_name;
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setuid(65'534) != 0) ::_exit(2);
      const int fd = ::socket(AF_UNIX, type, 0);
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::memcpy(address.sun_path, path.data(), path.size());
      if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) ::_exit(3);
      char byte;
      // gRPC would have sent its SETTINGS.
      ::_exit(::read(fd, &byte, 1) == 0 ? 0 : 4);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  while (served.server->strangers() < 2) std::this_thread::yield();
  EXPECT_EQ(served.server->strangers(), 2u);
  const std::lock_guard lock(served.notices_mutex);
  ASSERT_EQ(served.notices.size(), 2u);
  EXPECT_EQ(served.notices[0],
            "a connection of user 65534 was closed: control.allowed_uids does not name it (1 so far)");
}

TEST_F(ContractTest, SaysThatItsSocketIsInUse) {
  ServerOptions options;
  options.socket = served.folder / "control.sock";
  options.descriptors = served.folder / "other.sock";
  const auto second = Server::start(options, served.node, served.clock);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().find("is in use"), std::string::npos);
  api::HelloReply reply;
  EXPECT_TRUE(hello(1, 1, &reply).ok());
}

// --- certificates and events ---------------------------------------------------------------------------------------

TEST_F(ContractTest, BringsACertificateAndTellsOfItsHalfLife) {
  const testkit::TestCa ca;
  const auto stub = api::Certificates::NewStub(served.channel());
  api::CsrRequest request;
  request.set_identity("spiffe://cluster.local/ns/demo/sa/web");
  api::Csr csr;
  Call ask;
  ASSERT_TRUE(stub->CreateCsr(&ask, request, &csr).ok());

  api::InstallRequest install;
  install.set_csr_id(csr.csr_id());
  install.set_chain_pem("not a chain");
  install.set_roots_pem(ca.root_pem());
  api::CertificateState state;
  Call wrong;
  const grpc::Status refused = stub->Install(&wrong, install, &state);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(refused.error_message().empty());

  const UnixTime now = served.clock.calendar();
  install.set_chain_pem(ca.sign_csr(csr.csr_pem(), now, now + 600s));
  Call right;
  ASSERT_TRUE(stub->Install(&right, install, &state).ok());
  EXPECT_EQ(state.state(), api::CertificateState::VALID);
  EXPECT_EQ(state.not_after_ms(), (now + 600s).time_since_epoch().count() * 1000);
  EXPECT_EQ(served.node.credentials->size(), 1u);

  Call watch;
  const auto events = api::Events::NewStub(served.channel());
  const auto reader = events->Watch(&watch, {});
  reader->WaitForInitialMetadata();
  served.clock.pass(300s);
  api::Event event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.certificate().why(), api::Event::Certificate::EXPIRING);
  EXPECT_EQ(event.certificate().identity(), request.identity());
  EXPECT_EQ(event.sequence(), 1u);
  watch.TryCancel();
  reader->Finish();

  Call list;
  api::CertificateStates states;
  ASSERT_TRUE(stub->List(&list, {}, &states).ok());
  ASSERT_EQ(states.states_size(), 1);
  Call forget;
  api::ForgetRequest name;
  name.set_identity(request.identity());
  api::ForgetReply forgotten;
  ASSERT_TRUE(stub->Forget(&forget, name, &forgotten).ok());
  EXPECT_TRUE(forgotten.found());
  EXPECT_TRUE(served.node.credentials->empty());
  Call bad;
  request.set_identity("spiffe://cluster.local/demo/web");
  EXPECT_EQ(stub->CreateCsr(&bad, request, &csr).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ContractTest, ListsPublicTextsAndTellsOfACertificateThatIsLate) {
  const testkit::TestCa ca;
  const auto stub = api::Certificates::NewStub(served.channel());
  api::CsrRequest request;
  request.set_identity("spiffe://cluster.local/ns/demo/sa/web");
  api::Csr csr;
  Call ask;
  ASSERT_TRUE(stub->CreateCsr(&ask, request, &csr).ok());
  const UnixTime now = served.clock.calendar();
  api::InstallRequest install;
  install.set_csr_id(csr.csr_id());
  install.set_chain_pem(ca.sign_csr(csr.csr_pem(), now, now + 600s));
  install.set_roots_pem(ca.root_pem());
  api::CertificateState state;
  Call right;
  ASSERT_TRUE(stub->Install(&right, install, &state).ok());

  api::CertificateStates without, with;
  Call plain, full;
  ASSERT_TRUE(stub->List(&plain, {}, &without).ok());
  EXPECT_TRUE(without.states(0).chain_pem().empty());
  api::ListCertificatesRequest pem;
  pem.set_pem(true);
  ASSERT_TRUE(stub->List(&full, pem, &with).ok());
  EXPECT_EQ(with.states(0).chain_pem(), install.chain_pem());
  EXPECT_EQ(with.states(0).roots_pem(), ca.root_pem());

  Call watch;
  const auto events = api::Events::NewStub(served.channel());
  const auto reader = events->Watch(&watch, {});
  reader->WaitForInitialMetadata();
  served.clock.pass(490s);
  api::Event event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.certificate().why(), api::Event::Certificate::EXPIRING);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.certificate().why(), api::Event::Certificate::LATE);
  EXPECT_EQ(event.certificate().not_after_ms(), (now + 600s).time_since_epoch().count() * 1000);
  watch.TryCancel();
  reader->Finish();
  const std::lock_guard lock(served.notices_mutex);
  EXPECT_EQ(
      std::count(served.notices.begin(), served.notices.end(),
                 "certificate of spiffe://cluster.local/ns/demo/sa/web ends in 110 s and no new one has come: its "
                 "traffic will be refused then"),
      1);
}

TEST_F(ContractTest, SetsRevocationListsAndRefusesBadOnes) {
  const testkit::TestCa ca;
  const auto stub = api::Certificates::NewStub(served.channel());
  api::CrlState state;
  Call none;
  ASSERT_TRUE(stub->GetCrl(&none, {}, &state).ok());
  EXPECT_EQ(state.set_at_ms(), 0);
  api::SetCrlRequest request;
  request.add_files(ca.crl_pem({.serials = {"7"}}));
  Call set;
  ASSERT_TRUE(stub->SetCrl(&set, request, &state).ok());
  EXPECT_EQ(state.lists(), 1u);
  EXPECT_EQ(state.entries(), 1u);
  EXPECT_GT(state.next_update_ms(), 0);
  EXPECT_EQ(state.set_at_ms(), served.clock.calendar().time_since_epoch().count() * 1000);
  request.add_files("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
  Call bad;
  const grpc::Status refused = stub->SetCrl(&bad, request, &state);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(refused.error_message().find("CRL file 2"), std::string::npos) << refused.error_message();
  Call still;
  ASSERT_TRUE(stub->GetCrl(&still, {}, &state).ok());
  EXPECT_EQ(state.lists(), 1u);
  Call empty;
  ASSERT_TRUE(stub->SetCrl(&empty, {}, &state).ok());
  EXPECT_EQ(state.lists(), 0u);
}

TEST_F(ContractTest, DrainsWhenAskedAndAnswersUntilTheEnd) {
  const auto stub = api::Lifecycle::NewStub(served.channel());
  api::LifecycleState state;
  Call before;
  ASSERT_TRUE(stub->State(&before, {}, &state).ok());
  EXPECT_EQ(state.state(), api::LifecycleState::SERVING);
  Call push;
  const auto stream = api::Mesh::NewStub(served.channel())->Push(&push);
  ASSERT_TRUE(stream->Write(begin("v1", true)) && stream->Write(end()));
  api::MeshAck ack;
  ASSERT_TRUE(stream->Read(&ack));
  api::DrainRequest request;
  request.set_deadline_ms(25ull * 3600 * 1000);
  Call absurd;
  EXPECT_EQ(stub->Drain(&absurd, request, &state).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(served.drains_begun, 0);
  request.set_deadline_ms(30'000);
  Call drain;
  ASSERT_TRUE(stub->Drain(&drain, request, &state).ok());
  EXPECT_EQ(state.state(), api::LifecycleState::DRAINING);
  EXPECT_EQ(state.left_ms(), 30'000u);
  EXPECT_EQ(served.node.drains, std::vector<Duration>{30s});
  EXPECT_EQ(served.drains_begun, 1);
  // SIGTERM comes on top of it: the nearer deadline counts, and the process is told once.
  served.server->drain(std::nullopt);
  Call after;
  ASSERT_TRUE(stub->State(&after, {}, &state).ok());
  EXPECT_EQ(state.left_ms(), 5'000u);
  EXPECT_EQ(served.drains_begun, 1);
}

TEST_F(ContractTest, LimitsHowManyMayWatch) {
  const auto stub = api::Events::NewStub(served.channel());
  std::vector<std::unique_ptr<Call>> calls;
  std::vector<std::unique_ptr<grpc::ClientReader<api::Event>>> readers;
  for (uint32_t i = 0; i < kWatchersMax; ++i) {
    readers.push_back(stub->Watch(calls.emplace_back(std::make_unique<Call>()).get(), {}));
    readers.back()->WaitForInitialMetadata();
  }
  Call one_more;
  const auto reader = stub->Watch(&one_more, {});
  api::Event event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  api::HelloReply reply;
  EXPECT_TRUE(hello(1, 1, &reply).ok());
  served.server.reset();
  for (auto& one : readers) {
    EXPECT_FALSE(one->Read(&event));
    EXPECT_FALSE(one->Finish().ok()) << "the end of the server ends them";
  }
}

}  // namespace
}  // namespace culvert::control
