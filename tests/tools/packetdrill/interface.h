// The shared-object interface of the packetdrill test program: one function that fills a table of calls.
//
// Every call is given the table's opaque pointer first and behaves like the system call of its name: −1 and errno on
// failure. netdev_send hands an IP packet to the stack; netdev_receive takes the next one that the stack sends.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

extern "C" {

struct packetdrill_interface {
  void* userdata;
  void (*free)(void* userdata);
  int (*socket)(void* userdata, int domain, int type, int protocol);
  int (*bind)(void* userdata, int fd, const struct sockaddr* address, socklen_t length);
  int (*listen)(void* userdata, int fd, int backlog);
  int (*accept)(void* userdata, int fd, struct sockaddr* address, socklen_t* length);
  int (*connect)(void* userdata, int fd, const struct sockaddr* address, socklen_t length);
  ssize_t (*read)(void* userdata, int fd, void* buffer, size_t count);
  ssize_t (*readv)(void* userdata, int fd, const struct iovec* pieces, int count);
  ssize_t (*recv)(void* userdata, int fd, void* buffer, size_t count, int flags);
  ssize_t (*recvfrom)(void* userdata, int fd, void* buffer, size_t count, int flags, struct sockaddr* from,
                      socklen_t* length);
  ssize_t (*recvmsg)(void* userdata, int fd, struct msghdr* message, int flags);
  ssize_t (*write)(void* userdata, int fd, const void* buffer, size_t count);
  ssize_t (*writev)(void* userdata, int fd, const struct iovec* pieces, int count);
  ssize_t (*send)(void* userdata, int fd, const void* buffer, size_t count, int flags);
  ssize_t (*sendto)(void* userdata, int fd, const void* buffer, size_t count, int flags, const struct sockaddr* to,
                    socklen_t length);
  ssize_t (*sendmsg)(void* userdata, int fd, const struct msghdr* message, int flags);
  int (*fcntl)(void* userdata, int fd, int command, ...);
  int (*ioctl)(void* userdata, int fd, unsigned long request, ...);
  int (*close)(void* userdata, int fd);
  int (*shutdown)(void* userdata, int fd, int how);
  int (*getsockopt)(void* userdata, int fd, int level, int name, void* value, socklen_t* length);
  int (*setsockopt)(void* userdata, int fd, int level, int name, const void* value, socklen_t length);
  int (*poll)(void* userdata, struct pollfd* fds, nfds_t count, int timeout_ms);
  int (*netdev_send)(void* userdata, const void* buffer, size_t count);
  int (*netdev_receive)(void* userdata, void* buffer, size_t* count, long long* time_us);
  int (*usleep)(void* userdata, useconds_t microseconds);
  int (*gettimeofday)(void* userdata, struct timeval* time, struct timezone* zone);
  int (*epoll_create)(void* userdata, int size);
  int (*epoll_ctl)(void* userdata, int epoll_fd, int operation, int fd, struct epoll_event* event);
  int (*epoll_wait)(void* userdata, int epoll_fd, struct epoll_event* events, int count_max, int timeout_ms);
  int (*pipe)(void* userdata, int fds[2]);
  ssize_t (*splice)(void* userdata, int from, loff_t* from_offset, int to, loff_t* to_offset, size_t count,
                    unsigned int flags);
};

// `flags`: comma-separated, NULL when none: ipv4, ipv6, mtu=N, cc=cubic|reno, delack=MS, seed=N, rmem=BYTES, wmem=BYTES
// (limits of socket buffers), local=ADDRESS (where
// connections come from whose socket is not bound). An unknown word is told on standard error and ignored.
__attribute__((visibility("default"))) void packetdrill_interface_init(const char* flags,
                                                                       struct packetdrill_interface* table);

}  // extern "C"
