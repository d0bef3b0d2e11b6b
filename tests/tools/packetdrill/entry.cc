// The table of calls: each finds its object behind the opaque pointer and goes on there.
#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "tests/tools/packetdrill/interface.h"
#include "tests/tools/packetdrill/sockets.h"

namespace culvert::packetdrill {

namespace {

Sockets& of(void* userdata) { return *static_cast<Sockets*>(userdata); }

// A constant buffer as a piece: nothing writes through it.
iovec piece(const void* buffer, size_t count) { return {const_cast<void*>(buffer), count}; }

void free_all(void* u) { delete static_cast<Sockets*>(u); }
int socket_(void* u, int domain, int type, int protocol) { return of(u).socket(domain, type, protocol); }
int bind_(void* u, int fd, const sockaddr* a, socklen_t n) { return of(u).bind(fd, a, n); }
int listen_(void* u, int fd, int backlog) { return of(u).listen(fd, backlog); }
int accept_(void* u, int fd, sockaddr* a, socklen_t* n) { return of(u).accept(fd, a, n); }
int connect_(void* u, int fd, const sockaddr* a, socklen_t n) { return of(u).connect(fd, a, n); }

ssize_t recvfrom_(void* u, int fd, void* buffer, size_t count, int flags, sockaddr* from, socklen_t* n) {
  const iovec one{buffer, count};
  return of(u).receive(fd, &one, 1, flags, from, n);
}
ssize_t recv_(void* u, int fd, void* buffer, size_t count, int flags) {
  return recvfrom_(u, fd, buffer, count, flags, nullptr, nullptr);
}
ssize_t read_(void* u, int fd, void* buffer, size_t count) { return recv_(u, fd, buffer, count, 0); }
ssize_t readv_(void* u, int fd, const iovec* pieces, int count) {
  if (count < 0) return fail(EINVAL);
  return of(u).receive(fd, pieces, static_cast<size_t>(count), 0, nullptr, nullptr);
}
ssize_t recvmsg_(void* u, int fd, msghdr* m, int flags) {
  if (!m) return fail(EFAULT);
  m->msg_controllen = 0;
  m->msg_flags = 0;
  return of(u).receive(fd, m->msg_iov, m->msg_iovlen, flags, static_cast<sockaddr*>(m->msg_name), &m->msg_namelen);
}

ssize_t send_(void* u, int fd, const void* buffer, size_t count, int flags) {
  const iovec one = piece(buffer, count);
  return of(u).send(fd, &one, 1, flags);
}
ssize_t write_(void* u, int fd, const void* buffer, size_t count) { return send_(u, fd, buffer, count, 0); }
ssize_t writev_(void* u, int fd, const iovec* pieces, int count) {
  if (count < 0) return fail(EINVAL);
  return of(u).send(fd, pieces, static_cast<size_t>(count), 0);
}
ssize_t sendto_(void* u, int fd, const void* buffer, size_t count, int flags, const sockaddr*, socklen_t) {
  // Stream sockets have their address already; fast open, which would use it, is not done.
  if (flags & MSG_FASTOPEN) return fail(EOPNOTSUPP);
  return send_(u, fd, buffer, count, flags);
}
ssize_t sendmsg_(void* u, int fd, const msghdr* m, int flags) {
  if (!m) return fail(EFAULT);
  return of(u).send(fd, m->msg_iov, m->msg_iovlen, flags);
}

int fcntl_(void* u, int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  return of(u).fcntl(fd, command, argument);
}
int ioctl_(void* u, int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return of(u).ioctl(fd, request, argument);
}
int close_(void* u, int fd) { return of(u).close(fd); }
int shutdown_(void* u, int fd, int how) { return of(u).shutdown(fd, how); }
int getsockopt_(void* u, int fd, int level, int name, void* value, socklen_t* n) {
  return of(u).getsockopt(fd, level, name, value, n);
}
int setsockopt_(void* u, int fd, int level, int name, const void* value, socklen_t n) {
  return of(u).setsockopt(fd, level, name, value, n);
}
int poll_(void* u, pollfd* fds, nfds_t count, int timeout_ms) { return of(u).poll(fds, count, timeout_ms); }

int netdev_send_(void* u, const void* buffer, size_t count) {
  Engine& engine = of(u).engine();
  Lock lock = engine.lock();
  const ByteView packet{static_cast<const uint8_t*>(buffer), count};
  of(u).prepare(packet);
  engine.send(packet);
  return 0;
}
int netdev_receive_(void* u, void* buffer, size_t* count, long long* time_us) {
  Engine& engine = of(u).engine();
  Lock lock = engine.lock();
  const auto sent = engine.receive(lock);
  if (!sent) {
    *count = 0;
    return 0;
  }
  if (sent->bytes.size() > *count) return fail(EMSGSIZE);
  std::memcpy(buffer, sent->bytes.data(), sent->bytes.size());
  *count = sent->bytes.size();
  *time_us = sent->time_us;
  return 0;
}
int usleep_(void* u, useconds_t microseconds) {
  Engine& engine = of(u).engine();
  Lock lock = engine.lock();
  engine.sleep(lock, std::chrono::microseconds{microseconds});
  return 0;
}
int gettimeofday_(void* u, timeval* time, struct timezone* zone) {
  Engine& engine = of(u).engine();
  Lock lock = engine.lock();
  const int64_t us = engine.read_clock_us();
  if (time) *time = {us / 1'000'000, us % 1'000'000};
  if (zone) *zone = {0, 0};
  return 0;
}

int epoll_create_(void* u, int size) { return size > 0 ? of(u).epoll_create() : fail(EINVAL); }
int epoll_ctl_(void* u, int epoll_fd, int operation, int fd, epoll_event* event) {
  return of(u).epoll_ctl(epoll_fd, operation, fd, event);
}
int epoll_wait_(void* u, int epoll_fd, epoll_event* events, int count_max, int timeout_ms) {
  return of(u).epoll_wait(epoll_fd, events, count_max, timeout_ms);
}
int pipe_(void*, int*) { return fail(ENOSYS); }
ssize_t splice_(void*, int, loff_t*, int, loff_t*, size_t, unsigned int) { return fail(ENOSYS); }

}  // namespace

}  // namespace culvert::packetdrill

extern "C" void packetdrill_interface_init(const char* flags, packetdrill_interface* table) {
  using namespace culvert::packetdrill;
  *table = {new Sockets(parse_flags(flags)),
            free_all,
            socket_,
            bind_,
            listen_,
            accept_,
            connect_,
            read_,
            readv_,
            recv_,
            recvfrom_,
            recvmsg_,
            write_,
            writev_,
            send_,
            sendto_,
            sendmsg_,
            fcntl_,
            ioctl_,
            close_,
            shutdown_,
            getsockopt_,
            setsockopt_,
            poll_,
            netdev_send_,
            netdev_receive_,
            usleep_,
            gettimeofday_,
            epoll_create_,
            epoll_ctl_,
            epoll_wait_,
            pipe_,
            splice_};
}
