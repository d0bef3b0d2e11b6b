// Ordinary sockets over the stack: what a program that knows only system calls sees.
//
// A socket's number is a real descriptor (an eventfd), so that a close that misses the library closes nothing else.
// Every call takes the engine's lock for its whole length; blocking ones give it up while they wait.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "tests/tools/packetdrill/engine.h"
#include "tests/tools/packetdrill/interface.h"

namespace culvert::packetdrill {

struct Socket {
  enum class State : uint8_t { kFresh, kListening, kConnecting, kConnected, kEnded };

  uint64_t serial = 0;  // the stack's cookie
  int fd = -1;          // -1: accepted by the stack, not yet by the program
  int family = AF_INET;
  State state = State::kFresh;
  bool nonblocking = false;
  Endpoint local;
  bool bound = false;
  tcp::ConnectionId id;
  tcp::ConnectionOptions options;
  bool reuse_address = false, cork = false;
  linger lingering{};
  int error = 0;  // SO_ERROR
  bool peer_fin = false, peer_reset = false;
  bool read_shut = false, write_shut = false;
  std::vector<uint8_t> leftover;  // unread when the connection ended
  int backlog = 0;
  std::deque<uint64_t> accepted;  // serials
  uint64_t activity = 0;          // counts what an edge-triggered watcher must hear of
};

class Sockets final : public Engine::Listener {
 public:
  explicit Sockets(const Flags& flags);
  ~Sockets() override;

  int socket(int domain, int type, int protocol);
  int bind(int fd, const sockaddr* address, socklen_t length);
  int listen(int fd, int backlog);
  int accept(int fd, sockaddr* address, socklen_t* length);
  int connect(int fd, const sockaddr* address, socklen_t length);
  ssize_t receive(int fd, const iovec* pieces, size_t count, int flags, sockaddr* from, socklen_t* length);
  ssize_t send(int fd, const iovec* pieces, size_t count, int flags);
  int fcntl(int fd, int command, long argument);
  int ioctl(int fd, unsigned long request, void* argument);
  int close(int fd);
  int shutdown(int fd, int how);
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length);
  int setsockopt(int fd, int level, int name, const void* value, socklen_t length);
  int poll(pollfd* fds, nfds_t count, int timeout_ms);
  int epoll_create();
  int epoll_ctl(int epoll_fd, int operation, int fd, const epoll_event* event);
  int epoll_wait(int epoll_fd, epoll_event* events, int count_max, int timeout_ms);

  Engine& engine() { return engine_; }

  tcp::SynVerdict on_syn(const tcp::Tuple& tuple) override;
  void on_event(const tcp::Event& event) override;
  // Called before a packet goes to the stack: connections of the listener it is for get that listener's options.
  void prepare(ByteView packet);

 private:
  struct Watched {
    epoll_event event;
    uint64_t seen = 0;  // activity when it was last reported
    bool disarmed = false;
  };
  using Epoll = std::map<int, Watched>;

  Socket* find(int fd);  // sets errno when there is none
  Socket& make();
  Socket* listener_of(const Endpoint& local);
  bool may_receive(const Socket& s);
  bool may_send(const Socket& s);
  uint32_t readiness(const Socket& s);
  int take_error(Socket& s);
  void push_options(Socket& s);
  void end(Socket& s);
  void forget(uint64_t serial);
  int collect(Epoll& watch, epoll_event* events, int count_max);
  Instant deadline_after(int timeout_ms);

  Engine engine_;
  std::map<uint64_t, std::unique_ptr<Socket>> sockets_;
  std::map<int, uint64_t> by_fd_;
  std::map<int, Epoll> epolls_;
  uint64_t next_serial_ = 1;
};

// Sets errno and answers −1.
int fail(int error);

}  // namespace culvert::packetdrill
