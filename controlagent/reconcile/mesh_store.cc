#include "reconcile/mesh_store.h"

#include <algorithm>
#include <utility>

namespace culvert::reconcile {
namespace {

template <class Record>
void collect(const std::map<std::string, Record>& table, const std::set<std::string>& keys, auto& records,
             std::vector<std::string>& removed) {
  for (const std::string& key : keys) {
    const auto found = table.find(key);
    if (found == table.end()) {
      removed.push_back(key);
    } else {
      records.push_back(found->second.record);
    }
  }
}

}  // namespace

std::optional<std::string> Workload::identity() const {
  if (trust_domain.empty() || name_space.empty() || service_account.empty()) return std::nullopt;
  return "spiffe://" + trust_domain + "/ns/" + name_space + "/sa/" + service_account;
}

size_t MeshDelta::size() const {
  return workloads.size() + services.size() + policies.size() + removed_workloads.size() + removed_services.size() +
         removed_policies.size();
}

MeshStore::MeshStore(std::string node, std::set<Source> sources)
    : node_(std::move(node)), awaited_(std::move(sources)) {}
MeshStore::~MeshStore() = default;

void MeshStore::on_change(std::function<void(bool)> call) {
  const std::lock_guard lock(mutex_);
  on_change_ = std::move(call);
}

void MeshStore::note(std::set<std::string> Feed::*changed, const std::string& key) {
  changed_ = true;
  for (Feed* feed : feeds_) (feed->*changed).insert(key);
}

void MeshStore::count_identity(const Workload& workload, bool stands) {
  if (workload.tunnel != Tunnel::kHbone && !workload.native_tunnel) return;
  const auto identity = workload.identity();
  if (!identity) return;
  Uses& uses = identities_[*identity];
  const bool local = !node_.empty() && workload.node == node_;
  if (stands) {
    if (uses.meshed++ == 0) identities_changed_ = true;
    if (local && uses.local++ == 0) local_identities_.insert(*identity), identities_changed_ = true;
  } else {
    if (local && --uses.local == 0) local_identities_.erase(*identity), identities_changed_ = true;
    if (--uses.meshed == 0) identities_.erase(*identity), identities_changed_ = true;
  }
}

template <class Record>
void MeshStore::put(Table<Record>& table, std::set<std::string> Feed::*changed, std::string key, Record record,
                    Source source) {
  auto [at, is_new] = table.try_emplace(std::move(key));
  Standing<Record>& standing = at->second;
  standing.source = source;
  if (!is_new && *standing.record == record) return;
  // First up, then down: an identity that both versions have is never counted as gone.
  count_identity(record, true);
  if (!is_new) count_identity(*standing.record, false);
  standing.record = std::make_shared<const Record>(std::move(record));
  note(changed, at->first);
}

template <class Record>
void MeshStore::remove(Table<Record>& table, std::set<std::string> Feed::*changed, const std::string& key,
                       Source source) {
  const auto found = table.find(key);
  if (found == table.end() || found->second.source != source) return;
  count_identity(*found->second.record, false);
  note(changed, key);
  table.erase(found);
}

template <class Record>
void MeshStore::replace_table(Table<Record>& table, std::set<std::string> Feed::*changed,
                              std::map<std::string, Record> records, Source source) {
  std::vector<std::string> gone;
  for (const auto& [key, standing] : table) {
    if (standing.source == source && !records.contains(key)) gone.push_back(key);
  }
  for (auto& [key, record] : records) put(table, changed, key, std::move(record), source);
  for (const std::string& key : gone) remove(table, changed, key, source);
}

void MeshStore::tell(std::unique_lock<std::mutex>& lock) {
  const bool changed = std::exchange(changed_, false);
  const bool identities = std::exchange(identities_changed_, false);
  const auto call = on_change_;
  lock.unlock();
  if (changed && call) call(identities);
}

void MeshStore::apply(Source source, MeshChange change) {
  std::unique_lock lock(mutex_);
  for (const std::string& key : change.removed_workloads) remove(workloads_, &Feed::workloads_, key, source);
  for (const std::string& key : change.removed_services) remove(services_, &Feed::services_, key, source);
  for (const std::string& key : change.removed_policies) remove(policies_, &Feed::policies_, key, source);
  for (Policy& one : change.policies) {
    std::string key = one.key();
    put(policies_, &Feed::policies_, std::move(key), std::move(one), source);
  }
  for (Service& one : change.services) {
    std::string key = one.key();
    put(services_, &Feed::services_, std::move(key), std::move(one), source);
  }
  for (Workload& one : change.workloads) {
    std::string uid = one.uid;
    put(workloads_, &Feed::workloads_, std::move(uid), std::move(one), source);
  }
  tell(lock);
}

void MeshStore::replace(Source source, Mesh mesh) {
  std::unique_lock lock(mutex_);
  replace_table(policies_, &Feed::policies_, std::move(mesh.policies), source);
  replace_table(services_, &Feed::services_, std::move(mesh.services), source);
  replace_table(workloads_, &Feed::workloads_, std::move(mesh.workloads), source);
  if (awaited_.erase(source) != 0) changed_ = identities_changed_ = true;
  tell(lock);
}

void MeshStore::complete(Source source) {
  std::unique_lock lock(mutex_);
  if (awaited_.erase(source) != 0) changed_ = identities_changed_ = true;
  tell(lock);
}

bool MeshStore::is_known() const {
  const std::lock_guard lock(mutex_);
  return awaited_.empty();
}

bool MeshStore::has_workload(const std::string& uid) const {
  const std::lock_guard lock(mutex_);
  return workloads_.contains(uid);
}

bool MeshStore::is_meshed(const std::string& identity) const {
  const std::lock_guard lock(mutex_);
  return identities_.contains(identity);
}

std::vector<std::string> MeshStore::local_identities() const {
  const std::lock_guard lock(mutex_);
  return {local_identities_.begin(), local_identities_.end()};
}

MeshStore::Counts MeshStore::counts() const {
  const std::lock_guard lock(mutex_);
  return {.workloads = workloads_.size(), .services = services_.size(), .policies = policies_.size()};
}

MeshDelta MeshStore::snapshot() const {
  MeshDelta out;
  const std::lock_guard lock(mutex_);
  out.workloads.reserve(workloads_.size());
  out.services.reserve(services_.size());
  out.policies.reserve(policies_.size());
  for (const auto& [key, standing] : workloads_) out.workloads.push_back(standing.record);
  for (const auto& [key, standing] : services_) out.services.push_back(standing.record);
  for (const auto& [key, standing] : policies_) out.policies.push_back(standing.record);
  return out;
}

void MeshStore::for_each_workload(const std::function<void(const Workload&)>& visit) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, standing] : workloads_) visit(*standing.record);
}

