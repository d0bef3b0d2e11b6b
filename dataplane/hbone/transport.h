// TLS and HTTP/2 stacked: one tunnel without the TCP below it, between two byte queues.
//
//   bytes from TCP ── on_bytes(queue) ─▶ tls ─▶ http2 ─▶ streams
//   streams ─▶ http2 ─▶ tls ── produce(), output() ─▶ bytes to TCP
//
// Back-pressure upwards: produce() is asked for no more than TCP takes, so DATA stays in the streams' queues.
// Back-pressure downwards: plaintext that http2 cannot place stays where it is, records behind it stay in TCP's receive
// queue, and its window closes.
//
// A client sees TLS succeed before the server judged its certificate (D6): a transport is up only when the peer's
// SETTINGS came. What ends it before is a handshake failure.
//
// The lower edge is two queues and a few calls, so that the same stack runs over the node's TCP, over a socket in a
// tool, and inside another tunnel's stream. Without TLS it is HTTP/2 with prior knowledge, for tests and tools.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/time.h"
#include "hbone/stream.h"
#include "http2/session.h"
#include "packet/packet.h"
#include "telemetry/counters.h"
#include "tls/session.h"

namespace culvert::hbone {

struct TransportConfig {
  http2::Role role = http2::Role::kClient;
  http2::Limits http2;
  Duration setup_timeout = 10s;
  uint64_t seed = 0;
};

class Transport {
 public:
  enum class State : uint8_t {
    kHandshake,  // TLS
    kSettling,   // the peer's SETTINGS have not come
    kUp,
    kClosing,  // failed or closed: output() holds, or produce() will bring, GOAWAY, an alert, close_notify
    kEnded,    // everything that will ever be in output() is there: send it, then FIN
  };

  // `tls` null: plain HTTP/2. The rest outlives the transport. Null when memory is short.
  static std::unique_ptr<Transport> make(const TransportConfig& config, std::unique_ptr<tls::Session> tls,
                                         http2::CoreMemory& memory, BufferPool& pool, Counters& counters, Instant now);
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Takes bytes off the front of `in`; what it leaves is incomplete or waits for room. Returns the bytes taken.
  uint64_t on_bytes(ByteQueue& in, Instant now, UnixTime calendar);
  // The other end of the byte stream has finished and `in` is all that is left of it: called behind on_bytes() as often
  // as that is true. Clean only after close_notify.
  void on_end_of_bytes(const ByteQueue& in, Instant now);
  // Fills output() until it holds at least `bytes_min` or there is nothing more to send.
  void produce(uint64_t bytes_min, Instant now);
  ByteQueue& output();
  void poll(Instant now);
  Instant next_deadline() const;

  State state() const { return state_; }
  bool was_up() const { return was_up_; }
  // Why it is over: kNone while it is not. kClosed when close() ended it.
  Loss loss() const { return loss_; }
  const std::string& failure() const { return failure_; }

  // GOAWAY(NO_ERROR), close_notify. Streams that are open are lost.
  void close(Instant now);

  // Null until TLS is open.
  http2::Session* http2() { return http2_.get(); }
  const http2::Session* http2() const { return http2_.get(); }
  const tls::Session* tls() const { return tls_.get(); }  // null: plain
  // Once TLS is open (tls::Session::take_peer_chain).
  tls::Session::PeerChain take_peer_chain() { return tls_ ? tls_->take_peer_chain() : tls::Session::PeerChain{}; }
  void request_key_update(bool ask_peer);

 private:
  Transport(const TransportConfig& config, std::unique_ptr<tls::Session> tls, http2::CoreMemory& memory,
            BufferPool& pool, Counters& counters, Instant now);
  bool start_http2(Instant now);
  void fail(Loss loss, std::string text);
  void check(Instant now);
  bool waits_for_room(const ByteQueue& in) const;

  const TransportConfig config_;
  std::unique_ptr<tls::Session> tls_;
  std::unique_ptr<http2::Session> http2_;
  http2::CoreMemory& memory_;
  BufferPool& pool_;
  Counters& counters_;

  State state_ = State::kHandshake;
  bool was_up_ = false;
  bool close_notify_due_ = false;
  Loss loss_ = Loss::kNone;
  std::string failure_;
  Instant setup_due_;
  Instant retry_at_ = kNever;  // a pool was empty
  ByteQueue plain_out_;
  Packet unsealed_;  // a record that found no buffer
};

}  // namespace culvert::hbone
