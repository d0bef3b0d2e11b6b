// The loop: everything has its turn until nothing wants another, then the clock goes to the next event.
#include "tests/sim/simulation_impl.h"

#include <algorithm>

namespace culvert::sim {

namespace {

// More turns than this without time moving on: something wakes itself for ever.
constexpr uint32_t kTurnsPerInstantMax = 200'000;
// After the last flow: ACKs, closing tunnels. TIME-WAIT holds no buffers.
constexpr Duration kSettle = 10s;

}  // namespace

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

RunResult run(const Scenario& scenario, uint64_t seed, const RunOptions& options) {
  Simulation simulation(scenario, seed, options);
  return simulation.run();
}

}  // namespace culvert::sim
