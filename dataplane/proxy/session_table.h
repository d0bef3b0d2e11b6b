// The sessions of one core: slots that never move, found by handles that go stale when a session ends. Slots are made
// in blocks as they are needed and used again; the order of slots is the order of listings.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "proxy/session.h"

namespace culvert::proxy {

class SessionTable {
 public:
  explicit SessionTable(uint32_t sessions_max) : max_(sessions_max) {}

  // Null when sessions_max live.
  Session* create();
  // The session's handle is stale from then on. Its timer must be idle.
  void destroy(Session& session);
  Session* find(uint64_t handle);
  bool full() const { return live_ >= max_; }
  uint32_t live() const { return live_; }

  // Slots made so far, live or not.
  uint32_t slots() const { return static_cast<uint32_t>(blocks_.size()) * kBlock; }
  Session& slot(uint32_t index) { return (*blocks_[index / kBlock])[index % kBlock]; }
  const Session& slot(uint32_t index) const { return (*blocks_[index / kBlock])[index % kBlock]; }

 private:
  static constexpr uint32_t kBlock = 64;
  using Block = std::array<Session, kBlock>;

  const uint32_t max_;
  uint32_t live_ = 0;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<uint32_t> free_;  // the last is used next
};

// Which session a TCP connection belongs to. By index and generation, so that an event of a connection that is gone
// finds nobody.
class ConnectionOwners {
 public:
  void set(tcp::ConnectionId id, uint64_t session);
  void clear(tcp::ConnectionId id);
  uint64_t find(tcp::ConnectionId id) const;  // 0: nobody of ours

 private:
  struct Owner {
    uint32_t generation = 0;
    uint64_t session = 0;
  };
  std::vector<Owner> owners_;  // by connection index; as long as the largest index seen
};

}  // namespace culvert::proxy
