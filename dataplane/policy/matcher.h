// Whether one authorization policy matches one connection (reference 12.3). The records of the snapshot are the
// matchers: their lists are typed when they are converted, so nothing is parsed, and nothing allocated, per decision.
//
//   policy  any of its rules; no rules: never
//   rule    all of its clauses; no clauses: always
//   clause  any of its matches; no matches: always; empty matches only: never (each is skipped)
//   match   every kind it lists; in a kind, any of the positive list (if there is one) and none of the negative
#pragma once

#include <cstdint>
#include <optional>

#include "base/ip_address.h"
#include "identity/spiffe_id.h"
#include "snapshot/records.h"

namespace culvert::policy {

// What a decision is about. `peer` must outlive the call; null: the caller proved no identity.
struct Connection {
  const identity::SpiffeId* peer = nullptr;
  IpAddress source;       // TCP peer address of the connection (or of the tunnel that carries it)
  IpAddress destination;  // the workload's own address, whatever was dialled
  uint16_t port = 0;      // the port that the workload listens on: neither 15008 nor a service port
};

bool matches(const snapshot::Match& match, const Connection& connection);
bool matches(const snapshot::Clause& clause, const Connection& connection);
bool matches(const snapshot::Rule& rule, const Connection& connection);
// The index of the first rule that matches.
std::optional<uint32_t> matching_rule(const snapshot::Policy& policy, const Connection& connection);

}  // namespace culvert::policy
