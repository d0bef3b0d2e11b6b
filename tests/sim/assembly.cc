// What the seed decides, and the nodes, pods, wires and certificates that are made of it.
#include "tests/sim/simulation_impl.h"

#include <algorithm>

namespace culvert::sim {

namespace {

constexpr PoolLimits kHostBuffers{.small = 20'000, .large = 4'000, .view = 40'000};
constexpr PoolLimits kNodeBuffers{.small = 20'000, .large = 8'000, .view = 60'000};

}  // namespace

void Simulation::draw() {
  auto note = [this](const std::string& what) { result_.drawn.push_back(what); };
  LinkTraits& wire = scenario_.wire;
  std::vector<int> kinds{0, 1, 2, 3, 4, 5, 6};
  for (uint32_t i = 0; i < scenario_.random.impairments && !kinds.empty(); ++i) {
    const size_t pick = random_.below(kinds.size());
    const int kind = kinds[pick];
    kinds.erase(kinds.begin() + static_cast<std::ptrdiff_t>(pick));
    switch (kind) {
      case 0:
        wire.loss_ppm = static_cast<uint32_t>(1'000 + random_.below(19'000));
        note("loss " + std::to_string(wire.loss_ppm) + " ppm");
        break;
      case 1:
        wire.burst_ppm = static_cast<uint32_t>(200 + random_.below(1'000));
        wire.burst_packets = static_cast<uint32_t>(2 + random_.below(10));
        note("bursts of " + std::to_string(wire.burst_packets) + ", " + std::to_string(wire.burst_ppm) + " ppm");
        break;
      case 2:
        wire.duplicate_ppm = static_cast<uint32_t>(1'000 + random_.below(20'000));
        note("duplication " + std::to_string(wire.duplicate_ppm) + " ppm");
        break;
      case 3:
        wire.reorder_ppm = static_cast<uint32_t>(1'000 + random_.below(50'000));
        wire.reorder_delay = Duration{static_cast<int64_t>(100'000 + random_.below(5'000'000))};
        note("reordering " + std::to_string(wire.reorder_ppm) + " ppm by " + std::to_string(to_us(wire.reorder_delay)) +
             " us");
        break;
      case 4:
        wire.corrupt_ppm = static_cast<uint32_t>(500 + random_.below(5'000));
        note("corruption " + std::to_string(wire.corrupt_ppm) + " ppm");
        break;
      case 5:
        wire.rate_mbit = 10 + random_.below(500);
        wire.queue_packets = static_cast<uint32_t>(20 + random_.below(200));
        note("rate " + std::to_string(wire.rate_mbit) + " Mbit/s, queue " + std::to_string(wire.queue_packets));
        break;
      case 6:
        wire.delay = Duration{static_cast<int64_t>(100'000 + random_.below(30'000'000))};
        note("delay " + std::to_string(to_us(wire.delay)) + " us");
        break;
      default:
        break;
    }
  }
  if (scenario_.random.offloads) {
    scenario_.pod_link.offloads = random_.below(2) == 0;
    note(scenario_.pod_link.offloads ? "pods with offloads" : "pods without offloads");
    if (random_.below(2) == 0) {
      scenario_.key_update_every_bytes = 20'000 + random_.below(200'000);
      note("keys updated every " + std::to_string(scenario_.key_update_every_bytes) + " bytes");
    }
  }
  for (uint32_t i = 0; i < scenario_.random.faults; ++i) {
    FaultSpec fault;
    fault.kind = kFaultKinds[random_.below(std::size(kFaultKinds))];
    fault.lasts = Duration{static_cast<int64_t>(100'000'000 + random_.below(2'000'000'000))};
    scenario_.faults.push_back(fault);
  }
  Duration spread{};
  for (const TrafficSpec& spec : scenario_.traffic) spread = std::max(spread, spec.start + spec.spread);
  for (FaultSpec& fault : scenario_.faults) {
    const Duration at = fault.at.value_or(
        Duration{static_cast<int64_t>(random_.below(static_cast<uint64_t>((spread + 300ms).count())))});
    if (fault.target.empty()) {
      const bool node =
          fault.kind == FaultKind::kGoaway || fault.kind == FaultKind::kDrain || fault.kind == FaultKind::kCloseTunnels;
      fault.target = node ? scenario_.nodes[random_.below(scenario_.nodes.size())].name
                          : scenario_.pods[random_.below(scenario_.pods.size())].name;
    }
    faults_.push_back({fault, VirtualClock::kStart + at, false});
    note(std::string(name_of(fault.kind)) + " " + fault.target + " at " + std::to_string(to_ms(at)) + " ms");
  }
}

void Simulation::build() {
  network_.set_tap(&Simulation::on_frame, this);
  network_.set_now(clock_.now());
  wire_ = network_.add_link("wire", scenario_.wire);
  ca_ = std::make_unique<testkit::TestCa>();

  for (size_t n = 0; n < scenario_.nodes.size(); ++n) {
    NodeState state;
    state.spec = scenario_.nodes[n];
    worker::NodeConfig config;
    config.name = state.spec.name;
    config.workers = state.spec.workers;
    config.seed = random_.next();
    config.buffers = kNodeBuffers;
    config.hbone.key_update_every_bytes = scenario_.key_update_every_bytes;
    config.routes = {{*Prefix::parse("10.0.0.0/8"), std::nullopt, "uplink0"},
                     {*Prefix::parse("fd00::/8"), std::nullopt, "uplink0"}};
    auto node = worker::Node::make(config, clock_, aead_, false);
    DP_CHECK(node.ok());
    state.node = std::move(*node);
    state.more.resize(state.spec.workers, true);
    Plug uplink = network_.add_port(wire_, state.node->port_pool());
    state.uplink = uplink.station;
    worker::UplinkSpec spec;
    spec.name = "uplink0";
    const std::string number = std::to_string(n + 1);
    spec.addresses = {*Prefix::parse("10.255.0." + number + "/32"), *Prefix::parse("fdff::" + number + "/128")};
    spec.mtu = scenario_.wire.mtu;
    DP_CHECK(state.node->add_uplink(spec, std::move(uplink.port)).ok());
    nodes_.push_back(std::move(state));
  }

  for (const PodSpec& pod : scenario_.pods) {
    PodState state;
    state.spec = pod;
    state.pool = BufferPool::on_heap(kHostBuffers);
    state.node = static_cast<size_t>(
        std::find_if(nodes_.begin(), nodes_.end(), [&](const NodeState& n) { return n.spec.name == pod.node; }) -
        nodes_.begin());
    NodeState& node = nodes_[state.node];
    const uint32_t link = network_.add_link(pod.name, scenario_.pod_link);
    Plug inside = network_.add_port(link, *state.pool);
    Plug outside = network_.add_port(link, node.node->port_pool());
    state.station = inside.station;
    state.node_end = outside.station;
    node.pods.push_back(outside.station);

    const std::vector<IpAddress> gateways{*IpAddress::parse("10.254.0.1"), *IpAddress::parse("fdfe::1")};
    testkit::HostConfig host;
    host.name = pod.name;
    for (const IpAddress& address : pod.addresses) host.addresses.push_back(Prefix::host(address));
    host.gateways = gateways;
    for (const TrafficSpec& traffic : scenario_.traffic) {
      if (traffic.to == pod.name) host.listening.insert(traffic.port);
    }
    host.seed = random_.next();
    // Small enough for a reader that pauses to close the window.
    host.tcp.rcv_buffer_bytes_max = 64 << 10;
    hosts_.push_back(std::make_unique<testkit::Host>(host, *state.pool, std::move(inside.port), clock_.now()));

    worker::AttachmentSpec attachment;
    attachment.id = pod.name;
    attachment.workload = "sim/" + pod.name;
    attachment.addresses = pod.addresses;
    attachment.gateways = gateways;
    DP_CHECK(node.node->attach(attachment, std::move(outside.port)).ok());
    pods_.push_back(std::move(state));
  }
  build_mesh();
  publish_credentials();
  if (scenario_.rotate_every > Duration{}) rotate_due_ = clock_.now() + scenario_.rotate_every;

  for (const TrafficSpec& spec : scenario_.traffic) {
    for (uint32_t i = 0; i < spec.connections; ++i) {
      FlowPlan plan;
      plan.number = static_cast<uint32_t>(traffic_.flows().size());
      plan.client = pod_index(spec.from);
      plan.server = pod_index(spec.to);
      for (const IpAddress& address : pods_[plan.server].spec.addresses) {
        if (address.is_v4() != spec.ipv6) plan.to = {address, spec.port};
      }
      plan.up = spec.bytes_up;
      plan.down = spec.bytes_down;
      plan.start = VirtualClock::kStart + spec.start +
                   Duration{static_cast<int64_t>(random_.below(static_cast<uint64_t>(spec.spread.count()) + 1))};
      plan.answer_after_fin = spec.answer_after_fin;
      plan.reader_pause = spec.reader_pause;
      traffic_.add(plan);
    }
  }
}

void Simulation::build_mesh() {
  for (const PodState& pod : pods_) {
    snapshot::Workload workload;
    workload.uid = "sim//Pod/sim/" + pod.spec.name;
    workload.name = pod.spec.name;
    workload.name_space = "sim";
    workload.addresses = pod.spec.addresses;
    workload.tunnel_protocol = snapshot::TunnelProtocol::kHbone;
    workload.trust_domain = "cluster.local";
    workload.service_account = pod.spec.name;
    workload.node = pod.spec.node;
    workload.canonical_name = pod.spec.name;
    workload.workload_name = pod.spec.name;
    workload.cluster_id = "Kubernetes";
    mesh_.upsert(std::move(workload));
  }
  for (NodeState& node : nodes_) node.node->publish(mesh_.publish());
}

void Simulation::publish_credentials() {
  for (size_t n = 0; n < nodes_.size(); ++n) {
    auto credentials = std::make_shared<worker::CredentialMap>();
    for (const PodState& pod : pods_) {
      if (pod.node != n) continue;
      const identity::SpiffeId id{"cluster.local", "sim", pod.spec.name};
      testkit::LeafOptions leaf;
      leaf.uri_sans = {id.uri()};
      leaf.not_after = clock_.calendar() + std::chrono::floor<std::chrono::seconds>(scenario_.leaf_life);
      const auto made = ca_->credentials(leaf);
      serials_[pod.spec.name] = made->serial_decimal();
      credentials->emplace(id, made);
    }
    nodes_[n].node->publish(std::shared_ptr<const worker::CredentialMap>(std::move(credentials)));
  }
}

size_t Simulation::pod_index(const std::string& name) const {
  for (size_t i = 0; i < pods_.size(); ++i) {
    if (pods_[i].spec.name == name) return i;
  }
  DP_CHECK(!"a scenario names a pod that it does not have");
  return 0;
}

}  // namespace culvert::sim
