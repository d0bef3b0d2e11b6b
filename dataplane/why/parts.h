// The parts of an explanation, one .cc each, for explain() to put together.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "routing/load_balancing.h"
#include "routing/outbound.h"
#include "why/why.h"

namespace culvert::why {

// --- endpoints.cc: which endpoints of a service may be drawn ---------------------------------------------------------

struct Candidates {
  std::vector<Step> steps;                // kService, kEndpoints
  std::vector<routing::Choice> drawable;  // in order of uid; each may be what a packet's decision draws
};
Candidates candidates_of(const snapshot::Mesh& mesh, const snapshot::Service& service, const snapshot::Workload& source,
                         uint16_t service_port);

// --- arrival.cc: from a decision that is carried to the verdict of the destination ----------------------------------

// Appends kIdentity, kArrival and kPolicy as far as the connection comes, and the outcome. `from`: the address that the
// destination sees.
void follow(const snapshot::Mesh& mesh, const Question& question, const snapshot::Workload& source,
            const IpAddress& from, const routing::OutboundDecision& decision, Path& path);

}  // namespace culvert::why
