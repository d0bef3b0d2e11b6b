// What culvert-tls was asked to do, after its options have been read and checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tls/session.h"

namespace culvert::tls_tool {

struct Options {
  tls::Role role = tls::Role::kServer;
  int fd = -1;                 // inherited: a connected socket, or a listening one; -1 when an address is given
  std::string address;         // to listen at or to connect to, ADDR:PORT
  uint64_t count = 0;          // connections; 0: no end
  bool echo = false;           // else standard input and output
  tls::SessionConfig session;  // without `aead`, which the run adds
  std::string aead = "ipsec_mb";
  std::string keylog;  // file, empty for none
};

}  // namespace culvert::tls_tool
