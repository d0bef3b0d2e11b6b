#include "tests/tools/hbone/tunnel.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/random.h"

namespace culvert::hbone_tool {

namespace {

constexpr uint64_t kQueueBytesMax = 256u << 10;
constexpr Duration kClosePatience = 2s;

}  // namespace

Instant clock_now() {
  return Instant{std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch())};
}

UnixTime calendar_now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

std::unique_ptr<Tunnel> Tunnel::make(Shared& shared, Socket socket, uint64_t number, std::string& error) {
  std::unique_ptr<Tunnel> tunnel(new Tunnel(shared, std::move(socket), number));
  std::unique_ptr<tls::Session> tls;
  if (!shared.options.plain) {
    tls = tls::Session::make(shared.options.tls.session, *shared.pool, shared.counters, calendar_now(), error);
    if (!tls) return nullptr;
  }
  const bool server = shared.options.serve;
  hbone::TransportConfig config;
  config.role = server ? http2::Role::kServer : http2::Role::kClient;
  config.http2.streams_max = server ? 200 : 100;
  config.http2.header_list_bytes_max = server ? 65'536 : 16'384;
  config.seed = kernel_seed();
  tunnel->transport_ =
      hbone::Transport::make(config, std::move(tls), shared.memory, *shared.pool, shared.counters, clock_now());
  if (!tunnel->transport_) error = "out of memory";
  return tunnel->transport_ ? std::move(tunnel) : nullptr;
}

Tunnel::Tunnel(Shared& shared, Socket socket, uint64_t number)
    : shared_(shared), socket_(std::move(socket)), number_(number), peer_(peer_address(socket_)) {
  tls_tool::prepare(socket_);
}

std::string Tunnel::peer_identity() const {
  const tls::Session* tls = transport_->tls();
  return tls && !tls->peer_identities().empty() ? tls->peer_identities().front().uri() : std::string();
}

bool Tunnel::wants_read() const { return !gone_ && !input_ended_ && in_.bytes() < kQueueBytesMax; }
bool Tunnel::wants_write() { return !gone_ && !transport_->output().empty(); }

bool Tunnel::read(Instant now) {
  bool moved = false;
  while (wants_read()) {
    Packet buffer = shared_.pool->take_large();
    if (!buffer) break;
    const uint16_t room = buffer.tailroom();
    uint8_t* to = buffer.append(room);
    const ssize_t got = recv(socket_.fd(), to, room, 0);
    if (got <= 0) {
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
      input_ended_ = true;
      // A reset is as good as an end here: neither is a close_notify. Nothing can be sent any more.
      if (got < 0) gone_ = true;
      break;
    }
    buffer.trim_back(static_cast<uint32_t>(room - got));
    in_.append(std::move(buffer));
    moved = true;
  }
  transport_->on_bytes(in_, now, calendar_now());
  if (input_ended_) transport_->on_end_of_bytes(in_, now);
  if (output_ended_ && input_ended_) gone_ = true;
  return moved;
}

bool Tunnel::write(Instant now) {
  if (gone_) return false;
  bool moved = false;
  ByteQueue& out = transport_->output();
  for (;;) {
    transport_->produce(kQueueBytesMax, now);
    if (out.empty()) break;
    std::array<iovec, 64> pieces;
    size_t count = 0;
    out.for_each(0, out.bytes(), [&](ByteView piece) {
      if (count < pieces.size()) pieces[count++] = {const_cast<uint8_t*>(piece.data()), piece.size()};
    });
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    const ssize_t put = sendmsg(socket_.fd(), &message, MSG_NOSIGNAL);
    if (put < 0) {
      if (errno == EAGAIN || errno == EINTR) break;
      gone_ = true;
      transport_->on_end_of_bytes(in_, now);
      return moved;
    }
    out.drop_front(static_cast<uint64_t>(put));
    moved = true;
  }
  if (transport_->state() == hbone::Transport::State::kEnded && out.empty() && !output_ended_) {
    output_ended_ = true;
    shutdown(socket_.fd(), SHUT_WR);
    give_up_ = now + kClosePatience;
    if (input_ended_) gone_ = true;
  }
  return moved;
}

void Tunnel::poll(Instant now) {
  transport_->poll(now);
  if (now >= give_up_) gone_ = true;
}

Instant Tunnel::deadline() const { return std::min(transport_->next_deadline(), give_up_); }

void Tunnel::close(Instant now) { transport_->close(now); }

}  // namespace culvert::hbone_tool
