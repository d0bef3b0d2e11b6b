#include "tests/tools/packetdrill/sockets.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fcntl.h>
#include <linux/sockios.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace culvert::packetdrill {

namespace {

std::optional<Endpoint> endpoint_of(const sockaddr* address, socklen_t length) {
  if (address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    return Endpoint{IpAddress::v4(ntohl(in.sin_addr.s_addr)), ntohs(in.sin_port)};
  }
  if (address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof in);
    return Endpoint{IpAddress::v6(in.sin6_addr.s6_addr), ntohs(in.sin6_port)};
  }
  return std::nullopt;
}

void fill(const Endpoint& endpoint, int family, sockaddr* address, socklen_t* length) {
  if (!address || !length) return;
  if (family == AF_INET) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    in.sin_addr.s_addr = htonl(endpoint.address.v4_host_order());
    std::memcpy(address, &in, std::min<size_t>(*length, sizeof in));
    *length = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(endpoint.port);
    std::memcpy(in.sin6_addr.s6_addr, endpoint.address.bytes().data(), 16);
    std::memcpy(address, &in, std::min<size_t>(*length, sizeof in));
    *length = sizeof in;
  }
}

}  // namespace

int fail(int error) {
  errno = error;
  return -1;
}

Sockets::Sockets(const Flags& flags) : engine_(flags) { engine_.attach(*this); }

Sockets::~Sockets() {
  for (const auto& [fd, serial] : by_fd_) ::close(fd);
  for (const auto& [fd, watch] : epolls_) ::close(fd);
}

Socket* Sockets::find(int fd) {
  const auto at = by_fd_.find(fd);
  if (at == by_fd_.end()) {
    errno = EBADF;
    return nullptr;
  }
  return sockets_.at(at->second).get();
}

Socket& Sockets::make() {
  auto s = std::make_unique<Socket>();
  s->serial = next_serial_++;
  s->options.cubic = engine_.flags().cubic;
  s->options.delayed_ack = engine_.flags().delayed_ack;
  s->options.rcv_buffer_bytes_max = engine_.flags().rmem;
  s->options.snd_buffer_bytes = engine_.flags().wmem;
  // What a Linux socket does unless asked otherwise.
  s->options.nodelay = false;
  s->options.keepalive = false;
  s->options.keepalive_idle = 7200s;
  s->options.keepalive_interval = 75s;
  s->options.syn_timeout = 127s;
  Socket& made = *s;
  sockets_[made.serial] = std::move(s);
  return made;
}

void Sockets::forget(uint64_t serial) { sockets_.erase(serial); }

// --- opening
// ------------------------------------------------------------------------------------------------------------

int Sockets::socket(int domain, int type, int protocol) {
  Lock lock = engine_.lock();
  if (domain != AF_INET && domain != AF_INET6) return fail(EAFNOSUPPORT);
  if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) return fail(EPROTONOSUPPORT);
  if (protocol != 0 && protocol != IPPROTO_TCP) return fail(EPROTONOSUPPORT);
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd < 0) return -1;
  Socket& s = make();
  s.fd = fd;
  s.family = domain;
  s.nonblocking = type & SOCK_NONBLOCK;
  by_fd_[fd] = s.serial;
  return fd;
}

int Sockets::bind(int fd, const sockaddr* address, socklen_t length) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  const auto endpoint = endpoint_of(address, length);
  if (!endpoint || s->bound) return fail(EINVAL);
  for (const auto& [serial, other] : sockets_) {
    const bool listens = other->state == Socket::State::kListening;
    if (other->bound && other->fd >= 0 && other->local.port == endpoint->port && endpoint->port != 0 &&
        other->local.address == endpoint->address && (listens || !other->reuse_address || !s->reuse_address)) {
      return fail(EADDRINUSE);
    }
  }
  s->local = *endpoint;
  s->bound = true;
  return 0;
}

int Sockets::listen(int fd, int backlog) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (s->state != Socket::State::kFresh && s->state != Socket::State::kListening) return fail(EINVAL);
  s->state = Socket::State::kListening;
  s->backlog = std::max(backlog, 0);
  return 0;
}

Socket* Sockets::listener_of(const Endpoint& local) {
  Socket* any = nullptr;
  for (const auto& [serial, s] : sockets_) {
    if (s->state != Socket::State::kListening || s->local.port != local.port) continue;
    if (s->local.address == local.address) return s.get();
    if (s->local.address.is_unspecified()) any = s.get();
  }
  return any;
}

