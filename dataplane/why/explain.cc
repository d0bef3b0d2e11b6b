// The steps in the order of reference 9: who asks, what is dialled, and for each endpoint that may be drawn the
// decision that follows.
#include "why/why.h"

#include <algorithm>
#include <utility>

#include "routing/waypoint.h"
#include "telemetry/drop_reasons.h"
#include "why/parts.h"
#include "why/places.h"
#include "why/words.h"

namespace culvert::why {

using routing::Choice;
using routing::OutboundDecision;
using routing::OutboundRefusal;
using snapshot::Mesh;
using snapshot::Service;
using snapshot::Workload;

std::string_view name_of(StepKind kind) {
  switch (kind) {
    case StepKind::kSource:
      return "source";
    case StepKind::kDestination:
      return "destination";
    case StepKind::kService:
      return "service";
    case StepKind::kEndpoints:
      return "endpoints";
    case StepKind::kWaypoint:
      return "waypoint";
    case StepKind::kRoute:
      return "route";
    case StepKind::kIdentity:
      return "identity";
    case StepKind::kArrival:
      return "arrival";
    case StepKind::kPolicy:
      return "policy";
  }
  return {};
}

std::optional<StepKind> step_kind_of(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(StepKind::kPolicy); ++i) {
    if (name_of(static_cast<StepKind>(i)) == name) return static_cast<StepKind>(i);
  }
  return std::nullopt;
}

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAllowed:
      return "allowed";
    case Outcome::kRefused:
      return "refused";
    case Outcome::kDenied:
      return "denied";
    case Outcome::kDepends:
      return "depends";
  }
  return {};
}

