#include "tests/unit/controlagent/admin/ztunnel_dump.h"

#include <gtest/gtest.h>

#include <ctime>
#include <fstream>

namespace culvert::admin {
namespace {

using nlohmann::json;
using namespace reconcile;

// The index of a word in a list of words, or a failure.
template <class Enum>
Enum one_of(const json& word, const std::vector<std::string>& words) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (word == words[i]) return static_cast<Enum>(i);
  }
  ADD_FAILURE() << "unknown word " << word;
  return Enum{};
}

PortMap ports_of(const json& object) {
  PortMap out;
  for (const auto& [port, target] : object.items()) {
    out[static_cast<uint16_t>(std::stoi(port))] = target.get<uint16_t>();
  }
  return out;
}

NetworkAddress address_of(const std::string& text) {
  const size_t slash = text.find('/');
  return {text.substr(0, slash), *IpAddress::parse(text.substr(slash + 1))};
}

Workload workload_of(const json& seen) {
  Workload w;
  w.uid = seen.value("uid", "");
  w.name = seen.at("name");
  w.name_space = seen.at("namespace");
  for (const std::string text : seen.at("workloadIps")) w.addresses.push_back(*IpAddress::parse(text));
  w.network = seen.value("network", "");
  w.tunnel = one_of<Tunnel>(seen.at("protocol"), {"TCP", "HBONE"});
  w.network_mode = one_of<NetworkMode>(seen.at("networkMode"), {"Standard", "HostNetwork"});
  w.health = one_of<Health>(seen.at("status"), {"Healthy", "Unhealthy"});
  w.trust_domain = seen.value("trustDomain", "");
  w.service_account = seen.value("serviceAccount", "");
  w.node = seen.value("node", "");
  w.cluster = seen.at("clusterId");
  w.workload_name = seen.value("workloadName", "");
  w.type = one_of<WorkloadType>(seen.at("workloadType"), {"deployment", "cronjob", "pod", "job"});
  w.canonical_name = seen.value("canonicalName", "");
  w.canonical_revision = seen.value("canonicalRevision", "");
  w.capacity = seen.at("capacity");
  if (seen.contains("locality")) {
    const json& place = seen.at("locality");
    w.locality = {place.at("region"), place.at("zone"), place.at("subzone")};
  }
  if (seen.contains("authorizationPolicies")) w.authorization_policies = seen.at("authorizationPolicies");
  for (const std::string key : seen.value("services", json::array())) w.services[key];
  return w;
}

Service service_of(const json& seen) {
  Service s;
  s.name = seen.at("name");
  s.name_space = seen.at("namespace");
  s.hostname = seen.at("hostname");
  for (const std::string vip : seen.at("vips")) s.vips.push_back(address_of(vip));
  s.ports = ports_of(seen.at("ports"));
  s.subject_alt_names = seen.at("subjectAltNames");
  s.ip_families = one_of<IpFamilies>(seen.at("ipFamilies"), {"", "IPv4", "IPv6", "Dual"});
  s.canonical = seen.at("canonical");
  s.visibility = one_of<Visibility>(seen.at("visibility"), {"Public", "Namespace"});
  return s;
}

Policy policy_of(const json& seen) {
  Policy p;
  p.name = seen.at("name");
  p.name_space = seen.at("namespace");
  p.scope = one_of<PolicyScope>(seen.at("scope"), {"Global", "Namespace", "WorkloadSelector"});
  p.action = one_of<PolicyAction>(seen.at("action"), {"Allow", "Deny"});
  p.dry_run = seen.at("dryRun");
  for (const json& rule : seen.at("rules")) {
    p.rules.emplace_back();
    for (const json& clause : rule) {
      p.rules.back().emplace_back();
      for (const json& seen_match : clause) {
        Match match;
        for (const auto& [kind, list] : seen_match.items()) {
          if (kind == "destinationPorts") {
            match.destination_ports = list.get<std::vector<uint16_t>>();
          } else if (kind == "principals") {
            for (const json& one : list) match.principals.push_back({StringMatch::Kind::kExact, one.at("Exact")});
          } else {
            ADD_FAILURE() << "unknown kind of match " << kind;
          }
        }
        p.rules.back().back().push_back(match);
      }
    }
  }
  return p;
}

southbound::WallTime time_of(const std::string& text) {
  std::tm parts{};
  EXPECT_NE(strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts), nullptr) << text;
  return southbound::WallTime(std::chrono::seconds(timegm(&parts)));
}

southbound::CertificateRow certificate_of(const json& seen) {
  southbound::CertificateRow row;
  row.identity = seen.at("identity");
  row.state = southbound::CertificateRow::State::kValid;
  row.attached = true;
  const json& leaf = seen.at("certChain").at(0);
  row.serial = leaf.at("serialNumber");
  row.not_before = time_of(leaf.at("validFrom"));
  row.not_after = time_of(leaf.at("expirationTime"));
  for (const json& one : seen.at("certChain")) row.chain_pem += base64_decoded(one.at("pem"));
  for (const json& one : seen.at("rootCerts")) row.roots_pem += base64_decoded(one.at("pem"));
  return row;
}

}  // namespace

std::string base64_decoded(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(digits.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return out;
}

json ztunnel_dump() {
  std::ifstream file(CULVERT_ADMIN_TESTDATA "/ztunnel-config-dump.json");
  return json::parse(file);
}

Dump dump_of(const json& seen) {
  MeshStore store("n1", {Source::kIstiod});
  Mesh mesh;
  for (const json& one : seen.at("workloads")) {
    Workload w = workload_of(one);
    mesh.workloads[w.uid] = w;
  }
  for (const json& one : seen.at("services")) {
    const Service s = service_of(one);
    mesh.services[s.key()] = s;
    // The ports of the memberships are shown with the endpoints only.
    for (const auto& [uid, endpoint] : one.at("endpoints").items()) {
      mesh.workloads.at(uid).services.at(s.key()) = ports_of(endpoint.at("port"));
    }
  }
  for (const json& one : seen.at("policies")) {
    const Policy p = policy_of(one);
    mesh.policies[p.key()] = p;
  }
  store.replace(Source::kIstiod, mesh);

  Dump dump;
  dump.version = "1.2.3";
  dump.git_revision = "abc";
  dump.mesh_known = store.is_known();
  dump.mesh = store.snapshot();
  dump.config = Value::Object();
  dump.connected = true;
  dump.status = southbound::DataPlaneStatus();
  std::vector<southbound::CertificateRow> certificates;
  for (const json& one : seen.at("certificates")) certificates.insert(certificates.begin(), certificate_of(one));
  dump.certificates = certificates;
  std::vector<southbound::AttachmentRow> attachments;
  for (const auto& [uid, pod] : seen.at("workloadState").items()) {
    const std::string name_space = pod.at("info").at("namespace"), name = pod.at("info").at("name");
    attachments.push_back({.id = uid, .workload = name_space + "/" + name, .addresses = {}, .up = true});
    for (const auto& workload : dump.mesh.workloads) {
      if (workload->name == name) attachments.back().addresses = workload->addresses;
    }
  }
  dump.attachments = attachments;
  dump.sessions = std::vector<southbound::SessionRow>();
  return dump;
}

}  // namespace culvert::admin