void MeshStore::for_each_service(const std::function<void(const Service&)>& visit) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, standing] : services_) visit(*standing.record);
}

void MeshStore::for_each_policy(const std::function<void(const Policy&)>& visit) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, standing] : policies_) visit(*standing.record);
}

MeshStore::Feed::Feed(MeshStore& store) : store_(store) {
  const std::lock_guard lock(store_.mutex_);
  store_.feeds_.push_back(this);
}

MeshStore::Feed::~Feed() {
  const std::lock_guard lock(store_.mutex_);
  std::erase(store_.feeds_, this);
}

MeshDelta MeshStore::Feed::take_all() {
  MeshDelta out;
  const std::lock_guard lock(store_.mutex_);
  workloads_.clear();
  services_.clear();
  policies_.clear();
  for (const auto& [key, standing] : store_.workloads_) out.workloads.push_back(standing.record);
  for (const auto& [key, standing] : store_.services_) out.services.push_back(standing.record);
  for (const auto& [key, standing] : store_.policies_) out.policies.push_back(standing.record);
  return out;
}

MeshDelta MeshStore::Feed::take() {
  MeshDelta out;
  const std::lock_guard lock(store_.mutex_);
  collect(store_.workloads_, std::exchange(workloads_, {}), out.workloads, out.removed_workloads);
  collect(store_.services_, std::exchange(services_, {}), out.services, out.removed_services);
  collect(store_.policies_, std::exchange(policies_, {}), out.policies, out.removed_policies);
  return out;
}

}  // namespace culvert::reconcile
