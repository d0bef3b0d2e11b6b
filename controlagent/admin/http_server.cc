// The only place that includes cpp-httplib. Its own accept loop and streams are not used: it ends on errors of accept
// that pass, waits with select, and counts its patience per read.
#include "admin/http_server.h"

#include <httplib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "admin/connection.h"
#include "admin/listener.h"
#include "admin/query.h"

namespace culvert::admin {
namespace {

constexpr Duration kAcceptPause = 50ms;  // after an error of accept, of which only time is the cure

bool accepts_gzip(const std::string& accept_encoding) {
  size_t at = accept_encoding.find("gzip");
  if (at == std::string::npos) return false;
  // Refused by a weight of 0 (RFC 9110 12.5.3).
  const std::string rest = accept_encoding.substr(at + 4, accept_encoding.find(',', at) - at - 4);
  const size_t weight = rest.find("q=");
  return weight == std::string::npos || rest.find_first_of("123456789", weight) != std::string::npos;
}

class HeadStream final : public httplib::Stream {
 public:
  explicit HeadStream(Connection& connection) : connection_(connection) {}
  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }  // write() waits
  ssize_t read(char* out, size_t size) override { return connection_.take(out, size); }
  ssize_t write(const char* bytes, size_t size) override { return connection_.send_some(bytes, size); }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return -1; }  // nobody waits on it with select

 private:
  Connection& connection_;
};

// cpp-httplib as a parser and composer: one request from a stream, one answer to it.
class Codec final : private httplib::Server {
 public:
  Codec(HttpHandler handler, int listener) : handler_(std::move(handler)) {
    svr_sock_ = listener;  // answers in chunks end early without one
    set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(kIdlePatience).count());
    set_keep_alive_max_count(1000);
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response);
      return HandlerResponse::Handled;
    });
    set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
      response.status = 500;
      response.set_content("internal error\n", "text/plain; charset=utf-8");
    });
  }

  // False: the connection is of no further use.
  bool process(Connection& connection) {
    HeadStream stream(connection);
    bool closed = false, parsed = false, body = false;
    const bool done = process_request(stream, false, closed, [&](httplib::Request& request) {
      parsed = true;
      // Parts of an answer are not for sale: a hundred ranges of one document are a hundred documents.
      request.ranges.clear();
      body = request.has_header("Transfer-Encoding") ||
             (request.has_header("Content-Length") && request.get_header_value("Content-Length") != "0");
      if (body) {
        request.headers.erase("Connection");
        request.set_header("Connection", "close");
      }
      // Compressed here: cpp-httplib does so by a list of types that lacks OpenMetrics, and by the word alone.
      request.headers.erase(kPacked);
      if (accepts_gzip(request.get_header_value("Accept-Encoding"))) request.set_header(kPacked, "gzip");
      request.headers.erase("Accept-Encoding");
    });
    return done && parsed && !closed && !body;
  }

 private:
  void answer(const httplib::Request& request, httplib::Response& response) {
    HttpRequest asked;
    asked.method = request.method;
    asked.path = request.path;
    asked.accept = request.get_header_value("Accept");
    const auto query = parse_query(request.target);
    asked.query = [&](const std::string& name) {
      const auto found = query.find(name);
      return found == query.end() ? nullptr : &found->second;
    };
    HttpReply reply = handler_(asked);
    response.status = reply.status;
    response.set_header("Cache-Control", "no-store");
    response.set_header("X-Content-Type-Options", "nosniff");
    if (!reply.allow.empty()) response.set_header("Allow", reply.allow);
    // HTTP/1.0 has no chunks: such an answer ends with the connection, and is not packed.
    const bool old = request.version == "HTTP/1.0";
    const bool packed = request.has_header(kPacked) && (reply.stream ? !old : reply.body.size() >= kPackedFrom);
    if (packed) response.set_header("Content-Encoding", "gzip");
    if (!reply.stream) {
      response.set_content(packed ? pack(reply.body) : reply.body, reply.content_type);
      return;
    }
    // Kept alive by the function object that cpp-httplib holds until the answer has gone.
    auto stream = std::make_shared<decltype(reply.stream)>(std::move(reply.stream));
    const auto provider = [stream, packed](size_t, httplib::DataSink& sink) {
      const Sink plain = [&](std::string_view piece) {
        return piece.empty() || sink.write(piece.data(), piece.size());
      };
      const bool whole = packed ? write_packed(*stream, plain) : (*stream)(plain);
      if (whole) sink.done();
      return whole;
    };
    if (old) {
      response.set_content_provider(reply.content_type, provider);
    } else {
      response.set_chunked_content_provider(reply.content_type, provider);
    }
  }

  static bool write_packed(const std::function<bool(const Sink&)>& stream, const Sink& sink) {
    httplib::detail::gzip_compressor gzip;
    const auto put = [&](const char* bytes, size_t size) { return sink({bytes, size}); };
    return stream([&](std::string_view piece) { return gzip.compress(piece.data(), piece.size(), false, put); }) &&
           gzip.compress("", 0, true, put);
  }

  static std::string pack(std::string_view body) {
    std::string out;
    write_packed([&](const Sink& sink) { return sink(body); },
                 [&](std::string_view piece) {
                   out += piece;
                   return true;
                 });
    return out;
  }

  static constexpr char kPacked[] = "Culvert-Packed";  // our own mark on a request
  static constexpr size_t kPackedFrom = 1024;          // shorter bodies gain nothing

  const HttpHandler handler_;
};

