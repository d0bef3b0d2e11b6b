// The mesh as a worker sees it: one immutable, versioned snapshot of workloads, services and policies with the indices
// that routing and policy ask (D15). Published as shared_ptr<const Mesh> by MeshBuilder; any number of threads may read
// one. Every pointer and span that comes out of a Mesh lives as long as the Mesh does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "snapshot/records.h"
#include "snapshot/shard_table.h"

namespace culvert::snapshot {

// One endpoint of a service that may be chosen: its health passed the service's policy when it was put here.
struct ServiceEndpoint {
  std::shared_ptr<const Workload> workload;
  const PortMap* ports = nullptr;  // the workload's own mapping for this service; points into the workload
  // Copies from the workload, so that choosing among many endpoints does not fetch each of them.
  uint32_t capacity = 1;
  bool has_destination = true;  // an address or a host name
};

class Mesh {
 public:
  // Counts publications, from 1; 0 is the empty mesh of a node that knows nothing yet.
  uint64_t version() const { return version_; }
  // Increases when a policy changed: then what was decided has to be decided again.
  uint64_t policy_generation() const { return policy_generation_; }

  size_t workload_count() const { return workload_count_; }
  size_t service_count() const { return service_count_; }
  size_t policy_count() const { return policy_count_; }

  // --- workloads ---------------------------------------------------------------------------------------------------
  const Workload* workload(std::string_view uid) const;
  // Of several that claim one address the highest rank wins, then the latest (reference 9.4). HOST_NETWORK workloads
  // are not found by address.
  const Workload* workload_at(std::string_view network, const IpAddress& address) const;
  // The record of a pod of this node (reference 9.1). An empty node stands for any. Of several the lowest uid.
  const Workload* local_workload(std::string_view name_space, std::string_view name, std::string_view node) const;

  // --- services ----------------------------------------------------------------------------------------------------
  const Service* service(std::string_view name_space, std::string_view hostname) const;
  const Service* service(std::string_view key) const;  // "namespace/hostname"
  // By VIP as a client of that namespace sees it (reference 9.3): exact VIPs, then CIDR VIPs. Without a namespace
  // visibility is not looked at.
  const Service* service_at(std::string_view network, const IpAddress& address,
                            std::optional<std::string_view> client_namespace) const;
  // The client's namespace first, then the canonical one, then the first inserted (reference 9.3).
  const Service* service_by_hostname(std::string_view hostname, std::string_view client_namespace) const;
  // In order of uid. Empty for a service that has none.
  std::span<const ServiceEndpoint> endpoints(const Service& service) const;
  // The service's subject_alt_names that are SPIFFE identities, in order.
  std::span<const identity::SpiffeId> identities(const Service& service) const;

  // --- policies ----------------------------------------------------------------------------------------------------
  const Policy* policy(std::string_view key) const;  // "namespace/name"
  // Policies of scope NAMESPACE under their namespace, GLOBAL ones under "" (reference 12.4); in order of key.
  std::span<const std::shared_ptr<const Policy>> policies_in_scope(std::string_view name_space) const;

  // --- everything, in an order that is the same in every process
  // ------------------------------------------------------
  template <class Visit>
  void for_each_workload(Visit&& visit) const {
    workloads_.for_each([&](const Workload& w) { visit(w); });
  }
  template <class Visit>
  void for_each_service(Visit&& visit) const {
    services_.for_each([&](const ServiceSlot& s) { visit(*s.record); });
  }
  template <class Visit>
  void for_each_policy(Visit&& visit) const {
    policies_.for_each([&](const Policy& p) { visit(p); });
  }

  // How much of the table of workloads two versions share, in shards of kShards: for tests and measurements.
  size_t workload_shards_shared_with(const Mesh& other) const {
    return workloads_.shards_shared_with(other.workloads_);
  }

 private:
  friend class MeshBuilder;

  struct AddressSlot {
    NetworkAddress key;
    std::shared_ptr<const Workload> workload;  // whose claim is the best
  };
  struct LocalSlot {
    std::string name_space, name;
    std::vector<std::shared_ptr<const Workload>> workloads;  // by uid
  };
  struct ServiceRef {
    std::shared_ptr<const Service> record;
    uint64_t sequence = 0;  // of first insertion
  };
  struct ServiceSlot {
    std::shared_ptr<const Service> record;
    std::vector<identity::SpiffeId> identities;
  };
  struct HostnameSlot {
    std::string hostname;
    std::vector<ServiceRef> services;  // by sequence
  };
  struct VipSlot {
    NetworkAddress key;
    std::vector<ServiceRef> services;
  };
  struct CidrSlot {
    NetworkPrefix key;
    std::vector<ServiceRef> services;
  };
  struct EndpointSlot {
    std::string service;
    std::vector<ServiceEndpoint> endpoints;  // by uid
  };
  struct ScopeSlot {
    std::string name_space;
    std::vector<std::shared_ptr<const Policy>> policies;  // by key
  };

  const Service* cidr_service_at(std::string_view network, const IpAddress& address,
                                 std::optional<std::string_view> client_namespace) const;

  uint64_t version_ = 0, policy_generation_ = 0;
  size_t workload_count_ = 0, service_count_ = 0, policy_count_ = 0;
  ShardTable<Workload> workloads_;
  ShardTable<AddressSlot> by_address_;
  ShardTable<LocalSlot> by_name_;
  ShardTable<ServiceSlot> services_;
  ShardTable<HostnameSlot> by_hostname_;
  ShardTable<VipSlot> by_vip_;
  ShardTable<CidrSlot> by_cidr_;
  ShardTable<EndpointSlot> endpoints_;
  ShardTable<Policy> policies_;
  ShardTable<ScopeSlot> by_scope_;
  // Lengths of CIDR VIPs in use, longest first: [0] IPv4, [1] IPv6.
  std::vector<uint8_t> cidr_lengths_[2];
};

}  // namespace culvert::snapshot