void Sockets::prepare(ByteView packet) {
  // Destination address and port of a TCP packet; anything else has no listener.
  std::optional<IpAddress> to;
  size_t transport = 0;
  if (packet.size() >= 20 && packet[0] >> 4 == 4) {
    to = IpAddress::from_bytes(packet.subspan(16, 4));
    transport = (packet[0] & 15u) * 4u;
  } else if (packet.size() >= 40 && packet[0] >> 4 == 6) {
    to = IpAddress::from_bytes(packet.subspan(24, 16));
    transport = 40;
  }
  if (!to || packet.size() < transport + 4) return;
  const auto port = static_cast<uint16_t>(packet[transport + 2] << 8 | packet[transport + 3]);
  if (const Socket* s = listener_of({*to, port})) engine_.accept_with(s->options);
}

tcp::SynVerdict Sockets::on_syn(const tcp::Tuple& tuple) {
  const Socket* s = listener_of(tuple.local);
  if (!s) return tcp::SynVerdict::kRefuse;
  // A full accept queue drops the SYN, so that the peer tries again.
  return s->accepted.size() > static_cast<size_t>(s->backlog) ? tcp::SynVerdict::kDrop : tcp::SynVerdict::kAccept;
}

void Sockets::on_event(const tcp::Event& event) {
  tcp::Stack& stack = engine_.stack();
  if (event.kind == tcp::EventKind::kAccepted) {
    const tcp::Tuple tuple = *stack.tuple(event.connection);
    Socket* from = listener_of(tuple.local);
    if (!from) {
      stack.abort(event.connection, engine_.now());
      return;
    }
    Socket& s = make();
    s.options = from->options;
    s.lingering = from->lingering;
    s.family = from->family;
    s.state = Socket::State::kConnected;
    s.local = tuple.local;
    s.bound = true;
    s.id = event.connection;
    stack.set_cookie(event.connection, s.serial);
    from->accepted.push_back(s.serial);
    ++from->activity;
    return;
  }
  const auto at = sockets_.find(stack.cookie(event.connection));
  if (at == sockets_.end()) return;
  Socket& s = *at->second;
  ++s.activity;
  switch (event.kind) {
    case tcp::EventKind::kConnected:
      s.state = Socket::State::kConnected;
      return;
    case tcp::EventKind::kPeerFin:
      s.peer_fin = true;
      return;
    case tcp::EventKind::kReset:
      s.error = s.peer_fin ? EPIPE : ECONNRESET;
      s.peer_reset = true;
      end(s);
      return;
    case tcp::EventKind::kRefused:
      s.error = engine_.last_icmp_errno() ? engine_.last_icmp_errno() : ECONNREFUSED;
      end(s);
      return;
    case tcp::EventKind::kTimedOut:
      s.error = ETIMEDOUT;
      end(s);
      return;
    case tcp::EventKind::kClosed:
      end(s);
      return;
    default:
      return;
  }
}

// The stack is about to forget the connection: what the program has not read goes with the socket.
void Sockets::end(Socket& s) {
  s.state = Socket::State::kEnded;
  while (Packet p = engine_.stack().read(s.id, kPacketBytesMax, engine_.now())) {
    p.for_each([&s](ByteView piece) { s.leftover.insert(s.leftover.end(), piece.begin(), piece.end()); });
  }
}

int Sockets::accept(int fd, sockaddr* address, socklen_t* length) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (s->state != Socket::State::kListening) return fail(EINVAL);
  const uint64_t serial = s->serial;
  if (s->accepted.empty()) {
    if (s->nonblocking) return fail(EAGAIN);
    const auto ready = [&] { return !sockets_.contains(serial) || !s->accepted.empty(); };
    if (!engine_.wait(lock, ready) || !sockets_.contains(serial)) return fail(EAGAIN);
  }
  Socket& taken = *sockets_.at(s->accepted.front());
  s->accepted.pop_front();
  const int taken_fd = ::eventfd(0, EFD_CLOEXEC);
  if (taken_fd < 0) return -1;
  taken.fd = taken_fd;
  by_fd_[taken_fd] = taken.serial;
  if (const tcp::Tuple* tuple = engine_.stack().tuple(taken.id)) fill(tuple->remote, taken.family, address, length);
  return taken_fd;
}

