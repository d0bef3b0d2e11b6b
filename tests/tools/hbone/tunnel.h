// A transport over a socket: the socket plays the part that the node's TCP has in the data plane.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "hbone/transport.h"
#include "packet/packet.h"
#include "tests/tools/hbone/local.h"
#include "tests/tools/hbone/options.h"

namespace culvert::hbone_tool {

// What all tunnels of the process share.
struct Shared {
  explicit Shared(const Options& o)
      : options(o), pool(BufferPool::on_heap({.small = 65'536, .large = 32'768, .view = 131'072})) {}
  const Options& options;
  Counters counters;
  http2::CoreMemory memory{256u << 20};
  std::unique_ptr<BufferPool> pool;
};

Instant clock_now();
UnixTime calendar_now();

class Tunnel {
 public:
  // Null: OpenSSL refused the credentials, sentence in `error`.
  static std::unique_ptr<Tunnel> make(Shared& shared, Socket socket, uint64_t number, std::string& error);

  int fd() const { return socket_.fd(); }
  bool wants_read() const;
  bool wants_write();
  // Each true when something moved.
  bool read(Instant now);
  bool write(Instant now);
  void poll(Instant now);
  Instant deadline() const;
  void close(Instant now);
  // Both directions of the socket are over.
  bool gone() const { return gone_; }

  hbone::Transport& transport() { return *transport_; }
  http2::Session* http2() { return transport_->http2(); }
  uint64_t number() const { return number_; }
  const std::string& peer() const { return peer_; }
  std::string peer_identity() const;
  uint32_t streams = 0;  // that still look at it

 private:
  Tunnel(Shared& shared, Socket socket, uint64_t number);

  Shared& shared_;
  Socket socket_;
  uint64_t number_;
  std::string peer_;
  std::unique_ptr<hbone::Transport> transport_;
  ByteQueue in_;
  bool input_ended_ = false, output_ended_ = false, gone_ = false;
  Instant give_up_ = kNever;  // for the peer's FIN behind ours
};

}  // namespace culvert::hbone_tool