namespace {

// What routing looks up, looked up the same way, to be told.
struct Found {
  const Workload* workload = nullptr;  // row A, first
  const Service* addressed = nullptr;  // row A: the service, when no workload has the address
  const Service* through = nullptr;    // row C: the service whose endpoints are drawn from
  const Workload* direct = nullptr;    // row C: without a service
};

Found look_up(const Mesh& mesh, const Question& question, const Workload& source, const IpAddress& dialled) {
  Found out;
  out.workload = mesh.workload_at(question.network, dialled);
  if (!out.workload) out.addressed = mesh.service_at(question.network, dialled, std::string_view(source.name_space));
  out.through = mesh.service_at(source.network, dialled, std::string_view(source.name_space));
  if (!out.through) out.direct = mesh.workload_at(source.network, dialled);
  return out;
}

std::string described(const Workload& w) {
  std::string out;
  for (const IpAddress& address : w.addresses) out += (out.empty() ? "" : " and ") + address.to_string();
  if (!w.node.empty()) out += (out.empty() ? "" : ", ") + std::string("on node ") + w.node;
  if (!w.network.empty()) out += (out.empty() ? "" : ", ") + std::string("network ") + w.network;
  if (const std::string where = text_of(w.locality); !where.empty()) out += (out.empty() ? "" : ", ") + where;
  return out;
}

Step source_step(const Question& question, const Workload& source) {
  Step step;
  step.kind = StepKind::kSource;
  step.title = name_of(source);
  if (const std::string more = described(source); !more.empty()) step.title += ", " + more;
  const identity::SpiffeId id = source.identity();
  step.lines.push_back("identity " + id.uri());
  if (source.tunnel_protocol == snapshot::TunnelProtocol::kNone) {
    step.lines.push_back("not captured by the mesh: its connections do not pass through a node proxy at all");
  }
  if (!question.node.empty() && source.node != question.node) {
    step.lines.push_back("not a pod of this node (" + question.node +
                         "): its own node decides, with the same records if both are up to date");
  } else if (question.certificates) {
    const auto certificate = question.certificates->find(id);
    step.lines.push_back(certificate == question.certificates->end()
                             ? "this node has no certificate in force for it"
                             : "certificate in force until " + rfc3339(certificate->second));
  }
  return step;
}

Step destination_step(const Destination& to, const Found& found) {
  Step step;
  step.kind = StepKind::kDestination;
  const std::string dialled = to.dialled.to_string();
  if (found.workload) {
    step.title = dialled + " is an address of the workload " + name_of(*found.workload);
  } else if (found.addressed) {
    step.title = dialled + " is an address of the service " + found.addressed->key();
  } else if (found.through) {
    step.title = dialled + " is an address of the service " + found.through->key();
  } else {
    step.title = dialled + " is nobody's address in the mesh";
  }
  if (to.port_assumed) step.lines.push_back("port " + std::to_string(to.dialled.port) + ": the only one it has");
  if (to.namesake) step.lines.push_back("the service of that name is " + to.namesake->key());
  if (found.workload && found.through) {
    step.lines.push_back("the service " + found.through->key() +
                         " has it too: waypoints are the workload's, endpoints are the service's");
  }
  if (to.service && found.through && to.service != found.through) {
    step.lines.push_back("asked for was " + to.service->key() + ", which shares the address: for this client " +
                         found.through->key() + " has it");
  }
  if (to.workload && found.workload != to.workload) {
    step.lines.push_back("asked for was " + name_of(*to.workload) +
                         (to.workload->network_mode == snapshot::NetworkMode::kHostNetwork
                              ? ", which is in the host's network and not found by its address"
                              : ", which does not own the address"));
  }
  return step;
}

// None when no waypoint has a say.
std::optional<Step> waypoint_step(const Found& found, const OutboundDecision& decision, const Workload* endpoint) {
  Step step;
  step.kind = StepKind::kWaypoint;
  const bool refused = decision.refusal == OutboundRefusal::kServiceWaypoint ||
                       decision.refusal == OutboundRefusal::kWorkloadWaypoint ||
                       decision.refusal == OutboundRefusal::kUnknownWaypoint;
  const bool of_service =
      found.addressed && (found.addressed->waypoint || !found.addressed->weighted_waypoints.empty());
  if (of_service) {
    const Service& service = *found.addressed;
    std::string names;
    for (const auto& weighted : service.weighted_waypoints) {
      names += (names.empty() ? "" : ", ") + routing::to_string(weighted.destination) + " (" +
               std::to_string(weighted.weight) + ")";
    }
    if (names.empty()) names = routing::to_string(*service.waypoint);
    step.title = "the service's waypoint " + names;
  } else if (endpoint && endpoint->waypoint) {
    step.title = "the workload's waypoint " + routing::to_string(*endpoint->waypoint);
  } else {
    return std::nullopt;
  }
  step.passes = !refused;
  if (decision.refusal == OutboundRefusal::kUnknownWaypoint) {
    step.title += " has no record";
  } else if (refused) {
    step.title += " would be traversed, which this version does not do";
  } else if (found.addressed) {
    step.title += " is passed by: the connection goes to a service, which has none";
  } else {
    step.title += " is the source itself: it goes straight on";
  }
  return step;
}

Step route_step(const OutboundDecision& decision, const Endpoint& dialled) {
  Step step;
  step.kind = StepKind::kRoute;
  step.passes = decision.carried();
  switch (decision.refusal) {
    case OutboundRefusal::kNone:
      step.title = "HBONE: a tunnel to " + decision.hbone.to_string() + ", CONNECT " + decision.authority.to_string();
      break;
    case OutboundRefusal::kRecursive:
      step.title = "a port of the proxy itself, on the loopback";
      break;
    case OutboundRefusal::kNoHealthyUpstream:
      step.title = "nowhere to go: no endpoint can be drawn";
      break;
    case OutboundRefusal::kUnknownWaypoint:
    case OutboundRefusal::kServiceWaypoint:
    case OutboundRefusal::kWorkloadWaypoint:
      step.title = "HBONE to the waypoint, not taken";
      break;
    case OutboundRefusal::kNoAddress:
      step.title = "the endpoint has no address of a family that the service uses";
      break;
    case OutboundRefusal::kOutsideMesh:
    case OutboundRefusal::kPassthroughService:
      step.title = "plain TCP to " + dialled.to_string() + ", which this version does not carry";
      break;
    case OutboundRefusal::kOtherNetwork:
      step.title = "double HBONE through a gateway of the other network, which this version does not carry";
      break;
    case OutboundRefusal::kPlaintextEndpoint:
      step.title = "plain TCP to " + decision.authority.to_string() + ", which this version does not carry";
      step.lines.push_back("the endpoint does not speak HBONE");
      break;
    case OutboundRefusal::kHostnameEndpoint:
      step.title = "an endpoint known by host name only, which this version does not resolve";
      break;
  }
  return step;
}

void refuse(Path& path, DropReason reason, std::string error) {
  path.outcome = Outcome::kRefused;
  path.drop_reason = name_of(reason);
  path.log_at_source = std::move(error);
}

// The address that the tunnel leaves from, as proxy chooses it: the pod's, of the endpoint's family.
std::optional<IpAddress> address_like(const Workload& source, const IpAddress& dialled, const IpAddress& endpoint) {
  std::optional<IpAddress> used;
  for (const IpAddress& address : source.addresses) {
    if (address.is_v4() == dialled.is_v4()) {
      used = address;
      break;
    }
  }
  if (used && used->is_v4() == endpoint.is_v4()) return used;
  for (const IpAddress& address : source.addresses) {
    if (address.is_v4() == endpoint.is_v4()) return address;
  }
  return std::nullopt;
}

class Paths {
 public:
  Paths(const Mesh& mesh, const Question& question, const Workload& source, const Destination& to, const Found& found)
      : mesh_(mesh), question_(question), source_(source), to_(to), found_(found) {}