int Sockets::connect(int fd, const sockaddr* address, socklen_t length) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  switch (s->state) {
    case Socket::State::kConnecting:
      return fail(EALREADY);
    case Socket::State::kConnected:
      return fail(EISCONN);
    case Socket::State::kListening:
      return fail(EISCONN);
    case Socket::State::kEnded:
      if (s->error) return take_error(*s);
      return fail(ECONNABORTED);
    case Socket::State::kFresh:
      break;
  }
  const auto to = endpoint_of(address, length);
  if (!to) return fail(EAFNOSUPPORT);
  tcp::Tuple tuple{s->local, *to};
  if (tuple.local.address.is_unspecified()) {
    tuple.local.address = to->address.is_v4() ? engine_.flags().local_v4 : engine_.flags().local_v6;
  }
  const auto opened = engine_.stack().connect(kWire, tuple, s->options, engine_.now());
  if (!opened) {
    switch (opened.error()) {
      case tcp::Stack::ConnectError::kNoPort:
        return fail(EADDRNOTAVAIL);
      case tcp::Stack::ConnectError::kInUse:
        return fail(EADDRINUSE);
      case tcp::Stack::ConnectError::kFull:
        return fail(ENOBUFS);
      case tcp::Stack::ConnectError::kNoInterface:
        return fail(ENETUNREACH);
    }
  }
  s->id = *opened;
  s->state = Socket::State::kConnecting;
  s->local = engine_.stack().tuple(s->id)->local;
  s->bound = true;
  engine_.stack().set_cookie(s->id, s->serial);
  engine_.settle();
  if (s->nonblocking) return fail(EINPROGRESS);
  const uint64_t serial = s->serial;
  const auto ready = [&] { return !sockets_.contains(serial) || s->state != Socket::State::kConnecting; };
  engine_.wait(lock, ready);
  if (!sockets_.contains(serial)) return fail(EBADF);
  if (s->error) return take_error(*s);
  return s->state == Socket::State::kConnected ? 0 : fail(ETIMEDOUT);
}

int Sockets::take_error(Socket& s) { return fail(std::exchange(s.error, 0)); }

// --- data
// ---------------------------------------------------------------------------------------------------------------

bool Sockets::may_receive(const Socket& s) {
  return !s.leftover.empty() || s.error || s.peer_fin || s.read_shut || s.state == Socket::State::kEnded ||
         engine_.stack().readable_bytes(s.id) > 0;
}

bool Sockets::may_send(const Socket& s) {
  if (s.error || s.write_shut || s.state == Socket::State::kEnded) return true;
  return s.state == Socket::State::kConnected && engine_.stack().writable_bytes(s.id) > 0;
}

ssize_t Sockets::receive(int fd, const iovec* pieces, size_t count, int flags, sockaddr* from, socklen_t* length) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (flags & MSG_OOB) return fail(EINVAL);
  if (s->state == Socket::State::kFresh || s->state == Socket::State::kListening) return fail(ENOTCONN);
  size_t wanted = 0;
  for (size_t i = 0; i < count; ++i) wanted += pieces[i].iov_len;
  tcp::Stack& stack = engine_.stack();
  const uint64_t serial = s->serial;
  const bool blocking = !s->nonblocking && !(flags & MSG_DONTWAIT);
  const auto held = [&] { return s->leftover.size() + stack.readable_bytes(s->id); };

  if (wanted > 0 && !may_receive(*s)) {
    if (!blocking) return fail(EAGAIN);
    const auto ready = [&] { return !sockets_.contains(serial) || may_receive(*s); };
    if (!engine_.wait(lock, ready)) return fail(EAGAIN);
    if (!sockets_.contains(serial)) return fail(EBADF);
  }
  if ((flags & MSG_WAITALL) && blocking) {
    const auto all = [&] {
      return !sockets_.contains(serial) || held() >= wanted || s->error || s->peer_fin ||
             s->state == Socket::State::kEnded;
    };
    engine_.wait(lock, all);
    if (!sockets_.contains(serial)) return fail(EBADF);
  }
  if (held() == 0) {
    if (s->error) return take_error(*s);
    return 0;
  }
  if (const tcp::Tuple* tuple = stack.tuple(s->id)) fill(tuple->remote, s->family, from, length);

  const size_t take = std::min<size_t>(wanted, held());
  std::vector<uint8_t> bytes(take);
  const size_t old = std::min(take, s->leftover.size());
  std::copy_n(s->leftover.begin(), old, bytes.begin());
  if (old < take) stack.receive_queue(s->id)->copy_out(0, MutableByteView(bytes).subspan(old));
  if (!(flags & MSG_PEEK)) {
    s->leftover.erase(s->leftover.begin(), s->leftover.begin() + static_cast<std::ptrdiff_t>(old));
    if (old < take) stack.consumed(s->id, take - old, engine_.now());
  }
  size_t at = 0;
  for (size_t i = 0; i < count && at < take; ++i) {
    const size_t part = std::min(pieces[i].iov_len, take - at);
    if (!(flags & MSG_TRUNC)) std::memcpy(pieces[i].iov_base, bytes.data() + at, part);
    at += part;
  }
  engine_.settle();
  return static_cast<ssize_t>(take);
}

