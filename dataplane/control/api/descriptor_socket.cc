#include "control/api/descriptor_socket.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "control/api/contract.h"

namespace culvert::api {

namespace {

std::string system_error(std::string_view what) { return std::string(what) + ": " + std::strerror(errno); }

// Every descriptor of a received message is owned at once: a refused packet must not leak one.
std::vector<UniqueFd> take_descriptors(msghdr& message) {
  std::vector<UniqueFd> out;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      out.emplace_back(fd);
    }
  }
  return out;
}

}  // namespace

Result<void, std::string> send_packet(int socket, std::string_view bytes, std::span<const int> descriptors) {
  if (bytes.empty() || bytes.size() > kDescriptorMessageBytesMax || descriptors.size() > kDescriptorsPerMessageMax) {
    return std::string("descriptor packet of an impossible size");
  }
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsPerMessageMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t n;
  do {
    n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return system_error("cannot send on the descriptor socket");
  return {};
}

Result<std::optional<DescriptorPacket>, std::string> receive_packet(int socket) {
  using Received = std::optional<DescriptorPacket>;
  DescriptorPacket packet;
  packet.bytes.resize(kDescriptorMessageBytesMax);
  iovec data{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsPerMessageMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t n;
  do {
    n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Failure{system_error("cannot receive on the descriptor socket")};
  packet.descriptors = take_descriptors(message);
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    return Failure{"descriptor packet longer than " + std::to_string(kDescriptorMessageBytesMax) + " bytes"};
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return Failure{"descriptor packet with more than " + std::to_string(kDescriptorsPerMessageMax) +
                   " descriptors, or this process may open no more (see `ulimit -n`)"};
  }
  // A SEQPACKET peer never sends an empty packet here (send_packet refuses it): empty means closed.
  if (n == 0) return Received{};
  packet.bytes.resize(static_cast<size_t>(n));
  return Received{std::move(packet)};
}

Result<UniqueFd, std::string> connect_descriptor_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return Failure{"descriptor socket path `" + path + "` is not 1 to 107 bytes long"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return Failure{system_error("cannot make a Unix socket")};
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Failure{system_error("cannot connect to " + path)};
  }
  return socket;
}

}  // namespace culvert::api
