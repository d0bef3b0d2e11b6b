// The library as packetdrill uses it: loaded, driven through the table only, packets as bytes, a second thread for
// calls that block.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "base/endian.h"
#include "tests/tools/packetdrill/interface.h"
#include "wire/checksum.h"
#include "wire/tcp_header.h"

namespace culvert::packetdrill {
namespace {

struct Packet {
  wire::TcpHeader tcp;
  std::string payload;
  long long time_us = 0;
};

class Library : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    handle_ = dlopen(CULVERT_PACKETDRILL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(handle_, nullptr) << dlerror();
    using Init = void(const char*, packetdrill_interface*);
    auto* init = reinterpret_cast<Init*>(dlsym(handle_, "packetdrill_interface_init"));
    ASSERT_NE(init, nullptr);
    init(v4() ? "ipv4,seed=7" : "ipv6,mtu=1500,cc=reno,delack=30", &t_);
    u_ = t_.userdata;
    local_ = v4() ? *IpAddress::parse("192.168.0.1") : *IpAddress::parse("fd3d:fa7b:d17d::1");
    remote_ = v4() ? *IpAddress::parse("192.0.2.1") : *IpAddress::parse("2001:db8::2");
  }
  void TearDown() override {
    t_.free(u_);
    dlclose(handle_);
  }
  bool v4() const { return GetParam() == 4; }

