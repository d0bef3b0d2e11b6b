// `culvertctl why`: the same words from a file, from a config_dump and from a served mesh.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/certificates.grpc.pb.h"
#include "control/api/mesh.grpc.pb.h"
#include "ctl/mesh_records.h"
#include "local/config_dump.h"
#include "local/mesh_file.h"
#include "southbound/convert.h"
#include "tests/testkit/test_ca.h"
#include "tests/unit/control/served.h"
#include "tests/unit/controlagent/ctl/mesh_example.h"
#include "tests/unit/controlagent/ctl/ran.h"

namespace culvert::ctl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kTold =
    "shop/web -> 10.96.0.1:80\n"
    "DEPENDS on which endpoint is drawn\n"
    "\n"
    "ok  source       shop/web, 10.0.1.10, on node n2\n"
    "                   identity spiffe://cluster.local/ns/shop/sa/web\n"
    "                   not a pod of this node (n1): its own node decides, with the same records if both are up to "
    "date\n"
    "ok  destination  10.96.0.1:80 is an address of the service shop/api.shop.svc.cluster.local\n"
    "ok  service      shop/api.shop.svc.cluster.local: port 80 leads to port 8080\n"
    "                   no preference among endpoints\n"
    "ok  endpoints    all 2 may be drawn, each as likely\n"
    "                   +  shop/api-1  10.0.2.10  n3\n"
    "                   +  shop/api-2  10.0.2.11  n3\n"
    "\n"
    "ALLOWED to shop/api-1\n"
    "ok  route        HBONE: a tunnel to 10.0.2.10:15008, CONNECT 10.0.2.10:8080\n"
    "ok  identity     the destination proves spiffe://cluster.local/ns/shop/sa/api\n"
    "                   the source proves spiffe://cluster.local/ns/shop/sa/web\n"
    "ok  arrival      shop/api-1 is called at 10.0.2.10:8080 on node n3\n"
    "ok  policy       allowed by shop/web-only, rule 0\n"
    "                   asked: cluster.local/ns/shop/sa/web from 10.0.1.10 to 10.0.2.10:8080\n"
    "                   ALLOW shop/web-only (named by the workload): rule 0 matches\n"
    "                       clause 0, match 0: principal cluster.local/ns/shop/sa/web\n"
    "                       clause 1, match 0: port 8080\n"
    "                   shop/gone is named by the workload and unknown: skipped\n"
    "\n"
    "REFUSED to shop/api-2\n"
    "NO  route        plain TCP to 10.0.2.11:8080, which this version does not carry\n"
    "                   the endpoint does not speak HBONE\n"
    "    source logs  error=\"plaintext passthrough is not supported yet: 10.0.2.11:8080\"\n"
    "    counted as   proxy_plaintext_not_carried\n";

constexpr const char* kDump = R"({"config": {"localNode": "n1", "network": ""},
  "workloads": [
    {"uid": "Kubernetes//Pod/shop/web", "name": "web", "namespace": "shop", "workloadIps": ["10.0.1.10"], "node": "n2",
     "protocol": "HBONE", "trustDomain": "cluster.local", "serviceAccount": "web"},
    {"uid": "Kubernetes//Pod/shop/api-1", "name": "api-1", "namespace": "shop", "workloadIps": ["10.0.2.10"],
     "node": "n3", "protocol": "HBONE", "trustDomain": "cluster.local", "serviceAccount": "api",
     "services": ["shop/api.shop.svc.cluster.local"], "authorizationPolicies": ["shop/web-only", "shop/gone"]},
    {"uid": "Kubernetes//Pod/shop/api-2", "name": "api-2", "namespace": "shop", "workloadIps": ["10.0.2.11"],
     "node": "n3", "protocol": "TCP", "trustDomain": "cluster.local", "serviceAccount": "api",
     "services": ["shop/api.shop.svc.cluster.local"]}],
  "services": [{"name": "api", "namespace": "shop", "hostname": "api.shop.svc.cluster.local", "vips": ["/10.96.0.1"],
     "ports": {"80": 8080}, "endpoints": {
       "Kubernetes//Pod/shop/api-1": {"workloadUid": "Kubernetes//Pod/shop/api-1", "port": {"80": 8080}},
       "Kubernetes//Pod/shop/api-2": {"workloadUid": "Kubernetes//Pod/shop/api-2", "port": {"80": 8080}}}}],
  "policies": [{"name": "web-only", "namespace": "shop", "scope": "WorkloadSelector", "action": "Allow",
     "dryRun": false, "rules": [[[{"principals": [{"Exact": "cluster.local/ns/shop/sa/web"}]}],
                                 [{"destinationPorts": [8080]}]]]}]})";

