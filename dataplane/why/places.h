// Whom the words of a question name in a Mesh.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "base/result.h"
#include "snapshot/mesh.h"

namespace culvert::why {

// A workload by uid, address or "namespace/name". The error names those that may have been meant.
Result<const snapshot::Workload*, std::string> find_source(const snapshot::Mesh& mesh, std::string_view text,
                                                           std::string_view network);

struct Destination {
  Endpoint dialled;  // what the source's program connects to
  // By which of the two it was named; null: by address.
  const snapshot::Service* service = nullptr;
  const snapshot::Workload* workload = nullptr;
  const snapshot::Service* namesake = nullptr;  // a service that a workload's name would name, too
  bool port_assumed = false;                    // none was written, and only one is possible
};

// Host names are looked up as the source's resolver would: its own namespace first.
Result<Destination, std::string> find_destination(const snapshot::Mesh& mesh, std::string_view text,
                                                  const snapshot::Workload& source, std::string_view network);

}  // namespace culvert::why
