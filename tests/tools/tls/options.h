// What culvert-tls was asked to do, after its options have been read and checked.
#pragma once

#include <cstdint>
#include <string>

#include "tests/tools/tls/settings.h"

namespace culvert::tls_tool {

struct Options {
  int fd = -1;          // inherited: a connected socket, or a listening one; -1 when an address is given
  std::string address;  // to listen at or to connect to, ADDR:PORT
  uint64_t count = 0;   // connections; 0: no end
  bool echo = false;    // else standard input and output
  TlsSettings tls;
};

}  // namespace culvert::tls_tool
