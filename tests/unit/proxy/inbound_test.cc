// The statuses that an inbound stream is answered with (reference 5.4, 11.2), asked by a tunnel client of our own that
// says what no proxy of ours would.
#include <gtest/gtest.h>

#include <array>

#include "hbone/transport.h"
#include "http2/memory.h"
#include "tests/unit/proxy/tunnel_peer.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

const Endpoint kServer = at("10.0.2.1:80");

class InboundStreams : public testing::Test {
 protected:
  InboundStreams() {
    server.listen(80);
    snapshot::Service web = service("web", {"10.96.0.1"}, ports({{80, 80}, {81, 0}}));
    world.mesh.upsert(web);
    snapshot::Workload record = backing(pod("server", {"10.0.2.1"}), web.key());
    record.node = "n2";
    world.mesh.upsert(record);
    world.publish();
  }
  World world;
  NodeHost& n2 = world.node("n2");
  PodHost& server = world.pod(n2, "server", {"10.0.2.1"});
  std::shared_ptr<const identity::Credentials> outsider =
      world.ca.credentials("spiffe://cluster.local/ns/shop/sa/outsider");
};

TEST_F(InboundStreams, AreAnsweredAsTheReferenceSays) {
  TunnelPeer client(world, "192.0.2.9", outsider);
  struct Row {
    const char* authority;
    uint32_t status;
    DropReason reason;
    const char* error;
  };
  const Row rows[] = {
      {"10.0.2.1:80", 200, DropReason::kCount, ""},
      {"web.shop.svc.cluster.local:80", 200, DropReason::kCount, ""},
      {"nonsense", 400, DropReason::kProxyBadAuthority, "no valid authority pseudo header: nonsense"},
      {"10.0.2.99:80", 400, DropReason::kProxyAddressMismatch, "ip mismatch: 10.0.2.1 != 10.0.2.99"},
      {"unknown.example:80", 503, DropReason::kProxyUnknownHostname,
       "no service or workload for hostname: unknown.example"},
      {"web.shop.svc.cluster.local:81", 503, DropReason::kProxyNoPort, "cannot resolve port"},
      {"10.0.2.1:15006", 503, DropReason::kProxyRecursiveCall, "attempted recursive call to ourselves"},
  };
  for (const Row& row : rows) {
    hbone::ConnectHeaders headers;
    headers.authority = row.authority;
    const auto answer = client.ask(kServer, headers);
    EXPECT_EQ(answer.status, row.status) << row.authority;
    EXPECT_FALSE(answer.lost);
    if (row.status != 200) {
      EXPECT_EQ(n2.count(row.reason), 1u) << row.authority;
      EXPECT_EQ(n2.lines_with({"\twarn\taccess\tconnection failed\tsrc.addr=192.0.2.9:", row.error}), 1u)
          << n2.log.back();
    } else {
      EXPECT_EQ(answer.baggage.workload, "server");
      EXPECT_EQ(answer.baggage.name_space, "shop");
    }
    client.release(answer);
  }
  EXPECT_EQ(server.accepted_count(), 2u);
  EXPECT_EQ(server.accepted(0).remote.address, ip("192.0.2.9"));
}

TEST_F(InboundStreams, BaggageNamesASourceThatNoRecordKnows) {
  TunnelPeer client(world, "192.0.2.9", outsider);
  hbone::ConnectHeaders headers;
  headers.authority = "10.0.2.1:80";
  headers.baggage = "k8s.cluster.name=east,k8s.namespace.name=front,service.name=curl";
  const auto answer = client.ask(kServer, headers);
  EXPECT_EQ(answer.status, 200u);
  EXPECT_EQ(n2.lines_with({"connection opened",
                           "src.workload=\"curl\" src.namespace=\"front\" "
                           "src.identity=\"spiffe://cluster.local/ns/shop/sa/outsider\" src.cluster=\"east\""}),
            1u)
      << n2.log.back();
  client.release(answer);
}

TEST_F(InboundStreams, APodWhoseRecordIsGoneIsAnswered503AfterFiveSeconds) {
  TunnelPeer client(world, "192.0.2.9", outsider);
  hbone::ConnectHeaders headers;
  headers.authority = "10.0.2.1:80";
  client.release(client.ask(kServer, headers));  // the tunnel is up
  world.mesh.remove_workload("Kubernetes//Pod/shop/server");
  world.publish();
  const Instant asked = world.now();
  const auto answer = client.ask(kServer, headers);
  EXPECT_EQ(answer.status, 503u);
  EXPECT_GE(world.now() - asked, 5s);
  EXPECT_LT(world.now() - asked, 6s);
  EXPECT_EQ(n2.count(DropReason::kProxyNoWorkload), 1u);
  client.release(answer);
}

