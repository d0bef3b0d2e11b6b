#include "admin/listener.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace culvert::admin {
namespace {

constexpr int kBacklog = 128;

socklen_t fill(const Endpoint& endpoint, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof(out));
  if (endpoint.address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(endpoint.port);
    v4.sin_addr.s_addr = htonl(endpoint.address.v4_host_order());
    return sizeof(v4);
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(endpoint.port);
  std::memcpy(&v6.sin6_addr, endpoint.address.bytes().data(), sizeof(v6.sin6_addr));
  return sizeof(v6);
}

uint16_t port_of(int socket) {
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &length) != 0) return 0;
  return ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(bound).sin_port
                                          : reinterpret_cast<sockaddr_in6&>(bound).sin6_port);
}

// 0, or the system's error.
int try_listen(const Endpoint& endpoint, UniqueFd& out) {
  sockaddr_storage storage{};
  const socklen_t length = fill(endpoint, storage);
  UniqueFd socket(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return errno;
  const int on = 1, off = 0;
  // Not SO_REUSEPORT: a second agent on this address is a mistake, and must hear of it.
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (storage.ss_family == AF_INET6) setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return errno;
  if (listen(socket.get(), kBacklog) != 0) return errno;
  out = std::move(socket);
  return 0;
}

}  // namespace

Result<Listener, std::string> listen_on(const Endpoint& address, const std::string& what, const std::string& setting) {
  Listener out;
  out.address = address;
  int error = try_listen(address, out.socket);
  const bool no_v6 = error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
  if (no_v6 && !address.address.is_v4() && address.address.is_unspecified()) {
    out.address.address = IpAddress::v4(0u);
    error = try_listen(out.address, out.socket);
  }
  if (error != 0) {
    std::string sentence = "cannot listen on " + address.to_string() + " for " + what + ": " + std::strerror(error);
    if (error == EADDRINUSE) sentence += "; end the process that has it, or set " + setting + " to another address";
    if (error == EADDRNOTAVAIL) sentence += "; set " + setting + " to an address of this host";
    if (error == EACCES) sentence += "; set " + setting + " to a port from 1024 on";
    return sentence;
  }
  out.address.port = port_of(out.socket.get());
  return out;
}

}  // namespace culvert::admin
