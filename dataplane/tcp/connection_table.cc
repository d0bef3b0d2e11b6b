#include "tcp/connection_table.h"

namespace culvert::tcp {

void ConnectionTable::insert(uint32_t hash, Reference reference) {
  if ((size_ + 1) * 2 > slots_.size()) {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.free()) continue;
      size_t i = slot.hash & mask();
      while (!slots_[i].free()) i = (i + 1) & mask();
      slots_[i] = slot;
    }
  }
  size_t i = hash & mask();
  while (!slots_[i].free()) i = (i + 1) & mask();
  slots_[i] = {hash, pack(reference)};
  ++size_;
}

size_t ConnectionTable::locate(uint32_t hash, Reference reference) const {
  const uint32_t packed = pack(reference);
  for (size_t i = hash & mask();; i = (i + 1) & mask()) {
    DP_CHECK(!slots_[i].free());
    if (slots_[i].hash == hash && slots_[i].packed == packed) return i;
  }
}

void ConnectionTable::replace(uint32_t hash, Reference from, Reference to) {
  slots_[locate(hash, from)].packed = pack(to);
}

void ConnectionTable::erase(uint32_t hash, Reference reference) {
  size_t hole = locate(hash, reference);
  // Whoever follows without a gap and may live at the hole moves there.
  for (size_t i = (hole + 1) & mask(); !slots_[i].free(); i = (i + 1) & mask()) {
    const size_t home = slots_[i].hash & mask();
    if (((i - home) & mask()) >= ((i - hole) & mask())) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole] = {};
  --size_;
}

}  // namespace culvert::tcp