TEST_F(InboundStreams, APodWithAnApplicationTunnelIsAnswered503) {
  TunnelPeer client(world, "192.0.2.9", outsider);
  snapshot::Workload record = pod("server", {"10.0.2.1"});
  record.node = "n2";
  record.application_tunnel = {snapshot::TunnelledProtocol::kProxy, 15088};
  world.mesh.upsert(record);
  world.publish();
  hbone::ConnectHeaders headers;
  headers.authority = "10.96.0.1:80";
  const auto answer = client.ask(kServer, headers);
  EXPECT_EQ(answer.status, 503u);
  EXPECT_EQ(n2.count(DropReason::kProxyApplicationTunnelNotCarried), 1u);
  client.release(answer);
}

// HTTP/2 over TLS over TCP with nothing of HBONE in it.
class PlainHttp2Client {
 public:
  PlainHttp2Client(World& world, std::shared_ptr<const identity::Credentials> credentials)
      : world_(world),
        credentials_(std::move(credentials)),
        memory_(64u << 20),
        stack_({}, *world.pool, counters_, 21, world.now()) {
    stack_.set_interface(InterfaceId{0}, {.mtu = 1500, .tso_bytes_max = 65'535}, {}, {});
    world.join_wire(ip("192.0.2.8"), stack_, [this] { return turn(); });
    connection_ = *stack_.connect(InterfaceId{0}, {at("192.0.2.8:4000"), at("10.0.2.1:15008")}, {}, world.now());
  }
  ~PlainHttp2Client() { world_.leave_wire(ip("192.0.2.8")); }

  std::string status_of(std::vector<http2::Header> fields) {
    world_.run_until([&] { return transport_ && transport_->was_up(); }, 5s);
    if (!transport_ || !transport_->was_up()) return "no connection";
    const auto ref = transport_->http2()->request(fields, 1, world_.now());
    if (!ref) return "not sent";
    std::string status;
    world_.run_until(
        [&] {
          for (const http2::Header& field : transport_->http2()->headers(*ref)) {
            if (field.name == ":status") status = field.value;
          }
          return !status.empty() || transport_->loss() != hbone::Loss::kNone;
        },
        5s);
    return status;
  }

 private:
  bool turn() {
    bool did = false;
    std::array<tcp::Event, 8> events;
    while (const size_t n = stack_.take_events(events)) {
      did = true;
      for (size_t i = 0; i < n; ++i) {
        if (events[i].kind == tcp::EventKind::kConnected) start();
      }
    }
    if (!transport_) return did;
    if (ByteQueue* in = stack_.receive_queue(connection_)) {
      const uint64_t taken = transport_->on_bytes(*in, world_.now(), world_.calendar());
      stack_.consumed(connection_, taken, world_.now());
      did |= taken > 0;
    }
    transport_->produce(16'384, world_.now());
    ByteQueue& out = transport_->output();
    while (!out.empty()) {
      stack_.write(connection_, out.take_front(static_cast<uint32_t>(out.bytes())), world_.now());
      did = true;
    }
    return did;
  }
  void start() {
    tls::SessionConfig config;
    config.credentials = credentials_;
    config.aead = &world_.aead;
    std::string error;
    auto session = tls::Session::make(config, *world_.pool, counters_, world_.calendar(), error);
    ASSERT_TRUE(session) << error;
    transport_ = hbone::Transport::make({}, std::move(session), memory_, *world_.pool, counters_, world_.now());
  }

  World& world_;
  std::shared_ptr<const identity::Credentials> credentials_;
  Counters counters_;
  http2::CoreMemory memory_;
  tcp::Stack stack_;
  tcp::ConnectionId connection_;
  std::unique_ptr<hbone::Transport> transport_;
};

TEST_F(InboundStreams, ARequestThatIsNoConnectIsAnswered400) {
  PlainHttp2Client client(world, outsider);
  EXPECT_EQ(client.status_of({{":method", "GET"}, {":scheme", "http"}, {":authority", "10.0.2.1:80"}, {":path", "/"}}),
            "400");
  EXPECT_EQ(n2.count(DropReason::kProxyNotConnect), 1u);
  EXPECT_EQ(n2.lines_with({"\twarn\taccess\tconnection failed", "error=\"expected method CONNECT, got GET\""}), 1u)
      << n2.log.back();
}

TEST_F(InboundStreams, AClientOfAnotherTrustDomainGetsNoTunnel) {
  TunnelPeer client(world, "192.0.2.9", world.ca.credentials("spiffe://other.domain/ns/shop/sa/outsider"));
  hbone::ConnectHeaders headers;
  headers.authority = "10.0.2.1:80";
  const auto answer = client.ask(kServer, headers);
  EXPECT_TRUE(answer.lost);
  EXPECT_EQ(server.accepted_count(), 0u);
  EXPECT_EQ(n2.lines_with({"\twarn\taccess\tconnection failed\tsrc.addr=192.0.2.9:",
                           "dst.addr=10.0.2.1:15008 direction=\"inbound\" error="}),
            1u);
}

}  // namespace
}  // namespace culvert::proxy
