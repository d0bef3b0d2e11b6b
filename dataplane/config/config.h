// culvert.yaml as typed values. Both processes link this room: the data plane reads node, control, memory, workers,
// ports, routes, limits, drain and log; the agent reads node, control, ports, attachments, mesh, istiod, ca, admin and
// log.
//
// A value comes from a flag, the environment, the file or the default, in this order of strength. Everything the file,
// the environment or a flag says is checked: unknown or ill-typed keys, missing ones, wrong enumerators, names and
// addresses given twice, numbers out of range. All problems that can be told in one go are told, each as one line
//
//   culvert.yaml:12: ports[0].mtu: 576 to 65535 is accepted, not 70000
//
// and nothing of a bad file is used (load.h). The values here are plain and complete: nothing is left to interpret.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "base/time.h"

namespace culvert::config {

struct NodeSection {
  std::string name;                    // NODE_NAME; required
  std::string network;                 // own NETWORK; "" is the default network
  std::string cluster = "Kubernetes";  // CLUSTER_ID
  std::string trust_domain = "cluster.local";
};

// Where the agent and culvertctl reach the data plane, which serves both sockets.
struct ControlSection {
  std::string socket = "/run/culvert/control.sock";           // gRPC
  std::string descriptors = "/run/culvert/descriptors.sock";  // SEQPACKET, SCM_RIGHTS
  std::vector<uint32_t> allowed_uids = {0};                   // SO_PEERCRED of whoever connects
};

enum class HugePages : uint8_t { kAuto, kAlways, kNever };

struct MemorySection {
  HugePages huge_pages = HugePages::kAuto;
  uint32_t buffers_mb = 256;  // of packet buffers, all workers together
};

enum class Poll : uint8_t { kAdaptive, kAlways };

struct WorkersSection {
  uint32_t count = 1;
  Poll poll = Poll::kAdaptive;
};

enum class Driver : uint8_t { kTap, kEthdev };

// An uplink: the only role that is built. `netns` and `device` belong to tap, `devargs` to ethdev; the others are
// empty.
struct Port {
  std::string name;
  Driver driver = Driver::kTap;
  std::string netns;              // path; "": the agent's own namespace
  std::string device;             // interface name in that namespace
  std::string devargs;            // as DPDK's --vdev or --allow takes them
  std::vector<Prefix> addresses;  // the node's own on this link; the prefix is the link's
  bool proxy_neighbours = true;
  uint16_t mtu = 1500;
};

struct Route {
  Prefix to;
  std::optional<IpAddress> via;  // none: on link
  std::string port;              // name of one of `ports`
};

struct Attachment {
  std::string id;
  std::string netns;      // path of the pod's network namespace
  std::string interface;  // its device there
  std::string workload;   // "namespace/name"
  std::vector<IpAddress> addresses;
  std::vector<IpAddress> gateways;  // at most one per family
  uint16_t mtu = 1500;
  friend bool operator==(const Attachment&, const Attachment&) = default;
};

struct MeshSection {
  std::string file;  // ztunnel's local format (reference 19); "": none
};

// A control plane that speaks Istio's protocols (reference 14, 15). xDS and the CA may be two; `ca_…` that are empty
// are as for xDS.
struct IstiodSection {
  std::string address;                                         // https://HOST:PORT, XDS_ADDRESS; "": no xDS
  std::string root = "./var/run/secrets/istio/root-cert.pem";  // a file, PEM itself, or SYSTEM
  std::string server_name;                                     // instead of the address's host; ALT_XDS_HOSTNAME
  std::string token = "./var/run/secrets/tokens/istio-token";  // a file or the token itself; a missing file: none
  bool on_demand = false;                                      // ask for addresses as traffic needs them; XDS_ON_DEMAND
  // Empty also: the mesh comes from istiod, and ca.dir makes the certificates.
  std::string ca_address, ca_root, ca_server_name;
  std::chrono::seconds secret_ttl{24 * 3600};  // asked for; SECRET_TTL
  // Who we are to it (reference 14.3).
  std::string pod_name, pod_namespace, instance_ip = "1.1.1.1";
};

struct CaSection {
  std::string dir;  // made by `culvertctl ca init`; "": none
  std::chrono::seconds leaf_lifetime{600};
  std::string crl;  // PEM (several) or DER, read again when it changes; CRL_PATH; "": none
};

// HTTP endpoints of the agent (reference 21, 24), each HOST:PORT; "": none.
struct AdminSection {
  std::string listen = "127.0.0.1:15000";
  std::string metrics = "[::]:15020";
  std::string readiness = "[::]:15021";
};

struct DrainSection {
  // How long streams in progress may go on after the node was told to end (reference 21.4).
  std::chrono::seconds deadline{5};
};

enum class LogLevel : uint8_t { kError, kWarn, kInfo, kDebug };
enum class LogFormat : uint8_t { kPlain, kJson };

struct LogSection {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kPlain;
};

struct LimitsSection {
  uint32_t connections = 65'536;  // TCP connections of the node, both sides counted
  uint32_t memory_mb = 512;       // held by connections, tunnels and tables, packet buffers excluded
};

struct Config {
  NodeSection node;
  ControlSection control;
  MemorySection memory;
  WorkersSection workers;
  std::vector<Port> ports;
  std::vector<Route> routes;
  std::vector<Attachment> attachments;
  MeshSection mesh;
  IstiodSection istiod;
  CaSection ca;
  AdminSection admin;
  DrainSection drain;
  LogSection log;
  LimitsSection limits;
};

std::string_view name_of(HugePages value);
std::string_view name_of(Poll value);
std::string_view name_of(Driver value);
std::string_view name_of(LogLevel value);
std::string_view name_of(LogFormat value);

}  // namespace culvert::config
