// Builds one Mesh after another on the control thread, each sharing with the one before all that did not change.
//
//   MeshBuilder builder;
//   builder.upsert(std::move(workload));
//   node.publish(builder.publish());
//
// A change costs the copies of the shards it lands in and of the slots it alters, whatever the size of the mesh
// (endpoints of one service are one slot). A record equal to the one that stands changes nothing. Endpoints are derived
// from the workloads' own lists of services: a workload may come before its service, and a service that comes back, or
// changes its health policy, has its endpoints at once (reference 13.2 says where ztunnel loses them).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "snapshot/mesh.h"

namespace culvert::snapshot {

class MeshBuilder {
 public:
  MeshBuilder();
  ~MeshBuilder();
  MeshBuilder(const MeshBuilder&) = delete;
  MeshBuilder& operator=(const MeshBuilder&) = delete;

  // True when something changed.
  bool upsert(Workload workload);
  bool upsert(Service service);
  bool upsert(Policy policy);
  bool remove_workload(std::string_view uid);
  bool remove_service(std::string_view key);  // "namespace/hostname"
  bool remove_policy(std::string_view key);   // "namespace/name"
  // By the name xDS removes an Address resource with (reference 13.3): a workload's uid, else a service's key.
  bool remove_address(std::string_view name);

  // A full state replaces the present one as a difference: what is not mentioned by an upsert between the two calls is
  // removed by end_sync(). A begin_sync() while one is under way starts over.
  void begin_sync();
  void end_sync();

  // The present state. The same object again when nothing changed since the last call.
  std::shared_ptr<const Mesh> publish();

  // Table entries copied since the builder was made: what changes have cost beyond themselves.
  uint64_t entries_copied() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::snapshot
