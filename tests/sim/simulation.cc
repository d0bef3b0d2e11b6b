#include "tests/sim/simulation.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "drivers/crypto/openssl/aead.h"
#include "snapshot/mesh_builder.h"
#include "tests/sim/clock.h"
#include "tests/sim/digest.h"
#include "tests/sim/pcap.h"
#include "tests/sim/traffic.h"
#include "tests/testkit/test_ca.h"
#include "tls/deterministic_random.h"
#include "worker/steering.h"
#include "worker/worker.h"

namespace culvert::sim {

namespace {

// More turns than this without time moving on: something wakes itself for ever.
constexpr uint32_t kTurnsPerInstantMax = 200'000;
// After the last flow: ACKs, closing tunnels. TIME-WAIT holds no buffers.
constexpr Duration kSettle = 10s;
// How long after an error at one end the other end may still finish cleanly (issue: a reset arrives within 1 s; on a
// wire that loses packets it may have to be sent again, or be replaced by an answer to a retransmission).
constexpr Duration kErrorSpread = 5s;

// From the deadline of a node that drains to its end.
constexpr Duration kDrainEnd = 1s;

constexpr PoolLimits kHostBuffers{.small = 20'000, .large = 4'000, .view = 40'000};
constexpr PoolLimits kNodeBuffers{.small = 20'000, .large = 8'000, .view = 60'000};

}  // namespace

class Simulation {
 public:
  Simulation(const Scenario& scenario, uint64_t seed, const RunOptions& options)
      : scenario_(scenario),
        random_(seed),
        openssl_(seed),
        network_(seed ^ 0x6e6574),
        traffic_(&Simulation::on_violation, this) {
    result_.seed = seed;
    if (!options.pcap.empty()) pcap_ = std::make_unique<PcapWriter>(options.pcap);
    draw();
    build();
  }

  ~Simulation() {
    hosts_.clear();
    nodes_.clear();
  }

  RunResult run();

 private:
  struct NodeState {
    NodeSpec spec;
    std::unique_ptr<worker::Node> node;
    Station* uplink = nullptr;
    std::vector<Station*> pods;
    std::vector<bool> more;  // per worker: the last turn wants another
    Instant drain_due = kNever;
    bool drained = false;
  };
  struct PodState {
    PodSpec spec;
    size_t node;
    std::unique_ptr<BufferPool> pool;
    Station* station = nullptr;  // the pod's end of its link
    Station* node_end = nullptr;
    bool attached = true;
  };
  struct FaultState {
    FaultSpec spec;
    Instant at;
    bool done = false;
  };

  static void on_violation(void* self, const std::string& what) { static_cast<Simulation*>(self)->violation(what); }
  static void on_frame(void* self, uint32_t link, Instant at, ByteView frame) {
    auto& sim = *static_cast<Simulation*>(self);
    sim.digest_.add(link);
    sim.digest_.add(static_cast<uint64_t>(at.time_since_epoch().count()));
    sim.digest_.add(frame);
    if (sim.pcap_ && link == sim.wire_) sim.pcap_->write(at, frame);
  }

  void violation(const std::string& what) {
    if (result_.violations.size() < 20) result_.violations.push_back(what);
  }

  void draw();
  void build();
  void build_mesh();
  void publish_credentials();
  bool turn_everything(Instant now);
  Instant next_event() const;
  std::string busy_text(Instant now);  // who would not rest, for a violation
  void apply_faults(Instant now);
  void apply(const FaultSpec& fault, Instant now);
  void rotate(Instant now);
  void watch_drains(Instant now);
  void judge();
  void check_ownership();
  void check_traffic_series();
  size_t pod_index(const std::string& name) const;
  bool pools_empty() const;
  std::string pools_text() const;

  Scenario scenario_;
  Random random_;
  tls::DeterministicRandom openssl_;
  VirtualClock clock_;
  Digest digest_;
  std::unique_ptr<PcapWriter> pcap_;
  Network network_;
  uint32_t wire_ = 0;
  crypto::OpensslAead aead_;
  std::unique_ptr<testkit::TestCa> ca_;
  snapshot::MeshBuilder mesh_;
  std::vector<PodState> pods_;
  std::vector<NodeState> nodes_;
  std::vector<std::unique_ptr<testkit::Host>> hosts_;  // by pod; null: gone
  std::vector<FaultState> faults_;
  Instant rotate_due_ = kNever;
  std::map<std::string, std::string> serials_;  // of the pods' certificates, by pod
  Traffic traffic_;
  RunResult result_;
  std::map<size_t, std::pair<Instant, Instant>> endings_;  // flow → when client and server ended
};

// --- what the seed decides -------------------------------------------------------------------------------------------

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

// --- assembly
// ----------------------------------------------------------------------------------------------------------

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

// --- the loop
// ------------------------------------------------------------------------------------------------------------

bool Simulation::turn_everything(Instant now) {
  bool busy = false;
  for (NodeState& node : nodes_) {
    for (uint32_t w = 0; w < node.node->workers(); ++w) {
      worker::Worker& worker = node.node->worker(w);
      bool readable =
          node.more[w] || worker.mailbox().waiting() || worker.next_deadline() <= now || worker.handed_over();
      if (worker.drives_ports()) {
        readable = readable || node.uplink->readable() ||
                   std::any_of(node.pods.begin(), node.pods.end(), [](const Station* s) { return s->readable(); });
      }
      if (!readable) continue;
      ++result_.turns;
      node.more[w] = worker.turn(now);
      busy = true;
    }
  }
  for (size_t i = 0; i < hosts_.size(); ++i) {
    if (!hosts_[i]) continue;
    if (pods_[i].station->readable() || hosts_[i]->next_deadline() <= now || hosts_[i]->tcp().has_output()) {
      busy |= hosts_[i]->turn(now);
    }
  }
  busy |= traffic_.turn(hosts_, now);
  for (const auto& host : hosts_) {
    if (host && host->tcp().has_output()) busy |= host->transmit(now);
  }
  return busy;
}

std::string Simulation::busy_text(Instant now) {
  std::string text;
  for (const NodeState& node : nodes_) {
    for (uint32_t w = 0; w < node.node->workers(); ++w) {
      worker::Worker& worker = node.node->worker(w);
      const std::string name = " " + node.spec.name + "/" + std::to_string(w) + " ";
      if (node.more[w]) text += name + "wants turns";
      if (worker.tcp().next_deadline() <= now) text += name + "tcp is due";
      if (worker.pipeline().next_deadline() <= now) text += name + "links are due";
      if (worker.proxy().next_deadline() <= now) text += name + "proxy is due";
      if (worker.tunnels().next_deadline() <= now) text += name + "tunnels are due";
      if (node.uplink->readable()) text += name + "uplink is readable";
      for (const Station* pod : node.pods) {
        if (pod->readable()) text += name + "a pod's port is readable";
      }
    }
  }
  for (const auto& host : hosts_) {
    if (host && host->next_deadline() <= now) text += " " + host->config().name + " is due";
  }
  return text;
}

Instant Simulation::next_event() const {
  Instant next = std::min(network_.next_arrival(), traffic_.next_start());
  for (const NodeState& node : nodes_) {
    for (uint32_t w = 0; w < node.node->workers(); ++w) next = std::min(next, node.node->worker(w).next_deadline());
  }
  for (const auto& host : hosts_) {
    if (host) next = std::min(next, host->next_deadline());
  }
  for (const FaultState& fault : faults_) {
    if (!fault.done) next = std::min(next, fault.at);
  }
  if (!traffic_.all_over()) next = std::min(next, rotate_due_);
  return next;
}

RunResult Simulation::run() {
  const Instant end = VirtualClock::kStart + scenario_.time_max;
  Instant settled = kNever;
  Instant checked{};
  while (clock_.now() <= end && result_.violations.empty()) {
    const Instant now = clock_.now();
    network_.set_now(now);
    network_.deliver(now);
    uint32_t turns = 0;
    while (turn_everything(now)) {
      if (++turns > kTurnsPerInstantMax) {
        violation("no progress: turns without end at " + std::to_string(to_us(now - VirtualClock::kStart)) +
                  " us:" + busy_text(now));
        break;
      }
    }
    apply_faults(now);
    rotate(now);
    watch_drains(now);
    for (size_t i = 0; i < traffic_.flows().size(); ++i) {
      const Flow& flow = traffic_.flows()[i];
      auto& [client, server] = endings_[i];
      if (flow.client.ending != Ending::kPending && client == Instant{}) client = now;
      if (flow.server.ending != Ending::kPending && server == Instant{}) server = now;
    }
    if (now - checked >= 50ms) {
      check_ownership();
      checked = now;
    }
    if (traffic_.all_over() && settled == kNever) settled = now + kSettle;
    if (now >= settled || (settled != kNever && pools_empty())) break;
    const Instant next = next_event();
    if (next == kNever) {
      if (!traffic_.all_over()) violation("nothing will ever happen again, and flows are not over");
      break;
    }
    // Turns that want to be repeated at once have been; a deadline in the past would stop time.
    clock_.advance_to(std::max(next, now + 1us));
  }
  judge();
  result_.virtual_time = clock_.now() - VirtualClock::kStart;
  result_.bytes_delivered = traffic_.bytes_delivered();
  result_.wire = network_.counts(wire_);
  for (const NodeState& node : nodes_) {
    for (size_t c = 0; c < kCounters; ++c) result_.counters[c] += node.node->value(static_cast<Counter>(c));
    for (size_t d = 0; d < kDropReasons; ++d) result_.drops[d] += node.node->value(static_cast<DropReason>(d));
  }
  for (const auto& [flow, times] : endings_) {
    digest_.add(static_cast<uint64_t>(times.first.time_since_epoch().count()));
    digest_.add(static_cast<uint64_t>(times.second.time_since_epoch().count()));
  }
  result_.digest = digest_.value();
  return result_;
}

// --- faults
// --------------------------------------------------------------------------------------------------------------

void Simulation::apply_faults(Instant now) {
  for (FaultState& fault : faults_) {
    if (fault.done || fault.at > now) continue;
    fault.done = true;
    apply(fault.spec, now);
  }
}

void Simulation::rotate(Instant now) {
  if (now < rotate_due_ || traffic_.all_over()) return;
  rotate_due_ = now + scenario_.rotate_every;
  publish_credentials();
}

// A node that ends is done within a second of its last session, which is over at the deadline at the latest.
void Simulation::watch_drains(Instant now) {
  for (NodeState& node : nodes_) {
    if (node.drain_due == kNever || node.drained) continue;
    node.drained = true;
    uint32_t sessions = 0;
    for (uint32_t w = 0; w < node.node->workers(); ++w) {
      node.drained = node.drained && node.node->worker(w).drained();
      sessions += node.node->worker(w).proxy().sessions();
    }
    const bool late = now > node.drain_due + kDrainEnd;
    if (!node.drained && late) violation(node.spec.name + " is not drained a second after its deadline");
    if (node.drained && sessions > 0) violation(node.spec.name + " is drained and has sessions");
  }
}

void Simulation::apply(const FaultSpec& fault, Instant now) {
  switch (fault.kind) {
    case FaultKind::kClientReset:
    case FaultKind::kServerReset: {
      traffic_.abort_one(fault.kind == FaultKind::kServerReset, hosts_, random_, now);
      for (const auto& host : hosts_) {
        if (host) host->transmit(now);
      }
      return;
    }
    case FaultKind::kDetach: {
      PodState& pod = pods_[pod_index(fault.target)];
      if (!pod.attached) return;
      pod.attached = false;
      nodes_[pod.node].node->detach(pod.spec.name);
      // Nobody reads that end any more; what still arrives there is lost with the pod.
      std::erase(nodes_[pod.node].pods, pod.node_end);
      nodes_[pod.node].more[0] = true;
      const size_t index = pod_index(fault.target);
      hosts_[index].reset();
      traffic_.pod_gone(index, "its pod went away");
      return;
    }
    case FaultKind::kDeny: {
      snapshot::Policy policy;
      policy.name = "deny-everything";
      policy.name_space = "istio-system";
      policy.scope = snapshot::PolicyScope::kGlobal;
      policy.action = snapshot::PolicyAction::kDeny;
      policy.rules.push_back({});  // no clauses: matches everything (reference 12.3)
      mesh_.upsert(std::move(policy));
      for (NodeState& node : nodes_) node.node->publish(mesh_.publish());
      return;
    }
    case FaultKind::kRotate:
      return publish_credentials();
    case FaultKind::kRevoke: {
      const std::string list = ca_->crl_pem({.serials = {serials_.at(fault.target)}});
      const auto set = identity::CrlSet::parse({list});
      DP_CHECK(set.ok());
      for (NodeState& node : nodes_) node.node->publish(*set);
      return;
    }
    case FaultKind::kDrain:
      for (NodeState& node : nodes_) {
        if (node.spec.name != fault.target) continue;
        node.node->drain(fault.lasts);
        node.drain_due = std::min(node.drain_due, now + fault.lasts);
      }
      return;
    case FaultKind::kGoaway:
    case FaultKind::kCloseTunnels: {
      for (NodeState& node : nodes_) {
        if (node.spec.name != fault.target) continue;
        for (uint32_t w = 0; w < node.node->workers(); ++w) {
          hbone::Tunnels& tunnels = node.node->worker(w).tunnels();
          if (fault.kind == FaultKind::kGoaway) {
            tunnels.drain(now);
          } else {
            for (const PodState& pod : pods_) {
              if (pod.spec.node != node.spec.name) continue;
              for (const IpAddress& address : pod.spec.addresses) tunnels.close_address(address, now);
            }
          }
          node.more[w] = true;
        }
      }
      return;
    }
    case FaultKind::kBlackout:
      network_.traits(wire_).blackouts.push_back({now, now + fault.lasts});
      return;
    case FaultKind::kRefuse: {
      const size_t index = pod_index(fault.target);
      if (hosts_[index]) hosts_[index]->stop_listening();
      return;
    }
  }
}

// --- judgement
// -------------------------------------------------------------------------------------------------------------

void Simulation::check_ownership() {
  for (const NodeState& node : nodes_) {
    if (node.node->workers() < 2) continue;
    std::set<std::pair<uint16_t, tcp::Tuple>> seen;
    for (uint32_t w = 0; w < node.node->workers(); ++w) {
      struct Context {
        std::vector<std::pair<uint16_t, tcp::Tuple>> tuples;
        tcp::Stack* tcp;
      } context{{}, &node.node->worker(w).tcp()};
      context.tcp->for_each(
          [](void* c, tcp::ConnectionId id) {
            auto& gathered = *static_cast<Context*>(c);
            gathered.tuples.emplace_back(static_cast<uint16_t>(gathered.tcp->interface_of(id)),
                                         *gathered.tcp->tuple(id));
          },
          &context);
      for (const auto& [interface, tuple] : context.tuples) {
        if (interface < static_cast<uint16_t>(worker::kFirstPort)) continue;  // in-node: never leaves its worker
        if (!seen.emplace(interface, tuple).second) violation("a connection lives on two workers of " + node.spec.name);
        if (worker::owner_of(tuple, node.node->steering_seed(), node.node->workers()) != w) {
          violation("a connection of " + node.spec.name + " lives on a worker that its packets do not reach");
        }
      }
    }
  }
}

bool Simulation::pools_empty() const {
  auto empty = [](const BufferPool& pool) {
    return pool.held(BufferKind::kSmall) == 0 && pool.held(BufferKind::kLarge) == 0 &&
           pool.held(BufferKind::kView) == 0;
  };
  if (network_.frames_in_flight() > 0) return false;
  for (const NodeState& node : nodes_) {
    for (uint32_t w = 0; w < node.node->workers(); ++w) {
      if (!empty(node.node->pool(w))) return false;
    }
  }
  return std::all_of(pods_.begin(), pods_.end(), [&](const PodState& pod) { return empty(*pod.pool); });
}

std::string Simulation::pools_text() const {
  std::string text;
  auto tell = [&text](const std::string& name, const BufferPool& pool) {
    text += " " + name + " small " + std::to_string(pool.held(BufferKind::kSmall)) + " large " +
            std::to_string(pool.held(BufferKind::kLarge)) + " view " + std::to_string(pool.held(BufferKind::kView)) +
            ";";
  };
  for (const NodeState& node : nodes_) tell(node.spec.name, node.node->pool(0));
  for (const PodState& pod : pods_) tell(pod.spec.name, *pod.pool);
  return text;
}

// Both reporters counted every byte that an application got, and those that got lost on the way at most where they had
// passed already; what was opened is closed.
void Simulation::check_traffic_series() {
  struct Sum {
    uint64_t received = 0, sent = 0, opened = 0, closed = 0;
  };
  std::array<Sum, 2> sums;
  for (const NodeState& node : nodes_) {
    for (uint32_t w = 0; w < node.node->workers(); ++w) {
      std::vector<TrafficSample> samples;
      node.node->worker(w).sample_traffic(0, UINT32_MAX, samples);
      for (const TrafficSample& sample : samples) {
        Sum& sum = sums[static_cast<size_t>(sample.key->labels().reporter)];
        sum.received += sample.received_bytes;
        sum.sent += sample.sent_bytes;
        sum.opened += sample.opened;
        for (const uint64_t closed : sample.closed) sum.closed += closed;
      }
    }
  }
  uint64_t up = 0;
  uint64_t down = 0;
  for (const Flow& flow : traffic_.flows()) {
    up += flow.server.read;
    down += flow.client.read;
  }
  const auto& [source, destination] = sums;
  const bool whole = result_.flows_failed == 0;
  const std::string numbers = ": up " + std::to_string(source.received) + " then " +
                              std::to_string(destination.received) + " of " + std::to_string(up) + " delivered, down " +
                              std::to_string(destination.sent) + " then " + std::to_string(source.sent) + " of " +
                              std::to_string(down);
  if (source.received < destination.received || destination.received < up || destination.sent < source.sent ||
      source.sent < down) {
    violation("a reporter counted less than went past it" + numbers);
  }
  if (whole &&
      (source.received != up || destination.received != up || source.sent != down || destination.sent != down)) {
    violation("nothing was lost, and bytes of the traffic series are not the bytes delivered" + numbers);
  }
  if (whole && (source.opened != result_.flows || destination.opened != result_.flows)) {
    violation("flows and opened connections differ: " + std::to_string(result_.flows) + ", source " +
              std::to_string(source.opened) + ", destination " + std::to_string(destination.opened));
  }
  if (pools_empty() && (source.opened != source.closed || destination.opened != destination.closed)) {
    violation("connections of traffic series are open after everything ended");
  }
}

void Simulation::judge() {
  if (!result_.violations.empty()) return;
  for (size_t i = 0; i < traffic_.flows().size(); ++i) {
    const Flow& flow = traffic_.flows()[i];
    const std::string name = "flow " + std::to_string(i) + " " + scenario_.pods[flow.plan.client].name + " to " +
                             scenario_.pods[flow.plan.server].name;
    ++result_.flows;
    digest_.add(static_cast<uint64_t>(flow.client.ending) << 8 | static_cast<uint64_t>(flow.server.ending));
    digest_.add(flow.client.read);
    digest_.add(flow.server.read);
    const Ending client = flow.client.ending;
    const Ending server = flow.server.open ? flow.server.ending : Ending::kError;  // never accepted: it knows nothing
    if (client == Ending::kPending || server == Ending::kPending) {
      violation(name + " hangs: client " + std::to_string(flow.client.read) + " of " + std::to_string(flow.plan.down) +
                " read, server " + std::to_string(flow.server.read) + " of " + std::to_string(flow.plan.up));
      continue;
    }
    if (client == Ending::kComplete && server == Ending::kComplete) {
      ++result_.flows_complete;
      continue;
    }
    ++result_.flows_failed;
    if (client == server || !flow.server.open) {
      if (client == Ending::kComplete) violation(name + ": the client ended cleanly, no server was there");
      continue;
    }
    // An error at one end only: the other must have been through before, or about then.
    const auto& [client_at, server_at] = endings_.at(i);
    const Instant error_at = client == Ending::kError ? client_at : server_at;
    const Instant clean_at = client == Ending::kError ? server_at : client_at;
    const bool outage = !network_.traits(wire_).blackouts.empty();
    if (!outage && clean_at > error_at + kErrorSpread) {
      violation(name + ": clean end " + std::to_string(to_ms(clean_at - error_at)) +
                " ms after the other end's error (" +
                (client == Ending::kError ? flow.client.error : flow.server.error) + ")");
    }
  }
  check_traffic_series();
  if (!pools_empty()) violation("buffers are still held after everything ended:" + pools_text());
}

RunResult run(const Scenario& scenario, uint64_t seed, const RunOptions& options) {
  Simulation simulation(scenario, seed, options);
  return simulation.run();
}

}  // namespace culvert::sim
