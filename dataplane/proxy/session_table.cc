#include "proxy/session_table.h"

#include "base/check.h"

namespace culvert::proxy {

Session* SessionTable::create() {
  if (full()) return nullptr;
  if (free_.empty()) {
    const uint32_t first = slots();
    blocks_.push_back(std::make_unique<Block>());
    for (uint32_t i = kBlock; i > 0; --i) {
      Session& fresh = slot(first + i - 1);
      fresh.index = first + i - 1;
      fresh.timer.session = &fresh;
      free_.push_back(first + i - 1);
    }
  }
  Session& session = slot(free_.back());
  free_.pop_back();
  ++live_;
  ++session.generation;
  // 0 is no handle, so no generation is 0.
  if (session.generation == 0) session.generation = 1;
  return &session;
}

void SessionTable::destroy(Session& session) {
  DP_CHECK(session.state != SessionState::kFree);
  DP_DCHECK(!session.timer.scheduled());
  session.state = SessionState::kFree;
  session.has_tcp = session.has_stream = session.queued = false;
  session.pod_ended = session.stream_ended = session.stream_stopped = session.has_peer = session.fin_acked = false;
  session.last_bytes.clear();
  session.bytes_sent = session.bytes_received = 0;
  session.peer = {};
  session.series = nullptr;
  session.authority.clear();
  session.service.clear();
  session.src.clear();
  session.dst.clear();
  free_.push_back(session.index);
  --live_;
}

Session* SessionTable::find(uint64_t handle) {
  const auto index = static_cast<uint32_t>(handle);
  if (handle == 0 || index >= slots()) return nullptr;
  Session& session = slot(index);
  return session.state != SessionState::kFree && session.generation == handle >> 32 ? &session : nullptr;
}

void ConnectionOwners::set(tcp::ConnectionId id, uint64_t session) {
  if (id.index >= owners_.size()) owners_.resize(size_t{id.index} + 1);
  owners_[id.index] = {id.generation, session};
}

void ConnectionOwners::clear(tcp::ConnectionId id) {
  if (id.index < owners_.size() && owners_[id.index].generation == id.generation) owners_[id.index] = {};
}

uint64_t ConnectionOwners::find(tcp::ConnectionId id) const {
  if (id.index >= owners_.size() || owners_[id.index].generation != id.generation) return 0;
  return owners_[id.index].session;
}

}  // namespace culvert::proxy
