// What is wrong with how a run went: who touched what, which bytes were counted, what is still held.
#include "tests/sim/simulation_impl.h"

#include <algorithm>
#include <set>

#include "worker/steering.h"

namespace culvert::sim {

namespace {

// How long after an error at one end the other end may still finish cleanly (issue: a reset arrives within 1 s; on a
// wire that loses packets it may have to be sent again, or be replaced by an answer to a retransmission).
constexpr Duration kErrorSpread = 5s;

}  // namespace

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

}  // namespace culvert::sim
