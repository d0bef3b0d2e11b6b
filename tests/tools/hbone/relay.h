// One stream: bytes and ends between an HTTP/2 stream and its local end, a reset as a reset in both directions (D23).
#pragma once

#include <memory>
#include <string>

#include "tests/tools/hbone/local.h"
#include "tests/tools/hbone/report.h"
#include "tests/tools/hbone/tunnel.h"

namespace culvert::hbone_tool {

class Relay {
 public:
  // Client: sends the CONNECT. Its report says what became of it when it cannot.
  Relay(Shared& shared, Tunnel& tunnel, Local local, const hbone::ConnectHeaders& headers, Instant now);
  // Server: answers the CONNECT that `ref` brought, at once or when the local end is connected.
  Relay(Shared& shared, Tunnel& tunnel, http2::StreamRef ref, Instant now);

  http2::StreamRef ref() const { return ref_; }
  Tunnel& tunnel() { return tunnel_; }
  Local& local() { return local_; }
  void on_event(const http2::Event& event);
  // Moves what can be moved; true when something did. Call until false, then wait for local() and the tunnel.
  bool step(Instant now);
  bool over() const { return over_; }
  const StreamReport& report() const { return report_; }
  bool clean() const { return report_.end == "clean"; }

 private:
  void respond(uint16_t status);
  void on_response();
  void end(std::string how, std::string detail = {});
  bool move_echo(Instant now);
  bool move_up();
  bool move_down(Instant now);

  Shared& shared_;
  Tunnel& tunnel_;
  http2::Session& session_;
  http2::StreamRef ref_;
  Local local_;
  StreamReport report_;
  bool established_ = false;
  bool sent_end_ = false;  // our END_STREAM is queued
  bool stopped_ = false;   // the peer takes no more
  bool over_ = false;
};

}  // namespace culvert::hbone_tool
