// Steps 1 to 5 of reference 11.2 as a table, with 11.3 and 11.4.
#include <gtest/gtest.h>

#include "routing/inbound.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"

namespace culvert::routing {
namespace {

using namespace testkit::records;
using namespace snapshot;

class Inbound : public testing::Test {
 protected:
  Inbound() {
    builder.upsert(service("web", {"10.96.0.1"}, ports({{80, 8080}, {81, 0}, {82, 15008}})));
    builder.upsert(local);
  }
  InboundDecision decide(std::string_view authority, std::string_view method = "CONNECT") {
    mesh = builder.publish();
    return decide_inbound(*mesh, {method, authority, ip("10.0.0.2"), "", mesh->local_workload("shop", "server", "")});
  }

  Workload local = backing(pod("server", {"10.0.0.2"}), "shop/web.shop.svc.cluster.local", ports({{83, 9999}}));
  MeshBuilder builder;
  std::shared_ptr<const Mesh> mesh;
};

TEST_F(Inbound, ChecksAreMadeInOrderAndAnsweredAsTheReferenceSays) {
  struct Row {
    const char *method, *authority;
    int status;        // 200: carried
    const char* text;  // of the error, or the target
  };
  const Row rows[] = {
      {"CONNECT", "10.0.0.2:8080", 200, "10.0.0.2:8080"},
      {"CONNECT", "10.0.0.2:1", 200, "10.0.0.2:1"},
      {"CONNECT", "[::ffff:10.0.0.2]:8080", 200, "10.0.0.2:8080"},
      {"CONNECT", "web.shop.svc.cluster.local:80", 200, "10.0.0.2:8080"},
      {"GET", "10.0.0.2:8080", 400, "expected method CONNECT, got GET"},
      {"GET", "nonsense", 400, "expected method CONNECT, got GET"},
      {"", "10.0.0.2:8080", 400, "expected method CONNECT, got "},
      {"CONNECT", "", 400, "no valid authority pseudo header: "},
      {"CONNECT", "10.0.0.2", 400, "no valid authority pseudo header: 10.0.0.2"},
      {"CONNECT", "10.0.0.2:", 400, "no valid authority pseudo header: 10.0.0.2:"},
      {"CONNECT", "10.0.0.2:65536", 400, "no valid authority pseudo header: 10.0.0.2:65536"},
      {"CONNECT", "10.0.0.2:+80", 400, "no valid authority pseudo header: 10.0.0.2:+80"},
      {"CONNECT", "fd00::1:80", 400, "no valid authority pseudo header: fd00::1:80"},
      {"CONNECT", "[10.0.0.2]:80", 400, "no valid authority pseudo header: [10.0.0.2]:80"},
      {"CONNECT", "[fd00::1:80", 400, "no valid authority pseudo header: [fd00::1:80"},
      {"CONNECT", ":80", 400, "no valid authority pseudo header: :80"},
      {"CONNECT", "user@host:80", 400, "no valid authority pseudo header: user@host:80"},
      {"CONNECT", "a b:80", 400, "no valid authority pseudo header: a b:80"},
      {"CONNECT", "10.0.0.3:8080", 400, "ip mismatch: 10.0.0.2 != 10.0.0.3"},
      {"CONNECT", "[fd00::2]:8080", 400, "ip mismatch: 10.0.0.2 != fd00::2"},
      {"CONNECT", "10.96.0.1:80", 400, "ip mismatch: 10.0.0.2 != 10.96.0.1"},
      {"CONNECT", "other.example:80", 503, "no service or workload for hostname: other.example"},
      {"CONNECT", "web.shop.svc.cluster.local:81", 503,
       "requested service web.shop.svc.cluster.local:81 found, but cannot resolve port"},
      {"CONNECT", "web.shop.svc.cluster.local:99", 503,
       "requested service web.shop.svc.cluster.local:99 found, but cannot resolve port"},
      {"CONNECT", "web.shop.svc.cluster.local:83", 200, "10.0.0.2:9999"},
      {"CONNECT", "web.shop.svc.cluster.local:82", 503, "attempted recursive call to ourselves"},
      {"CONNECT", "10.0.0.2:15008", 503, "attempted recursive call to ourselves"},
      {"CONNECT", "10.0.0.2:15006", 503, "attempted recursive call to ourselves"},
      {"CONNECT", "10.0.0.2:15001", 503, "attempted recursive call to ourselves"},
      {"CONNECT", "10.0.0.2:0", 503, "connection failed: port 0"},
  };
  for (const Row& row : rows) {
    const InboundDecision d = decide(row.authority, row.method);
    EXPECT_EQ(d.carried() ? 200 : status_of(d.refusal), row.status) << row.method << " " << row.authority;
    EXPECT_EQ(d.carried() ? d.target.to_string() : d.error, row.text) << row.method << " " << row.authority;
  }
}

TEST_F(Inbound, WithoutTheLocalRecordTheAnswerIs503) {
  builder.remove_workload(local.uid);
  const InboundDecision d = decide("10.0.0.2:8080");
  EXPECT_EQ(status_of(d.refusal), 503);
  EXPECT_EQ(status_of(decide("nonsense").refusal), 400) << "the authority is judged first";
}

TEST_F(Inbound, AHostnameOfTwoNamespacesMeansTheLocalWorkloadsOne) {
  auto named = [](const std::string& ns, int target, bool canonical) {
    Service s = service("x", {}, ports({{80, target}}), ns);
    s.hostname = "x.example";
    s.canonical = canonical;
    return s;
  };
  builder.upsert(named("prod", 1111, true));
  EXPECT_EQ(decide("x.example:80").target.port, 1111);
  builder.upsert(named("shop", 2222, false));
  EXPECT_EQ(decide("x.example:80").target.port, 2222);
  EXPECT_EQ(decide("x.example:80").service_hostname, "x.example");
}

TEST_F(Inbound, AWaypointTakesWhatIsMeantForThoseItStandsBefore) {
  Workload behind = pod("behind", {"10.0.0.7"});
  behind.waypoint = GatewayAddress{NamespacedHostname{"shop", "web.shop.svc.cluster.local"}, 15008};
  builder.upsert(behind);
  EXPECT_EQ(decide("10.0.0.7:8080").target.to_string(), "10.0.0.2:8080") << "always the local address";
  Service front = service("front", {"10.96.0.7"}, ports({{80, 80}}));
  front.waypoint = GatewayAddress{NetworkAddress{"", ip("10.0.0.2")}, 15008};
  builder.upsert(front);
  EXPECT_TRUE(decide("10.96.0.7:80").carried());
  front.waypoint = GatewayAddress{NetworkAddress{"", ip("10.0.0.7")}, 15008};
  builder.upsert(front);
  EXPECT_EQ(decide("10.96.0.7:80").refusal, InboundRefusal::kAddressMismatch) << "somebody else's waypoint";
}

TEST_F(Inbound, ApplicationTunnelsAreRefusedByName) {
  local.application_tunnel = {TunnelledProtocol::kProxy, 15088};
  builder.upsert(local);
  const InboundDecision d = decide("10.0.0.9:80");
  EXPECT_EQ(d.refusal, InboundRefusal::kApplicationTunnel) << "no address check in front of one";
  EXPECT_EQ(status_of(d.refusal), 503);
}

}  // namespace
}  // namespace culvert::routing
