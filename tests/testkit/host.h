// An end host: what a kernel pod is in the lab, built from the production rooms (pipeline, ip, eth, tcp), for tests,
// the simulator and benchmarks. One interface, ordinary addresses, a default gateway, and ports that listen.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "port/port.h"
#include "tcp/stack.h"
#include "telemetry/counters.h"
#include "worker/pipeline.h"

namespace culvert::testkit {

struct HostConfig {
  std::string name;
  std::vector<Prefix> addresses;
  std::vector<IpAddress> gateways;  // at most one per family
  std::set<uint16_t> listening;     // SYNs to other ports are refused
  tcp::ConnectionOptions tcp;
  uint32_t tso_bytes_max = 65'535;  // 0: segments of the MTU only
  uint64_t seed = 0;
};

class Host {
 public:
  static constexpr InterfaceId kInterface = worker::kFirstPort;

  // Pool outlives the host.
  Host(const HostConfig& config, BufferPool& pool, std::unique_ptr<port::Port> port, Instant start);

  // Receives, runs timers, sends. True when something happened. Events wait in tcp().take_events().
  bool turn(Instant now);
  // Sends what the application wrote since.
  bool transmit(Instant now);
  Instant next_deadline() const;

  tcp::Stack& tcp() { return tcp_; }
  BufferPool& pool() { return pool_; }
  Counters& counters() { return counters_; }
  worker::Pipeline& pipeline() { return pipeline_; }
  const HostConfig& config() const { return config_; }

  // New connections are refused from now on.
  void stop_listening() { config_.listening.clear(); }
  // Connects from the address of the destination's family.
  Result<tcp::ConnectionId, tcp::Stack::ConnectError> connect(const Endpoint& to, Instant now);

 private:
  static tcp::SynVerdict decide(void* self, InterfaceId interface, const tcp::Tuple& tuple);

  HostConfig config_;
  BufferPool& pool_;
  Counters counters_;
  tcp::Stack tcp_;
  worker::Pipeline pipeline_;
};

}  // namespace culvert::testkit
