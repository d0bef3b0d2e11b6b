// An HBONE peer made of bare tunnels with an address on the wire, for what no proxy of ours would say: as a client it
// asks with any headers, as a server it answers as a test likes.
#pragma once

#include <functional>
#include <vector>

#include "tests/unit/proxy/world.h"

namespace culvert::proxy {

class TunnelPeer final : public hbone::CredentialSource {
 public:
  TunnelPeer(World& world, const char* address, std::shared_ptr<const identity::Credentials> credentials);
  ~TunnelPeer() override;

  std::shared_ptr<const identity::Credentials> client(const identity::SpiffeId&) override { return credentials_; }
  std::shared_ptr<const identity::Credentials> server(InterfaceId, const IpAddress&) override { return credentials_; }

  struct Answer {
    uint32_t status = 0;
    hbone::Baggage baggage;
    bool lost = false;
    hbone::StreamId stream;
  };
  // Opens a stream to the pod at `to` (identity "server") and runs the world until it is answered.
  Answer ask(const Endpoint& to, const hbone::ConnectHeaders& headers, Duration patience = 12s);
  void release(const Answer& answer);

  // Server: called for each event of a stream.
  std::function<void(const hbone::Event&)> on_event;

  // Part of the world's turns.
  bool turn();

  hbone::Tunnels& tunnels() { return tunnels_; }
  void send(hbone::StreamId stream, size_t bytes);

 private:
  World& world_;
  const IpAddress address_;
  std::shared_ptr<const identity::Credentials> credentials_;
  Counters counters_;
  tcp::Stack stack_;
  hbone::Tunnels tunnels_;
  Answer* asked_ = nullptr;
};

}  // namespace culvert::proxy