ssize_t Sockets::send(int fd, const iovec* pieces, size_t count, int flags) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (flags & MSG_OOB) return fail(EOPNOTSUPP);  // RFC 6093 5: new applications should not
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < count; ++i) {
    const auto* piece = static_cast<const uint8_t*>(pieces[i].iov_base);
    bytes.insert(bytes.end(), piece, piece + pieces[i].iov_len);
  }
  const bool blocking = !s->nonblocking && !(flags & MSG_DONTWAIT);
  const uint64_t serial = s->serial;
  size_t done = 0;
  while (true) {
    if (s->error) return done > 0 ? static_cast<ssize_t>(done) : take_error(*s);
    if (s->write_shut || s->state == Socket::State::kEnded || s->state == Socket::State::kFresh ||
        s->state == Socket::State::kListening) {
      return done > 0 ? static_cast<ssize_t>(done) : fail(EPIPE);
    }
    if (done == bytes.size()) break;
    const uint64_t room = s->state == Socket::State::kConnected ? engine_.stack().writable_bytes(s->id) : 0;
    if (room > 0) {
      const size_t part = std::min<size_t>({bytes.size() - done, room, 1u << 16});
      Packet packet = engine_.pool().take_copy(ByteView(bytes).subspan(done, part));
      if (!packet) return done > 0 ? static_cast<ssize_t>(done) : fail(ENOBUFS);
      if (!engine_.stack().write(s->id, std::move(packet), engine_.now())) continue;
      done += part;
      continue;
    }
    engine_.settle();
    if (!blocking) return done > 0 ? static_cast<ssize_t>(done) : fail(EAGAIN);
    const auto ready = [&] { return !sockets_.contains(serial) || may_send(*s); };
    if (!engine_.wait(lock, ready)) return done > 0 ? static_cast<ssize_t>(done) : fail(EAGAIN);
    if (!sockets_.contains(serial)) return fail(EBADF);
  }
  engine_.settle();
  return static_cast<ssize_t>(done);
}

// --- the rest
// -----------------------------------------------------------------------------------------------------------

int Sockets::fcntl(int fd, int command, long argument) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  switch (command) {
    case F_GETFL:
      return O_RDWR | (s->nonblocking ? O_NONBLOCK : 0);
    case F_SETFL:
      s->nonblocking = argument & O_NONBLOCK;
      return 0;
    case F_GETFD:
      return FD_CLOEXEC;
    case F_SETFD:
      return 0;
    default:
      return fail(EINVAL);
  }
}

int Sockets::ioctl(int fd, unsigned long request, void* argument) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (!argument) return fail(EFAULT);
  int& value = *static_cast<int*>(argument);
  switch (request) {
    case FIONBIO:
      s->nonblocking = value != 0;
      return 0;
    case SIOCINQ:
      if (s->state == Socket::State::kListening) return fail(EINVAL);
      value = static_cast<int>(s->leftover.size() + engine_.stack().readable_bytes(s->id));
      return 0;
    case SIOCOUTQ:
      if (s->state == Socket::State::kListening) return fail(EINVAL);
      value = static_cast<int>(engine_.stack().unacknowledged_bytes(s->id));
      return 0;
    default:
      return fail(EINVAL);
  }
}

int Sockets::close(int fd) {
  Lock lock = engine_.lock();
  if (const auto epoll = epolls_.find(fd); epoll != epolls_.end()) {
    epolls_.erase(epoll);
    return ::close(fd);
  }
  Socket* s = find(fd);
  if (!s) return -1;
  tcp::Stack& stack = engine_.stack();
  if (s->state == Socket::State::kListening) {
    for (const uint64_t serial : s->accepted) {
      stack.abort(sockets_.at(serial)->id, engine_.now());
      forget(serial);
    }
  } else if (s->lingering.l_onoff && s->lingering.l_linger == 0) {
    stack.abort(s->id, engine_.now());
  } else {
    stack.release(s->id, engine_.now());
  }
  for (auto& [epoll_fd, watch] : epolls_) watch.erase(fd);
  by_fd_.erase(fd);
  forget(s->serial);
  engine_.settle();
  return ::close(fd);
}

int Sockets::shutdown(int fd, int how) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return fail(EINVAL);
  if (s->state == Socket::State::kFresh || s->state == Socket::State::kEnded) return fail(ENOTCONN);
  if (s->state == Socket::State::kListening) {
    s->state = Socket::State::kEnded;
    engine_.settle();
    return 0;
  }
  if (how != SHUT_WR) s->read_shut = true;
  if (how != SHUT_RD) {
    s->write_shut = true;
    engine_.stack().shutdown_write(s->id, engine_.now());
  }
  ++s->activity;
  engine_.settle();
  return 0;
}

}  // namespace culvert::packetdrill
