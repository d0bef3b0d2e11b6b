// A chunk of the mesh stream made of any bytes: a message or none; of a message every record is either carried over or
// refused with its field and a reason, and the mesh takes all that was carried over, as a full state and as a change.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>

#include "base/check.h"
#include "control/api/mesh.pb.h"
#include "control/convert_mesh.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace culvert;
  const google::protobuf::LogSilencer quiet;
  api::MeshChunk chunk;
  if (!chunk.ParseFromArray(data, static_cast<int>(size))) return 0;
  const control::MeshRecords records = control::convert(chunk);
  DP_CHECK(records.workloads.size() + records.services.size() + records.policies.size() + records.rejections.size() ==
           static_cast<size_t>(chunk.workloads_size() + chunk.services_size() + chunk.policies_size()));
  for (const control::Rejection& rejection : records.rejections) {
    DP_CHECK(!rejection.kind.empty() && !rejection.field.empty() && !rejection.reason.empty());
  }
  control::MeshFeed feed;
  const uint64_t stream = feed.open_stream();
  for (const bool full : {true, false, true}) {
    DP_CHECK(feed.begin(stream, "v", full).ok() && feed.apply(stream, records).ok());
    const auto applied = feed.end(stream);
    DP_CHECK(applied.ok());
    DP_CHECK(applied->mesh->workload_count() <= records.workloads.size());
  }
  return 0;
}
