// What one istiod may make us hold. The mesh that Culvert is built for has 100,000 workloads and 10,000 policies (D15);
// these stand far above it, so that only a broken or hostile sender meets them. What is beyond is refused by name, and
// the rest of the response applied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace culvert::xds {

struct Limits {
  // One resource, encoded: etcd keeps no object above 1.5 MiB, and istiod's records are a part of one.
  size_t resource_bytes_max = 1024 * 1024;
  // Sub-messages and list entries in it: two bytes on the wire may become 360 in memory (an empty policy match).
  size_t resource_elements_max = 65'536;
  // Names and aliases, as what the data plane takes for a text.
  size_t name_bytes_max = 4096;
  size_t aliases_max = 64;
  // Kept of each type, by count and by an estimate of what they take here (bytes, plus 64 for each element, plus 256).
  size_t resources_max = 500'000;
  size_t kept_bytes_max = size_t{768} * 1024 * 1024;
  // Names that wait for an answer in on-demand mode.
  size_t wanted_max = 10'000;
  // Of one request. istiod refuses longer messages than 4 MiB by default; what does not fit is not claimed, so istiod
  // sends it again.
  size_t request_bytes_max = 3'500'000;
  // Of what a NACK and a log line say about refused resources.
  size_t reasons_max = 100;
  size_t reasons_bytes_max = 16 * 1024;
};

}  // namespace culvert::xds
