#include "tests/unit/proxy/tunnel_peer.h"

#include <gtest/gtest.h>

#include <array>

namespace culvert::proxy {

TunnelPeer::TunnelPeer(World& world, const char* address, std::shared_ptr<const identity::Credentials> credentials)
    : world_(world),
      address_(testkit::records::ip(address)),
      credentials_(std::move(credentials)),
      stack_({}, *world.pool, counters_, 11, world.now()),
      tunnels_({}, stack_, *world.pool, counters_, *this, world.aead, 12) {
  const tcp::SynFilter accept_all{[](void*, InterfaceId, const tcp::Tuple&) { return tcp::SynVerdict::kAccept; },
                                  nullptr};
  stack_.set_interface(InterfaceId{0}, {.mtu = 1500, .tso_bytes_max = 65'535}, accept_all, {});
  world.join_wire(address_, stack_, [this] { return turn(); });
}

TunnelPeer::~TunnelPeer() { world_.leave_wire(address_); }

TunnelPeer::Answer TunnelPeer::ask(const Endpoint& to, const hbone::ConnectHeaders& headers, Duration patience) {
  const hbone::TunnelKey key{{"cluster.local", "shop", "outsider"},
                             address_,
                             {{"cluster.local", "shop", "server"}},
                             {to.address, hbone::kHbonePort},
                             InterfaceId{0}};
  Answer answer;
  const auto opened = tunnels_.open(key, headers, world_.now());
  EXPECT_TRUE(opened.ok());
  if (!opened.ok()) return answer;
  answer.stream = *opened;
  asked_ = &answer;
  world_.run_until([&] { return answer.status != 0 || answer.lost; }, patience);
  asked_ = nullptr;
  return answer;
}

void TunnelPeer::release(const Answer& answer) {
  tunnels_.release(answer.stream, world_.now());
  world_.run(1s);
}

void TunnelPeer::send(hbone::StreamId stream, size_t bytes) {
  const std::vector<uint8_t> zeros(bytes);
  EXPECT_TRUE(tunnels_.write(stream, world_.pool->take_copy(zeros), world_.now()));
}

bool TunnelPeer::turn() {
  const Instant now = world_.now();
  bool did = false;
  tunnels_.set_calendar(world_.calendar());
  std::array<tcp::Event, 16> tcp_events;
  while (const size_t n = stack_.take_events(tcp_events)) {
    for (size_t i = 0; i < n; ++i) tunnels_.on_tcp_event(tcp_events[i], now);
    did = true;
  }
  tunnels_.poll(now);
  std::array<hbone::Event, 16> events;
  while (const size_t n = tunnels_.take_events(events)) {
    did = true;
    for (size_t i = 0; i < n; ++i) {
      const hbone::Event& event = events[i];
      if (on_event) on_event(event);
      if (!asked_ || !(event.stream == asked_->stream)) continue;
      if (event.kind == hbone::EventKind::kEstablished) {
        asked_->status = 200;
        asked_->baggage = tunnels_.response(event.stream)->baggage;
      } else if (event.kind == hbone::EventKind::kRefused) {
        asked_->status = event.code;
      } else if (event.kind == hbone::EventKind::kLost || event.kind == hbone::EventKind::kReset) {
        asked_->lost = true;
      }
    }
  }
  tunnels_.flush(now);
  return did;
}

}  // namespace culvert::proxy
