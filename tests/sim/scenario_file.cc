// Scenarios from YAML. Unknown keys and values of the wrong kind are refused with their line.
#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>

#include "tests/sim/scenario.h"

namespace culvert::sim {

namespace {

// Thrown inside this file only, caught by load_scenario.
struct Refused {
  int line;
  std::string what;
};

[[noreturn]] void refuse(const YAML::Node& node, const std::string& what) { throw Refused{node.Mark().line + 1, what}; }

using Setters = std::map<std::string, std::function<void(const YAML::Node&)>>;

void read_map(const YAML::Node& node, const char* name, const Setters& setters) {
  if (!node.IsMap()) refuse(node, std::string(name) + ": a map is accepted");
  for (const auto& entry : node) {
    const auto key = entry.first.as<std::string>();
    const auto setter = setters.find(key);
    if (setter == setters.end()) {
      std::string known;
      for (const auto& [k, unused] : setters) known += (known.empty() ? "" : ", ") + k;
      refuse(entry.first, std::string(name) + "." + key + ": unknown; known are " + known);
    }
    setter->second(entry.second);
  }
}

template <class T>
std::function<void(const YAML::Node&)> number(T& out) {
  return [&out](const YAML::Node& node) {
    try {
      out = static_cast<T>(node.as<uint64_t>());
    } catch (const YAML::Exception&) {
      refuse(node, "a number of 0 or more is accepted");
    }
  };
}

std::function<void(const YAML::Node&)> text(std::string& out) {
  return [&out](const YAML::Node& node) { out = node.as<std::string>(); };
}

std::function<void(const YAML::Node&)> flag(bool& out) {
  return [&out](const YAML::Node& node) {
    try {
      out = node.as<bool>();
    } catch (const YAML::Exception&) {
      refuse(node, "true or false is accepted");
    }
  };
}

// "250us", "5ms", "10s".
Duration duration_of(const YAML::Node& node) {
  const auto value = node.as<std::string>();
  size_t used = 0;
  double amount = 0;
  try {
    amount = std::stod(value, &used);
  } catch (const std::exception&) {
    refuse(node, "a duration such as 5ms is accepted");
  }
  const std::string unit = value.substr(used);
  const double scale = unit == "s" ? 1e9 : unit == "ms" ? 1e6 : unit == "us" ? 1e3 : 0;
  if (scale == 0 || amount < 0) refuse(node, "a duration with unit s, ms or us is accepted");
  return Duration{static_cast<int64_t>(amount * scale)};
}

std::function<void(const YAML::Node&)> duration(Duration& out) {
  return [&out](const YAML::Node& node) { out = duration_of(node); };
}

template <class T>
std::function<void(const YAML::Node&)> list(std::vector<T>& out, std::function<T(const YAML::Node&)> read) {
  return [&out, read](const YAML::Node& node) {
    if (!node.IsSequence()) refuse(node, "a list is accepted");
    out.clear();
    for (const auto& item : node) out.push_back(read(item));
  };
}

void read_link(const YAML::Node& node, const char* name, LinkTraits& link) {
  read_map(node, name,
           {{"rate_mbit", number(link.rate_mbit)},
            {"delay", duration(link.delay)},
            {"queue_packets", number(link.queue_packets)},
            {"loss_ppm", number(link.loss_ppm)},
            {"burst_ppm", number(link.burst_ppm)},
            {"burst_packets", number(link.burst_packets)},
            {"duplicate_ppm", number(link.duplicate_ppm)},
            {"reorder_ppm", number(link.reorder_ppm)},
            {"reorder_delay", duration(link.reorder_delay)},
            {"corrupt_ppm", number(link.corrupt_ppm)},
            {"mtu", number(link.mtu)},
            {"offloads", flag(link.offloads)},
            {"blackouts", list<Blackout>(link.blackouts, [](const YAML::Node& item) {
               Duration at{};
               Duration lasts{};
               read_map(item, "blackouts", {{"at", duration(at)}, {"for", duration(lasts)}});
               const Instant from = Instant{Duration{1s}} + at;  // runs begin at one second
               return Blackout{from, from + lasts};
             })}});
  if (link.corrupt_ppm > 0 && link.offloads) {
    refuse(node, std::string(name) + ".corrupt_ppm: on links without offloads only, whose checksums see the damage");
  }
}

PodSpec read_pod(const YAML::Node& node) {
  PodSpec pod;
  read_map(node, "pods",
           {{"name", text(pod.name)},
            {"node", text(pod.node)},
            {"addresses", list<IpAddress>(pod.addresses, [](const YAML::Node& item) {
               const auto address = IpAddress::parse(item.as<std::string>());
               if (!address) refuse(item, "an IP address is accepted");
               return *address;
             })}});
  if (pod.name.empty() || pod.addresses.empty()) refuse(node, "pods: name, node and addresses are required");
  return pod;
}

NodeSpec read_node(const YAML::Node& node) {
  NodeSpec spec;
  if (node.IsScalar()) return {node.as<std::string>(), 1};
  read_map(node, "nodes", {{"name", text(spec.name)}, {"workers", number(spec.workers)}});
  if (spec.workers < 1 || spec.workers > 16) refuse(node, "nodes.workers: 1 to 16 is accepted");
  return spec;
}

TrafficSpec read_traffic(const YAML::Node& node) {
  TrafficSpec spec;
  read_map(node, "traffic",
           {{"from", text(spec.from)},
            {"to", text(spec.to)},
            {"port", number(spec.port)},
            {"ipv6", flag(spec.ipv6)},
            {"connections", number(spec.connections)},
            {"bytes_up", number(spec.bytes_up)},
            {"bytes_down", number(spec.bytes_down)},
            {"start", duration(spec.start)},
            {"spread", duration(spec.spread)},
            {"answer_after_fin", flag(spec.answer_after_fin)},
            {"reader_pause", duration(spec.reader_pause)}});
  if (spec.bytes_up < 8) refuse(node, "traffic.bytes_up: 8 or more is accepted, the flow's name is sent first");
  return spec;
}

FaultSpec read_fault(const YAML::Node& node) {
  FaultSpec spec;
  read_map(node, "faults",
           {{"kind",
             [&](const YAML::Node& value) {
               const auto kind = fault_kind(value.as<std::string>());
               std::string known;
               for (const FaultKind k : kFaultKinds) known += " " + std::string(name_of(k));
               if (!kind) refuse(value, "faults.kind: one of" + known + " is accepted");
               spec.kind = *kind;
             }},
            {"at", [&](const YAML::Node& value) { spec.at = duration_of(value); }},
            {"target", text(spec.target)},
            {"for", duration(spec.lasts)}});
  return spec;
}

// Names must resolve before a run does: a scenario that names nobody is refused, not run.
void check_names(const YAML::Node& root, const Scenario& scenario) {
  const auto has_pod = [&](const std::string& name) {
    for (const PodSpec& pod : scenario.pods) {
      if (pod.name == name) return true;
    }
    return false;
  };
  const auto has_node = [&](const std::string& name) {
    for (const NodeSpec& node : scenario.nodes) {
      if (node.name == name) return true;
    }
    return false;
  };
  for (const PodSpec& pod : scenario.pods) {
    if (!has_node(pod.node)) refuse(root["pods"], "pods: node `" + pod.node + "` is not among nodes");
  }
  for (const TrafficSpec& t : scenario.traffic) {
    if (!has_pod(t.from) || !has_pod(t.to)) refuse(root["traffic"], "traffic: from and to name pods");
  }
  for (const FaultSpec& f : scenario.faults) {
    if (!f.target.empty() && !has_pod(f.target) && !has_node(f.target)) {
      refuse(root["faults"], "faults: target `" + f.target + "` is neither a pod nor a node");
    }
  }
}

}  // namespace

Result<Scenario, std::string> load_scenario(const std::string& path) {
  try {
    const YAML::Node root = YAML::LoadFile(path);
    Scenario scenario = two_nodes();
    read_map(root, "scenario",
             {{"name", text(scenario.name)},
              {"nodes", list<NodeSpec>(scenario.nodes, read_node)},
              {"pods", list<PodSpec>(scenario.pods, read_pod)},
              {"wire", [&](const YAML::Node& node) { read_link(node, "wire", scenario.wire); }},
              {"pod_link", [&](const YAML::Node& node) { read_link(node, "pod_link", scenario.pod_link); }},
              {"traffic", list<TrafficSpec>(scenario.traffic, read_traffic)},
              {"faults", list<FaultSpec>(scenario.faults, read_fault)},
              {"random",
               [&](const YAML::Node& node) {
                 read_map(node, "random",
                          {{"impairments", number(scenario.random.impairments)},
                           {"faults", number(scenario.random.faults)},
                           {"offloads", flag(scenario.random.offloads)}});
               }},
              {"leaf_life", duration(scenario.leaf_life)},
              {"rotate_every", duration(scenario.rotate_every)},
              {"key_update_every_bytes", number(scenario.key_update_every_bytes)},
              {"time_max", duration(scenario.time_max)}});
    check_names(root, scenario);
    return scenario;
  } catch (const Refused& refused) {
    return path + ":" + std::to_string(refused.line) + ": " + refused.what;
  } catch (const YAML::Exception& error) {
    return path + ":" + std::to_string(error.mark.line + 1) + ": " + error.msg;
  }
}

}  // namespace culvert::sim
