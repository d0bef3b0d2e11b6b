// poll and epoll over the same readiness.
#include <sys/eventfd.h>

#include <cerrno>

#include "tests/tools/packetdrill/sockets.h"

namespace culvert::packetdrill {

// In poll's bits, which are epoll's.
uint32_t Sockets::readiness(const Socket& s) {
  uint32_t ready = 0;
  if (s.state == Socket::State::kListening) return s.accepted.empty() ? 0 : POLLIN | POLLRDNORM;
  if (s.state == Socket::State::kFresh) return POLLOUT | POLLHUP;
  if (s.state == Socket::State::kConnecting) return 0;
  if (may_receive(s)) ready |= POLLIN | POLLRDNORM;
  if (s.peer_fin || s.read_shut || s.state == Socket::State::kEnded) ready |= POLLRDHUP;
  if (s.state == Socket::State::kEnded || (s.peer_fin && s.write_shut)) ready |= POLLHUP;
  if (s.error || s.peer_reset) ready |= POLLERR;
  const uint64_t limit = s.options.snd_buffer_bytes;
  if (s.state == Socket::State::kEnded || s.write_shut || engine_.stack().writable_bytes(s.id) >= (limit + 2) / 3) {
    ready |= POLLOUT | POLLWRNORM;
  }
  return ready;
}

Instant Sockets::deadline_after(int timeout_ms) {
  return timeout_ms < 0 ? kNever : engine_.now() + std::chrono::milliseconds{timeout_ms};
}

int Sockets::poll(pollfd* fds, nfds_t count, int timeout_ms) {
  Lock lock = engine_.lock();
  int ready = 0;
  const auto look = [&] {
    ready = 0;
    for (nfds_t i = 0; i < count; ++i) {
      fds[i].revents = 0;
      if (fds[i].fd < 0) continue;
      const auto at = by_fd_.find(fds[i].fd);
      if (at == by_fd_.end()) {
        fds[i].revents = POLLNVAL;
      } else {
        const uint32_t wanted = static_cast<uint16_t>(fds[i].events) | uint32_t{POLLERR} | uint32_t{POLLHUP};
        fds[i].revents = static_cast<short>(readiness(*sockets_.at(at->second)) & wanted);
      }
      ready += fds[i].revents != 0;
    }
    return ready > 0;
  };
  engine_.wait(lock, look, deadline_after(timeout_ms));
  return ready;
}

int Sockets::epoll_create() {
  Lock lock = engine_.lock();
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd >= 0) epolls_[fd];
  return fd;
}

int Sockets::epoll_ctl(int epoll_fd, int operation, int fd, const epoll_event* event) {
  Lock lock = engine_.lock();
  const auto epoll = epolls_.find(epoll_fd);
  if (epoll == epolls_.end()) return fail(EBADF);
  if (!find(fd)) return -1;
  Epoll& watch = epoll->second;
  const bool known = watch.contains(fd);
  switch (operation) {
    case EPOLL_CTL_ADD:
      if (known) return fail(EEXIST);
      break;
    case EPOLL_CTL_MOD:
      if (!known) return fail(ENOENT);
      break;
    case EPOLL_CTL_DEL:
      if (!known) return fail(ENOENT);
      watch.erase(fd);
      return 0;
    default:
      return fail(EINVAL);
  }
  if (!event) return fail(EFAULT);
  watch[fd] = {*event, 0, false};
  engine_.settle();
  return 0;
}

int Sockets::collect(Epoll& watch, epoll_event* events, int count_max) {
  int count = 0;
  for (auto& [fd, watched] : watch) {
    if (count == count_max) break;
    const auto at = by_fd_.find(fd);
    if (at == by_fd_.end() || watched.disarmed) continue;
    const Socket& s = *sockets_.at(at->second);
    const uint32_t ready = readiness(s) & (watched.event.events | EPOLLERR | EPOLLHUP);
    if (ready == 0) continue;
    // An edge is anything that happened since the last report; the first report needs none.
    const auto info = engine_.stack().info(s.id);
    const uint64_t activity = 1 + s.activity + (info ? info->bytes_in : 0);
    if ((watched.event.events & EPOLLET) && watched.seen == activity) continue;
    if (events) {
      watched.seen = activity;
      watched.disarmed = watched.event.events & EPOLLONESHOT;
      events[count] = watched.event;
      events[count].events = ready;
    }
    ++count;
  }
  return count;
}

int Sockets::epoll_wait(int epoll_fd, epoll_event* events, int count_max, int timeout_ms) {
  Lock lock = engine_.lock();
  if (!epolls_.contains(epoll_fd)) return fail(EBADF);
  if (count_max <= 0) return fail(EINVAL);
  const auto ready = [&] {
    const auto epoll = epolls_.find(epoll_fd);
    return epoll == epolls_.end() || collect(epoll->second, nullptr, 1) > 0;
  };
  engine_.wait(lock, ready, deadline_after(timeout_ms));
  const auto epoll = epolls_.find(epoll_fd);
  return epoll == epolls_.end() ? fail(EBADF) : collect(epoll->second, events, count_max);
}

}  // namespace culvert::packetdrill
