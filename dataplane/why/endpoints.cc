// The judgement of each endpoint is routing's own (judge_endpoint); drawable is what stands at the best rank with a
// capacity, which is what choose_endpoint() draws from.
#include <algorithm>

#include "why/parts.h"
#include "why/words.h"

namespace culvert::why {

using routing::Standing;
using snapshot::Mesh;
using snapshot::Service;
using snapshot::ServiceEndpoint;
using snapshot::Workload;

namespace {

std::string address_of(const Workload& workload) {
  if (!workload.addresses.empty()) return workload.addresses.front().to_string();
  return workload.hostname;
}

struct Judged {
  const ServiceEndpoint* endpoint;
  routing::Judgement judgement;
};

std::string shortcoming_of(Standing standing) {
  switch (standing) {
    case Standing::kEligible:
      return {};
    case Standing::kUnreachable:
      return "has neither address nor host name";
    case Standing::kNoPort:
      return "does not map the port";
    case Standing::kOutOfScope:
      return "not in the required scope";
    case Standing::kPassthrough:
      return "not asked: PASSTHROUGH";
  }
  return {};
}

std::string of(size_t part, size_t all) {
  return part == all ? (all == 1 ? "the only one" : "all " + std::to_string(all))
                     : std::to_string(part) + " of " + std::to_string(all);
}

Step service_step(const Service& service, uint16_t port) {
  Step step;
  step.kind = StepKind::kService;
  const std::string number = std::to_string(port);
  if (!snapshot::has_service_port(service.ports, port)) {
    step.passes = false;
    step.title = service.key() + " has no port " + number;
    std::string known;
    for (const auto& mapping : service.ports) {
      known += (known.empty() ? "" : ", ") + std::to_string(mapping.service_port);
    }
    step.lines.push_back(known.empty() ? "it has no ports at all" : "its ports: " + known);
    return step;
  }
  const uint16_t target = snapshot::target_port_of(service.ports, port);
  step.title = service.key() + ": port " + number + " leads to " +
               (target ? "port " + std::to_string(target) : "the port that each endpoint names");
  step.lines.push_back(text_of(service));
  if (service.load_balancing && service.load_balancing->health_policy == snapshot::HealthPolicy::kAllowAll) {
    step.lines.push_back("unhealthy endpoints are used too (ALLOW_ALL)");
  }
  if (service.visibility == snapshot::Visibility::kNamespace) {
    step.lines.push_back("visible in its own namespace only");
  }
  return step;
}

}  // namespace

Candidates candidates_of(const Mesh& mesh, const Service& service, const Workload& source, uint16_t service_port) {
  Candidates out;
  out.steps.push_back(service_step(service, service_port));
  if (!out.steps.back().passes) return out;
  const bool passthrough =
      service.load_balancing && service.load_balancing->mode == snapshot::LoadBalancingMode::kPassthrough;
  const bool ranked = service.load_balancing && service.load_balancing->mode == snapshot::LoadBalancingMode::kFailover;

  std::vector<Judged> judged;
  uint32_t best = 0;
  for (const ServiceEndpoint& endpoint : mesh.endpoints(service)) {
    judged.push_back({&endpoint, routing::judge_endpoint(service, endpoint, source, service_port)});
    if (judged.back().judgement.standing == Standing::kEligible) {
      best = std::max(best, judged.back().judgement.rank);
    }
  }
  const auto at_best = [&](const Judged& j) {
    return j.judgement.standing == Standing::kEligible && j.judgement.rank == best;
  };
  uint64_t weight = 0;
  bool weighted = false;
  uint32_t first_capacity = 0;
  for (const Judged& j : judged) {
    if (!at_best(j) || j.endpoint->capacity == 0) continue;
    if (first_capacity == 0) first_capacity = j.endpoint->capacity;
    weighted |= j.endpoint->capacity != first_capacity;
    weight += j.endpoint->capacity;
    out.drawable.push_back({j.endpoint, routing::target_port_of(service, *j.endpoint, service_port)});
  }
  // Backing workloads that the service's health policy left out: the Mesh has no endpoint for them.
  std::vector<const Workload*> unhealthy;
  mesh.for_each_workload([&](const Workload& w) {
    const bool backs = std::any_of(w.services.begin(), w.services.end(),
                                   [&](const auto& membership) { return membership.service == service.key(); });
    const bool listed = backs && std::any_of(judged.begin(), judged.end(),
                                             [&](const Judged& j) { return j.endpoint->workload->uid == w.uid; });
    if (backs && !listed) unhealthy.push_back(&w);
  });
  std::sort(unhealthy.begin(), unhealthy.end(), [](const Workload* a, const Workload* b) { return a->uid < b->uid; });

  Step step;
  step.kind = StepKind::kEndpoints;
  const size_t all = judged.size() + unhealthy.size();
  std::stable_partition(judged.begin(), judged.end(),
                        [&](const Judged& j) { return at_best(j) && j.endpoint->capacity > 0; });
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const Workload& w, std::string mark, std::string word) {
    if (rows.size() < kEndpointsListedMax) {
      rows.push_back({std::move(mark), name_of(w), address_of(w), w.node, text_of(w.locality),
                      w.network == source.network ? "" : "network " + w.network, std::move(word)});
    }
  };
  for (const Judged& j : judged) {
    std::string word = shortcoming_of(j.judgement.standing);
    const bool drawn = at_best(j) && j.endpoint->capacity > 0;
    if (word.empty() && ranked) {
      word = "rank " + std::to_string(j.judgement.rank) + (at_best(j) ? "" : ", behind " + std::to_string(best));
    }
    if (j.judgement.standing == Standing::kEligible && j.endpoint->capacity == 0) {
      word += (word.empty() ? "" : ", ") + std::string("capacity 0");
    } else if (drawn && weighted) {
      word += (word.empty() ? "" : ", ") + std::to_string(j.endpoint->capacity) + " of " + std::to_string(weight) +
              " connections";
    }
    add(*j.endpoint->workload, drawn ? "+" : "-", std::move(word));
  }
  for (const Workload* w : unhealthy) add(*w, "-", "unhealthy");
  step.lines = aligned(rows);
  if (all > rows.size()) step.lines.push_back("and " + std::to_string(all - rows.size()) + " more");

  if (passthrough) {
    step.title = std::to_string(all) + (all == 1 ? " endpoint" : " endpoints") + ", none is drawn (PASSTHROUGH)";
  } else if (all == 0) {
    step.passes = false;
    step.title = "no workload backs the service";
  } else if (out.drawable.empty()) {
    step.passes = false;
    step.title = "none of " + std::to_string(all) + " may be drawn";
    if (judged.empty()) step.title += ": none is healthy";
  } else {
    step.title = of(out.drawable.size(), all) + " may be drawn";
    if (out.drawable.size() > 1) step.title += weighted ? ", by capacity" : ", each as likely";
  }
  out.steps.push_back(std::move(step));
  return out;
}

}  // namespace culvert::why
