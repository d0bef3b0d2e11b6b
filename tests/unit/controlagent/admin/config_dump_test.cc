// config_dump against what a real ztunnel said of the same mesh, and against what istioctl reads (reference 22, 23).
#include "admin/config_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/unit/controlagent/admin/ztunnel_dump.h"

namespace culvert::admin {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using namespace std::chrono_literals;

std::string text_of(const Dump& dump) {
  std::string out;
  EXPECT_TRUE(write_config_dump(dump, [&](std::string_view piece) {
    out += piece;
    return true;
  }));
  return out;
}

json dumped(const Dump& dump) { return json::parse(text_of(dump)); }

Dump empty_dump() {
  return dump_of(json{{"workloads", json::array()},
                      {"services", json::array()},
                      {"policies", json::array()},
                      {"certificates", json::array()},
                      {"workloadState", json::object()}});
}

std::vector<std::string> keys_of(const json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

// ztunnel breaks the lines of PEM after 60 characters, OpenSSL after 64 (RFC 7468 2 asks for 64): the same certificate.
void unbreak_pem(json& dump) {
  for (json& one : dump.at("certificates")) {
    for (const char* list : {"certChain", "rootCerts"}) {
      for (json& certificate : one.at(list)) {
        std::string text = base64_decoded(certificate.at("pem"));
        EXPECT_TRUE(text.ends_with("-----END CERTIFICATE-----\n")) << text;
        std::erase(text, '\n');
        certificate["pem"] = text;
      }
    }
  }
}

TEST(ConfigDump, SaysWhatARealZtunnelSaidOfTheSameMesh) {
  json expected = ztunnel_dump();
  json ours = dumped(dump_of(expected));
  unbreak_pem(expected);
  unbreak_pem(ours);
  // These three speak of the program, not of the mesh.
  EXPECT_EQ(keys_of(ours.at("version")), keys_of(expected.at("version")));
  for (json* one : {&expected, &ours}) {
    one->erase("version");
    one->erase("config");
    one->erase("culvert");
  }
  EXPECT_EQ(keys_of(ours), keys_of(expected));
  for (const auto& [key, value] : expected.items()) {
    EXPECT_TRUE(ours.at(key) == value) << key << ": from ours to ztunnel's\n"
                                       << json::diff(ours.at(key), value).dump(1);
  }
}

TEST(ConfigDump, WritesKeysAndListsInZtunnelsOrder) {
  const std::string text = text_of(dump_of(ztunnel_dump()));
  // A parser that keeps the order against one that sorts: both texts are the same when keys were sorted.
  EXPECT_EQ(nlohmann::ordered_json::parse(text).dump(), json::parse(text).dump());
  EXPECT_EQ(text.substr(0, 22), "{\n  \"certificates\": [\n");
  EXPECT_EQ(text.back(), '\n');
}

TEST(ConfigDump, LeavesOutWhatZtunnelLeavesOut) {
  Dump dump = empty_dump();
  reconcile::Workload w;
  w.name_space = "shop";
  w.cluster = "Kubernetes";
  dump.mesh.workloads.push_back(std::make_shared<reconcile::Workload>(w));
  reconcile::Service s;
  dump.mesh.services.push_back(std::make_shared<reconcile::Service>(s));
  const json ours = dumped(dump);
  EXPECT_THAT(keys_of(ours.at("workloads").at(0)),
              ElementsAre("capacity", "clusterId", "name", "namespace", "networkMode", "protocol", "status",
                          "workloadIps", "workloadType"));
  EXPECT_THAT(keys_of(ours.at("services").at(0)), ElementsAre("canonical", "endpoints", "hostname", "name", "namespace",
                                                              "ports", "subjectAltNames", "vips", "visibility"));
}

TEST(ConfigDump, ShowsEveryFieldOfAWorkload) {
  using namespace reconcile;
  Workload w;
  w.uid = "c//Pod/ns/w";
  w.name = "w";
  w.name_space = "ns";
  w.addresses = {*IpAddress::parse("10.0.0.1"), *IpAddress::parse("fd00::1")};
  w.network = "west";
  w.tunnel = Tunnel::kHbone;
  w.network_mode = NetworkMode::kHostNetwork;
  w.health = Health::kUnhealthy;
  w.trust_domain = "td";
  w.service_account = "sa";
  w.node = "n";
  w.cluster = "c";
  w.hostname = "w.example";
  w.workload_name = "wl";
  w.type = WorkloadType::kCronJob;
  w.canonical_name = "cn";
  w.canonical_revision = "v1";
  w.native_tunnel = true;
  w.waypoint = Gateway{NamespacedHostname{"ns", "wp.example"}, 15008};
  w.network_gateway = Gateway{NetworkAddress{"east", *IpAddress::parse("10.9.0.1")}, 15009};
  w.application_tunnel = {ApplicationTunnelProtocol::kProxy, 15088};
  w.locality = {"r", "z", "s"};
  w.capacity = 7;
  w.services = {{"ns/b.example", {{80, 8080}}}, {"ns/a.example", {}}};
  w.authorization_policies = {"ns/p"};
  Dump dump = empty_dump();
  dump.mesh.workloads.push_back(std::make_shared<Workload>(w));
  auto static_config = std::make_shared<Mesh>();
  static_config->workloads[w.uid] = w;
  dump.static_config = static_config;
  json expected = json::parse(R"({
    "applicationTunnel": {"port": 15088, "protocol": "PROXY"}, "authorizationPolicies": ["ns/p"],
    "canonicalName": "cn", "canonicalRevision": "v1", "capacity": 7, "clusterId": "c", "hostname": "w.example",
    "locality": {"region": "r", "subzone": "s", "zone": "z"}, "name": "w", "namespace": "ns", "nativeTunnel": true,
    "network": "west", "networkGateway": {"destination": "east/10.9.0.1", "hboneMtlsPort": 15009},
    "networkMode": "HostNetwork", "node": "n", "protocol": "HBONE", "serviceAccount": "sa",
    "services": ["ns/a.example", "ns/b.example"], "status": "Unhealthy", "trustDomain": "td", "uid": "c//Pod/ns/w",
    "waypoint": {"destination": "ns/wp.example", "hboneMtlsPort": 15008}, "workloadIps": ["10.0.0.1", "fd00::1"],
    "workloadName": "wl", "workloadType": "cronjob"})");
  const json ours = dumped(dump);
  EXPECT_EQ(ours.at("workloads").at(0), expected);
  expected["services"] = json::parse(R"({"ns/a.example": {}, "ns/b.example": {"80": 8080}})");
  EXPECT_EQ(ours.at("staticConfig").at("workloads").at(0), expected) << "as the local file has it";
}

TEST(ConfigDump, ShowsEveryFieldOfAService) {
  using namespace reconcile;
  Service s;
  s.name = "s";
  s.name_space = "ns";
  s.hostname = "s.example";
  s.vips = {{"", *IpAddress::parse("10.96.0.1")}, {"west", *IpAddress::parse("fd00::9")}};
  s.cidr_vips = {{"", *Prefix::parse("10.97.0.0/16")}};
  s.ports = {{80, 8080}, {443, 0}};
  s.subject_alt_names = {"spiffe://td/ns/ns/sa/s"};
  s.waypoint = Gateway{NetworkAddress{"", *IpAddress::parse("10.96.0.9")}, 15008};
  s.weighted_waypoints = {{*s.waypoint, 3}};
  s.load_balancing = LoadBalancing{BalancingMode::kFailover,
                                   {RoutingScope::kNetwork, RoutingScope::kRegion, RoutingScope::kZone},
                                   HealthPolicy::kAllowAll};
  s.ip_families = IpFamilies::kDual;
  s.canonical = true;
  s.visibility = Visibility::kNamespace;
  Dump dump = empty_dump();
  dump.mesh.services.push_back(std::make_shared<Service>(s));
  EXPECT_EQ(dumped(dump).at("services").at(0), json::parse(R"({
    "canonical": true, "cidrVips": [{"cidr": "10.97.0.0/16", "network": ""}], "endpoints": {}, "hostname": "s.example",
    "ipFamilies": "Dual",
    "loadBalancer": {"healthPolicy": "AllowAll", "mode": "Failover",
                     "routingPreferences": ["Network", "Region", "Zone"]},
    "name": "s", "namespace": "ns", "ports": {"80": 8080, "443": 0}, "subjectAltNames": ["spiffe://td/ns/ns/sa/s"],
    "vips": ["/10.96.0.1", "west/fd00::9"], "visibility": "Namespace",
    "waypoint": {"destination": "/10.96.0.9", "hboneMtlsPort": 15008},
    "weightedWaypoints": [{"destination": {"destination": "/10.96.0.9", "hboneMtlsPort": 15008}, "weight": 3}]})"));
}

TEST(ConfigDump, ShowsEveryKindOfMatch) {
  using namespace reconcile;
  Match all;
  all.namespaces = {{StringMatch::Kind::kExact, "a"}};
  all.not_namespaces = {{StringMatch::Kind::kPrefix, "b"}};
  all.principals = {{StringMatch::Kind::kSuffix, "c"}};
  all.not_principals = {{StringMatch::Kind::kPresence, ""}};
  all.service_accounts = {{"ns", "sa"}};
  all.not_service_accounts = {{"ns2", "sa2"}};
  all.source_ips = {*Prefix::parse("10.0.0.0/8")};
  all.not_source_ips = {*Prefix::parse("10.1.0.0/16")};
  all.destination_ips = {*Prefix::parse("fd00::/64")};
  all.not_destination_ips = {*Prefix::parse("10.2.0.1")};
  all.destination_ports = {80};
  all.not_destination_ports = {81, 82};
  Policy p;
  p.name = "p";
  p.name_space = "ns";
  p.scope = PolicyScope::kNamespace;
  p.action = PolicyAction::kDeny;
  p.dry_run = true;
  p.rules = {{{all}, {Match()}}, {}};
  Dump dump = empty_dump();
  dump.mesh.policies.push_back(std::make_shared<Policy>(p));
  EXPECT_EQ(dumped(dump).at("policies").at(0), json::parse(R"({
    "action": "Deny", "dryRun": true, "name": "p", "namespace": "ns", "scope": "Namespace",
    "rules": [[[{"destinationIps": ["fd00::/64"], "destinationPorts": [80], "namespaces": [{"Exact": "a"}],
                 "notDestinationIps": ["10.2.0.1/32"], "notDestinationPorts": [81, 82],
                 "notNamespaces": [{"Prefix": "b"}], "notPrincipals": [{"Presence": []}],
                 "notServiceAccounts": [{"namespace": "ns2", "serviceAccount": "sa2"}],
                 "notSourceIps": ["10.1.0.0/16"], "principals": [{"Suffix": "c"}],
                 "serviceAccounts": [{"namespace": "ns", "serviceAccount": "sa"}], "sourceIps": ["10.0.0.0/8"]}],
               [{}]], []]})"));
}

// A service `web` of one healthy and one unhealthy workload, and members of a service that nobody described.
Dump web_dump(reconcile::HealthPolicy policy) {
  using namespace reconcile;
  Dump dump = empty_dump();
  Service s;
  s.name = "web";
  s.name_space = "ns";
  s.hostname = "web.example";
  if (policy == HealthPolicy::kAllowAll) s.load_balancing = LoadBalancing{BalancingMode::kStandard, {}, policy};
  dump.mesh.services.push_back(std::make_shared<Service>(s));
  for (const char* name : {"bad", "good"}) {
    Workload w;
    w.uid = w.name = name;
    w.health = w.uid == "bad" ? Health::kUnhealthy : Health::kHealthy;
    w.services = {{"ns/web.example", {{80, 8080}}}, {"ns/later.example", {{1, 2}}}};
    dump.mesh.workloads.push_back(std::make_shared<Workload>(w));
  }
  return dump;
}

TEST(ConfigDump, EndpointsFollowTheHealthPolicy) {
  json endpoints = dumped(web_dump(reconcile::HealthPolicy::kOnlyHealthy)).at("services").at(0).at("endpoints");
  EXPECT_EQ(endpoints, json::parse(R"({"good": {"port": {"80": 8080}, "status": "Healthy", "workloadUid": "good"}})"));
  endpoints = dumped(web_dump(reconcile::HealthPolicy::kAllowAll)).at("services").at(0).at("endpoints");
  EXPECT_THAT(keys_of(endpoints), ElementsAre("bad", "good"));
  EXPECT_EQ(endpoints.at("bad").at("status"), "Unhealthy");
}

TEST(ConfigDump, EndpointsOfServicesThatAreNotThereYetAreStaged) {
  const json staged = dumped(web_dump(reconcile::HealthPolicy::kOnlyHealthy)).at("stagedServices");
  EXPECT_THAT(keys_of(staged), ElementsAre("ns/later.example"));
  EXPECT_EQ(staged.at("ns/later.example").at("good"),
            json::parse(R"({"port": {"1": 2}, "status": "Healthy", "workloadUid": "good"})"));
}

TEST(ConfigDump, TellsWhyACertificateIsNotThere) {
  using Row = southbound::CertificateRow;
  Dump dump = empty_dump();
  Row needed, failed, expired, requested;
  needed.identity = "spiffe://td/ns/a/sa/b";
  failed.identity = "spiffe://td/ns/a/sa/c";
  expired.identity = "spiffe://td/ns/a/sa/d";
  expired.state = Row::State::kExpired;
  expired.not_after = southbound::WallTime(1'795'493'134'999ms);
  requested.identity = "spiffe://td/ns/a/sa/a";
  requested.state = Row::State::kRequested;
  dump.certificates = std::vector<Row>{needed, failed, expired, requested};
  dump.certificate_errors = {{failed.identity, "the CA said \"no\""}};
  const json ours = dumped(dump).at("certificates");
  std::vector<std::string> states;
  for (const json& one : ours) states.push_back(one.at("state"));
  EXPECT_THAT(states, ElementsAre("Initializing", "Initializing", "Unavailable: the CA said \"no\"",
                                  "Unavailable: it ended at 2026-11-24T04:05:34Z"));
  EXPECT_EQ(ours.at(0).at("identity"), requested.identity) << "sorted";
  EXPECT_EQ(ours.at(0).at("certChain"), json::array());
}

southbound::SessionRow session(bool outbound, const char* source, const char* destination) {
  southbound::SessionRow row;
  row.outbound = outbound;
  row.source = *Endpoint::parse(source);
  row.destination = *Endpoint::parse(destination);
  return row;
}

TEST(ConfigDump, ConnectionsStandWithTheirPod) {
  Dump dump = dump_of(ztunnel_dump());
  // 10.77.1.10 is cli's address.
  auto tunnel = session(true, "10.77.1.10:58464", "10.96.0.80:80");
  tunnel.hbone_authority = "10.77.2.10:8080";
  tunnel.tunnel_peer = "10.77.2.10:15008";
  auto plain = session(true, "10.77.1.10:1000", "1.1.1.1:443");
  auto peer = session(false, "10.77.2.10:46582", "10.77.1.10:8080");
  peer.source_identity = "spiffe://cluster.local/ns/shop/sa/web";
  peer.requested_host = "cli.shop.svc.cluster.local";
  auto outsider = session(false, "10.77.1.12:999", "10.77.1.10:8080");
  auto stranger = session(true, "10.99.0.1:1", "10.77.1.10:1");
  dump.sessions = std::vector<southbound::SessionRow>{tunnel, plain, peer, outsider, stranger};
  const json state = dumped(dump).at("workloadState");
  EXPECT_EQ(state.at("b9809db7-9fde-4b3f-abe9-164644db9751").at("connections"), json::parse(R"({
    "inbound": [
      {"actualDst": "10.77.1.10:8080", "originalDst": null, "protocol": "TCP", "src": "10.77.1.12:999"},
      {"actualDst": "10.77.1.10:8080", "originalDst": "cli.shop.svc.cluster.local", "protocol": "HBONE",
       "src": "10.77.2.10:46582"}],
    "outbound": [
      {"actualDst": "1.1.1.1:443", "originalDst": "1.1.1.1:443", "protocol": "TCP", "src": "10.77.1.10:1000"},
      {"actualDst": "10.77.2.10:15008", "originalDst": "10.96.0.80:80", "protocol": "HBONE",
       "src": "10.77.1.10:58464"}]})"));
  EXPECT_EQ(state.at("bbfc51a8-32b5-4bb6-92d8-4f2cf8433cd2").at("connections").at("outbound"), json::array());
}

TEST(ConfigDump, APodThatIsNotServedYetIsPending) {
  Dump dump = empty_dump();
  dump.pods = {{.id = "uid-1", .workload = "shop/new", .service_account = "sa"}};
  EXPECT_EQ(dumped(dump).at("workloadState"), json::parse(R"({
    "uid-1": {"info": {"name": "new", "namespace": "shop", "serviceAccount": "sa"}, "state": "Pending"}})"));
}

TEST(ConfigDump, AnswersWithoutADataPlaneAndSaysSo) {
  Dump dump = dump_of(ztunnel_dump());
  dump.connected = false;
  dump.status = std::string(southbound::kAway);
  dump.certificates = std::string(southbound::kAway);
  dump.attachments = std::string(southbound::kAway);
  dump.sessions = std::string(southbound::kAway);
  const json ours = dumped(dump);
  EXPECT_EQ(ours.at("culvert").at("dataPlane"),
            json::parse(R"({"connected": false, "problem": "the data plane is not connected"})"));
  EXPECT_EQ(ours.at("culvert").at("missing"), json::parse(R"(["the data plane is not connected"])"));
  EXPECT_EQ(ours.at("certificates"), json::array());
  EXPECT_EQ(ours.at("workloadState"), json::object());
  EXPECT_EQ(ours.at("workloads"), ztunnel_dump().at("workloads"));
}

// istioctl's reader (reference 23): each path leads to a value of this kind. "*" is every element of a list or map.
void expect_kind(const json& value, const std::string& path, const std::string& kind, const std::string& walked = "") {
  if (path.empty()) {
    EXPECT_EQ(value.type_name(), kind) << walked;
    return;
  }
  const size_t slash = path.find('/');
  const std::string key = path.substr(0, slash), rest = slash == std::string::npos ? "" : path.substr(slash + 1);
  if (key == "*") {
    ASSERT_TRUE(value.is_structured()) << walked;
    EXPECT_FALSE(value.empty()) << walked << " is empty: nothing was looked at";
    for (const json& one : value) expect_kind(one, rest, kind, walked + "/*");
    return;
  }
  ASSERT_TRUE(value.contains(key)) << walked << " lacks " << key;
  expect_kind(value.at(key), rest, kind, walked + "/" + key);
}

TEST(ConfigDump, HasWhatIstioctlReads) {
  Dump dump = dump_of(ztunnel_dump());
  auto out = session(true, "10.77.1.10:1", "10.96.0.80:80");
  auto in = session(false, "10.77.2.10:2", "10.77.1.10:80");
  dump.sessions = std::vector<southbound::SessionRow>{out, in};
  json ours = dumped(dump);
  const std::vector<std::pair<const char*, const char*>> read = {
      {"workloads/*/uid", "string"},
      {"workloads/*/workloadIps/*", "string"},
      {"workloads/*/protocol", "string"},
      {"workloads/*/name", "string"},
      {"workloads/*/namespace", "string"},
      {"workloads/*/serviceAccount", "string"},
      {"workloads/*/workloadType", "string"},
      {"workloads/*/clusterId", "string"},
      {"workloads/*/trustDomain", "string"},
      {"workloads/*/status", "string"},
      {"workloads/*/capacity", "number"},
      {"services/*/name", "string"},
      {"services/*/namespace", "string"},
      {"services/*/hostname", "string"},
      {"services/*/vips/*", "string"},
      {"services/*/ports/*", "number"},
      {"services/*/endpoints/*/port/*", "number"},
      {"services/*/endpoints/*/workloadUid", "string"},
      {"services/*/subjectAltNames", "array"},
      {"services/*/ipFamilies", "string"},
      {"services/*/canonical", "boolean"},
      {"services/*/visibility", "string"},
      {"policies/*/name", "string"},
      {"policies/*/namespace", "string"},
      {"policies/*/scope", "string"},
      {"policies/*/action", "string"},
      {"policies/*/rules/*/*/*", "object"},
      {"certificates/*/identity", "string"},
      {"certificates/*/state", "string"},
      {"certificates/*/certChain/*/pem", "string"},
      {"certificates/*/certChain/*/serialNumber", "string"},
      {"certificates/*/certChain/*/validFrom", "string"},
      {"certificates/*/certChain/*/expirationTime", "string"},
      {"certificates/*/rootCerts/*/serialNumber", "string"},
      {"workloadState/*/state", "string"},
      {"workloadState/*/info/name", "string"},
      {"workloadState/*/info/namespace", "string"},
      {"workloadState/*/connections/inbound", "array"},
      {"workloadState/b9809db7-9fde-4b3f-abe9-164644db9751/connections/inbound/*/src", "string"},
      {"workloadState/b9809db7-9fde-4b3f-abe9-164644db9751/connections/inbound/*/actualDst", "string"},
      {"workloadState/b9809db7-9fde-4b3f-abe9-164644db9751/connections/inbound/*/protocol", "string"},
      {"workloadState/b9809db7-9fde-4b3f-abe9-164644db9751/connections/outbound/*/src", "string"},
      {"workloadState/b9809db7-9fde-4b3f-abe9-164644db9751/connections/outbound/*/originalDst", "string"},
      {"workloadState/b9809db7-9fde-4b3f-abe9-164644db9751/connections/outbound/*/actualDst", "string"},
      {"workloadState/b9809db7-9fde-4b3f-abe9-164644db9751/connections/outbound/*/protocol", "string"}};
  for (const auto& [path, kind] : read) expect_kind(ours, path, kind);
  for (const json& one : ours.at("certificates")) {
    const std::string serial = one.at("certChain").at(0).at("serialNumber");
    EXPECT_EQ(serial.find_first_not_of("0123456789"), std::string::npos) << serial << " is printed as hexadecimal";
  }
}

// CPU time of this thread: what others do on the machine does not count.
std::chrono::milliseconds cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::milliseconds(time.tv_sec * 1000 + time.tv_nsec / 1'000'000);
}

