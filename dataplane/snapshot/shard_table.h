// A hash table in shards, made to be published: readers hold an immutable version, the writer copies only what it
// changes (D15).
//
//   ShardTable ─▶ root: 64 nodes ─▶ node: 64 shards ─▶ shard: entries sorted by hash ─▶ Slot     (─▶ shared_ptr)
//
// A change copies one shard's entries (a pointer and a hash each; 24 of them at 100,000 slots), its node and, once per
// publication, the root: about 150 pointers at the design size, 130 in a small mesh. Changes between two publications
// that meet share these copies: nodes and shards remember the epoch in which they were made, and the writer may alter
// those of its present epoch in place. Slots are never altered once published. Look-up is a binary search by hash in
// one contiguous array. Iteration goes by hash, hence in the same order in every process (D3); the hash has no random
// seed, because its keys come from the control plane, which could fill memory in simpler ways.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/ip_address.h"

namespace culvert::snapshot {

inline constexpr size_t kFanOut = 64;
inline constexpr size_t kShards = kFanOut * kFanOut;

// FNV-1a, finished by splitmix64's mixer so that the top bits choose shards evenly.
inline uint64_t hash_text(std::string_view text, uint64_t seed = 0xcbf29ce484222325ULL) {
  uint64_t h = seed;
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
  h ^= h >> 30;
  h *= 0xbf58476d1ce4e5b9ULL;
  h ^= h >> 27;
  h *= 0x94d049bb133111ebULL;
  return h ^ (h >> 31);
}

template <class Slot>
class ShardTable {
 public:
  using SlotPtr = std::shared_ptr<const Slot>;
  struct Entry {
    uint64_t hash;
    SlotPtr slot;
  };
  struct Shard {
    uint64_t epoch = 0;
    std::vector<Entry> entries;  // sorted by hash
  };
  struct Node {
    uint64_t epoch = 0;
    std::array<std::shared_ptr<Shard>, kFanOut> shards;
  };
  using Root = std::array<std::shared_ptr<Node>, kFanOut>;

  // The slot with this hash for which is_it(const Slot&) holds; null for none. Valid while the table is.
  template <class IsIt>
  const Slot* find(uint64_t hash, IsIt&& is_it) const {
    const SlotPtr* found = find_shared(hash, is_it);
    return found ? found->get() : nullptr;
  }
  template <class IsIt>
  const SlotPtr* find_shared(uint64_t hash, IsIt&& is_it) const {
    const Shard* shard = shard_at(shard_of(hash));
    if (!shard) return nullptr;
    auto entry = lower_bound(shard->entries, hash);
    for (; entry != shard->entries.end() && entry->hash == hash; ++entry) {
      if (is_it(*entry->slot)) return &entry->slot;
    }
    return nullptr;
  }

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (size_t i = 0; i < kShards; ++i) {
      const Shard* shard = shard_at(i);
      if (!shard) continue;
      for (const Entry& entry : shard->entries) visit(*entry.slot);
    }
  }

  // How many shards two versions have in common, for tests and measurements.
  size_t shards_shared_with(const ShardTable& other) const {
    size_t same = 0;
    for (size_t i = 0; i < kShards; ++i) same += shard_at(i) == other.shard_at(i) ? 1 : 0;
    return same;
  }

 protected:
  static size_t shard_of(uint64_t hash) { return hash >> (64 - 12); }
  static_assert(kShards == 1u << 12);
  const Shard* shard_at(size_t index) const {
    const Node* node = root_ ? (*root_)[index / kFanOut].get() : nullptr;
    return node ? node->shards[index % kFanOut].get() : nullptr;
  }
  template <class Entries>
  static auto lower_bound(Entries& entries, uint64_t hash) {
    return std::lower_bound(entries.begin(), entries.end(), hash,
                            [](const Entry& entry, uint64_t h) { return entry.hash < h; });
  }
  std::shared_ptr<Root> root_;
};

// The writer's side: owned by MeshBuilder, one thread.
template <class Slot>
class ShardTableWriter : public ShardTable<Slot> {
 public:
  using Base = ShardTable<Slot>;
  using typename Base::Entry;
  using typename Base::Node;
  using typename Base::Root;
  using typename Base::Shard;
  using typename Base::SlotPtr;

  // Puts the slot in the place of the one for which is_it holds, or adds it.
  template <class IsIt>
  void put(uint64_t hash, IsIt&& is_it, SlotPtr slot) {
    std::vector<Entry>& entries = own_shard(hash).entries;
    auto entry = Base::lower_bound(entries, hash);
    for (; entry != entries.end() && entry->hash == hash; ++entry) {
      if (is_it(*entry->slot)) {
        entry->slot = std::move(slot);
        return;
      }
    }
    entries.insert(entry, Entry{hash, std::move(slot)});
  }

  template <class IsIt>
  void erase(uint64_t hash, IsIt&& is_it) {
    if (!Base::find(hash, is_it)) return;
    std::vector<Entry>& entries = own_shard(hash).entries;
    for (auto entry = Base::lower_bound(entries, hash); entry != entries.end() && entry->hash == hash; ++entry) {
      if (is_it(*entry->slot)) {
        entries.erase(entry);
        return;
      }
    }
  }

  // The present version; what comes later does not alter it.
  ShardTable<Slot> publish() {
    ++epoch_;
    root_is_ours_ = false;
    return *this;
  }

  uint64_t entries_copied() const { return entries_copied_; }

 private:
  Shard& own_shard(uint64_t hash) {
    if (!root_is_ours_) {
      this->root_ = this->root_ ? std::make_shared<Root>(*this->root_) : std::make_shared<Root>();
      root_is_ours_ = true;
    }
    const size_t index = Base::shard_of(hash);
    std::shared_ptr<Node>& node = (*this->root_)[index / kFanOut];
    own(node);
    std::shared_ptr<Shard>& shard = node->shards[index % kFanOut];
    if (shard && shard->epoch != epoch_) entries_copied_ += shard->entries.size();
    own(shard);
    return *shard;
  }

  // Replaces what an earlier epoch made by a copy that may be altered.
  template <class T>
  void own(std::shared_ptr<T>& part) {
    if (part && part->epoch == epoch_) return;
    part = part ? std::make_shared<T>(*part) : std::make_shared<T>();
    part->epoch = epoch_;
  }

  uint64_t epoch_ = 1;
  bool root_is_ours_ = false;
  uint64_t entries_copied_ = 0;
};

}  // namespace culvert::snapshot