  // Follows the decision of one draw. `through`: steps that end the path when they do not pass are the caller's.
  void add(const Choice* choice, Explanation& out) {
    const Endpoint& dialled = to_.dialled;
    std::optional<IpAddress> from;
    for (const IpAddress& address : source_.addresses) {
      if (!from || (from->is_v4() != dialled.address.is_v4() && address.is_v4() == dialled.address.is_v4())) {
        from = address;
      }
    }
    const OutboundDecision decision =
        routing::decide_outbound(mesh_, {&source_, from.value_or(IpAddress{}), dialled, question_.network}, choice);
    const Workload* endpoint = mesh_.workload(decision.endpoint_uid);

    Path path;
    if (endpoint) path.endpoints.push_back(name_of(*endpoint));
    if (auto step = waypoint_step(found_, decision, endpoint)) path.steps.push_back(std::move(*step));
    path.steps.push_back(route_step(decision, dialled));
    if (!decision.carried()) {
      refuse(path, routing::drop_reason_of(decision.refusal), decision.error);
    } else {
      go_on(decision, path);
    }
    std::string fate = path.drop_reason + "|" + std::to_string(static_cast<int>(path.outcome));
    for (const Step& step : path.steps) {
      // Routes differ by address; everything else that differs is another fate, but for whom it is about.
      if (step.kind != StepKind::kPolicy) continue;
      fate += "|" + step.title;
      for (const std::string& line : step.lines) {
        if (!line.starts_with("asked: ")) fate += "|" + line;
      }
    }
    join(std::move(path), std::move(fate), out);
  }

 private:
  void go_on(const OutboundDecision& decision, Path& path) {
    const auto from = address_like(source_, to_.dialled.address, decision.hbone.address);
    if (!from) {
      path.steps.back().passes = false;
      path.steps.back().lines.push_back("the source has no address of the endpoint's family");
      refuse(path, DropReason::kProxyNoAddress, "connection failed: the pod has no address of the endpoint's family");
      return;
    }
    const identity::SpiffeId id = source_.identity();
    if (question_.certificates && source_.node == question_.node && !question_.certificates->contains(id)) {
      path.steps.back().passes = false;
      path.steps.back().lines.push_back("the source has no certificate in force to open it with");
      refuse(path, DropReason::kProxyNoMeshAccess, "no valid certificate for " + id.uri());
      return;
    }
    follow(mesh_, question_, source_, *from, decision, path);
  }

  void join(Path path, std::string fate, Explanation& out) {
    for (size_t i = 0; i < fates_.size(); ++i) {
      if (fates_[i] != fate) continue;
      if (i < out.paths.size() && !path.endpoints.empty()) {
        out.paths[i].endpoints.push_back(std::move(path.endpoints.front()));
      }
      return;
    }
    out.outcome = fates_.empty() || out.outcome == path.outcome ? path.outcome : Outcome::kDepends;
    fates_.push_back(std::move(fate));
    if (out.paths.size() < kPathsMax) {
      out.paths.push_back(std::move(path));
    } else {
      ++out.paths_left_out;
    }
  }

  const Mesh& mesh_;
  const Question& question_;
  const Workload& source_;
  const Destination& to_;
  const Found& found_;
  std::vector<std::string> fates_;  // of the paths, in their order; also of those left out
};

std::string summary_of(const Explanation& out) {
  const Path& first = out.paths.front();
  const auto reason = [](const Path& path) {
    for (const Step& step : path.steps) {
      if (!step.passes) return step.title;
    }
    return path.steps.back().title;
  };
  switch (out.outcome) {
    case Outcome::kAllowed:
    case Outcome::kDenied:
      // The policy step's own words: "allowed by …", "denied: …".
      return reason(first);
    case Outcome::kRefused:
      for (const Step& step : out.steps) {
        if (!step.passes) return "refused: " + step.title;
      }
      return "refused: " + reason(first);
    case Outcome::kDepends:
      break;
  }
  return "depends on which endpoint is drawn";
}

}  // namespace

Result<Explanation, std::string> explain(const Mesh& mesh, const Question& question) {
  const auto source = find_source(mesh, question.from, question.network);
  if (!source) return Failure{source.error()};
  const auto to = find_destination(mesh, question.to, **source, question.network);
  if (!to) return Failure{to.error()};

  const Found found = look_up(mesh, question, **source, to->dialled.address);
  Explanation out;
  out.from = name_of(**source);
  out.to = to->dialled.to_string();
  out.steps.push_back(source_step(question, **source));
  out.steps.push_back(destination_step(*to, found));
  Paths paths(mesh, question, **source, *to, found);
  const bool waypoint = found.addressed && (found.addressed->waypoint || !found.addressed->weighted_waypoints.empty());
  const bool recursive = to->dialled.address.is_loopback() && routing::is_illegal_port(to->dialled.port);
  // A waypoint, or a refusal before it, decides without endpoints.
  if (found.through && !waypoint && !recursive) {
    Candidates candidates = candidates_of(mesh, *found.through, **source, to->dialled.port);
    for (Step& step : candidates.steps) out.steps.push_back(std::move(step));
    for (const Choice& choice : candidates.drawable) paths.add(&choice, out);
  }
  if (out.paths.empty()) paths.add(nullptr, out);
  out.summary = summary_of(out);
  return out;
}

}  // namespace culvert::why
