// Where a pod's connection goes: the steps of reference 9.2 over one Mesh. A pure function: the records, the
// connection's two ends and a source of randomness in, a value out.
//
// Carried: HBONE straight to a workload, addressed directly or through a service (row G). The other rows are decided
// just the same and come back as a refusal that names the row, so nothing that should have gone through a waypoint or a
// gateway, or in clear, ever takes another way.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "base/random.h"
#include "identity/spiffe_id.h"
#include "routing/load_balancing.h"
#include "snapshot/mesh.h"
#include "telemetry/drop_reasons.h"

namespace culvert::routing {

inline constexpr uint16_t kHbonePort = 15008;

// Ports on which a proxy of the mesh listens in a pod. A connection to one of them would come back to us (reference 1).
bool is_illegal_port(uint16_t port);

struct OutboundRequest {
  const snapshot::Workload* workload = nullptr;  // the source's record
  IpAddress source;                              // the pod's address
  Endpoint destination;                          // as dialled
  std::string_view network;                      // the node's own
};

enum class OutboundRefusal : uint8_t {
  kNone,
  kRecursive,          // loopback and a port of ours
  kNoHealthyUpstream,  // a service without an endpoint that can be chosen (row D)
  kUnknownWaypoint,    // a waypoint that no record bears
  kNoAddress,          // the chosen workload has neither address nor host name
  // Decided, and not carried by this version:
  kServiceWaypoint,     // row B
  kWorkloadWaypoint,    // row F
  kOutsideMesh,         // row D: neither service nor workload, plain TCP to the original destination
  kPassthroughService,  // row D: PASSTHROUGH mode, likewise
  kOtherNetwork,        // row E: double HBONE
  kPlaintextEndpoint,   // row H
  kHostnameEndpoint,    // 9.5: an endpoint whose address only DNS knows
};
// "no_healthy_upstream": for counters, tests and `culvertctl why`.
std::string_view name_of(OutboundRefusal refusal);
// Under which the proxy counts it. Not for kNone.
DropReason drop_reason_of(OutboundRefusal refusal);

struct OutboundDecision {
  OutboundRefusal refusal = OutboundRefusal::kNone;
  std::string error;  // for the log, ztunnel's words where it has some (reference 26.4); empty when carried

  // When carried:
  Endpoint hbone;                                       // TCP goes there: the endpoint's address, port 15008
  Endpoint authority;                                   // the endpoint's address and target port
  std::vector<identity::SpiffeId> expected_identities;  // reference 3.3, in order, each once
  std::string endpoint_uid;

  // What is known about the destination, also for refusals.
  std::string service_hostname;                                // empty when it was not addressed through a service
  std::string workload, workload_namespace, workload_cluster;  // the chosen endpoint
  identity::SpiffeId workload_identity;
  // The same as records of the mesh, which they live as long as; null when unknown.
  const snapshot::Service* service = nullptr;
  const snapshot::Workload* endpoint = nullptr;

  bool carried() const { return refusal == OutboundRefusal::kNone; }
};

OutboundDecision decide_outbound(const snapshot::Mesh& mesh, const OutboundRequest& request, Random& random);
// The decision that the draw of this endpoint leads to; null: of none. For explanations, which go through all of them.
OutboundDecision decide_outbound(const snapshot::Mesh& mesh, const OutboundRequest& request, const Choice* choice);

}  // namespace culvert::routing
