// Faults while a run goes on: links and pods that go, policies that change, certificates, drains.
#include "tests/sim/simulation_impl.h"

#include <algorithm>

namespace culvert::sim {

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

}  // namespace culvert::sim
