// What an inbound HBONE stream wants, and whether that is to be had here: steps 1 to 5 of reference 11.2. A pure
// function; policy (step 6) and the connection to the pod (step 7) are the proxy's.
//
// The destination address is always the local address of the tunnel; the authority supplies the port only (11.4).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "snapshot/mesh.h"
#include "telemetry/drop_reasons.h"

namespace culvert::routing {

struct InboundRequest {
  std::string_view method;
  std::string_view authority;                    // as received
  IpAddress local;                               // local address of the tunnel's TCP connection
  std::string_view network;                      // the node's own
  const snapshot::Workload* workload = nullptr;  // the pod's record; null: there is none
};

enum class InboundRefusal : uint8_t {
  kNone,
  kNotConnect,         // 400
  kBadAuthority,       // 400
  kNoWorkload,         // 503: the pod's record is not there
  kAddressMismatch,    // 400: 11.3
  kUnknownHostname,    // 503
  kNoPort,             // 503
  kIllegalPort,        // 503
  kApplicationTunnel,  // 503: decided, and not carried by this version (reference 8)
};
// "address_mismatch"
std::string_view name_of(InboundRefusal refusal);
// 400 or 503; 0 for kNone.
uint16_t status_of(InboundRefusal refusal);
// Under which the proxy counts it. Not for kNone.
DropReason drop_reason_of(InboundRefusal refusal);

struct InboundDecision {
  InboundRefusal refusal = InboundRefusal::kNone;
  std::string error;                           // for the log, ztunnel's words (reference 26.4)
  Endpoint target;                             // the pod's address and the port it listens on
  std::string service_hostname;                // of a host-name authority
  const snapshot::Service* service = nullptr;  // likewise; lives as long as the mesh
  bool carried() const { return refusal == InboundRefusal::kNone; }
};

InboundDecision decide_inbound(const snapshot::Mesh& mesh, const InboundRequest& request);

}  // namespace culvert::routing
