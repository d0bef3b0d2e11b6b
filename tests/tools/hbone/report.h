// The JSON lines: one per stream at its end, one per connection at its end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hbone/connect.h"
#include "hbone/transport.h"

namespace culvert::hbone_tool {

struct StreamReport {
  bool server = false;
  uint64_t connection = 0;  // which connection of this process, from 1
  int32_t number = 0;       // stream identifier on the wire; 0: never requested
  std::string authority;
  uint16_t status = 0;  // 0: no answer was sent or received
  std::string end;      // "clean", "refused", "reset", "lost"
  std::optional<uint32_t> reset_sent, reset_received;
  uint64_t bytes_sent = 0, bytes_received = 0;
  hbone::Baggage baggage;  // the peer's
  std::string forwarded_host, traceparent, peer_identity, detail;
};

std::string json_line(const StreamReport& report);
std::string json_line(const hbone::Transport& transport, bool server, uint64_t connection, const std::string& peer);

}  // namespace culvert::hbone_tool
