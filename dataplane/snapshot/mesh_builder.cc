// The writer's side of Mesh.
//
// Beside the tables that are published the builder keeps what only it needs: which records stand (with their sequence
// and the mark of the last full state that mentioned them), which workloads name which service, which claim one
// address or bear one name, and which policies stand in which scope. These lists may be long, so their slots are
// written once per publication: a change only notes that the slot is stale.
#include "snapshot/mesh_builder.h"

#include <algorithm>
#include <set>

#include "snapshot/keys.h"

namespace culvert::snapshot {

struct MeshBuilder::Impl {
  template <class Record>
  struct Standing {
    std::shared_ptr<const Record> record;
    uint64_t sequence = 0;
    uint64_t mark = 0;
  };
  template <class Record>
  using StandingMap = std::unordered_map<std::string, Standing<Record>>;

  StandingMap<Workload> workloads;
  StandingMap<Service> services;
  StandingMap<Policy> policies;
  // Service key → uid → workload that names it, whatever its health, whether the service stands or not.
  std::unordered_map<std::string, std::map<std::string, std::shared_ptr<const Workload>>> members;
  std::unordered_map<std::string, std::map<std::string, std::shared_ptr<const Policy>>> scopes;
  // Who claims an address, best first; who bears a name, by uid.
  using Name = std::pair<std::string, std::string>;  // namespace, name
  struct Claim {
    uint8_t rank;
    uint64_t sequence;  // of insertion
    std::shared_ptr<const Workload> workload;
  };
  // Of two claims the higher rank is better, then the later one (reference 9.4).
  struct Better {
    bool operator()(const Claim& a, const Claim& b) const {
      return a.rank != b.rank ? a.rank > b.rank : a.sequence > b.sequence;
    }
  };
  std::map<NetworkAddress, std::set<Claim, Better>> claims;
  std::map<Name, std::map<std::string, std::shared_ptr<const Workload>>> namesakes;
  std::set<std::string> stale_services, stale_scopes;
  std::set<Name> stale_names;
  std::set<NetworkAddress> stale_addresses;
  uint32_t cidr_length_uses[2][129] = {};

  ShardTableWriter<Workload> by_uid;
  ShardTableWriter<Mesh::AddressSlot> by_address;
  ShardTableWriter<Mesh::LocalSlot> by_name;
  ShardTableWriter<Mesh::ServiceSlot> by_key;
  ShardTableWriter<Mesh::HostnameSlot> by_hostname;
  ShardTableWriter<Mesh::VipSlot> by_vip;
  ShardTableWriter<Mesh::CidrSlot> by_cidr;
  ShardTableWriter<Mesh::EndpointSlot> endpoints;
  ShardTableWriter<Policy> policy_table;
  ShardTableWriter<Mesh::ScopeSlot> by_scope;

  uint64_t next_sequence = 1;
  uint64_t mark = 0;
  bool syncing = false;
  bool workloads_changed = false, services_changed = false, policies_changed = false;
  std::shared_ptr<const Mesh> last = std::make_shared<const Mesh>();

  void index(const Standing<Workload>& standing);
  void unindex(const Standing<Workload>& standing);
  void index(const Standing<Service>& standing);
  void unindex(const Service& service);
  void write_endpoints(const std::string& service);
  void write_scope(const std::string& name_space);
  void write_address(const NetworkAddress& key);
  void write_name(const Name& name);

