// What the certificates' keeper has done and sees: plain values for metrics, readiness and tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reconcile/certificates.h"

namespace culvert::southbound {

struct CertificateSight {
  enum class State : uint8_t {
    kWanted,  // none yet: an attached workload's mesh traffic is refused, or a pod is still to come
    kValid,
    kExpiring,  // past four fifths of its life: its renewal fails
    kExpired,   // mesh traffic is refused
  };
  struct One {
    std::string identity;
    State state = State::kWanted;
    bool attached = false;
    bool in_flight = false;
    reconcile::WallClock not_before{}, not_after{};  // 0: no certificate ever
    std::string serial;
    std::string last_failure;  // since the last success
  };

  // Fetches by how they ended, since the start.
  uint64_t installed = 0, ca_refused = 0, data_plane_refused = 0, lost = 0;
  uint64_t forgotten = 0;
  // Of every identity that the data plane holds, by identity; as of the last look, which no change misses by more than
  // half a minute. Empty while no data plane answers.
  std::vector<One> identities;

  size_t count(State state) const {
    size_t n = 0;
    for (const One& one : identities) n += one.state == state;
    return n;
  }
};

}  // namespace culvert::southbound