class WhyCommand : public testing::Test {
 protected:
  // Tells the served data plane a mesh, as the agent does.
  void tell(const reconcile::Mesh& mesh) {
    const auto stub = api::Mesh::NewStub(served.channel());
    control::Call call;
    const auto stream = stub->Push(&call);
    api::MeshUpdate begin, chunk, end;
    begin.mutable_begin()->set_full(true);
    begin.mutable_begin()->set_version("1");
    for (const auto& [key, record] : mesh.workloads)
      *chunk.mutable_chunk()->add_workloads() = southbound::to_api(record);
    for (const auto& [key, record] : mesh.services) *chunk.mutable_chunk()->add_services() = southbound::to_api(record);
    for (const auto& [key, record] : mesh.policies) *chunk.mutable_chunk()->add_policies() = southbound::to_api(record);
    end.mutable_end();
    ASSERT_TRUE(stream->Write(begin) && stream->Write(chunk) && stream->Write(end));
    api::MeshAck ack;
    ASSERT_TRUE(stream->Read(&ack));
    EXPECT_EQ(ack.rejections_size(), 0);
    stream->WritesDone();
    ASSERT_TRUE(stream->Finish().ok());
  }
  Ran live(std::vector<std::string> words) {
    words.insert(words.begin(), {"--socket", served.folder / "control.sock", "why"});
    return ran(words);
  }

  control::Served served;
  const std::string mesh_path = written(served.folder, "mesh.yaml", kMeshFile);
};

TEST_F(WhyCommand, TellsTheSameFromAMeshFileFromADumpAndFromAServedMesh) {
  const Ran from_file = ran({"why", "shop/web", "api:80", "--mesh", mesh_path, "--node", "n1"});
  EXPECT_EQ(from_file.status, kDone);
  EXPECT_EQ(from_file.out, kTold);
  EXPECT_THAT(from_file.err, HasSubstr("names the policy `shop/gone`, which does not exist")) << "the file's warnings";

  const Ran from_dump = ran({"why", "shop/web", "api:80", "--config-dump", written(served.folder, "dump", kDump)});
  EXPECT_EQ(from_dump.status, kDone) << from_dump.err;
  EXPECT_EQ(from_dump.out, kTold) << "the dump knows the node it is of";

  tell(local::parse_mesh(kMeshFile, "m")->mesh);
  const Ran from_node = live({"shop/web", "api:80"});
  EXPECT_EQ(from_node.status, kDone) << from_node.err;
  EXPECT_EQ(from_node.out, kTold);
  EXPECT_EQ(live({"shop/web", "api:80", "-o", "json"}).out,
            ran({"why", "shop/web", "api:80", "--mesh", mesh_path, "--node", "n1", "-o", "json"}).out);
}

TEST_F(WhyCommand, JsonHasStableKeys) {
  const std::string json = ran({"why", "shop/web", "api:80", "--mesh", mesh_path, "-o", "json"}).out;
  EXPECT_THAT(json,
              StartsWith("{\n  \"from\": \"shop/web\",\n  \"to\": \"10.96.0.1:80\",\n  \"outcome\": \"depends\",\n"
                         "  \"summary\": \"depends on which endpoint is drawn\",\n  \"steps\": [\n    {\n"
                         "      \"step\": \"source\",\n      \"passes\": true,\n      \"title\": "));
  EXPECT_THAT(json, HasSubstr("\"endpoints\": [\n        \"shop/api-2\"\n      ],\n      \"outcome\": \"refused\",\n"
                              "      \"drop_reason\": \"proxy_plaintext_not_carried\","));
  EXPECT_THAT(json, HasSubstr("\"paths_left_out\": 0\n}\n"));
}

