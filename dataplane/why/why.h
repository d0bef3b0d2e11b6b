// Why a connection from one place to another passes or does not: the decisions of routing and policy over one Mesh,
// asked of the code that makes them for packets, and told step by step.
//
//   source → destination → service → endpoints ─┬─▶ route → identity → arrival → policy     to shop/api-1, and 2 alike
//                                               └─▶ route → …                               to shop/api-7
//
// Packets draw one endpoint; here every one that may be drawn is followed, and those with the same fate are told once.
// A pure function of the Mesh and the question: nothing is waited for, drawn or changed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "identity/spiffe_id.h"
#include "snapshot/mesh.h"

namespace culvert::why {

enum class StepKind : uint8_t {
  kSource,
  kDestination,
  kService,
  kEndpoints,
  kWaypoint,
  kRoute,
  kIdentity,
  kArrival,
  kPolicy,
};
// "source": stable, the step's name in every output.
std::string_view name_of(StepKind kind);
std::optional<StepKind> step_kind_of(std::string_view name);

struct Step {
  StepKind kind = StepKind::kSource;
  bool passes = true;              // false: the connection ends here
  std::string title;               // one line
  std::vector<std::string> lines;  // details, in order; columns are aligned
};

enum class Outcome : uint8_t {
  kAllowed,
  kRefused,  // no way there, or none that this version carries
  kDenied,   // by policy
  kDepends,  // of an explanation only: on the endpoint that is drawn
};
// "allowed", "refused", "denied", "depends"
std::string_view name_of(Outcome outcome);

// What happens on the way to these endpoints.
struct Path {
  std::vector<std::string> endpoints;  // "namespace/name", all with the same fate; none: there is no endpoint
  std::vector<Step> steps;             // of the first of them
  Outcome outcome = Outcome::kAllowed;
  std::string drop_reason;                        // its name in counters and metrics; empty when allowed
  std::string log_at_source, log_at_destination;  // `error` of the access-log lines; empty: no error is logged there
};

struct Explanation {
  std::string from, to;     // as they were understood
  std::vector<Step> steps;  // before an endpoint is drawn
  std::vector<Path> paths;  // at least one, at most kPathsMax
  size_t paths_left_out = 0;
  Outcome outcome = Outcome::kAllowed;  // over all paths, also those left out
  std::string summary;                  // one sentence
};

// Fates told in full. More than these among the endpoints of one service is a list nobody reads.
inline constexpr size_t kPathsMax = 8;
// Endpoints of a service listed by name.
inline constexpr size_t kEndpointsListedMax = 32;

// Identities of this node with a certificate in force, and until when.
using Certificates = std::map<identity::SpiffeId, UnixTime>;

struct Question {
  std::string from;     // a workload: "namespace/name", uid or address
  std::string to;       // the same, or a service: "namespace/hostname", "namespace/name", host name, VIP; then ":PORT"
  std::string node;     // NODE_NAME of the node that is asked; empty: none in particular
  std::string network;  // its NETWORK
  const Certificates* certificates = nullptr;  // null: not known, and nothing is refused for the want of one
};

// The error is a sentence: what of the question cannot be understood, and what would be.
Result<Explanation, std::string> explain(const snapshot::Mesh& mesh, const Question& question);

}  // namespace culvert::why