  // --- the network's side
  // ----------------------------------------------------------------------------------------------
  void send(wire::TcpHeader h, const std::string& payload = {}) {
    h.source_port = remote_port_;
    h.destination_port = port_;
    if (!h.window) h.window = 30'000;
    const uint16_t header = wire::tcp_header_bytes(h);
    std::vector<uint8_t> segment(header);
    wire::emit_tcp(h, segment);
    segment.insert(segment.end(), payload.begin(), payload.end());
    wire::ChecksumSum sum;
    sum.add_pseudo_header(remote_, local_, 6, static_cast<uint32_t>(segment.size()));
    sum.add(segment);
    store_be16(segment.data() + 16, sum.checksum());
    std::vector<uint8_t> packet(v4() ? 20 : 40);
    if (v4()) {
      packet[0] = 0x45;
      store_be16(&packet[2], static_cast<uint16_t>(20 + segment.size()));
      packet[8] = 64;
      packet[9] = 6;
      std::memcpy(&packet[12], remote_.wire().data(), 4);
      std::memcpy(&packet[16], local_.wire().data(), 4);
      store_be16(&packet[10], wire::internet_checksum(packet));
    } else {
      packet[0] = 0x60;
      store_be16(&packet[4], static_cast<uint16_t>(segment.size()));
      packet[6] = 6;
      packet[7] = 64;
      std::memcpy(&packet[8], remote_.wire().data(), 16);
      std::memcpy(&packet[24], local_.wire().data(), 16);
    }
    packet.insert(packet.end(), segment.begin(), segment.end());
    EXPECT_EQ(t_.netdev_send(u_, packet.data(), packet.size()), 0);
  }
  std::optional<Packet> receive() {
    std::vector<uint8_t> bytes(70'000);
    size_t count = bytes.size();
    Packet p;
    EXPECT_EQ(t_.netdev_receive(u_, bytes.data(), &count, &p.time_us), 0);
    if (count == 0) return std::nullopt;
    const size_t ip = v4() ? 20 : 40;
    EXPECT_EQ(bytes[0] >> 4, v4() ? 4 : 6);
    const ByteView segment = ByteView(bytes).subspan(ip, count - ip);
    wire::ChecksumSum sum;
    sum.add_pseudo_header(local_, remote_, 6, static_cast<uint32_t>(segment.size()));
    sum.add(segment);
    EXPECT_EQ(sum.checksum(), 0);
    if (v4()) {
      EXPECT_EQ(wire::internet_checksum(ByteView(bytes).first(20)), 0);
    }
    const auto parsed = wire::parse_tcp(segment);
    EXPECT_TRUE(parsed.ok());
    p.tcp = parsed->header;
    p.payload = text_of(segment.subspan(parsed->header_bytes));
    return p;
  }

  // --- the program's side
  // ----------------------------------------------------------------------------------------------
  socklen_t fill(sockaddr_storage& storage, const IpAddress& address, uint16_t port) const {
    if (v4()) {
      sockaddr_in in{};
      in.sin_family = AF_INET;
      in.sin_port = htons(port);
      in.sin_addr.s_addr = htonl(address.v4_host_order());
      std::memcpy(&storage, &in, sizeof in);
      return sizeof in;
    }
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    std::memcpy(in.sin6_addr.s6_addr, address.bytes().data(), 16);
    std::memcpy(&storage, &in, sizeof in);
    return sizeof in;
  }
  int make_socket() { return t_.socket(u_, v4() ? AF_INET : AF_INET6, SOCK_STREAM, IPPROTO_TCP); }
  int listening() {
    const int fd = make_socket();
    EXPECT_GE(fd, 0);
    sockaddr_storage a{};
    const socklen_t n = fill(a, local_, 8080);
    EXPECT_EQ(t_.bind(u_, fd, reinterpret_cast<sockaddr*>(&a), n), 0);
    EXPECT_EQ(t_.listen(u_, fd, 1), 0);
    port_ = 8080;
    return fd;
  }
  int connect(int fd) {
    sockaddr_storage a{};
    const socklen_t n = fill(a, remote_, 4000);
    return t_.connect(u_, fd, reinterpret_cast<sockaddr*>(&a), n);
  }
  // The peer's handshake with a listener.
  void open() {
    wire::TcpHeader syn;
    syn.syn = true;
    syn.sequence = 1000;
    syn.options.mss = 1460;
    syn.options.sack_permitted = true;
    send(syn);
    const auto syn_ack = receive();
    ASSERT_TRUE(syn_ack && syn_ack->tcp.syn && syn_ack->tcp.ack);
    isn_ = syn_ack->tcp.sequence;
    send(ack(1001, isn_ + 1));
  }
  static wire::TcpHeader ack(uint32_t seq, uint32_t number) {
    wire::TcpHeader h;
    h.ack = true;
    h.sequence = seq;
    h.acknowledgment = number;
    return h;
  }
  int64_t clock_us() {
    timeval tv{};
    EXPECT_EQ(t_.gettimeofday(u_, &tv, nullptr), 0);
    return tv.tv_sec * 1'000'000 + tv.tv_usec;
  }
  // Lets a call that blocks on another thread get to where it waits: nothing in the interface shows it, so real time
  // must.
  static void give_it_time(const std::atomic<bool>& begun) {
    while (!begun) ::usleep(1'000);
    ::usleep(50'000);
  }

  void* handle_ = nullptr;
  packetdrill_interface t_{};
  void* u_ = nullptr;
  IpAddress local_, remote_;
  uint16_t port_ = 0;
  uint16_t remote_port_ = 4000;
  uint32_t isn_ = 0;
};

TEST_P(Library, EveryPointerIsSet) {
  void* pointers[33];
  static_assert(sizeof pointers == sizeof t_);
  std::memcpy(pointers, &t_, sizeof t_);
  for (const void* p : pointers) EXPECT_NE(p, nullptr);
}

TEST_P(Library, AcceptsReadsWritesAndCloses) {
  const int listener = listening();
  EXPECT_EQ(t_.fcntl(u_, listener, F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(t_.accept(u_, listener, nullptr, nullptr), -1);
  EXPECT_EQ(errno, EAGAIN);
  open();
  sockaddr_storage from{};
  socklen_t length = sizeof from;
  const int fd = t_.accept(u_, listener, reinterpret_cast<sockaddr*>(&from), &length);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(from.ss_family, v4() ? AF_INET : AF_INET6);

  send(ack(1001, isn_ + 1), "hello");
  EXPECT_EQ(receive()->tcp.acknowledgment, 1006u);
  int waiting = 0;
  EXPECT_EQ(t_.ioctl(u_, fd, SIOCINQ, &waiting), 0);
  EXPECT_EQ(waiting, 5);
  char buffer[10];
  EXPECT_EQ(t_.recv(u_, fd, buffer, sizeof buffer, MSG_PEEK), 5);
  EXPECT_EQ(t_.read(u_, fd, buffer, sizeof buffer), 5);
  EXPECT_EQ(std::string(buffer, 5), "hello");
  EXPECT_EQ(t_.recv(u_, fd, buffer, sizeof buffer, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);

  char one[] = "ab", two[] = "cd";
  const iovec pieces[2] = {{one, 2}, {two, 2}};
  EXPECT_EQ(t_.writev(u_, fd, pieces, 2), 4);
  EXPECT_EQ(receive()->payload, "abcd");
  EXPECT_EQ(t_.ioctl(u_, fd, SIOCOUTQ, &waiting), 0);
  EXPECT_EQ(waiting, 4);
  send(ack(1006, isn_ + 5));

  wire::TcpHeader fin = ack(1006, isn_ + 5);
  fin.fin = true;
  send(fin);
  EXPECT_EQ(receive()->tcp.acknowledgment, 1007u);
  EXPECT_EQ(t_.read(u_, fd, buffer, sizeof buffer), 0);
  EXPECT_EQ(t_.close(u_, fd), 0);
  EXPECT_TRUE(receive()->tcp.fin);
  send(ack(1007, isn_ + 6));
  EXPECT_EQ(t_.close(u_, listener), 0);
  EXPECT_EQ(t_.close(u_, listener), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST_P(Library, QueuesOneConnectionMoreThanTheBacklogSays) {  // as Linux does
  const int listener = listening();
  open();
  remote_port_ = 4001;
  open();
  remote_port_ = 4002;
  wire::TcpHeader syn;
  syn.syn = true;
  syn.sequence = 1000;
  send(syn);
  EXPECT_FALSE(receive()) << "the queue is full: the peer may try again";
  EXPECT_GE(t_.accept(u_, listener, nullptr, nullptr), 0);
  send(syn);
  const auto answer = receive();
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->tcp.syn && answer->tcp.ack);
}

TEST_P(Library, ConnectsWithoutBlocking) {
  const int fd = make_socket();
  EXPECT_EQ(t_.fcntl(u_, fd, F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(connect(fd), -1);
  EXPECT_EQ(errno, EINPROGRESS);
  EXPECT_EQ(connect(fd), -1);
  EXPECT_EQ(errno, EALREADY);
  const auto syn = receive();
  ASSERT_TRUE(syn && syn->tcp.syn && !syn->tcp.ack);
  port_ = syn->tcp.source_port;
  EXPECT_EQ(syn->tcp.destination_port, 4000);
  pollfd waiting{fd, POLLOUT, 0};
  EXPECT_EQ(t_.poll(u_, &waiting, 1, 0), 0);
  wire::TcpHeader h = ack(500, syn->tcp.sequence + 1);
  h.syn = true;
  send(h);
  EXPECT_EQ(receive()->tcp.acknowledgment, 501u);
  EXPECT_EQ(t_.poll(u_, &waiting, 1, 0), 1);
  EXPECT_EQ(waiting.revents, POLLOUT);
  int error = -1;
  socklen_t length = sizeof error;
  EXPECT_EQ(t_.getsockopt(u_, fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
  EXPECT_EQ(error, 0);
}

TEST_P(Library, ARefusedConnectSaysSo) {
  const int fd = make_socket();
  EXPECT_EQ(t_.fcntl(u_, fd, F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(connect(fd), -1);
  const auto syn = receive();
  port_ = syn->tcp.source_port;
  wire::TcpHeader reset = ack(0, syn->tcp.sequence + 1);
  reset.rst = true;
  send(reset);
  pollfd waiting{fd, POLLOUT, 0};
  EXPECT_EQ(t_.poll(u_, &waiting, 1, 0), 1);
  EXPECT_TRUE(waiting.revents & POLLERR);
  EXPECT_EQ(connect(fd), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
}

TEST_P(Library, ABlockingReadReturnsAtTheInstantOfItsCause) {
  const int listener = listening();
  open();
  const int fd = t_.accept(u_, listener, nullptr, nullptr);
  struct Outcome {
    ssize_t bytes;
    int64_t at;
  };
  std::atomic<bool> begun = false;
  auto reader = std::async(std::launch::async, [&] {
    begun = true;
    char buffer[16];
    const ssize_t n = t_.read(u_, fd, buffer, sizeof buffer);
    return Outcome{n, clock_us()};
  });
  give_it_time(begun);
  EXPECT_EQ(t_.usleep(u_, 100'000), 0);
  const int64_t cause = clock_us();
  send(ack(1001, isn_ + 1), "late");
  EXPECT_EQ(t_.usleep(u_, 500'000), 0);  // does not move on before the reader has looked at the clock
  const Outcome outcome = reader.get();
  EXPECT_EQ(outcome.bytes, 4);
  EXPECT_GE(outcome.at, cause);
  EXPECT_LE(outcome.at, cause + 10);
}

TEST_P(Library, ABlockingConnectAndAcceptAndPollWait) {
  const int fd = make_socket();
  std::atomic<bool> begun = false;
  auto connecting = std::async(std::launch::async, [&] {
    begun = true;
    return connect(fd);
  });
  give_it_time(begun);
  const auto syn = receive();
  ASSERT_TRUE(syn && syn->tcp.syn);
  port_ = syn->tcp.source_port;
  wire::TcpHeader h = ack(500, syn->tcp.sequence + 1);
  h.syn = true;
  send(h);
  EXPECT_EQ(connecting.get(), 0);
  receive();

  begun = false;
  auto polling = std::async(std::launch::async, [&] {
    begun = true;
    pollfd waiting{fd, POLLIN, 0};
    const int ready = t_.poll(u_, &waiting, 1, 30);
    return std::pair{ready, clock_us()};
  });
  give_it_time(begun);
  const int64_t began = clock_us();
  EXPECT_EQ(t_.usleep(u_, 1'000'000), 0);
  const auto [ready, at] = polling.get();
  EXPECT_EQ(ready, 0);
  EXPECT_NEAR(static_cast<double>(at - began), 30'000, 50);
}

TEST_P(Library, ResetByThePeerIsAnErrorOnceAndThenTheEnd) {
  const int listener = listening();
  open();
  const int fd = t_.accept(u_, listener, nullptr, nullptr);
  wire::TcpHeader reset;
  reset.rst = true;
  reset.sequence = 1001;
  send(reset);
  char buffer[4];
  EXPECT_EQ(t_.read(u_, fd, buffer, sizeof buffer), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(t_.read(u_, fd, buffer, sizeof buffer), 0);
  EXPECT_EQ(t_.write(u_, fd, "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST_P(Library, LingerZeroResets) {
  const int listener = listening();
  open();
  const int fd = t_.accept(u_, listener, nullptr, nullptr);
  const linger now{1, 0};
  EXPECT_EQ(t_.setsockopt(u_, fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
  EXPECT_EQ(t_.close(u_, fd), 0);
  EXPECT_TRUE(receive()->tcp.rst);
}

TEST_P(Library, ShutdownHalfCloses) {
  const int listener = listening();
  open();
  const int fd = t_.accept(u_, listener, nullptr, nullptr);
  EXPECT_EQ(t_.shutdown(u_, fd, SHUT_WR), 0);
  EXPECT_TRUE(receive()->tcp.fin);
  EXPECT_EQ(t_.write(u_, fd, "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  send(ack(1001, isn_ + 2), "still here");
  char buffer[16];
  EXPECT_EQ(t_.read(u_, fd, buffer, sizeof buffer), 10);
}

TEST_P(Library, TimeMovesOnlyWhenAsked) {
  const int64_t a = clock_us();
  ::usleep(1000);
  EXPECT_EQ(clock_us(), a + 1);
  EXPECT_EQ(t_.usleep(u_, 5000), 0);
  EXPECT_EQ(clock_us(), a + 5002);
  std::vector<uint8_t> buffer(2000);
  size_t count = buffer.size();
  long long when = 0;
  EXPECT_EQ(t_.netdev_receive(u_, buffer.data(), &count, &when), 0);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(clock_us(), a + 60'000'000 + 5003);
}

TEST_P(Library, TheSynIsRepeatedAfterASecond) {
  const int fd = make_socket();
  EXPECT_EQ(t_.fcntl(u_, fd, F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(connect(fd), -1);
  const auto first = receive();
  const auto second = receive();
  EXPECT_EQ(second->time_us - first->time_us, 1'000'000);
}

TEST_P(Library, OptionsAreKeptAndTheirNonsenseRefused) {
  const int fd = make_socket();
  for (const auto& [level, name, value, told] :
       std::vector<std::array<int, 4>>{{SOL_SOCKET, SO_REUSEADDR, 1, 1},
                                       {SOL_SOCKET, SO_KEEPALIVE, 1, 1},
                                       {SOL_SOCKET, SO_RCVBUF, 50'000, 100'000},
                                       {SOL_SOCKET, SO_SNDBUF, 60'000, 120'000},
                                       {IPPROTO_TCP, TCP_NODELAY, 1, 1},
                                       {IPPROTO_TCP, TCP_MAXSEG, 1000, 1000},
                                       {IPPROTO_TCP, TCP_KEEPIDLE, 7, 7},
                                       {IPPROTO_TCP, TCP_KEEPINTVL, 8, 8},
                                       {IPPROTO_TCP, TCP_KEEPCNT, 3, 3},
                                       {IPPROTO_TCP, TCP_USER_TIMEOUT, 4000, 4000}}) {
    EXPECT_EQ(t_.setsockopt(u_, fd, level, name, &value, sizeof value), 0) << name;
    int got = -1;
    socklen_t length = sizeof got;
    EXPECT_EQ(t_.getsockopt(u_, fd, level, name, &got, &length), 0) << name;
    EXPECT_EQ(got, told) << name;
  }
  EXPECT_EQ(t_.setsockopt(u_, fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
  char algorithm[16];
  socklen_t length = sizeof algorithm;
  EXPECT_EQ(t_.getsockopt(u_, fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, &length), 0);
  EXPECT_STREQ(algorithm, "reno");
  EXPECT_EQ(t_.setsockopt(u_, fd, IPPROTO_TCP, TCP_CONGESTION, "vegas", 5), -1);
  EXPECT_EQ(errno, ENOENT);
  const int bad = 1'000'000;
  EXPECT_EQ(t_.setsockopt(u_, fd, IPPROTO_TCP, TCP_MAXSEG, &bad, sizeof bad), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST_P(Library, EpollTellsEdgesOnceAndLevelsAlways) {
  const int listener = listening();
  open();
  const int fd = t_.accept(u_, listener, nullptr, nullptr);
  const int epoll = t_.epoll_create(u_, 1);
  epoll_event want{};
  want.events = EPOLLIN | EPOLLET;
  want.data.fd = fd;
  EXPECT_EQ(t_.epoll_ctl(u_, epoll, EPOLL_CTL_ADD, fd, &want), 0);
  epoll_event got[4];
  EXPECT_EQ(t_.epoll_wait(u_, epoll, got, 4, 0), 0);
  send(ack(1001, isn_ + 1), "x");
  EXPECT_EQ(t_.epoll_wait(u_, epoll, got, 4, 0), 1);
  EXPECT_EQ(got[0].data.fd, fd);
  EXPECT_EQ(t_.epoll_wait(u_, epoll, got, 4, 0), 0);
  send(ack(1002, isn_ + 1), "y");
  EXPECT_EQ(t_.epoll_wait(u_, epoll, got, 4, 0), 1);
  want.events = EPOLLIN;
  EXPECT_EQ(t_.epoll_ctl(u_, epoll, EPOLL_CTL_MOD, fd, &want), 0);
  EXPECT_EQ(t_.epoll_wait(u_, epoll, got, 4, 0), 1);
  EXPECT_EQ(t_.epoll_wait(u_, epoll, got, 4, 0), 1);
}

TEST_P(Library, WhatIsNotSupportedSaysEnosys) {
  int fds[2];
  EXPECT_EQ(t_.pipe(u_, fds), -1);
  EXPECT_EQ(errno, ENOSYS);
  EXPECT_EQ(t_.splice(u_, 0, nullptr, 1, nullptr, 10, 0), -1);
  EXPECT_EQ(errno, ENOSYS);
  EXPECT_EQ(t_.socket(u_, AF_INET, SOCK_DGRAM, 0), -1);
}

TEST_P(Library, ASynToNobodyIsReset) {
  port_ = 81;
  wire::TcpHeader syn;
  syn.syn = true;
  send(syn);
  EXPECT_TRUE(receive()->tcp.rst);
}

INSTANTIATE_TEST_SUITE_P(Families, Library, testing::Values(4, 6),
                         [](const auto& row) { return row.param == 4 ? "ipv4" : "ipv6"; });

}  // namespace
}  // namespace culvert::packetdrill