  // Alters one slot of a table: `change` gets a copy of the slot that stands, or a fresh one; a slot for which it
  // returns false is empty and goes.
  template <class Slot, class IsIt, class Change>
  static void alter(ShardTableWriter<Slot>& table, uint64_t hash, IsIt&& is_it, Change&& change) {
    const Slot* present = table.find(hash, is_it);
    auto slot = present ? std::make_shared<Slot>(*present) : std::make_shared<Slot>();
    if (change(*slot)) {
      table.put(hash, is_it, std::move(slot));
    } else if (present) {
      table.erase(hash, is_it);
    }
  }
};

namespace {

// Reference 9.4.
uint8_t rank_of(const Workload& workload) {
  const bool is_pod = workload.uid.find("//Pod/") != std::string::npos;
  const bool is_hbone = workload.tunnel_protocol == TunnelProtocol::kHbone;
  return static_cast<uint8_t>(is_pod ? (is_hbone ? 3 : 2) : (is_hbone ? 1 : 0));
}

template <class T>
void remove_duplicates_in_place(std::vector<T>& values) {
  std::vector<T> kept;
  for (T& value : values) {
    if (std::find(kept.begin(), kept.end(), value) == kept.end()) kept.push_back(std::move(value));
  }
  values = std::move(kept);
}

// One list of services in order of first insertion; used by three tables.
template <class Slot>
bool with_service(Slot& slot, const std::shared_ptr<const Service>& record, uint64_t sequence) {
  auto& list = slot.services;
  const auto at = std::find_if(list.begin(), list.end(), [&](const auto& ref) { return ref.sequence > sequence; });
  list.insert(at, {record, sequence});
  return true;
}
template <class Slot>
bool without_service(Slot& slot, const Service& service) {
  std::erase_if(slot.services, [&](const auto& ref) { return ref.record.get() == &service; });
  return !slot.services.empty();
}

uint8_t full_length(const IpAddress& address) { return address.is_v4() ? 32 : 128; }

}  // namespace

void MeshBuilder::Impl::index(const Standing<Workload>& standing) {
  const auto& w = standing.record;
  by_uid.put(
      hash_text(w->uid), [&](const Workload& other) { return other.uid == w->uid; }, w);
  if (w->network_mode == NetworkMode::kStandard) {
    const Claim claim{rank_of(*w), standing.sequence, w};
    for (const IpAddress& address : w->addresses) {
      const NetworkAddress key{w->network, address};
      claims[key].insert(claim);
      stale_addresses.insert(key);
    }
  }
  const Name name(w->name_space, w->name);
  namesakes[name][w->uid] = w;
  stale_names.insert(name);
  for (const ServiceMembership& membership : w->services) {
    members[membership.service][w->uid] = w;
    stale_services.insert(membership.service);
  }
}

void MeshBuilder::Impl::unindex(const Standing<Workload>& standing) {
  const auto& w = standing.record;
  const uint64_t sequence = standing.sequence;
  if (w->network_mode == NetworkMode::kStandard) {
    const Claim claim{rank_of(*w), sequence, w};
    for (const IpAddress& address : w->addresses) {
      const auto found = claims.find(NetworkAddress{w->network, address});
      found->second.erase(claim);
      stale_addresses.insert(found->first);
      if (found->second.empty()) claims.erase(found);
    }
  }
  const auto named = namesakes.find(Name(w->name_space, w->name));
  stale_names.insert(named->first);
  named->second.erase(w->uid);
  if (named->second.empty()) namesakes.erase(named);
  for (const ServiceMembership& membership : w->services) {
    const auto found = members.find(membership.service);
    if (found == members.end()) continue;
    found->second.erase(w->uid);
    if (found->second.empty()) members.erase(found);
    stale_services.insert(membership.service);
  }
}

void MeshBuilder::Impl::index(const Standing<Service>& standing) {
  const auto& s = standing.record;
  auto slot = std::make_shared<Mesh::ServiceSlot>();
  slot->record = s;
  for (const std::string& name : s->subject_alt_names) {
    if (auto id = identity::SpiffeId::parse(name)) slot->identities.push_back(std::move(*id));
  }
  by_key.put(
      hash_pair(s->name_space, s->hostname),
      [&](const Mesh::ServiceSlot& other) {
        return other.record->hostname == s->hostname && other.record->name_space == s->name_space;
      },
      std::move(slot));
  alter(
      by_hostname, hash_text(s->hostname), [&](const Mesh::HostnameSlot& h) { return h.hostname == s->hostname; },
      [&](Mesh::HostnameSlot& h) {
        h.hostname = s->hostname;
        return with_service(h, s, standing.sequence);
      });
  for (const NetworkAddress& vip : s->vips) {
    alter(
        by_vip, hash_address(vip.network, vip.address), [&](const Mesh::VipSlot& v) { return v.key == vip; },
        [&](Mesh::VipSlot& v) {
          v.key = vip;
          return with_service(v, s, standing.sequence);
        });
  }
  for (const NetworkPrefix& cidr : s->cidr_vips) {
    ++cidr_length_uses[cidr.prefix.address.is_v4() ? 0 : 1][cidr.prefix.bits];
    alter(
        by_cidr, hash_prefix(cidr.network, cidr.prefix), [&](const Mesh::CidrSlot& c) { return c.key == cidr; },
        [&](Mesh::CidrSlot& c) {
          c.key = cidr;
          return with_service(c, s, standing.sequence);
        });
  }
  stale_services.insert(s->key());
}

void MeshBuilder::Impl::unindex(const Service& s) {
  alter(
      by_hostname, hash_text(s.hostname), [&](const Mesh::HostnameSlot& h) { return h.hostname == s.hostname; },
      [&](Mesh::HostnameSlot& h) { return without_service(h, s); });
  for (const NetworkAddress& vip : s.vips) {
    alter(
        by_vip, hash_address(vip.network, vip.address), [&](const Mesh::VipSlot& v) { return v.key == vip; },
        [&](Mesh::VipSlot& v) { return without_service(v, s); });
  }
  for (const NetworkPrefix& cidr : s.cidr_vips) {
    --cidr_length_uses[cidr.prefix.address.is_v4() ? 0 : 1][cidr.prefix.bits];
    alter(
        by_cidr, hash_prefix(cidr.network, cidr.prefix), [&](const Mesh::CidrSlot& c) { return c.key == cidr; },
        [&](Mesh::CidrSlot& c) { return without_service(c, s); });
  }
  stale_services.insert(s.key());
}

void MeshBuilder::Impl::write_endpoints(const std::string& key) {
  auto slot = std::make_shared<Mesh::EndpointSlot>();
  slot->service = key;
  const auto service = services.find(key);
  const auto found = members.find(key);
  if (service != services.end() && found != members.end()) {
    const auto& balancing = service->second.record->load_balancing;
    const bool all = balancing && balancing->health_policy == HealthPolicy::kAllowAll;
    for (const auto& [uid, workload] : found->second) {
      if (!all && workload->status != WorkloadStatus::kHealthy) continue;
      const auto membership = std::find_if(workload->services.begin(), workload->services.end(),
                                           [&](const ServiceMembership& m) { return m.service == key; });
      slot->endpoints.push_back({workload, &membership->ports, workload->capacity,
                                 !workload->addresses.empty() || !workload->hostname.empty()});
    }
  }
  const size_t slash = key.find('/');
  const uint64_t hash = hash_pair(std::string_view(key).substr(0, slash), std::string_view(key).substr(slash + 1));
  auto is_it = [&](const Mesh::EndpointSlot& s) { return s.service == key; };
  if (slot->endpoints.empty()) {
    endpoints.erase(hash, is_it);
  } else {
    endpoints.put(hash, is_it, std::move(slot));
  }
}

void MeshBuilder::Impl::write_scope(const std::string& name_space) {
  auto is_it = [&](const Mesh::ScopeSlot& s) { return s.name_space == name_space; };
  const auto found = scopes.find(name_space);
  if (found == scopes.end()) {
    by_scope.erase(hash_text(name_space), is_it);
    return;
  }
  auto slot = std::make_shared<Mesh::ScopeSlot>();
  slot->name_space = name_space;
  for (const auto& [key, policy] : found->second) slot->policies.push_back(policy);
  by_scope.put(hash_text(name_space), is_it, std::move(slot));
}

void MeshBuilder::Impl::write_address(const NetworkAddress& key) {
  const uint64_t hash = hash_address(key.network, key.address);
  auto is_it = [&](const Mesh::AddressSlot& s) { return s.key == key; };
  const auto found = claims.find(key);
  if (found == claims.end()) {
    by_address.erase(hash, is_it);
    return;
  }
  const auto& best = found->second.begin()->workload;
  const Mesh::AddressSlot* present = by_address.find(hash, is_it);
  if (present && present->workload == best) return;
  auto slot = std::make_shared<Mesh::AddressSlot>();
  slot->key = key;
  slot->workload = best;
  by_address.put(hash, is_it, std::move(slot));
}

void MeshBuilder::Impl::write_name(const Name& name) {
  const uint64_t hash = hash_pair(name.first, name.second);
  auto is_it = [&](const Mesh::LocalSlot& s) { return s.name == name.second && s.name_space == name.first; };
  const auto found = namesakes.find(name);
  if (found == namesakes.end()) {
    by_name.erase(hash, is_it);
    return;
  }
  auto slot = std::make_shared<Mesh::LocalSlot>();
  slot->name_space = name.first;
  slot->name = name.second;
  for (const auto& [uid, workload] : found->second) slot->workloads.push_back(workload);
  by_name.put(hash, is_it, std::move(slot));
}

MeshBuilder::MeshBuilder() : impl_(std::make_unique<Impl>()) {}
MeshBuilder::~MeshBuilder() = default;

bool MeshBuilder::upsert(Workload workload) {
  remove_duplicates_in_place(workload.addresses);
  // A key without "/" names no service; converters refuse it (reference 13.2).
  std::erase_if(workload.services, [](const ServiceMembership& m) { return m.service.find('/') == std::string::npos; });
  std::stable_sort(workload.services.begin(), workload.services.end(),
                   [](const ServiceMembership& a, const ServiceMembership& b) { return a.service < b.service; });
  workload.services.erase(std::unique(workload.services.begin(), workload.services.end(),
                                      [](const auto& a, const auto& b) { return a.service == b.service; }),
                          workload.services.end());
  auto& standing = impl_->workloads[workload.uid];
  standing.mark = impl_->mark;
  if (standing.record && *standing.record == workload) return false;
  // A workload that is sent again is removed and inserted (reference 13.2): it becomes the latest of its rank.
  if (standing.record) impl_->unindex(standing);
  standing.record = std::make_shared<const Workload>(std::move(workload));
  standing.sequence = impl_->next_sequence++;
  impl_->index(standing);
  impl_->workloads_changed = true;
  return true;
}

bool MeshBuilder::upsert(Service service) {
  for (NetworkPrefix& cidr : service.cidr_vips) cidr.prefix = cidr.prefix.masked();
  std::erase_if(service.cidr_vips, [&](const NetworkPrefix& cidr) {
    if (cidr.prefix.bits != full_length(cidr.prefix.address)) return false;
    service.vips.push_back({cidr.network, cidr.prefix.address});
    return true;
  });
  remove_duplicates_in_place(service.vips);
  remove_duplicates_in_place(service.cidr_vips);
  auto& standing = impl_->services[service.key()];
  standing.mark = impl_->mark;
  if (standing.record && *standing.record == service) return false;
  if (standing.record) {
    impl_->unindex(*standing.record);
  } else {
    standing.sequence = impl_->next_sequence++;
  }
  standing.record = std::make_shared<const Service>(std::move(service));
  impl_->index(standing);
  impl_->services_changed = true;
  return true;
}

bool MeshBuilder::upsert(Policy policy) {
  const std::string key = policy.key();
  auto& standing = impl_->policies[key];
  standing.mark = impl_->mark;
  if (standing.record && *standing.record == policy) return false;
  if (standing.record) {
    remove_policy(key);
    return upsert(std::move(policy));
  }
  standing.record = std::make_shared<const Policy>(std::move(policy));
  const Policy& p = *standing.record;
  impl_->policy_table.put(
      hash_pair(p.name_space, p.name),
      [&](const Policy& other) { return other.name == p.name && other.name_space == p.name_space; }, standing.record);
  if (p.scope != PolicyScope::kWorkloadSelector) {
    const std::string scope = p.scope == PolicyScope::kGlobal ? "" : p.name_space;
    impl_->scopes[scope][key] = standing.record;
    impl_->stale_scopes.insert(scope);
  }
  impl_->policies_changed = true;
  return true;
}

bool MeshBuilder::remove_workload(std::string_view uid) {
  const auto found = impl_->workloads.find(std::string(uid));
  if (found == impl_->workloads.end()) return false;
  impl_->unindex(found->second);
  impl_->by_uid.erase(hash_text(uid), [&](const Workload& w) { return w.uid == uid; });
  impl_->workloads.erase(found);
  impl_->workloads_changed = true;
  return true;
}

bool MeshBuilder::remove_service(std::string_view key) {
  const auto found = impl_->services.find(std::string(key));
  if (found == impl_->services.end()) return false;
  const std::shared_ptr<const Service> record = found->second.record;
  impl_->unindex(*record);
  impl_->by_key.erase(hash_pair(record->name_space, record->hostname),
                      [&](const Mesh::ServiceSlot& s) { return s.record == record; });
  impl_->services.erase(found);
  impl_->services_changed = true;
  return true;
}

bool MeshBuilder::remove_policy(std::string_view key) {
  const auto found = impl_->policies.find(std::string(key));
  if (found == impl_->policies.end() || !found->second.record) return false;
  const std::shared_ptr<const Policy> record = found->second.record;
  impl_->policy_table.erase(hash_pair(record->name_space, record->name),
                            [&](const Policy& p) { return &p == record.get(); });
  if (record->scope != PolicyScope::kWorkloadSelector) {
    const std::string scope = record->scope == PolicyScope::kGlobal ? "" : record->name_space;
    impl_->scopes[scope].erase(found->first);
    if (impl_->scopes[scope].empty()) impl_->scopes.erase(scope);
    impl_->stale_scopes.insert(scope);
  }
  impl_->policies.erase(found);
  impl_->policies_changed = true;
  return true;
}

bool MeshBuilder::remove_address(std::string_view name) {
  if (remove_workload(name)) return true;
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos || name.find('/', slash + 1) != std::string_view::npos) return false;
  return remove_service(name);
}

