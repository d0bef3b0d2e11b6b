// Who owns a segment: from (interface, tuple) to a connection or a TIME-WAIT entry.
//
// Open addressing with linear probing over a power of two of eight-byte slots, at most half full, grown by doubling;
// the hash is keyed with a secret, so that nobody can aim collisions at it. A slot holds 32 bits of the hash and a
// reference; the caller's equality decides. Removal shifts followers back, so there are no tombstones. Nothing iterates
// over it: the order of slots depends on the key.
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/interface_id.h"
#include "tcp/keyed_hash.h"
#include "tcp/segment.h"

namespace culvert::tcp {

class ConnectionTable {
 public:
  // Index of a connection, or of a TIME-WAIT entry.
  struct Reference {
    uint32_t index = kNone;
    bool time_wait = false;
    static constexpr uint32_t kNone = 0x7fffffff;
    explicit operator bool() const { return index != kNone; }
    friend bool operator==(const Reference&, const Reference&) = default;
  };

  explicit ConnectionTable(const HashKey& key) : key_(key), slots_(64) {}

  uint32_t hash(InterfaceId interface, const Tuple& tuple) const {
    return static_cast<uint32_t>(sip_hash(key_, tuple.local, tuple.remote, static_cast<uint16_t>(interface)));
  }

  template <class Equal>
  Reference find(uint32_t hash, Equal&& equal) const {
    for (size_t i = hash & mask();; i = (i + 1) & mask()) {
      const Slot& slot = slots_[i];
      if (slot.free()) return {};
      if (slot.hash == hash && equal(slot.reference())) return slot.reference();
    }
  }
  // The key is not in the table.
  void insert(uint32_t hash, Reference reference);
  // The key is in the table under `from`.
  void replace(uint32_t hash, Reference from, Reference to);
  void erase(uint32_t hash, Reference reference);
  size_t size() const { return size_; }

 private:
  struct Slot {
    uint32_t hash = 0;
    uint32_t packed = 0xffffffff;
    bool free() const { return packed == 0xffffffff; }
    Reference reference() const { return {packed & 0x7fffffff, (packed >> 31) != 0}; }
  };
  static uint32_t pack(Reference r) { return r.index | (r.time_wait ? 0x80000000u : 0); }
  size_t mask() const { return slots_.size() - 1; }
  size_t locate(uint32_t hash, Reference reference) const;

  HashKey key_;
  std::vector<Slot> slots_;
  size_t size_ = 0;
};

}  // namespace culvert::tcp
