#include "tests/tools/hbone/program.h"

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <iostream>

#include "base/random.h"

namespace culvert::hbone_tool {

namespace {

volatile std::sig_atomic_t asked_to_end = 0;

// A signal between the check and poll(2) is noticed after this long at the latest.
constexpr int kPollMsMax = 500;

}  // namespace

bool Program::start(std::string& error) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGTERM, [](int) { asked_to_end = 1; });
  std::signal(SIGINT, [](int) { asked_to_end = 1; });
  if (!options_.listen.empty()) {
    listener_ = tls_tool::listen_at(options_.listen, error);
    if (!listener_) return false;
    tls_tool::prepare(listener_);
    std::cerr << "listening on " << tls_tool::local_address(listener_) << std::endl;
  } else {
    waiting_.push_back(Local::standard_io());
    streams_ = 1;
  }
  return true;
}

bool Program::run(std::string& error) {
  if (!start(error)) return false;
  while (!done()) {
    bool moved = true;
    for (int i = 0; moved && i < 64; ++i) {
      moved = false;
      if (!turn(error)) return false;
      const Instant now = clock_now();
      for (auto& tunnel : tunnels_) moved = take_events(*tunnel, now) || moved;
      for (auto& relay : relays_) moved = relay->step(now) || moved;
      for (auto& tunnel : tunnels_) moved = tunnel->write(now) || moved;
      reap(now);
    }
    if (done()) break;
    if (asked_to_end) finish(clock_now());
    if (!moved) wait();
  }
  return true;
}

// Accepts, reads, opens; what follows is the caller's.
bool Program::turn(std::string& error) {
  const Instant now = clock_now();
  if (!accept(error)) return false;
  for (auto& tunnel : tunnels_) {
    tunnel->poll(now);
    tunnel->read(now);
  }
  return options_.serve || open_waiting(error, now);
}

bool Program::accept(std::string& error) {
  const bool full = options_.count > 0 && (options_.serve ? connections_ : streams_) >= options_.count;
  if (!listener_ || full || finishing_) return true;
  pollfd ready{listener_.fd(), POLLIN, 0};
  if (poll(&ready, 1, 0) <= 0) return true;
  Socket socket = tls_tool::accept_from(listener_, error);
  if (!socket) return false;
  if (options_.serve) return add_tunnel(std::move(socket), error);
  ++streams_;
  waiting_.push_back(Local::of(std::move(socket)));
  return true;
}

bool Program::add_tunnel(Socket socket, std::string& error) {
  auto tunnel = Tunnel::make(shared_, std::move(socket), ++connections_, error);
  if (!tunnel) return false;
  tunnels_.push_back(std::move(tunnel));
  return true;
}

// Gives local connections a stream: in a tunnel that has room, or when the one being made is up.
bool Program::open_waiting(std::string& error, Instant now) {
  while (!waiting_.empty()) {
    Tunnel* ready = nullptr;
    bool coming = false;
    for (auto& tunnel : tunnels_) {
      if (!tunnel->transport().was_up()) {
        coming = true;  // also when it has failed already: reap() tells those who waited
        continue;
      }
      if (tunnel->gone() || tunnel->transport().loss() != hbone::Loss::kNone) continue;
      if (tunnel->http2()->streams_left() > 0) {
        ready = tunnel.get();
        break;
      }
    }
    if (!ready && coming) return true;
    if (!ready) {
      Socket socket = tls_tool::connect_to(options_.via, error);
      if (!socket) return false;
      if (!add_tunnel(std::move(socket), error)) return false;
      return true;
    }
    hbone::ConnectHeaders headers;
    headers.authority = options_.authority;
    headers.baggage = options_.baggage;
    headers.forwarded = options_.forwarded;
    headers.traceparent = hbone::emit_traceparent(kernel_seed(), kernel_seed(), kernel_seed());
    relays_.push_back(std::make_unique<Relay>(shared_, *ready, std::move(waiting_.front()), headers, now));
    waiting_.erase(waiting_.begin());
  }
  return true;
}

