#include "tests/testkit/in_process_lab.h"

#include <time.h>

#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"
#include "drivers/link/link_port.h"
#include "snapshot/mesh_builder.h"
#include "tests/testkit/test_ca.h"

namespace culvert::testkit {

namespace {

Instant monotonic() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant{std::chrono::seconds{t.tv_sec} + Duration{t.tv_nsec}};
}

link::LinkConfig link_config(uint8_t number, bool large_segments) {
  link::LinkConfig config;
  config.mac = {0x02, 0, 0, 0, 0, number};
  config.sleeps = false;
  config.offloads.scatter = true;
  config.offloads.tx_segments_max = 64;
  if (large_segments) {
    config.offloads.rx_checksum = config.offloads.tx_checksum = config.offloads.tx_ip_checksum = true;
    config.offloads.tso = config.offloads.lro = true;
    config.offloads.tso_bytes_max = 65'535;
  }
  return config;
}

}  // namespace

double Tsc::per_second() {
  static const double value = [] {
    const Instant from = monotonic();
    const uint64_t ticks = now();
    while (monotonic() - from < 50ms) {
    }
    return static_cast<double>(now() - ticks) / std::chrono::duration<double>(monotonic() - from).count();
  }();
  return value;
}

class InProcessLab::Clock final : public worker::Clock {
 public:
  Instant now() override { return monotonic(); }
  UnixTime calendar() override { return kTestNow; }
};

InProcessLab::InProcessLab(const LabOptions& options) : clock_(std::make_unique<Clock>()), now_(monotonic()) {
  std::string error;
  aead_ = crypto::IpsecMbAead::make(error);
  if (!aead_) aead_ = std::make_unique<crypto::OpensslAead>();
  aead_name_ = aead_->name();

  TestCa ca;
  snapshot::MeshBuilder builder;
  const char* addresses[2] = {"10.1.0.11", "10.2.0.11"};
  for (int i = 0; i < 2; ++i) {
    snapshot::Workload w;
    w.uid = "perf//Pod/perf/p" + std::to_string(i);
    w.name = w.service_account = w.workload_name = w.canonical_name = "p" + std::to_string(i);
    w.name_space = "perf";
    w.addresses = {*IpAddress::parse(addresses[i])};
    w.tunnel_protocol = snapshot::TunnelProtocol::kHbone;
    w.trust_domain = "cluster.local";
    w.node = options.same_node ? "n0" : "n" + std::to_string(i);
    w.cluster_id = "Kubernetes";
    builder.upsert(std::move(w));
  }
  for (uint32_t i = 0; i < options.policies; ++i) {
    snapshot::Policy policy;
    policy.name = "p" + std::to_string(i);
    policy.name_space = i % 100 == 0 ? "perf" : "other" + std::to_string(i % 97);
    policy.scope = snapshot::PolicyScope::kNamespace;
    policy.action = snapshot::PolicyAction::kDeny;
    snapshot::Match match;
    match.principals.any_of.push_back(
        {snapshot::StringMatch::Kind::kExact, "cluster.local/ns/nobody/sa/" + policy.name});
    policy.rules.push_back({{{{match}}}});
    builder.upsert(std::move(policy));
  }

  for (size_t n = 0; n < 2; ++n) {
    worker::NodeConfig config;
    config.name = "n" + std::to_string(n);
    config.seed = n + 1;
    config.buffers = kInProcessBuffers;
    config.routes = {{*Prefix::parse("10.0.0.0/8"), std::nullopt, "uplink0"}};
    auto node = worker::Node::make(config, *clock_, *aead_, options.mempools);
    DP_CHECK(node.ok());
    nodes_[n] = std::move(*node);
    host_pools_[n] = options.mempools
                         ? BufferPool::on_mempools(("h" + std::to_string(n)).c_str(), kInProcessBuffers, SOCKET_ID_ANY)
                         : BufferPool::on_heap(kInProcessBuffers);
    DP_CHECK(host_pools_[n]);
  }
  auto wire = link::make_link_pair(link_config(1, options.large_segments), nodes_[0]->port_pool(),
                                   link_config(2, options.large_segments), nodes_[1]->port_pool());
  worker::UplinkSpec uplink;
  uplink.name = "uplink0";
  uplink.addresses = {*Prefix::parse("10.255.0.1/32")};
  DP_CHECK(nodes_[0]->add_uplink(uplink, std::move(wire.a)).ok());
  uplink.addresses = {*Prefix::parse("10.255.0.2/32")};
  DP_CHECK(nodes_[1]->add_uplink(uplink, std::move(wire.b)).ok());

  for (size_t i = 0; i < 2; ++i) {
    worker::Node& node = *nodes_[options.same_node ? 0 : i];
    auto pair =
        link::make_link_pair(link_config(static_cast<uint8_t>(10 + 2 * i), options.large_segments), *host_pools_[i],
                             link_config(static_cast<uint8_t>(11 + 2 * i), options.large_segments), node.port_pool());
    const IpAddress gateway = *IpAddress::parse("10.254.0.1");
    worker::AttachmentSpec spec;
    spec.id = "p" + std::to_string(i);
    spec.workload = "perf/" + spec.id;
    spec.addresses = {*IpAddress::parse(addresses[i])};
    spec.gateways = {gateway};
    DP_CHECK(node.attach(spec, std::move(pair.b)).ok());
    HostConfig host;
    host.name = spec.id;
    host.addresses = {Prefix::host(spec.addresses[0])};
    host.gateways = {gateway};
    host.listening = {8080};
    host.tso_bytes_max = options.large_segments ? 65'535 : 0;
    host.seed = 100 + i;
    (i == 0 ? client_ : server_) = std::make_unique<Host>(host, *host_pools_[i], std::move(pair.a), now_);
  }
  for (size_t n = 0; n < 2; ++n) {
    auto credentials = std::make_shared<worker::CredentialMap>();
    for (int i = 0; i < 2; ++i) {
      const identity::SpiffeId id{"cluster.local", "perf", "p" + std::to_string(i)};
      credentials->emplace(id, ca.credentials(id.uri()));
    }
    nodes_[n]->publish(builder.publish());
    nodes_[n]->publish(std::shared_ptr<const worker::CredentialMap>(std::move(credentials)));
  }
}

InProcessLab::~InProcessLab() {
  client_.reset();
  server_.reset();
  for (auto& node : nodes_) node.reset();
}

void InProcessLab::turn() {
  now_ = monotonic();
  uint64_t at = Tsc::now();
  const auto lap = [&at](uint64_t& total) {
    const uint64_t now = Tsc::now();
    total += now - at;
    at = now;
  };
  client_->turn(now_);
  lap(host_ticks_);
  nodes_[0]->worker(0).turn(now_);
  lap(node_ticks_[0]);
  nodes_[1]->worker(0).turn(now_);
  lap(node_ticks_[1]);
  server_->turn(now_);
  lap(host_ticks_);
}

void InProcessLab::reset_clocks() {
  node_ticks_ = {};
  host_ticks_ = 0;
}

}  // namespace culvert::testkit