void MeshBuilder::begin_sync() {
  ++impl_->mark;
  impl_->syncing = true;
}

namespace {

// In order of key, so that what follows from removals does not depend on a hash map's order.
template <class StandingMap>
std::vector<std::string> unmarked(const StandingMap& map, uint64_t mark) {
  std::vector<std::string> keys;
  for (const auto& [key, standing] : map) {
    if (standing.mark != mark) keys.push_back(key);
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace

void MeshBuilder::end_sync() {
  if (!impl_->syncing) return;
  impl_->syncing = false;
  for (const std::string& uid : unmarked(impl_->workloads, impl_->mark)) remove_workload(uid);
  for (const std::string& key : unmarked(impl_->services, impl_->mark)) remove_service(key);
  for (const std::string& key : unmarked(impl_->policies, impl_->mark)) remove_policy(key);
}

std::shared_ptr<const Mesh> MeshBuilder::publish() {
  Impl& i = *impl_;
  if (!i.workloads_changed && !i.services_changed && !i.policies_changed) return i.last;
  for (const std::string& key : i.stale_services) i.write_endpoints(key);
  for (const std::string& name_space : i.stale_scopes) i.write_scope(name_space);
  for (const NetworkAddress& key : i.stale_addresses) i.write_address(key);
  for (const Impl::Name& name : i.stale_names) i.write_name(name);
  i.stale_services.clear();
  i.stale_addresses.clear();
  i.stale_names.clear();
  i.stale_scopes.clear();

  auto mesh = std::make_shared<Mesh>();
  mesh->version_ = i.last->version_ + 1;
  mesh->policy_generation_ = i.last->policy_generation_ + (i.policies_changed ? 1 : 0);
  mesh->workload_count_ = i.workloads.size();
  mesh->service_count_ = i.services.size();
  mesh->policy_count_ = i.policies.size();
  mesh->workloads_ = i.by_uid.publish();
  mesh->by_address_ = i.by_address.publish();
  mesh->by_name_ = i.by_name.publish();
  mesh->services_ = i.by_key.publish();
  mesh->by_hostname_ = i.by_hostname.publish();
  mesh->by_vip_ = i.by_vip.publish();
  mesh->by_cidr_ = i.by_cidr.publish();
  mesh->endpoints_ = i.endpoints.publish();
  mesh->policies_ = i.policy_table.publish();
  mesh->by_scope_ = i.by_scope.publish();
  for (size_t family = 0; family < 2; ++family) {
    for (int bits = 128; bits >= 0; --bits) {
      if (i.cidr_length_uses[family][bits]) mesh->cidr_lengths_[family].push_back(static_cast<uint8_t>(bits));
    }
  }
  i.workloads_changed = i.services_changed = i.policies_changed = false;
  i.last = std::move(mesh);
  return i.last;
}

uint64_t MeshBuilder::entries_copied() const {
  const Impl& i = *impl_;
  return i.by_uid.entries_copied() + i.by_address.entries_copied() + i.by_name.entries_copied() +
         i.by_key.entries_copied() + i.by_hostname.entries_copied() + i.by_vip.entries_copied() +
         i.by_cidr.entries_copied() + i.endpoints.entries_copied() + i.policy_table.entries_copied() +
         i.by_scope.entries_copied();
}

}  // namespace culvert::snapshot