class ThreadedServer final : public HttpServer {
 public:
  ThreadedServer(Listener listener, size_t connections_max, HttpHandler handler)
      : listener_(std::move(listener)),
        connections_max_(connections_max),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        codec_(std::move(handler), listener_.socket.get()) {}

  ~ThreadedServer() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      for (Connection& connection : connections_) connection.cut();
    }
    eventfd_write(wake_.get(), 1);
    if (acceptor_.joinable()) acceptor_.join();
    wanted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void begin() override {
    acceptor_ = std::thread([this] { accept_loop(); });
  }
  Endpoint address() const override { return listener_.address; }
  HttpCounts counts() const override {
    return {.connections = accepted_, .refused = refused_, .timed_out = timed_out_};
  }

 private:
  void accept_loop() {
    for (;;) {
      pollfd polled[] = {{.fd = listener_.socket.get(), .events = POLLIN, .revents = 0},
                         {.fd = wake_.get(), .events = POLLIN, .revents = 0}};
      poll(polled, 2, -1);
      if (polled[1].revents != 0) return;
      UniqueFd socket(accept4(listener_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket) {
        accepted_++;
        const int on = 1;  // head and body of an answer are sent one by one
        setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        admit(std::move(socket));
      } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        // Out of descriptors or memory: the connection waits in the kernel.
        poll(&polled[1], 1, static_cast<int>(to_ms(kAcceptPause)));
      }
    }
  }

  void admit(UniqueFd socket) {
    const std::lock_guard lock(mutex_);
    if (idle_ + leaving_ <= arrived_.size() && threads_.size() < connections_max_) {
      connections_.emplace_back(std::move(socket), mutex_, [this] { make_room(); });
      threads_.emplace_back([this, connection = std::prev(connections_.end())] { serve_loop(connection); });
      return;
    }
    arrived_.push_back(std::move(socket));
    if (arrived_.size() > connections_max_) {
      arrived_.pop_front();
      refused_++;
    }
    wanted_.notify_one();
    make_room();
  }

  // Under the mutex. Evicts those that have waited longest for their peers, one for each that arrived and for which no
  // thread is free or about to be. When none waits, the first to begin does so again.
  void make_room() {
    while (arrived_.size() > idle_ + leaving_) {
      Connection* longest = nullptr;
      for (Connection& one : connections_) {
        const auto since = one.waiting_since();
        if (since && (longest == nullptr || *since < *longest->waiting_since())) longest = &one;
      }
      if (longest == nullptr) return;
      longest->evict();
      leaving_++;
      refused_++;
    }
  }

  void serve_loop(std::list<Connection>::iterator connection) {
    for (;;) {
      serve(*connection);
      if (connection->timed_out()) timed_out_++;
      std::unique_lock lock(mutex_);
      if (connection->is_evicted()) leaving_--;
      connections_.erase(connection);
      idle_++;
      wanted_.wait(lock, [this] { return stopping_ || !arrived_.empty(); });
      idle_--;
      if (stopping_) return;
      connection =
          connections_.emplace(connections_.end(), std::move(arrived_.front()), mutex_, [this] { make_room(); });
      arrived_.pop_front();
    }
  }

  void serve(Connection& connection) {
    for (Duration patience = kRequestPatience;; patience = kIdlePatience) {
      switch (connection.read_head(patience)) {
        case Connection::Head::kNone:
          return;
        case Connection::Head::kTooSlow:
          connection.send_answer("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
          connection.linger();
          return;
        case Connection::Head::kTooLong:
          connection.send_answer(
              "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
          connection.linger();
          return;
        case Connection::Head::kWhole:
          break;
      }
      connection.begin_answer();
      bool more = false;
      try {
        more = codec_.process(connection);
      } catch (const std::exception&) {  // no memory: of this answer only
      }
      connection.drop_head();
      if (!more) {
        connection.linger();
        return;
      }
    }
  }

  const Listener listener_;
  const size_t connections_max_;
  const UniqueFd wake_;
  Codec codec_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  std::list<Connection> connections_;  // one per busy thread
  std::deque<UniqueFd> arrived_;       // wait for a thread, at most connections_max
  std::vector<std::thread> threads_;   // as many as were ever needed at once
  size_t idle_ = 0, leaving_ = 0;      // threads without a connection; connections that were evicted
  bool stopping_ = false;
  std::atomic<uint64_t> accepted_{0}, refused_{0}, timed_out_{0};
  std::thread acceptor_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>, std::string> serve_http(const Endpoint& address, size_t connections_max,
                                                            const std::string& what, const std::string& setting,
                                                            HttpHandler handler) {
  auto listener = listen_on(address, what, setting);
  if (!listener) return listener.error();
  return std::unique_ptr<HttpServer>(
      std::make_unique<ThreadedServer>(std::move(*listener), connections_max, std::move(handler)));
}

}  // namespace culvert::admin
