#include "tests/testkit/host.h"

#include <algorithm>

namespace culvert::testkit {

Host::Host(const HostConfig& config, BufferPool& pool, std::unique_ptr<port::Port> port, Instant start)
    : config_(config),
      pool_(pool),
      tcp_({}, pool, counters_, config.seed, start),
      pipeline_(pool, counters_, tcp_, nullptr, config.seed, start) {
  worker::InterfaceSetup setup;
  setup.id = kInterface;
  setup.name = config.name;
  setup.role = worker::PortRole::kUplink;
  setup.link.mac.bytes = port->mac();
  for (const Prefix& own : config.addresses) {
    setup.link.own.push_back(own.address);
    setup.link.neighbours.push_back(own);
    setup.ip.own.push_back(own);
    pipeline_.fib().add({own, kInterface, std::nullopt});
  }
  for (const IpAddress& gateway : config.gateways) {
    setup.link.neighbours.push_back(Prefix::host(gateway));
    const Prefix everything{gateway.is_v4() ? *IpAddress::parse("0.0.0.0") : IpAddress{}, 0};
    pipeline_.fib().add({everything, kInterface, gateway});
  }
  tcp_.set_interface(kInterface, {.mtu = port->mtu(), .tso_bytes_max = config.tso_bytes_max}, {&Host::decide, this},
                     config.tcp);
  pipeline_.add(setup, std::move(port), start);
}

tcp::SynVerdict Host::decide(void* self, InterfaceId, const tcp::Tuple& tuple) {
  const HostConfig& config = static_cast<Host*>(self)->config_;
  const bool ours = std::any_of(config.addresses.begin(), config.addresses.end(),
                                [&](const Prefix& own) { return own.address == tuple.local.address; });
  if (!ours) return tcp::SynVerdict::kDrop;
  return config.listening.contains(tuple.local.port) ? tcp::SynVerdict::kAccept : tcp::SynVerdict::kRefuse;
}

Result<tcp::ConnectionId, tcp::Stack::ConnectError> Host::connect(const Endpoint& to, Instant now) {
  for (const Prefix& own : config_.addresses) {
    if (own.address.is_v4() == to.address.is_v4()) {
      return tcp_.connect(kInterface, {{own.address, 0}, to}, config_.tcp, now);
    }
  }
  return tcp::Stack::ConnectError::kNoInterface;
}

bool Host::turn(Instant now) {
  const size_t received = pipeline_.receive(now);
  pipeline_.poll(now);
  tcp_.poll(now);
  return transmit(now) || received > 0;
}

bool Host::transmit(Instant now) {
  const bool more = pipeline_.transmit(now, 4 * worker::kBurst);
  return pipeline_.flush(now) || more;
}

Instant Host::next_deadline() const { return std::min(tcp_.next_deadline(), pipeline_.next_deadline()); }

}  // namespace culvert::testkit
