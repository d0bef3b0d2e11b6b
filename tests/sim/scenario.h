// A scenario: which nodes, pods, links, traffic and faults a simulation has. Read from YAML (`culvert-sim --scenario`),
// or made in a test. What a scenario leaves to chance is drawn from the seed of each run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "base/result.h"
#include "base/time.h"
#include "tests/sim/network.h"

namespace culvert::sim {

struct NodeSpec {
  std::string name;
  uint32_t workers = 1;
};

struct PodSpec {
  std::string name;
  std::string node;
  std::vector<IpAddress> addresses;
};

struct TrafficSpec {
  std::string from = {}, to = {};  // pods
  uint16_t port = 8080;
  bool ipv6 = false;
  uint32_t connections = 10;
  uint64_t bytes_up = 128 << 10;
  uint64_t bytes_down = 128 << 10;
  Duration start{};         // of the first
  Duration spread = 200ms;  // all start within this, at instants drawn from the seed
  // The server answers while it reads, or only after the client's FIN (half-close).
  bool answer_after_fin = false;
  // A reader that stops for this long after each quarter of its bytes: the window closes.
  Duration reader_pause{};
};

enum class FaultKind : uint8_t {
  kClientReset,   // a client aborts in the middle
  kServerReset,   // a server aborts in the middle
  kDetach,        // a pod's attachment goes away
  kDeny,          // a policy that denies everything arrives, live streams end
  kRotate,        // new certificates for everybody
  kGoaway,        // a node sends GOAWAY on all its tunnels, and goes on
  kDrain,         // a node ends: it takes nothing new and has `lasts` for what is open
  kRevoke,        // a CRL names a pod's certificate
  kBlackout,      // the wire carries nothing for a while
  kCloseTunnels,  // a node's tunnels are cut
  kRefuse,        // the server's port closes for new connections
};
inline constexpr FaultKind kFaultKinds[] = {FaultKind::kClientReset,  FaultKind::kServerReset, FaultKind::kDetach,
                                            FaultKind::kDeny,         FaultKind::kRotate,      FaultKind::kGoaway,
                                            FaultKind::kDrain,        FaultKind::kRevoke,      FaultKind::kBlackout,
                                            FaultKind::kCloseTunnels, FaultKind::kRefuse};
std::string_view name_of(FaultKind kind);
std::optional<FaultKind> fault_kind(std::string_view name);

struct FaultSpec {
  FaultKind kind = FaultKind::kRotate;
  std::optional<Duration> at = {};  // none: drawn between the first start and its spread plus 300 ms
  std::string target = {};          // pod or node; empty: drawn
  Duration lasts = 500ms;           // kBlackout, kDrain
};

// What a run draws by itself, besides what is written.
struct RandomSpec {
  uint32_t impairments = 0;  // of: loss, burst, duplication, reordering, corruption, rate, delay
  uint32_t faults = 0;       // of kFaultKinds
  bool offloads = false;     // the pods' links with or without, keys updated often or not
};

struct Scenario {
  std::string name = "two-nodes";
  std::vector<NodeSpec> nodes;
  std::vector<PodSpec> pods;
  LinkTraits wire{.offloads = false};
  LinkTraits pod_link;
  std::vector<TrafficSpec> traffic;
  std::vector<FaultSpec> faults;
  RandomSpec random;
  Duration leaf_life = 24h;             // of the pods' certificates
  Duration rotate_every = {};           // while flows are open; 0: never
  uint64_t key_update_every_bytes = 0;  // of the nodes' tunnels; 0: only before the AEAD's limit
  Duration time_max = 300s;             // virtual; a flow that is not over by then hangs: a violation
};

// Two nodes, two pods each, IPv4 and IPv6, ten connections of 256 KB across and within nodes.
Scenario two_nodes();

// The error is `file:line: what is accepted`.
Result<Scenario, std::string> load_scenario(const std::string& path);

}  // namespace culvert::sim