TEST_F(WhyCommand, ADataPlaneKnowsItsCertificates) {
  reconcile::Mesh mesh = local::parse_mesh(kMeshFile, "m")->mesh;
  mesh.workloads.at("Kubernetes//Pod/shop/web").node = "n1";
  tell(mesh);
  const std::string without = live({"shop/web", "shop/api-1:8080"}).out;
  EXPECT_THAT(without, HasSubstr("this node has no certificate in force for it"));
  EXPECT_THAT(without, HasSubstr("    counted as   proxy_no_mesh_access\n"));

  const testkit::TestCa ca;
  const auto stub = api::Certificates::NewStub(served.channel());
  control::Call create_call, install_call;
  api::CsrRequest create;
  create.set_identity("spiffe://cluster.local/ns/shop/sa/web");
  api::Csr csr;
  ASSERT_TRUE(stub->CreateCsr(&create_call, create, &csr).ok());
  api::InstallRequest install;
  install.set_csr_id(csr.csr_id());
  install.set_chain_pem(ca.sign_csr(csr.csr_pem()));
  install.set_roots_pem(ca.root_pem());
  api::CertificateState state;
  const grpc::Status installed = stub->Install(&install_call, install, &state);
  ASSERT_TRUE(installed.ok()) << installed.error_message();
  const std::string with = live({"shop/web", "shop/api-1:8080"}).out;
  EXPECT_THAT(with, HasSubstr("certificate in force until 2026-03-02T12:00:00Z\n"));
  EXPECT_THAT(with, HasSubstr("\nALLOWED by shop/web-only, rule 0\n"));
}

TEST_F(WhyCommand, SaysWhatItCannotUnderstand) {
  tell(local::parse_mesh(kMeshFile, "m")->mesh);
  for (const Ran& result : {live({"shop/wbe", "api:80"}), ran({"why", "shop/wbe", "api:80", "--mesh", mesh_path})}) {
    EXPECT_EQ(result.status, kFailed);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr("culvertctl: no workload `shop/wbe` in the mesh\n"));
  }
  const Ran node = live({"shop/web", "api:80", "--node", "n1"});
  EXPECT_EQ(node.status, kUsage);
  EXPECT_EQ(node.err, "culvertctl: --node and --network go with --mesh or --config-dump: a data plane knows its own\n");
  EXPECT_EQ(live({"shop/web"}).status, kUsage);
  EXPECT_EQ(ran({"why", "a/b", "c", "--mesh", mesh_path, "--config-dump", mesh_path}).status, kUsage);
  const Ran bad = ran({"why", "a/b", "c", "--mesh", written(served.folder, "bad.yaml", "workloads: 1\nservice: []\n")});
  EXPECT_EQ(bad.status, kFailed);
  EXPECT_THAT(bad.err, HasSubstr("bad.yaml:1: workloads: `1` is not accepted; accepted: a list\n"));
  EXPECT_THAT(bad.err, HasSubstr("bad.yaml:2: service: is not a key here"));
  EXPECT_THAT(ran({"why", "a/b", "c", "--config-dump", mesh_path}).err, HasSubstr("is not JSON"));
}

// --- one truth -------------------------------------------------------------------------------------------------------

