// Transactions of the mesh stream, applied to a MeshBuilder as plain records.
//
// A full transaction is a synchronisation of the builder: what is not named in it goes at its end. Nothing is
// accumulated here: records go into the builder as they come, and only end() publishes, so a stream of a million
// records needs the memory of the mesh and of one chunk. A stream that breaks within a transaction leaves records in
// the builder that were never published; every stream begins with a full transaction, which overwrites or removes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshot/mesh_builder.h"

namespace culvert::control {

// One record that is not accepted. Its former version, if there is one, stays in force.
struct Rejection {
  std::string kind;  // "workload", "service", "policy"
  std::string name;  // its key, as far as it could be read
  std::string field;
  std::string reason;
  friend bool operator==(const Rejection&, const Rejection&) = default;
};

// A chunk of the stream after conversion.
struct MeshRecords {
  std::vector<snapshot::Workload> workloads;
  std::vector<snapshot::Service> services;
  std::vector<snapshot::Policy> policies;
  std::vector<std::string> removed_workloads, removed_services, removed_policies;
  std::vector<Rejection> rejections;
};

struct MeshApplied {
  std::string version;
  std::shared_ptr<const snapshot::Mesh> mesh;
  std::vector<Rejection> rejections;  // at most api::kRejectionsMax
  uint64_t rejections_left_out = 0;
};

class MeshFeed {
 public:
  MeshFeed();

  // A new stream; earlier ones may not go on. Its number is asked for by the other calls.
  uint64_t open_stream();
  void close_stream(uint64_t stream);
  bool is_open(uint64_t stream) const { return stream == stream_ && stream_open_; }

  // Errors are sentences; the stream is to be ended then.
  Result<void, std::string> begin(uint64_t stream, std::string version, bool full);
  Result<void, std::string> apply(uint64_t stream, MeshRecords records);
  Result<MeshApplied, std::string> end(uint64_t stream);

  // What was published last, and its name as the agent gave it.
  const std::shared_ptr<const snapshot::Mesh>& mesh() const { return mesh_; }
  const std::string& version() const { return version_; }
  bool stream_open() const { return stream_open_; }

 private:
  void keep_former(const Rejection& rejection);

  snapshot::MeshBuilder builder_;
  std::shared_ptr<const snapshot::Mesh> mesh_;
  std::string version_;

  uint64_t stream_ = 0;
  bool stream_open_ = false;
  bool stream_synced_ = false;  // its first transaction, a full one, was begun
  bool in_transaction_ = false;
  bool full_ = false;
  MeshApplied pending_;
};

}  // namespace culvert::control
