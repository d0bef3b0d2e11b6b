#include "hbone/pool.h"

#include <functional>
#include <string_view>

namespace culvert::hbone {

size_t TunnelKeyHash::operator()(const TunnelKey& key) const {
  // Source and destination tell most keys apart; identities that share both are few.
  uint64_t hash = hash_of(key.source, hash_of(key.destination.address, key.destination.port));
  hash ^= std::hash<std::string_view>{}(key.source_identity.service_account) * 0x9e3779b97f4a7c15ULL;
  for (const identity::SpiffeId& id : key.expected) {
    hash = (hash << 7 | hash >> 57) ^ std::hash<std::string_view>{}(id.service_account);
  }
  return hash;
}

Pool::Entry* Pool::find(const TunnelKey& key) {
  const auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second;
}

Pool::Entry& Pool::find_or_make(const TunnelKey& key) { return entries_[key]; }

void Pool::on_up(const TunnelKey& key, uint32_t tunnel) {
  Entry& entry = entries_[key];
  if (entry.connecting == tunnel) entry.connecting.reset();
  entry.ready = tunnel;
}

void Pool::remove(const TunnelKey& key, uint32_t tunnel) {
  Entry* entry = find(key);
  if (!entry) return;
  if (entry->ready == tunnel) entry->ready.reset();
  if (entry->connecting == tunnel) entry->connecting.reset();
}

std::optional<StreamId> Pool::take_waiter(const TunnelKey& key) {
  Entry* entry = find(key);
  if (!entry || entry->waiters.empty()) return std::nullopt;
  const StreamId waiter = entry->waiters.front();
  entry->waiters.pop_front();
  return waiter;
}

void Pool::settle(const TunnelKey& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return;
  const Entry& entry = it->second;
  if (!entry.ready && !entry.connecting && entry.waiters.empty()) entries_.erase(it);
}

}  // namespace culvert::hbone
