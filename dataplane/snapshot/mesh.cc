// Look-ups. None allocates; each costs one hash and a binary search in one shard, CIDR VIPs one per length in use.
#include "snapshot/mesh.h"

#include <tuple>

#include "snapshot/keys.h"

namespace culvert::snapshot {

const Workload* Mesh::workload(std::string_view uid) const {
  return workloads_.find(hash_text(uid), [&](const Workload& w) { return w.uid == uid; });
}

const Workload* Mesh::workload_at(std::string_view network, const IpAddress& address) const {
  const AddressSlot* slot = by_address_.find(hash_address(network, address), [&](const AddressSlot& s) {
    return s.key.address == address && s.key.network == network;
  });
  return slot ? slot->workload.get() : nullptr;
}

const Workload* Mesh::local_workload(std::string_view name_space, std::string_view name, std::string_view node) const {
  const LocalSlot* slot = by_name_.find(
      hash_pair(name_space, name), [&](const LocalSlot& s) { return s.name == name && s.name_space == name_space; });
  if (!slot) return nullptr;
  for (const auto& workload : slot->workloads) {
    if (node.empty() || workload->node == node) return workload.get();
  }
  return nullptr;
}

const Service* Mesh::service(std::string_view name_space, std::string_view hostname) const {
  const ServiceSlot* slot = services_.find(hash_pair(name_space, hostname), [&](const ServiceSlot& s) {
    return s.record->hostname == hostname && s.record->name_space == name_space;
  });
  return slot ? slot->record.get() : nullptr;
}

const Service* Mesh::service(std::string_view key) const {
  const size_t slash = key.find('/');
  return slash == std::string_view::npos ? nullptr : service(key.substr(0, slash), key.substr(slash + 1));
}

namespace {

bool is_visible(const Service& service, std::optional<std::string_view> client_namespace) {
  return service.visibility == Visibility::kPublic || !client_namespace || service.name_space == *client_namespace;
}

bool is_in(const Service& service, std::optional<std::string_view> client_namespace) {
  return client_namespace && service.name_space == *client_namespace;
}

}  // namespace

const Service* Mesh::service_at(std::string_view network, const IpAddress& address,
                                std::optional<std::string_view> client_namespace) const {
  const VipSlot* slot = by_vip_.find(hash_address(network, address), [&](const VipSlot& s) {
    return s.key.address == address && s.key.network == network;
  });
  const Service* best = nullptr;
  auto score_of = [&](const Service& s) { return std::tuple(is_in(s, client_namespace), s.canonical); };
  if (slot) {
    for (const ServiceRef& ref : slot->services) {
      if (!is_visible(*ref.record, client_namespace)) continue;
      if (!best || score_of(*ref.record) > score_of(*best)) best = ref.record.get();
    }
  }
  return best ? best : cidr_service_at(network, address, client_namespace);
}

const Service* Mesh::cidr_service_at(std::string_view network, const IpAddress& address,
                                     std::optional<std::string_view> client_namespace) const {
  const Service* best = nullptr;
  std::tuple<bool, uint8_t, bool> best_score;
  for (const uint8_t bits : cidr_lengths_[address.is_v4() ? 0 : 1]) {
    const Prefix prefix = Prefix{address, bits}.masked();
    const CidrSlot* slot = by_cidr_.find(hash_prefix(network, prefix), [&](const CidrSlot& s) {
      return s.key.prefix == prefix && s.key.network == network;
    });
    if (!slot) continue;
    for (const ServiceRef& ref : slot->services) {
      if (!is_visible(*ref.record, client_namespace)) continue;
      const std::tuple score(is_in(*ref.record, client_namespace), bits, ref.record->canonical);
      if (!best || score > best_score) {
        best = ref.record.get();
        best_score = score;
      }
    }
  }
  return best;
}

const Service* Mesh::service_by_hostname(std::string_view hostname, std::string_view client_namespace) const {
  const HostnameSlot* slot =
      by_hostname_.find(hash_text(hostname), [&](const HostnameSlot& s) { return s.hostname == hostname; });
  if (!slot) return nullptr;
  const Service* best = nullptr;
  auto score_of = [&](const Service& s) { return std::tuple(s.name_space == client_namespace, s.canonical); };
  for (const ServiceRef& ref : slot->services) {
    if (!best || score_of(*ref.record) > score_of(*best)) best = ref.record.get();
  }
  return best;
}

std::span<const ServiceEndpoint> Mesh::endpoints(const Service& service) const {
  const EndpointSlot* slot =
      endpoints_.find(hash_pair(service.name_space, service.hostname),
                      [&](const EndpointSlot& s) { return is_pair(s.service, service.name_space, service.hostname); });
  return slot ? std::span<const ServiceEndpoint>(slot->endpoints) : std::span<const ServiceEndpoint>();
}

std::span<const identity::SpiffeId> Mesh::identities(const Service& service) const {
  const ServiceSlot* slot = services_.find(hash_pair(service.name_space, service.hostname), [&](const ServiceSlot& s) {
    return s.record->hostname == service.hostname && s.record->name_space == service.name_space;
  });
  return slot ? std::span<const identity::SpiffeId>(slot->identities) : std::span<const identity::SpiffeId>();
}

const Policy* Mesh::policy(std::string_view key) const {
  const size_t slash = key.find('/');
  if (slash == std::string_view::npos) return nullptr;
  const std::string_view name_space = key.substr(0, slash);
  const std::string_view name = key.substr(slash + 1);
  return policies_.find(hash_pair(name_space, name),
                        [&](const Policy& p) { return p.name == name && p.name_space == name_space; });
}

std::span<const std::shared_ptr<const Policy>> Mesh::policies_in_scope(std::string_view name_space) const {
  const ScopeSlot* slot =
      by_scope_.find(hash_text(name_space), [&](const ScopeSlot& s) { return s.name_space == name_space; });
  return slot ? std::span<const std::shared_ptr<const Policy>>(slot->policies)
              : std::span<const std::shared_ptr<const Policy>>();
}

}  // namespace culvert::snapshot
