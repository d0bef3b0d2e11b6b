#include "tests/sim/scenario.h"

#include <array>
#include <utility>

namespace culvert::sim {

namespace {

constexpr std::array<std::pair<FaultKind, std::string_view>, std::size(kFaultKinds)> kFaultNames{{
    {FaultKind::kClientReset, "client_reset"},
    {FaultKind::kServerReset, "server_reset"},
    {FaultKind::kDetach, "detach"},
    {FaultKind::kDeny, "deny"},
    {FaultKind::kRotate, "rotate"},
    {FaultKind::kGoaway, "goaway"},
    {FaultKind::kDrain, "drain"},
    {FaultKind::kRevoke, "revoke"},
    {FaultKind::kBlackout, "blackout"},
    {FaultKind::kCloseTunnels, "close_tunnels"},
    {FaultKind::kRefuse, "refuse"},
}};

}  // namespace

std::string_view name_of(FaultKind kind) {
  for (const auto& [k, name] : kFaultNames) {
    if (k == kind) return name;
  }
  return "?";
}

std::optional<FaultKind> fault_kind(std::string_view text) {
  for (const auto& [kind, name] : kFaultNames) {
    if (name == text) return kind;
  }
  return std::nullopt;
}

Scenario two_nodes() {
  Scenario scenario;
  scenario.nodes = {{"n1", 1}, {"n2", 1}};
  const auto pod = [](const char* name, const char* node, const char* v4, const char* v6) {
    return PodSpec{name, node, {*IpAddress::parse(v4), *IpAddress::parse(v6)}};
  };
  scenario.pods = {pod("n1-p1", "n1", "10.1.0.11", "fd01::11"), pod("n1-p2", "n1", "10.1.0.12", "fd01::12"),
                   pod("n2-p1", "n2", "10.2.0.11", "fd02::11"), pod("n2-p2", "n2", "10.2.0.12", "fd02::12")};
  TrafficSpec across{.from = "n1-p1", .to = "n2-p1", .connections = 5};
  TrafficSpec across6{.from = "n2-p2", .to = "n1-p2", .ipv6 = true, .connections = 2};
  TrafficSpec within{.from = "n1-p2", .to = "n1-p1", .connections = 2};
  TrafficSpec half_closed{.from = "n1-p1",
                          .to = "n2-p2",
                          .connections = 1,
                          .bytes_down = 512 << 10,
                          .answer_after_fin = true,
                          .reader_pause = 2s};
  scenario.traffic = {across, across6, within, half_closed};
  return scenario;
}

}  // namespace culvert::sim