bool Program::take_events(Tunnel& tunnel, Instant now) {
  http2::Session* session = tunnel.http2();
  if (!session) return false;
  bool moved = false;
  http2::Event event{};
  while (session->take_events({&event, 1}) == 1) {
    moved = true;
    const auto found = std::find_if(relays_.begin(), relays_.end(), [&](const auto& relay) {
      return &relay->tunnel() == &tunnel && relay->ref() == event.stream;
    });
    if (found != relays_.end()) {
      (*found)->on_event(event);
    } else if (options_.serve && event.kind == http2::EventKind::kHeaders) {
      ++streams_;
      relays_.push_back(std::make_unique<Relay>(shared_, tunnel, event.stream, now));
    }
  }
  return moved;
}

// Reports what is over.
void Program::reap(Instant now) {
  std::erase_if(relays_, [this](const auto& relay) {
    if (!relay->over()) return false;
    clean_ = clean_ && relay->clean();
    print(json_line(relay->report()));
    return true;
  });
  std::erase_if(tunnels_, [this](const auto& tunnel) {
    if (!tunnel->gone() || tunnel->streams > 0) return false;
    print(json_line(tunnel->transport(), options_.serve, tunnel->number(), tunnel->peer()));
    // A tunnel that never came up takes with it whoever waited for it (no second attempt, reference 26.3).
    if (!options_.serve && !tunnel->transport().was_up()) {
      clean_ = false;
      for (Local& local : waiting_) local.abort();
      waiting_.clear();
    }
    return true;
  });
  // A client is done when its streams are.
  const bool all = options_.count > 0 && streams_ >= options_.count;
  if (!options_.serve && all && relays_.empty() && waiting_.empty()) finish(now);
}

void Program::finish(Instant now) {
  finishing_ = true;
  for (auto& tunnel : tunnels_) tunnel->close(now);
}

bool Program::done() const {
  if (finishing_) return tunnels_.empty() && relays_.empty();
  if (options_.count == 0) return false;
  if (options_.serve) return connections_ >= options_.count && tunnels_.empty() && relays_.empty();
  return streams_ >= options_.count && tunnels_.empty() && relays_.empty() && waiting_.empty();
}

void Program::wait() {
  std::vector<pollfd> fds;
  Instant due = clock_now() + std::chrono::milliseconds(kPollMsMax);
  const bool full = options_.count > 0 && (options_.serve ? connections_ : streams_) >= options_.count;
  if (listener_ && !full && !finishing_) fds.push_back({listener_.fd(), POLLIN, 0});
  for (auto& tunnel : tunnels_) {
    const int wanted = (tunnel->wants_read() ? POLLIN : 0) | (tunnel->wants_write() ? POLLOUT : 0);
    if (wanted != 0) fds.push_back({tunnel->fd(), static_cast<short>(wanted), 0});
    due = std::min(due, tunnel->deadline());
  }
  std::vector<std::pair<size_t, Relay*>> connecting;
  for (auto& relay : relays_) {
    Local& local = relay->local();
    if (local.connecting()) connecting.emplace_back(fds.size(), relay.get());
    if (local.output() >= 0) fds.push_back({local.output(), POLLOUT, 0});
    if (local.input() >= 0) fds.push_back({local.input(), POLLIN, 0});
  }
  const int64_t ms = std::max<int64_t>(0, to_ms(due - clock_now() + 999us));
  ::poll(fds.data(), fds.size(), static_cast<int>(ms));
  for (const auto& [at, relay] : connecting) {
    if (fds[at].revents != 0) relay->local().on_connect_ready();
  }
}

void Program::print(const std::string& line) {
  // Standard output belongs to the relayed bytes when there is no listener.
  (options_.listen.empty() ? std::cerr : std::cout) << line << std::endl;
}

}  // namespace culvert::hbone_tool
