// A bounded queue between two cores: DPDK's rte_ring on memory of our own, one producer, one consumer. Elements are
// plain values whose size is a multiple of four bytes.
#pragma once

#include <rte_ring.h>
#include <rte_ring_elem.h>

#include <cstdlib>
#include <memory>
#include <type_traits>

#include "base/check.h"

namespace culvert {

template <class T>
class Ring {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0);

 public:
  // `slots`: a power of two; one less can be held.
  explicit Ring(uint32_t slots) {
    const ssize_t bytes = rte_ring_get_memsize_elem(sizeof(T), slots);
    DP_CHECK(bytes > 0);
    void* memory = nullptr;
    DP_CHECK(posix_memalign(&memory, RTE_CACHE_LINE_SIZE, static_cast<size_t>(bytes)) == 0);
    ring_.reset(static_cast<rte_ring*>(memory));
    DP_CHECK(rte_ring_init(ring_.get(), "culvert", slots, RING_F_SP_ENQ | RING_F_SC_DEQ) == 0);
  }

  // False when full.
  bool put(T value) { return rte_ring_sp_enqueue_elem(ring_.get(), &value, sizeof(T)) == 0; }
  // False when empty.
  bool take(T& value) { return rte_ring_sc_dequeue_elem(ring_.get(), &value, sizeof(T)) == 0; }
  bool empty() const { return rte_ring_empty(ring_.get()) != 0; }

 private:
  struct Free {
    void operator()(rte_ring* ring) const { std::free(ring); }
  };
  std::unique_ptr<rte_ring, Free> ring_;
};

}  // namespace culvert
