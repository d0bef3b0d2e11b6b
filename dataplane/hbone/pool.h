// Which tunnel takes the next stream: the client's pool as bookkeeping, without tunnels in it (D5, reference 6).
//
// Per key there is at most one tunnel to be had and at most one being made; whoever asks while one is made waits for
// it. A tunnel leaves the pool for good when its last free stream is handed out, when the peer says GOAWAY, or when
// nobody asked for the idle time: it then lives until its last stream ends. What fails while it is made fails for every
// waiter, once; nothing is tried again here.
//
// Tunnels and waiters are the caller's indices. Entries without tunnel and waiters are dropped, so that the pool is no
// larger than what is in use. Nothing iterates over the table.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>

#include "hbone/stream.h"

namespace culvert::hbone {

struct TunnelKeyHash {
  size_t operator()(const TunnelKey& key) const;
};

class Pool {
 public:
  struct Entry {
    std::optional<uint32_t> ready;       // takes streams
    std::optional<uint32_t> connecting;  // is being made
    std::deque<StreamId> waiters;        // in the order they asked
  };

  Entry* find(const TunnelKey& key);
  Entry& find_or_make(const TunnelKey& key);

  // The tunnel under way is up: it is the one to be had from now on.
  void on_up(const TunnelKey& key, uint32_t tunnel);
  // The tunnel leaves the pool, whatever it was in it.
  void remove(const TunnelKey& key, uint32_t tunnel);
  // The next waiter, oldest first.
  std::optional<StreamId> take_waiter(const TunnelKey& key);
  // Drops the entry when nothing is in it any more.
  void settle(const TunnelKey& key);
  size_t entries() const { return entries_.size(); }

 private:
  std::unordered_map<TunnelKey, Entry, TunnelKeyHash> entries_;
};

}  // namespace culvert::hbone
