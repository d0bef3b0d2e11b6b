// A listening TCP socket, non-blocking, with errors that name the address and say what to do.
#pragma once

#include <string>

#include "base/ip_address.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace culvert::admin {

struct Listener {
  UniqueFd socket;
  Endpoint address;  // with the port in use
};

// See serve_http.
Result<Listener, std::string> listen_on(const Endpoint& address, const std::string& what, const std::string& setting);

}  // namespace culvert::admin
