// Which endpoint of a service takes a connection (reference 10): drop what cannot be reached, rank by the service's
// routing preference, and draw among the best by capacity. No least-request, no outlier detection, no retry.
#pragma once

#include <cstdint>
#include <optional>

#include "base/random.h"
#include "snapshot/mesh.h"

namespace culvert::routing {

struct Choice {
  const snapshot::ServiceEndpoint* endpoint;
  uint16_t target_port;  // 0 only when the endpoint lies in another network, or is an application tunnel without one
};

// How well an endpoint fits a client: leading scopes matched; a match of a leading NETWORK adds the number of the
// others, and a mismatch there does not stop the comparison.
uint32_t failover_rank(const snapshot::LoadBalancing& balancing, const snapshot::Workload& client,
                       const snapshot::Workload& endpoint);
// Whether every scope matches.
bool strict_match(const snapshot::LoadBalancing& balancing, const snapshot::Workload& client,
                  const snapshot::Workload& endpoint);

// Reference 9.6: the endpoint's own map, the service's, or the service port itself in front of an application tunnel.
uint16_t target_port_of(const snapshot::Service& service, const snapshot::ServiceEndpoint& endpoint,
                        uint16_t service_port);

// How one endpoint stands towards one client: what choose_endpoint() asks of each, and what explanations tell.
enum class Standing : uint8_t {
  kEligible,     // may be chosen, if no other has a higher rank
  kUnreachable,  // neither address nor host name, and no gateway of another network
  kNoPort,       // neither the service nor the endpoint maps the port
  kOutOfScope,   // STRICT, and a scope differs
  kPassthrough,  // the service has its clients keep the address they dialled
};
struct Judgement {
  Standing standing = Standing::kEligible;
  uint32_t rank = 0;  // FAILOVER's; 0 in other modes
};
// Asks nothing about the capacity: an endpoint of capacity 0 is eligible and never drawn.
Judgement judge_endpoint(const snapshot::Service& service, const snapshot::ServiceEndpoint& endpoint,
                         const snapshot::Workload& client, uint16_t service_port);

// None: the service lacks the port, or no endpoint may be chosen. Draws one random number when there is a choice.
std::optional<Choice> choose_endpoint(const snapshot::Mesh& mesh, const snapshot::Service& service,
                                      const snapshot::Workload& client, uint16_t service_port, Random& random);

}  // namespace culvert::routing