// Every record of a mesh that sets every field comes out the same directly and by the contract: what `why` decides from
// a file is what a data plane that was told the file decides from.
TEST_F(WhyCommand, RecordsAreThoseThatTheContractBrings) {
  constexpr const char* kEverything = R"(
workloads:
- {uid: u1, name: n, namespace: ns, workloadIps: [10.0.0.1, "fd00::1", "::ffff:10.0.0.9"], network: net,
   protocol: HBONE,
   networkMode: HostNetwork, status: Unhealthy, trustDomain: td, serviceAccount: sa, node: n1, clusterId: c,
   hostname: h.example, workloadName: wn, workloadType: cronjob, canonicalName: cn, canonicalRevision: cr,
   nativeTunnel: true, waypoint: {destination: net/1.1.1.1, hboneMtlsPort: 15008},
   networkGateway: {destination: gns/gh, hboneMtlsPort: 15009}, applicationTunnel: {protocol: PROXY, port: 9000},
   locality: {region: r, zone: z, subzone: s}, capacity: 7, services: {ns/h: {80: 8080, 443: 0}, ns/g: {}},
   authorizationPolicies: [ns/p]}
- {uid: u2, name: n2, namespace: ns, workloadIps: [], workloadType: job, services: {}}
- {uid: u3, name: n3, namespace: ns, workloadIps: [], workloadType: pod, services: {}, capacity: 0}
services:
- {name: n, namespace: ns, hostname: h, vips: [net/10.96.0.1, /10.96.0.2], ports: {80: 8080, 443: 0},
   cidrVips: [{network: net, cidr: 10.1.2.3/16}, {network: "", cidr: 10.1.2.3/32}, {network: "", cidr: "fd00::1/64"}],
   subjectAltNames: ["spiffe://td/ns/ns/sa/sa", other], waypoint: {destination: gns/gh, hboneMtlsPort: 1},
   weightedWaypoints: [{destination: {destination: gns/g2, hboneMtlsPort: 2}, weight: 30}],
   loadBalancer: {routingPreferences: [Region, Zone, Subzone, Node, Cluster, Network], mode: Failover,
                  healthPolicy: AllowAll}, ipFamilies: Dual, canonical: true, visibility: Namespace}
- {name: a, namespace: ns, hostname: a, vips: [], ports: {}, ipFamilies: IPv4,
   loadBalancer: {routingPreferences: [], mode: Standard, healthPolicy: OnlyHealthy}}
- {name: b, namespace: ns, hostname: b, vips: [], ports: {}, ipFamilies: IPv6,
   loadBalancer: {routingPreferences: [Node], mode: Strict, healthPolicy: OnlyHealthy}}
- {name: c, namespace: ns, hostname: c, vips: [], ports: {},
   loadBalancer: {routingPreferences: [], mode: Passthrough, healthPolicy: OnlyHealthy}}
policies:
- {name: p, namespace: ns, scope: WorkloadSelector, action: Deny, dryRun: true,
   rules: [[], [[], [{}, {namespaces: [{Exact: a}, {Prefix: b}, {Suffix: c}, {Presence: []}],
     notNamespaces: [{Exact: d}], principals: [{Prefix: e}], notPrincipals: [{Presence: []}],
     serviceAccounts: [{namespace: n, serviceAccount: s}], notServiceAccounts: [{namespace: m, serviceAccount: t}],
     sourceIps: [10.1.2.3/8, "::ffff:10.1.2.3/120"], notSourceIps: ["fd00::1/16"], destinationIps: [0.0.0.0/0],
     notDestinationIps: ["::/0"], destinationPorts: [0, 65535], notDestinationPorts: [80]}]]]}
- {name: q, namespace: ns, scope: Global, action: Allow, dryRun: false, rules: []}
- {name: r, namespace: ns, scope: Namespace, action: Allow, dryRun: false, rules: []}
)";
  const auto file = local::parse_mesh(kEverything, "m");
  ASSERT_TRUE(file) << file.error().front();
  tell(file->mesh);
  const auto direct = build_mesh(file->mesh);
  std::shared_ptr<const snapshot::Mesh> told;
  {
    const std::lock_guard lock(served.node.mutex);
    told = served.node.mesh;
  }
  ASSERT_EQ(told->workload_count(), 3u);
  ASSERT_EQ(told->service_count(), 4u);
  ASSERT_EQ(told->policy_count(), 3u);
  EXPECT_EQ(direct->workload_count(), 3u);
  direct->for_each_workload([&](const snapshot::Workload& w) { EXPECT_TRUE(*told->workload(w.uid) == w) << w.uid; });
  direct->for_each_service([&](const snapshot::Service& s) { EXPECT_TRUE(*told->service(s.key()) == s) << s.key(); });
  direct->for_each_policy([&](const snapshot::Policy& p) { EXPECT_TRUE(*told->policy(p.key()) == p) << p.key(); });
}

}  // namespace
}  // namespace culvert::ctl
