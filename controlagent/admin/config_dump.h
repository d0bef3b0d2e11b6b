// /config_dump: everything the agent knows, in the shape that istioctl reads (reference 22, 23). What is not ztunnel's
// stands under "culvert".
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "admin/http_server.h"
#include "admin/value.h"
#include "reconcile/mesh_store.h"
#include "southbound/sight.h"

namespace culvert::admin {

// A pod that the node is to serve.
struct PodRow {
  std::string id;               // the pod's UID, or the attachment's id
  std::string workload;         // "namespace/name"
  std::string service_account;  // "": the mesh knows
};

// What is dumped, taken at one moment and held by nobody else.
struct Dump {
  std::string version;       // the agent's
  std::string git_revision;  // "unknown" without one
  bool mesh_known = false;
  reconcile::MeshDelta mesh;                              // what stands
  std::shared_ptr<const reconcile::Mesh> static_config;   // null: none
  Value config;                                           // an object
  std::vector<PodRow> pods;                               // those the agent wants; the data plane may know others
  std::map<std::string, std::string> certificate_errors;  // identity -> why there is none
  bool connected = false;
  // Each with its error when the data plane does not tell.
  southbound::Seen<southbound::DataPlaneStatus> status{std::string()};
  southbound::Seen<std::vector<southbound::CertificateRow>> certificates{std::string()};
  southbound::Seen<std::vector<southbound::AttachmentRow>> attachments{std::string()};
  southbound::Seen<std::vector<southbound::SessionRow>> sessions{std::string()};
};

// False: the sink wants no more.
bool write_config_dump(const Dump& dump, const Sink& sink);

}  // namespace culvert::admin
