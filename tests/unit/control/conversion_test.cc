// Mesh records at the door: what is refused, by which name and with which reason; and any bytes at all.
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/random.h"
#include "control/api/mesh.pb.h"
#include "control/convert_mesh.h"

namespace culvert::control {
namespace {

std::string v4(const char* text) { return std::string(text_of(IpAddress::parse(text)->wire())); }

api::Workload good_workload() {
  api::Workload w;
  w.set_uid("uid");
  w.set_name("web");
  w.set_name_space("demo");
  w.add_addresses(v4("10.1.0.11"));
  w.add_addresses(v4("fd01::11"));
  w.set_network("net");
  w.set_tunnel(api::Workload::TUNNEL_HBONE);
  w.set_network_mode(api::Workload::NETWORK_HOST);
  w.set_health(api::Workload::UNHEALTHY);
  w.set_trust_domain("cluster.local");
  w.set_service_account("sa");
  w.set_node("n1");
  w.set_cluster("c");
  w.set_hostname("h");
  w.set_workload_name("wn");
  w.set_type(api::Workload::POD);
  w.set_canonical_name("cn");
  w.set_canonical_revision("cr");
  w.set_native_tunnel(true);
  w.mutable_waypoint()->mutable_address()->set_address(v4("10.1.0.1"));
  w.mutable_waypoint()->set_hbone_port(15008);
  w.mutable_network_gateway()->mutable_hostname()->set_name_space("istio");
  w.mutable_network_gateway()->mutable_hostname()->set_hostname("gw");
  w.mutable_network_gateway()->set_hbone_port(15008);
  w.set_application_tunnel(api::Workload::APPLICATION_TUNNEL_PROXY);
  w.set_application_tunnel_port(80);
  w.mutable_locality()->set_zone("z");
  w.set_capacity(2);
  auto* service = w.add_services();
  service->set_service("demo/web.demo.svc");
  service->add_ports()->set_service_port(80);
  service->mutable_ports(0)->set_target_port(8080);
  w.add_authorization_policies("demo/p");
  return w;
}

api::Service good_service() {
  api::Service s;
  s.set_name("web");
  s.set_name_space("demo");
  s.set_hostname("web.demo.svc");
  s.add_vips()->set_address(v4("10.96.0.1"));
  auto* cidr = s.add_cidr_vips();
  cidr->mutable_prefix()->set_address(v4("10.97.1.1"));
  cidr->mutable_prefix()->set_bits(16);
  s.add_ports()->set_service_port(80);
  s.add_subject_alt_names("spiffe://cluster.local/ns/demo/sa/web");
  auto* weighted = s.add_weighted_waypoints();
  weighted->mutable_destination()->mutable_address()->set_address(v4("10.1.0.1"));
  weighted->mutable_destination()->set_hbone_port(15008);
  weighted->set_weight(3);
  s.mutable_load_balancing()->set_mode(api::LoadBalancing::MODE_FAILOVER);
  s.mutable_load_balancing()->add_routing_preference(api::LoadBalancing::SCOPE_NETWORK);
  s.set_ip_families(api::Service::DUAL);
  s.set_visibility(api::Service::VISIBILITY_NAMESPACE);
  s.set_canonical(true);
  return s;
}

api::Policy good_policy() {
  api::Policy p;
  p.set_name("p");
  p.set_name_space("demo");
  p.set_scope(api::Policy::SCOPE_NAMESPACE);
  p.set_action(api::Policy::DENY);
  p.set_dry_run(true);
  api::Match* match = p.add_rules()->add_clauses()->add_matches();
  match->add_namespaces()->set_exact("a");
  match->add_not_namespaces()->set_prefix("b");
  match->add_principals()->set_suffix("c");
  match->add_not_principals()->set_presence(true);
  match->add_service_accounts()->set_name_space("demo");
  match->mutable_service_accounts(0)->set_service_account("sa");
  match->add_source_ips()->set_address(v4("10.1.2.3"));
  match->mutable_source_ips(0)->set_bits(8);
  match->add_not_destination_ips()->set_address(v4("fd00::1"));
  match->mutable_not_destination_ips(0)->set_bits(128);
  match->add_destination_ports(80);
  match->add_not_destination_ports(0);
  return p;
}

MeshRecords of(const api::Workload& w) {
  api::MeshChunk chunk;
  *chunk.add_workloads() = w;
  return convert(chunk);
}
MeshRecords of(const api::Service& s) {
  api::MeshChunk chunk;
  *chunk.add_services() = s;
  return convert(chunk);
}
MeshRecords of(const api::Policy& p) {
  api::MeshChunk chunk;
  *chunk.add_policies() = p;
  return convert(chunk);
}

TEST(Conversion, CarriesEveryFieldOfAWorkload) {
  const MeshRecords records = of(good_workload());
  ASSERT_EQ(records.workloads.size(), 1u);
  snapshot::Workload expected;
  expected.uid = "uid";
  expected.name = "web";
  expected.name_space = "demo";
  expected.addresses = {*IpAddress::parse("10.1.0.11"), *IpAddress::parse("fd01::11")};
  expected.network = "net";
  expected.tunnel_protocol = snapshot::TunnelProtocol::kHbone;
  expected.network_mode = snapshot::NetworkMode::kHostNetwork;
  expected.status = snapshot::WorkloadStatus::kUnhealthy;
  expected.trust_domain = "cluster.local";
  expected.service_account = "sa";
  expected.node = "n1";
  expected.cluster_id = "c";
  expected.hostname = "h";
  expected.workload_name = "wn";
  expected.workload_type = snapshot::WorkloadType::kPod;
  expected.canonical_name = "cn";
  expected.canonical_revision = "cr";
  expected.native_tunnel = true;
  expected.waypoint = {snapshot::NetworkAddress{"", *IpAddress::parse("10.1.0.1")}, 15008};
  expected.network_gateway = {snapshot::NamespacedHostname{"istio", "gw"}, 15008};
  expected.application_tunnel = {snapshot::TunnelledProtocol::kProxy, 80};
  expected.locality.zone = "z";
  expected.capacity = 2;
  expected.services = {{"demo/web.demo.svc", {{80, 8080}}}};
  expected.authorization_policies = {"demo/p"};
  EXPECT_EQ(records.workloads[0], expected);
}

TEST(Conversion, CarriesEveryFieldOfAService) {
  const MeshRecords records = of(good_service());
  ASSERT_EQ(records.services.size(), 1u);
  snapshot::Service expected;
  expected.name = "web";
  expected.name_space = "demo";
  expected.hostname = "web.demo.svc";
  expected.vips = {{"", *IpAddress::parse("10.96.0.1")}};
  expected.cidr_vips = {{"", *Prefix::parse("10.97.0.0/16")}};
  expected.ports = {{80, 0}};
  expected.subject_alt_names = {"spiffe://cluster.local/ns/demo/sa/web"};
  expected.weighted_waypoints = {{{snapshot::NetworkAddress{"", *IpAddress::parse("10.1.0.1")}, 15008}, 3}};
  expected.load_balancing = snapshot::LoadBalancing{{snapshot::LoadBalancingScope::kNetwork},
                                                    snapshot::LoadBalancingMode::kFailover,
                                                    snapshot::HealthPolicy::kOnlyHealthy};
  expected.ip_families = snapshot::IpFamilies::kDual;
  expected.visibility = snapshot::Visibility::kNamespace;
  expected.canonical = true;
  EXPECT_EQ(records.services[0], expected);
}

TEST(Conversion, TurnsACidrVipOfFullLengthIntoAnOrdinaryOne) {
  api::Service service = good_service();
  service.mutable_cidr_vips(0)->mutable_prefix()->set_bits(32);
  const MeshRecords records = of(service);
  ASSERT_EQ(records.services.size(), 1u);
  EXPECT_TRUE(records.services[0].cidr_vips.empty());
  EXPECT_EQ(records.services[0].vips.back().address, *IpAddress::parse("10.97.1.1"));
}

TEST(Conversion, KnowsTheFullLengthOfEachFamily) {
  const IpAddress address = *IpAddress::parse("fd00:97::1");
  api::Service service = good_service();
  auto* prefix = service.mutable_cidr_vips(0)->mutable_prefix();
  prefix->set_address(std::string(text_of(address.wire())));
  prefix->set_bits(32);
  MeshRecords records = of(service);
  ASSERT_EQ(records.services.size(), 1u);
  ASSERT_EQ(records.services[0].cidr_vips.size(), 1u);
  EXPECT_EQ(records.services[0].cidr_vips[0].prefix, *Prefix::parse("fd00:97::/32"));
  prefix->set_bits(128);
  records = of(service);
  ASSERT_EQ(records.services.size(), 1u);
  EXPECT_TRUE(records.services[0].cidr_vips.empty());
  EXPECT_EQ(records.services[0].vips.back().address, address);
}

TEST(Conversion, CarriesEveryFieldOfAPolicy) {
  const MeshRecords records = of(good_policy());
  ASSERT_EQ(records.policies.size(), 1u);
  using Kind = snapshot::StringMatch::Kind;
  snapshot::Match match;
  match.namespaces = {{{Kind::kExact, "a"}}, {{Kind::kPrefix, "b"}}};
  match.principals = {{{Kind::kSuffix, "c"}}, {{Kind::kPresence, ""}}};
  match.service_accounts.any_of = {{"demo", "sa"}};
  match.source_ips.any_of = {*Prefix::parse("10.0.0.0/8")};
  match.destination_ips.none_of = {*Prefix::parse("fd00::1/128")};
  match.destination_ports = {{80}, {0}};
  snapshot::Policy expected;
  expected.name = "p";
  expected.name_space = "demo";
  expected.scope = snapshot::PolicyScope::kNamespace;
  expected.action = snapshot::PolicyAction::kDeny;
  expected.dry_run = true;
  expected.rules = {{{{{match}}}}};
  EXPECT_EQ(records.policies[0], expected);
}

TEST(Conversion, KeepsEmptyRulesClausesAndMatchesWhichHaveAMeaning) {
  api::Policy p = good_policy();
  p.clear_rules();
  p.add_rules();
  p.add_rules()->add_clauses();
  p.add_rules()->add_clauses()->add_matches();
  const MeshRecords records = of(p);
  ASSERT_EQ(records.policies.size(), 1u);
  ASSERT_EQ(records.policies[0].rules.size(), 3u);
  EXPECT_TRUE(records.policies[0].rules[0].clauses.empty());
  EXPECT_TRUE(records.policies[0].rules[1].clauses[0].matches.empty());
  EXPECT_TRUE(records.policies[0].rules[2].clauses[0].matches[0].empty());
}

template <class Message>
struct Row {
  std::string name, field, reason;
  std::function<void(Message&)> change;
};

template <class Message>
void expect_rejections(const char* kind, Message (*good)(), const std::vector<Row<Message>>& rows) {
  for (const Row<Message>& row : rows) {
    Message message = good();
    row.change(message);
    const MeshRecords records = of(message);
    ASSERT_EQ(records.rejections.size(), 1u) << row.field << " " << row.reason;
    EXPECT_EQ(records.rejections[0], (Rejection{kind, row.name, row.field, row.reason}));
    EXPECT_TRUE(records.workloads.empty() && records.services.empty() && records.policies.empty());
  }
}

TEST(Conversion, RefusesWorkloadsByFieldAndReason) {
  using W = api::Workload;
  const std::string text = "a text that is not empty is accepted";
  expect_rejections<W>(
      "workload", good_workload,
      {{"", "uid", text, [](W& w) { w.clear_uid(); }},
       {"a?b", "uid", "control characters are not accepted", [](W& w) { w.set_uid("a\nb"); }},
       {std::string(256, 'x'), "uid", "at most 4096 bytes are accepted, not 4097",
        [](W& w) { w.set_uid(std::string(4097, 'x')); }},
       {"uid", "name_space", text, [](W& w) { w.clear_name_space(); }},
       {"uid", "addresses[2]", "4 or 16 bytes are accepted, not 0", [](W& w) { w.add_addresses(""); }},
       {"uid", "tunnel", "a value from 0 to 1 is accepted, not 2", [](W& w) { w.set_tunnel(W::Tunnel(2)); }},
       {"uid", "tunnel", "a value from 0 to 1 is accepted, not -1", [](W& w) { w.set_tunnel(W::Tunnel(-1)); }},
       {"uid", "network_mode", "a value from 0 to 1 is accepted, not 9",
        [](W& w) { w.set_network_mode(W::NetworkMode(9)); }},
       {"uid", "health", "a value from 0 to 1 is accepted, not 7", [](W& w) { w.set_health(W::Health(7)); }},
       {"uid", "type", "a value from 0 to 3 is accepted, not 4", [](W& w) { w.set_type(W::Type(4)); }},
       {"uid", "waypoint.destination", "a hostname or an address is accepted",
        [](W& w) { w.mutable_waypoint()->clear_destination(); }},
       {"uid", "waypoint.address.address", "4 or 16 bytes are accepted, not 1",
        [](W& w) { w.mutable_waypoint()->mutable_address()->set_address("x"); }},
       {"uid", "waypoint.hbone_port", "1 to 65535 is accepted, not 0",
        [](W& w) { w.mutable_waypoint()->set_hbone_port(0); }},
       {"uid", "network_gateway.hostname.hostname", text,
        [](W& w) { w.mutable_network_gateway()->mutable_hostname()->clear_hostname(); }},
       {"uid", "application_tunnel_port", "0 to 65535 is accepted, not 65536",
        [](W& w) { w.set_application_tunnel_port(65'536); }},
       {"uid", "services[0].service", "namespace/name is accepted",
        [](W& w) { w.mutable_services(0)->set_service("web"); }},
       {"uid", "services[0].ports[0].service_port", "1 to 65535 is accepted, not 0",
        [](W& w) { w.mutable_services(0)->mutable_ports(0)->set_service_port(0); }},
       {"uid", "services[0].ports[1].service_port", "each service port once is accepted, 80 is named twice",
        [](W& w) { w.mutable_services(0)->add_ports()->set_service_port(80); }},
       {"uid", "authorization_policies[1]", "namespace/name is accepted",
        [](W& w) { w.add_authorization_policies("/p"); }}});
}

TEST(Conversion, RefusesServicesByFieldAndReason) {
  using S = api::Service;
  expect_rejections<S>(
      "service", good_service,
      {{"/web.demo.svc", "name_space", "a text that is not empty is accepted", [](S& s) { s.clear_name_space(); }},
       {"de/mo/web.demo.svc", "name_space", "a name without `/` is accepted", [](S& s) { s.set_name_space("de/mo"); }},
       {"demo/", "hostname", "a text that is not empty is accepted", [](S& s) { s.clear_hostname(); }},
       {"demo/web.demo.svc", "vips[0].address", "4 or 16 bytes are accepted, not 5",
        [](S& s) { s.mutable_vips(0)->set_address("12345"); }},
       {"demo/web.demo.svc", "cidr_vips[0].prefix.bits", "0 to 32 is accepted, not 33",
        [](S& s) { s.mutable_cidr_vips(0)->mutable_prefix()->set_bits(33); }},
       {"demo/web.demo.svc", "ports[0].target_port", "0 to 65535 is accepted, not 70000",
        [](S& s) { s.mutable_ports(0)->set_target_port(70'000); }},
       {"demo/web.demo.svc", "weighted_waypoints[0].destination.destination", "a hostname or an address is accepted",
        [](S& s) {
          s.mutable_weighted_waypoints(0)->clear_destination();
          s.mutable_weighted_waypoints(0)->mutable_destination()->set_hbone_port(1);
        }},
       {"demo/web.demo.svc", "load_balancing.routing_preference[1]",
        "a scope from 1 (region) to 6 (network) is accepted, not 0",
        [](S& s) { s.mutable_load_balancing()->add_routing_preference(api::LoadBalancing::SCOPE_UNSPECIFIED); }},
       {"demo/web.demo.svc", "load_balancing.mode", "a value from 0 to 3 is accepted, not 4",
        [](S& s) { s.mutable_load_balancing()->set_mode(api::LoadBalancing::Mode(4)); }},
       {"demo/web.demo.svc", "ip_families", "a value from 0 to 3 is accepted, not 5",
        [](S& s) { s.set_ip_families(S::IpFamilies(5)); }},
       {"demo/web.demo.svc", "visibility", "a value from 0 to 1 is accepted, not 2",
        [](S& s) { s.set_visibility(S::Visibility(2)); }}});
}

TEST(Conversion, RefusesPoliciesByFieldAndReasonInsteadOfDroppingEntries) {
  using P = api::Policy;
  const auto match = [](P& p) { return p.mutable_rules(0)->mutable_clauses(0)->mutable_matches(0); };
  const std::string at = "rules[0].clauses[0].matches[0].";
  expect_rejections<P>(
      "policy", good_policy,
      {{"demo/", "name", "a text that is not empty is accepted", [](P& p) { p.clear_name(); }},
       {"demo/p", "scope", "a value from 0 to 2 is accepted, not 3", [](P& p) { p.set_scope(P::Scope(3)); }},
       {"demo/p", "action", "a value from 0 to 1 is accepted, not 2", [](P& p) { p.set_action(P::Action(2)); }},
       {"demo/p", at + "principals[1]", "exact, prefix, suffix or presence is accepted",
        [=](P& p) { match(p)->add_principals(); }},
       {"demo/p", at + "principals[1].presence", "true is accepted",
        [=](P& p) { match(p)->add_principals()->set_presence(false); }},
       {"demo/p", at + "not_service_accounts[0].name_space", "a text that is not empty is accepted",
        [=](P& p) { match(p)->add_not_service_accounts()->set_service_account("x"); }},
       {"demo/p", at + "source_ips[0].bits", "0 to 32 is accepted, not 33",
        [=](P& p) { match(p)->mutable_source_ips(0)->set_bits(33); }},
       {"demo/p", at + "source_ips[0].address", "4 or 16 bytes are accepted, not 3",
        [=](P& p) { match(p)->mutable_source_ips(0)->set_address("abc"); }},
       {"demo/p", at + "not_destination_ips[0].bits", "0 to 128 is accepted, not 129",
        [=](P& p) { match(p)->mutable_not_destination_ips(0)->set_bits(129); }},
       {"demo/p", at + "not_destination_ips[0].bits", "96 to 128 is accepted for an IPv4-mapped address, not 8",
        [=](P& p) {
          match(p)->mutable_not_destination_ips(0)->set_address(std::string(10, '\0') + "\xff\xff\x0a\x01\x02\x03");
          match(p)->mutable_not_destination_ips(0)->set_bits(8);
        }},
       {"demo/p", at + "destination_ports[1]", "0 to 65535 is accepted, not 65536",
        [=](P& p) { match(p)->add_destination_ports(65'536); }}});
}

TEST(Conversion, CountsThePrefixOfAMappedAddressInItsOwnFamily) {
  api::Policy p = good_policy();
  api::Prefix* prefix = p.mutable_rules(0)->mutable_clauses(0)->mutable_matches(0)->mutable_source_ips(0);
  prefix->set_address(std::string(10, '\0') + "\xff\xff\x0a\x01\x02\x03");
  prefix->set_bits(104);
  const MeshRecords records = of(p);
  ASSERT_EQ(records.policies.size(), 1u);
  EXPECT_EQ(records.policies[0].rules[0].clauses[0].matches[0].source_ips.any_of[0], *Prefix::parse("10.0.0.0/8"));
}

// Bytes of any kind, and good messages with bytes changed: either no message, or records and rejections that add up.
TEST(Conversion, SurvivesAnyBytes) {
  api::MeshChunk good;
  *good.add_workloads() = good_workload();
  *good.add_services() = good_service();
  *good.add_policies() = good_policy();
  const std::string seed = good.SerializeAsString();
  const google::protobuf::LogSilencer quiet;
  Random random(11);
  size_t parsed = 0, refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = seed;
    if (round % 4 == 0) {
      bytes.resize(random.below(64));
      for (char& c : bytes) c = static_cast<char>(random.below(256));
    } else {
      for (uint64_t n = 1 + random.below(8); n > 0; --n) {
        bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
      }
    }
    api::MeshChunk chunk;
    if (!chunk.ParseFromString(bytes)) continue;
    ++parsed;
    const MeshRecords records = convert(chunk);
    EXPECT_EQ(records.workloads.size() + records.services.size() + records.policies.size() + records.rejections.size(),
              static_cast<size_t>(chunk.workloads_size() + chunk.services_size() + chunk.policies_size()));
    refused += records.rejections.size();
    for (const Rejection& rejection : records.rejections) {
      EXPECT_FALSE(rejection.field.empty());
      EXPECT_FALSE(rejection.reason.empty());
    }
    // And the machine behind it takes whatever passed.
    MeshFeed feed;
    const uint64_t stream = feed.open_stream();
    ASSERT_TRUE(feed.begin(stream, "v", true).ok());
    ASSERT_TRUE(feed.apply(stream, records).ok());
    ASSERT_TRUE(feed.end(stream).ok());
  }
  EXPECT_GT(parsed, 1000u);
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace culvert::control
