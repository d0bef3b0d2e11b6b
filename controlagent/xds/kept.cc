#include "xds/kept.h"

#include <algorithm>

namespace culvert::xds {

RecordId Kept::record_of(const Entries::value_type& entry) const {
  return {entry.second.kind, entry.second.key_differs ? keys_.at(entry.first) : entry.first};
}

Kept::Entries::iterator Kept::owner_of(const RecordId& record) {
  if (const auto found = names_.find(record); found != names_.end()) return entries_.find(found->second);
  const auto same = entries_.find(record.key);
  const bool is_owner = same != entries_.end() && same->second.kind == record.kind && !same->second.key_differs;
  return is_owner ? same : entries_.end();
}

void Kept::erase(Entries::iterator at) {
  if (at->second.key_differs) {
    names_.erase(record_of(*at));
    keys_.erase(at->first);
  }
  set_aliases(at->first, {});
  cost_ -= at->second.cost;
  entries_.erase(at);
}

std::vector<RecordId> Kept::put(const std::string& name, const RecordId& record, std::string version, uint32_t cost,
                                uint32_t response) {
  std::vector<RecordId> orphans;
  if (const auto owner = owner_of(record); owner != entries_.end() && owner->first != name) erase(owner);
  auto [at, is_new] = entries_.try_emplace(name);
  Entry& entry = at->second;
  if (!is_new) {
    if (RecordId former = record_of(*at); former != record) orphans.push_back(std::move(former));
    if (entry.key_differs) {
      names_.erase(record_of(*at));
      keys_.erase(name);
    }
    cost_ -= entry.cost;
  }
  entry = {.version = std::move(version), .kind = record.kind, .known = true, .cost = cost, .response = response};
  cost_ += cost;
  if (record.key != name) {
    entry.key_differs = true;
    keys_.emplace(name, record.key);
    names_.emplace(record, name);
  }
  return orphans;
}

void Kept::refused(const std::string& name, uint32_t response) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  found->second.version.clear();
  found->second.known = false;
  found->second.response = response;
  found->second.refused = true;
}

std::vector<RecordId> Kept::remove(const std::string& name, const std::vector<RecordKind>& kinds) {
  auto at = entries_.find(name);
  for (size_t i = 0; at == entries_.end() && i < kinds.size(); ++i) at = owner_of({kinds[i], name});
  if (at == entries_.end()) return {};
  std::vector<RecordId> gone{record_of(*at)};
  erase(at);
  return gone;
}

std::vector<std::pair<std::string, std::string>> Kept::claim(size_t bytes_max) {
  std::vector<std::pair<std::string, std::string>> out;
  size_t bytes = 0;
  for (auto& [name, entry] : entries_) {
    // A map's entry on the wire: both texts, their tags and lengths, and the entry's own.
    const size_t own = name.size() + entry.version.size() + 12;
    entry.known = !entry.refused && bytes + own <= bytes_max;
    if (!entry.known) continue;
    bytes += own;
    out.emplace_back(name, entry.version);
  }
  return out;
}

std::vector<std::string> Kept::unknown_names(uint32_t response) const {
  std::vector<std::string> out;
  for (const auto& [name, entry] : entries_) {
    if (!entry.known && entry.response != response) out.push_back(name);
  }
  return out;
}

void Kept::set_aliases(const std::string& name, std::vector<std::string> aliases) {
  if (const auto former = aliases_.find(name); former != aliases_.end()) {
    for (const std::string& alias : former->second) {
      const auto found = primaries_.find(alias);
      if (found != primaries_.end() && found->second == name) primaries_.erase(found);
    }
    aliases_.erase(former);
  }
  if (aliases.empty()) return;
  for (const std::string& alias : aliases) primaries_[alias] = name;
  aliases_.emplace(name, std::move(aliases));
}

std::string Kept::primary_of(const std::string& name) const {
  if (entries_.contains(name)) return name;
  const auto found = primaries_.find(name);
  return found == primaries_.end() ? std::string() : found->second;
}

const Kept::Entry* Kept::find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

}  // namespace culvert::xds
