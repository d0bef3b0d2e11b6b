// What the command line asked for.
#pragma once

#include <cstdint>
#include <string>

#include "tests/tools/tls/settings.h"

namespace culvert::hbone_tool {

struct Options {
  bool serve = false;
  std::string listen;     // serve: tunnels; connect: local connections, empty for standard input and output
  std::string to;         // serve: where streams go, or "echo"
  std::string via;        // connect: the tunnel's server
  std::string authority;  // connect
  std::string baggage, forwarded;
  bool plain = false;
  uint64_t count = 0;  // serve: connections, connect: streams; 0: no limit
  tls_tool::TlsSettings tls;
};

}  // namespace culvert::hbone_tool