// A mesh of the design's size. The bound is many times what it takes; it is there to catch a square.
TEST(ConfigDump, AMeshOfAHundredThousandIsWrittenInSecondsAndPieces) {
  using namespace reconcile;
  MeshStore store("n1", {Source::kIstiod});
  Mesh mesh;
  for (int i = 0; i < 100'000; i++) {
    Workload w;
    w.uid = "Kubernetes//Pod/ns" + std::to_string(i % 100) + "/workload-" + std::to_string(i);
    w.name = w.workload_name = "workload-" + std::to_string(i);
    w.name_space = "ns" + std::to_string(i % 100);
    w.addresses = {IpAddress::v4(0x0a000000u + static_cast<uint32_t>(i))};
    w.trust_domain = "cluster.local";
    w.service_account = "default";
    w.tunnel = Tunnel::kHbone;
    w.services = {{"ns/service-" + std::to_string(i / 10) + ".example", {{80, 8080}}}};
    mesh.workloads[w.uid] = w;
  }
  for (int i = 0; i < 10'000; i++) {
    Service s;
    s.name = "service-" + std::to_string(i);
    s.name_space = "ns";
    s.hostname = s.name + ".example";
    mesh.services[s.key()] = s;
  }
  store.replace(Source::kIstiod, std::move(mesh));
  const auto begin = cpu_time();
  Dump dump = empty_dump();
  dump.mesh = store.snapshot();
  const auto copied = cpu_time();
  size_t bytes = 0, largest = 0;
  EXPECT_TRUE(write_config_dump(dump, [&](std::string_view piece) {
    bytes += piece.size();
    largest = std::max(largest, piece.size());
    return true;
  }));
  const auto end = cpu_time();
  std::printf("copied in %ld ms, %zu MB written in %ld ms, pieces of %zu KB at most\n",
              static_cast<long>((copied - begin).count()), bytes >> 20, static_cast<long>((end - copied).count()),
              largest >> 10);
  EXPECT_GT(bytes, 40u << 20);
  EXPECT_LT(largest, 128u << 10);
#ifndef __SANITIZE_ADDRESS__
  EXPECT_LT(end - begin, 10s);
#endif
}

TEST(ConfigDump, EndsWhenTheReaderDoes) {
  Dump dump = dump_of(ztunnel_dump());
  int pieces = 0;
  EXPECT_FALSE(write_config_dump(dump, [&](std::string_view) { return ++pieces < 1; }));
  EXPECT_EQ(pieces, 1);
}

}  // namespace
}  // namespace culvert::admin
